from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from understudy.boxes import Boxes, Segments, wrap_angle
from understudy.errors import UnderstudyError
from understudy.interior import count_points_inside
from understudy.pose import Pose

NAMES = ("car", "pedestrian")


def some(count=5, seed=0, **columns):
    generator = np.random.default_rng(seed)
    places, sizes = generator.uniform(-20, 20, (count, 3)), generator.uniform(0.5, 5, (count, 3))
    geometry = np.column_stack([places, sizes, generator.uniform(-3, 3, count)]).astype(np.float32)
    return Boxes(geometry, (np.arange(count) % 2).astype(np.int32), NAMES, **columns)


def test_choosing_rows_chooses_them_in_every_column():
    boxes = some(
        scores=np.linspace(0, 1, 5, dtype=np.float32),
        track_ids=np.arange(5),
        num_points=np.arange(5, dtype=np.int32),
        velocities_mps=np.ones((5, 2), np.float32),
    )
    for index in (boxes.labels == 1, np.array([1, 3]), slice(1, 4, 2)):
        chosen = boxes[index]
        assert chosen.track_ids.tolist() == [1, 3]
        assert chosen.num_points.tolist() == [1, 3]
        assert chosen.velocities_mps.shape == (2, 2)
        np.testing.assert_array_equal(chosen.geometry, boxes.geometry[[1, 3]])
    assert len(boxes[np.zeros(5, bool)]) == 0


def test_joining_keeps_the_columns_that_all_parts_have():
    scored = some(2, scores=np.ones(2, np.float32), track_ids=np.arange(2))
    joined = Boxes.concatenate([scored, some(3, scores=np.zeros(3, np.float32))])
    assert len(joined) == 5
    assert joined.scores.tolist() == [1, 1, 0, 0, 0]
    assert joined.track_ids is None


def test_empty_sets_keep_their_classes():
    assert Boxes.empty(NAMES).scores is None
    assert Boxes.empty(NAMES, scored=True).scores.shape == (0,)
    assert Boxes.empty(NAMES).class_names == NAMES
    assert Boxes.empty(NAMES).corners().shape == (0, 8, 3)
    assert Boxes.empty(NAMES).contains(np.zeros((4, 3))).shape == (0, 4)


def test_corners_of_a_turned_box():
    box = Boxes(np.float32([[10, 20, 1, 4, 2, 1.5, math.pi / 2]]), np.int32([0]), NAMES)
    corners = box.corners()[0]
    np.testing.assert_allclose(corners[0], [9, 22, 0.25], atol=1e-5)  # front left, below
    np.testing.assert_allclose(corners[3], [11, 22, 0.25], atol=1e-5)  # front right, below
    np.testing.assert_allclose(corners[4], [9, 22, 1.75], atol=1e-5)


@given(st.floats(-7, 7), st.floats(-50, 50), st.floats(-50, 50), st.floats(-2, 2))
@settings(max_examples=50)
def test_moving_boxes_moves_their_corners_and_keeps_their_points(turn, x, y, z):
    boxes, pose = some(4), Pose.from_yaw(turn, (x, y, z))
    moved = boxes.transformed(pose)
    np.testing.assert_allclose(moved.corners(), pose.apply(boxes.corners()), atol=2e-4)
    inner = boxes.geometry[:, :3] + 0.2 * (boxes.corners()[:, 5] - boxes.geometry[:, :3])
    assert moved.contains(pose.apply(inner)).diagonal().all()
    back = moved.transformed(pose.inverse())
    np.testing.assert_allclose(back.geometry[:, :6], boxes.geometry[:, :6], atol=1e-4)


def test_velocities_turn_with_their_boxes():
    boxes = some(1, velocities_mps=np.float32([[3, 0]]))
    np.testing.assert_allclose(boxes.transformed(Pose.from_yaw(math.pi / 2)).velocities_mps, [[0, 3]], atol=1e-6)


def test_inside_means_up_to_the_faces():
    box = Boxes(np.float32([[0, 0, 0, 4, 2, 1, 0]]), np.int32([0]), NAMES)
    points = np.array([[2, 1, 0.5], [2.01, 0, 0], [0, 1.01, 0], [0, 0, -0.51], [0, 0, 0], [np.nan, 0, 0]])
    assert box.contains(points)[0].tolist() == [True, False, False, False, True, False]


@given(st.integers(0, 40), st.integers(0, 10_000))
@settings(max_examples=30)
def test_counting_equals_testing_every_point(count, seed):
    boxes = some(count, seed)
    points = np.random.default_rng(seed).uniform(-25, 25, (800, 4)).astype(np.float32)
    points[::50] = np.nan
    counts = count_points_inside(boxes, points)
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts, boxes.contains(points).sum(axis=1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Boxes(np.zeros((2, 6), np.float32), np.zeros(2, np.int32), NAMES), r"geometry of shape \(2, 6\)"),
        (lambda: Boxes(np.zeros((2, 7), np.float32), np.zeros(1, np.int32), NAMES), "boxes labels: found 1 entries"),
        (lambda: some(2, scores=np.zeros(3, np.float32)), "boxes scores: found 3 entries, wanted 2"),
        (lambda: Boxes(np.zeros((1, 7), np.float32), np.int32([2]), NAMES), r"box labels: found 2\.\.2"),
        (lambda: Boxes(np.zeros((1, 7), np.float32), np.int32([-1]), NAMES), r"box labels: found -1\.\.-1"),
        (lambda: Boxes(np.full((1, 7), -1, np.float32), np.int32([0]), NAMES), "box sizes"),
        (lambda: Segments(np.zeros((2, 2), np.int16), NAMES), "segments: found shape"),
        (lambda: Segments(np.int16([2]), NAMES), "segment labels: found 2, wanted below 2"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(UnderstudyError, match=message):
        make()


@given(arrays(np.float64, 8, elements=st.floats(-1e3, 1e3)))
@settings(max_examples=50)
def test_wrapped_angles_point_the_same_way(angles):
    wrapped = wrap_angle(angles)
    assert ((wrapped >= -math.pi) & (wrapped <= math.pi)).all()
    np.testing.assert_allclose(np.cos(wrapped), np.cos(angles), atol=1e-9)
    np.testing.assert_allclose(np.sin(wrapped), np.sin(angles), atol=1e-9)


def test_segments_know_their_length_and_allow_unknown():
    assert len(Segments(np.int16([-1, 0, 1]), NAMES)) == 3
