"""LiDAR boxes and picture boxes as one set."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.boxes import Boxes
from understudy.overlap import bev_iou
from understudy_training.label_free.merging import merge, suppressed, without_doubles
from understudy_training.label_free.pseudo_boxes import boxes_of


def at(*places: tuple[float, float], scores: tuple[float, ...] | None = None) -> Boxes:
    """Boxes of 4 x 2 x 1.5 m."""
    geometry = [[x, y, 0.75, 4, 2, 1.5, 0] for x, y in places]
    count = len(places)
    return boxes_of(
        np.array(geometry), np.zeros(count), ("object",), np.full(count, 9), np.array(scores or [1.0] * count)
    )


def drawn(seed: int, count: int) -> Boxes:
    return at(*np.random.default_rng(seed).uniform(-60, 60, (count, 2)).tolist())


@given(st.integers(0, 999), st.integers(0, 20), st.integers(0, 20), st.floats(0, 60))
@settings(max_examples=60)
def test_merged_holds_all_lidar_boxes_and_no_near_picture_box(seed, num_lidar, num_pictures, min_range_m):
    lidar, pictures = drawn(seed, num_lidar), drawn(seed + 1, num_pictures)
    merged = merge(lidar, pictures, min_range_m)
    np.testing.assert_array_equal(merged.geometry[: len(lidar)], lidar.geometry)
    added = merged.geometry[len(lidar) :]
    assert (np.hypot(added[:, 0], added[:, 1]) >= np.float32(min_range_m)).all()
    far = np.hypot(pictures.geometry[:, 0].astype(float), pictures.geometry[:, 1].astype(float)) >= min_range_m
    assert len(added) == far.sum()


def test_the_range_is_the_distance_from_above_not_the_way_ahead():
    assert len(merge(at(), at((0.0, 11.0), (8.0, 5.0)), 10.0)) == 1
    assert len(merge(at(), at((-12.0, 0.0)), 10.0)) == 1


def test_one_box_of_an_object_stays_and_near_it_is_the_lidar_s():
    lidar, pictures = at((20, 0), (40, 0), (10, 10)), at((20.5, 0.2), (40.5, 0.2), (50, 5))
    kept, others = without_doubles(lidar, pictures)
    np.testing.assert_allclose(kept.geometry[:, :2], [[20, 0], [10, 10]])
    np.testing.assert_allclose(others.geometry[:, :2], [[40.5, 0.2], [50, 5]])


def test_a_picture_box_that_was_beaten_takes_nothing_away():
    """It lies across two LiDAR boxes, one on each side of 30 m."""
    kept, others = without_doubles(at((29, 0), (31.5, 0)), at((30.2, 0)))
    assert (len(kept), len(others)) == (2, 0)


@given(st.integers(0, 999), st.integers(0, 15), st.integers(0, 15))
@settings(max_examples=40)
def test_no_object_stands_in_both_sets(seed, num_lidar, num_pictures):
    lidar, pictures = drawn(seed, num_lidar), drawn(seed + 1, num_pictures)
    kept, others = without_doubles(lidar, pictures)
    assert not (bev_iou(kept.geometry, others.geometry) > 0.1).any()


def test_of_overlapping_boxes_the_best_stays():
    boxes = at((10, 0), (10.5, 0), (30, 0), (13.0, 0), scores=(0.5, 0.9, 0.2, 0.4))
    np.testing.assert_allclose(suppressed(boxes).geometry[:, 0], [10.5, 30])
    assert len(suppressed(at())) == 0


def test_what_a_suppressed_box_overlaps_is_not_suppressed_by_it():
    boxes = at((10, 0), (13, 0), (16, 0), scores=(0.9, 0.8, 0.7))
    np.testing.assert_allclose(suppressed(boxes).geometry[:, 0], [10, 16])
