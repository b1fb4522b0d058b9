"""The short form draws what it always drew."""

import hashlib

import numpy as np
import pytest

from understudy.configuration import content_hash
from understudy_training.augmentation import Augmentation, Draw, draw

BEFORE = [
    ({}, [(False, 0.4683978455322683, 1.0127033847646576), (True, -0.11687061838374162, 0.9649988053912165)]),
    ({"variants": 3}, [(False, 0.0, 1.0), (True, 0.01770480130396559, 1.0408926663445872)]),
    (
        {"max_turn_rad": 0.2},
        [(False, 0.1201020116749406, 1.0127033847646576), (True, -0.029966825226600415, 0.9649988053912165)],
    ),
    (
        {"flip_y": False, "scale_range": (0.9, 1.3)},
        [(False, 0.4683978455322683, 1.1508135390586305), (False, -0.11687061838374162, 0.9599952215648662)],
    ),
]
"""(flip, turn, scale) of sample 7 in epochs 0 and 1 of seed 3, as drawn before there were steps."""


@pytest.mark.parametrize(("values", "drawn"), BEFORE)
def test_draws_are_those_of_before_there_were_steps(values, drawn):
    found = [draw(Augmentation(**values), seed=3, epoch=epoch, index=7) for epoch in (0, 1)]
    assert [(change.flip_y, change.turn_rad, change.scale) for change in found] == drawn


def test_points_are_moved_to_the_same_bytes_as_before():
    points = Draw(True, 0.3, 1.1).points(np.random.default_rng(0).random((5, 4), dtype=np.float32))
    assert hashlib.sha256(points.tobytes()).hexdigest().startswith("4c44b23ddb46f2c9")


def test_recipes_and_cache_keys_read_as_before():
    written = '{"flip_y":true,"max_turn_rad":0.78,"scale_range":[0.95,1.05],"variants":2}'
    assert Augmentation(variants=2).model_dump_json() == written
    assert content_hash(Augmentation()).startswith("ad07c6f37641db81394ff73ba548364db")
