"""Frames some turns apart, and validation drives by a seed of their own."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from understudy_training.scenes.config import SceneConfig
from understudy_training.scenes.drive import Drive, Moment

CONFIG = SceneConfig(seed=3, num_frames=9, lidar={"beams": 16, "azimuth_steps": 180}, camera=None)


def assert_same(found: Moment, wanted: Moment) -> None:
    np.testing.assert_array_equal(found.sweep.points, wanted.sweep.points)
    np.testing.assert_array_equal(found.boxes.geometry, wanted.boxes.geometry)
    np.testing.assert_array_equal(found.boxes.track_ids, wanted.boxes.track_ids)
    np.testing.assert_array_equal(found.world_from_ego.matrix, wanted.world_from_ego.matrix)


def test_frames_some_turns_apart_are_frames_of_the_same_drive() -> None:
    coarse = CONFIG.model_copy(update={"num_frames": 3, "turns_per_frame": 4})
    fine, drive = Drive(CONFIG, 1), Drive(coarse, 1)
    for frame in range(3):
        assert_same(drive.moment(frame), fine.moment(4 * frame))
        assert drive.moment(frame).stamp_ns == fine.moment(4 * frame).stamp_ns
    assert len(list(drive)) == 3


def test_validation_drives_of_another_seed_do_not_depend_on_the_training_drives() -> None:
    few = SceneConfig.model_validate({**CONFIG.model_dump(), "val_seed": 4, "num_drives": 3, "num_val_drives": 2})
    many = few.model_copy(update={"num_drives": 7})
    for number in range(2):
        assert (few.split(1 + number), many.split(5 + number)) == ("val", "val")
        assert_same(Drive(few, 1 + number).moment(0), Drive(many, 5 + number).moment(0))
    assert_same(Drive(few, 0).moment(0), Drive(CONFIG, 0).moment(0))


def test_without_a_seed_of_their_own_they_go_on_from_the_training_drives() -> None:
    assert [CONFIG.origin(number) for number in (0, 5, 6, 7)] == [(3, 0), (3, 5), (3, 6), (3, 7)]
    other = CONFIG.model_copy(update={"val_seed": 8})
    assert [other.origin(number) for number in (0, 5, 6, 7)] == [(3, 0), (3, 5), (8, 0), (8, 1)]


def test_validation_drives_that_repeat_the_training_are_refused() -> None:
    with pytest.raises(ValidationError, match="another seed"):
        SceneConfig(seed=3, val_seed=3)
