from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import GeometryError
from understudy.pose import Pose

components = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda wxyz: np.linalg.norm(wxyz) > 0.1)
translations = st.tuples(*[st.floats(-100, 100)] * 3)


def pose_of(wxyz, translation_m):
    return Pose.from_quaternion(np.array(wxyz) / np.linalg.norm(wxyz), translation_m)


poses = st.builds(pose_of, components, translations)


@given(poses, poses, poses)
@settings(max_examples=60)
def test_poses_form_a_group(a, b, c):
    np.testing.assert_allclose(((a @ b) @ c).matrix, (a @ (b @ c)).matrix, atol=1e-9)
    np.testing.assert_allclose((a @ a.inverse()).matrix, np.eye(4), atol=1e-9)
    np.testing.assert_allclose((a @ b).inverse().matrix, (b.inverse() @ a.inverse()).matrix, atol=1e-9)
    np.testing.assert_allclose((a @ b).matrix, a.matrix @ b.matrix, atol=1e-9)
    np.testing.assert_allclose((Pose.identity() @ a).matrix, a.matrix, atol=1e-12)


@given(poses)
@settings(max_examples=100)
def test_quaternion_and_matrix_give_the_pose_back(pose):
    wxyz = pose.quaternion_wxyz
    assert wxyz[0] >= 0
    assert np.linalg.norm(wxyz) == pytest.approx(1.0)
    np.testing.assert_allclose(Pose.from_quaternion(wxyz, pose.translation_m).matrix, pose.matrix, atol=1e-9)
    np.testing.assert_allclose(Pose.from_matrix(pose.matrix).matrix, pose.matrix)
    np.testing.assert_allclose(Pose.from_matrix(pose.matrix[:3]).matrix, pose.matrix)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_keep_their_quaternion(axis):
    rotation = -np.eye(3)
    rotation[axis, axis] = 1.0
    pose = Pose(rotation, np.zeros(3))
    np.testing.assert_allclose(Pose.from_quaternion(pose.quaternion_wxyz, [0, 0, 0]).rotation, rotation, atol=1e-12)


def test_a_quarter_turn_left_then_a_step():
    ego_from_sensor = Pose.from_yaw(math.pi / 2, (1.0, 2.0, 3.0))
    np.testing.assert_allclose(ego_from_sensor.apply(np.array([[1.0, 0.0, 0.0]])), [[1.0, 3.0, 3.0]], atol=1e-12)
    assert ego_from_sensor.yaw_rad == pytest.approx(math.pi / 2)


def test_points_keep_their_shape_and_become_float64():
    moved = Pose.identity().apply(np.zeros((2, 5, 3), np.float32))
    assert moved.shape == (2, 5, 3)
    assert moved.dtype == np.float64


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pose(np.eye(4), np.zeros(3)), r"found shapes \(4, 4\) and \(3,\)"),
        (lambda: Pose(np.eye(3) * np.nan, np.zeros(3)), "not finite"),
        (lambda: Pose(np.eye(3), np.array([0, 0, np.inf])), "not finite"),
        (lambda: Pose(2 * np.eye(3), np.zeros(3)), "away from orthonormal"),
        (lambda: Pose(np.diag([1.0, 1.0, -1.0]), np.zeros(3)), r"determinant -1\.000"),
        (lambda: Pose.from_matrix(np.eye(3)), "pose matrix: found shape"),
        (lambda: Pose.from_quaternion([1, 1, 0, 0], [0, 0, 0]), r"quaternion: found length 1\.4142"),
        (lambda: Pose.from_quaternion([np.nan, 1, 0, 0], [0, 0, 0]), "quaternion: found length nan"),
        (lambda: Pose.from_quaternion([0, 0, 1], [0, 0, 0]), "w, x, y, z order"),
    ],
)
def test_what_is_no_pose_is_refused(make, message):
    with pytest.raises(GeometryError, match=message):
        make()
