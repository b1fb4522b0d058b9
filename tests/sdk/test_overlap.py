from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity
from shapely.geometry import box as rectangle

from understudy.errors import UnderstudyError
from understudy.overlap import bev_intersection_m2, bev_iou, iou_3d, paired_intersections_m2


def row(x=0.0, y=0.0, z=0.0, length=1.0, width=1.0, height=1.0, yaw=0.0):
    return np.array([[x, y, z, length, width, height, yaw]])


def polygon(box):
    x, y, _, length, width, _, yaw = box
    upright = rectangle(-length / 2, -width / 2, length / 2, width / 2)
    return affinity.translate(affinity.rotate(upright, yaw, origin=(0, 0), use_radians=True), x, y)


boxes = st.builds(
    lambda *values: np.array(values),
    *[st.floats(-6, 6)] * 3,
    *[st.one_of(st.floats(0.05, 9), st.sampled_from([0.5, 1.0, 2.0]))] * 3,
    st.one_of(st.floats(-7, 7), st.sampled_from([0.0, math.pi / 2, math.pi, math.pi / 4, 1e-9, 1e-15])),
)


def test_unit_square_turned_by_45_degrees_shares_the_regular_octagon():
    octagon_m2 = 2 * (math.sqrt(2) - 1)
    assert bev_intersection_m2(row(), row(yaw=math.pi / 4))[0, 0] == pytest.approx(octagon_m2, abs=1e-14)
    assert bev_iou(row(), row(yaw=math.pi / 4))[0, 0] == pytest.approx(octagon_m2 / (2 - octagon_m2), abs=1e-14)


@pytest.mark.parametrize(
    ("a", "b", "bev", "volume"),
    [
        (row(), row(), 1.0, 1.0),
        (row(length=4, width=2, yaw=0.3), row(length=4, width=2, yaw=0.3 + math.pi), 1.0, 1.0),
        (row(length=4, width=2), row(length=2, width=4, yaw=math.pi / 2), 1.0, 1.0),
        (row(), row(x=0.5), 1 / 3, 1 / 3),
        (row(), row(x=1.0), 0.0, 0.0),
        (row(), row(x=1.0, y=1.0), 0.0, 0.0),
        (row(), row(x=9.0), 0.0, 0.0),
        (row(), row(z=0.5), 1.0, 1 / 3),
        (row(), row(z=1.0), 1.0, 0.0),
        (row(), row(z=5.0), 1.0, 0.0),
        (row(length=4, width=4, height=4), row(), 1 / 16, 1 / 64),
        (row(length=10, width=1), row(length=10, width=1, yaw=math.pi / 2), 1 / 19, 1 / 19),
        (row(length=0), row(), 0.0, 0.0),
        (row(length=0), row(length=0), 0.0, 0.0),
        (row(length=0, width=0, height=0), row(length=0, width=0, height=0), 0.0, 0.0),
        (row(height=0), row(), 1.0, 0.0),
        (row(x=math.nan), row(), 0.0, 0.0),
    ],
)
def test_known_overlaps(a, b, bev, volume):
    assert bev_iou(a, b)[0, 0] == pytest.approx(bev, abs=1e-12)
    assert iou_3d(a, b)[0, 0] == pytest.approx(volume, abs=1e-12)


@given(boxes, boxes)
@settings(max_examples=400)
def test_equals_shapely(a, b):
    shared = polygon(a).intersection(polygon(b)).area
    united = a[3] * a[4] + b[3] * b[4] - shared
    assert bev_iou(a[None], b[None])[0, 0] == pytest.approx(shared / united, abs=1e-9)
    high = max(0.0, min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2))
    volume = shared * high / (a[3:6].prod() + b[3:6].prod() - shared * high)
    assert iou_3d(a[None], b[None])[0, 0] == pytest.approx(volume, abs=1e-9)


@given(boxes, boxes, st.floats(-math.pi, math.pi), st.floats(-50, 50), st.floats(-50, 50))
@settings(max_examples=100)
def test_symmetric_and_unmoved_by_rigid_motion(a, b, turn, dx, dy):
    pair = np.stack([a, b])
    moved = pair.copy()
    cos, sin = math.cos(turn), math.sin(turn)
    moved[:, 0] = cos * pair[:, 0] - sin * pair[:, 1] + dx
    moved[:, 1] = sin * pair[:, 0] + cos * pair[:, 1] + dy
    moved[:, 6] += turn
    for overlap in (bev_iou, iou_3d):
        matrix = overlap(pair, pair)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-10)
        np.testing.assert_allclose(np.diag(matrix), 1.0, atol=1e-10)
        np.testing.assert_allclose(overlap(moved, moved), matrix, atol=1e-9)
        assert matrix.min() >= 0
        assert matrix.max() <= 1


def test_all_pairs_at_once_equal_pairs_one_by_one():
    generator = np.random.default_rng(0)
    a = np.column_stack([generator.uniform(-9, 9, (40, 3)), generator.uniform(0.3, 6, (40, 3)), np.arange(40.0)])
    b = a[::3] + generator.normal(0, 0.3, a[::3].shape) * [1, 1, 1, 0, 0, 0, 1]
    matrix = iou_3d(a.astype(np.float32), b.astype(np.float32))
    assert matrix.shape == (40, 14)
    assert matrix.dtype == np.float64
    one_by_one = [[iou_3d(x[None].astype(np.float32), y[None].astype(np.float32))[0, 0] for y in b] for x in a]
    np.testing.assert_allclose(matrix, one_by_one, atol=1e-12)


def test_no_boxes_give_an_empty_matrix():
    assert bev_iou(np.zeros((0, 7)), row()).shape == (0, 1)
    assert iou_3d(row(), np.zeros((0, 7))).shape == (1, 0)


def test_wrong_shape_is_refused():
    with pytest.raises(UnderstudyError, match=r"second boxes: found shape \(1, 5\)"):
        bev_iou(row(), row()[:, :5])


def test_pairs_share_what_the_matrix_has_on_its_diagonal():
    random = np.random.default_rng(5)
    a, b = (random.uniform([-3, -3, 0, 0, 0, 1, -4], [3, 3, 1, 5, 3, 2, 4], (200, 7)) for _ in range(2))
    np.testing.assert_array_equal(paired_intersections_m2(a, b), np.diagonal(bev_intersection_m2(a, b)))
    with pytest.raises(UnderstudyError, match="second boxes: found 199, wanted 200"):
        paired_intersections_m2(a, b[:-1])
