"""The reality benchmark's parts: what is shown, what is held out, what the table says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.reality_data import FOLDS, REAL, RIGS, joined, mixture, only_labeled
from benchmarks.reality_report import Row, markdown
from understudy.datasets.opening import open_dataset
from understudy.datasets.scenes import ScenesDataset
from understudy_training.scenes.config import SceneConfig
from understudy_training.scenes.writer import make_scenes


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[ScenesDataset]:
    made = []
    for seed, frames in ((1, 3), (2, 2)):
        out = tmp_path_factory.mktemp("reality") / "set"
        lidar = {"beams": 16, "azimuth_steps": 90}
        config = {"seed": seed, "num_drives": 1, "num_val_drives": 0, "num_frames": frames, "camera": None}
        make_scenes(SceneConfig.model_validate({**config, "lidar": lidar}), out)
        made.append(ScenesDataset(out, "train"))
    return made


def test_a_mixture_shows_the_first_frames_of_each_part_so_often(parts: list[ScenesDataset]) -> None:
    shown = joined(mixture(parts, most=2), mixture(parts[1:], repeats=3))
    first, second = parts
    wanted = [first[0], first[1], second[0], second[1], *[second[0], second[1]] * 3]
    assert len(shown) == len(wanted)
    for index, sample in enumerate(wanted):
        own = shown[index].frame.clouds["lidar"].points
        np.testing.assert_array_equal(own, sample.frame.clouds["lidar"].points)
    with pytest.raises(IndexError):
        shown[len(shown)]


def test_a_mixture_s_fingerprint_tells_what_is_shown_and_how_often(parts: list[ScenesDataset]) -> None:
    told = {mixture(parts).fingerprint, mixture(parts, most=1).fingerprint, mixture(parts, repeats=2).fingerprint}
    assert len(told) == 3
    assert mixture(parts).fingerprint == mixture(parts).fingerprint


def test_every_data_set_is_held_out_in_one_fold() -> None:
    assert sorted(name for names in FOLDS.values() for name in names) == sorted(REAL) == sorted(RIGS)


@pytest.mark.data
def test_kitti_s_points_outside_the_picture_are_not_trained_on(data_root: Path) -> None:
    dataset = open_dataset(data_root / "kitti" / "object")
    whole = dataset[5]
    seen = only_labeled(dataset, whole)
    name, lidar = whole.rig.lidar()
    before, after = (sample.frame.clouds[name].points for sample in (whole, seen))
    assert 0.1 < len(after) / len(before) < 0.25
    pixels, depth_m = whole.rig.cameras["camera_2"].project(lidar.ego_from_sensor.pose().apply(after[:, :3]))
    assert whole.rig.cameras["camera_2"].shows(pixels, depth_m).all()
    assert seen.boxes is not None
    assert len(seen.boxes) == 6


def row(seed: int, ap: float, recall: float) -> Row:
    return Row(
        **{"student": "s", "seed": seed, "data": "D", "num_frames": 2, "num_boxes": 5, "ap_percent": ap},
        **{"precision_percent": 80.0, "recall_percent": recall},
        boxes_by_range=(2, 3, 0),
        recall_by_range_percent=(100.0, recall, None),
    )


def test_the_table_has_means_over_seeds_and_says_where_nothing_is() -> None:
    lines = markdown([row(0, 50.0, 40.0), row(1, 70.0, 60.0)]).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| D | 2 | 5 | s | 60.0 | 80.0 | 50.0 | 100.0 of 2 | 50.0 of 3 | none there |"
