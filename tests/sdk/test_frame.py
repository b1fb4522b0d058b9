from __future__ import annotations

import numpy as np
import pytest

from understudy.errors import FrameError
from understudy.frame import Frame, Image, PointCloud


def test_a_cloud_keeps_the_array_it_was_given():
    points = np.full((3, 4), np.nan, np.float32)
    cloud = PointCloud(points, 5, ring=np.zeros(3, np.int16))
    assert cloud.points is points
    assert len(cloud) == 3


def test_a_frame_may_hold_nothing():
    frame = Frame(7)
    assert (dict(frame.clouds), dict(frame.images), frame.world_from_ego) == ({}, {}, None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PointCloud(np.zeros((3, 4)), 0), r"point cloud: found float64 \(3, 4\), wanted float32 \(N, 4\)"),
        (lambda: PointCloud(np.zeros((3, 3), np.float32), 0), r"found float32 \(3, 3\)"),
        (lambda: PointCloud(np.zeros(3, np.float32), 0), r"found float32 \(3,\)"),
        (
            lambda: PointCloud(np.zeros((3, 4), np.float32), 0, time_offset_s=np.zeros(2, np.float32)),
            r"point cloud time_offset_s: found shape \(2,\), wanted \(3,\)",
        ),
        (lambda: PointCloud(np.zeros((3, 4), np.float32), 0, ring=np.zeros((3, 1), np.int16)), "point cloud ring"),
        (lambda: Image(np.zeros((4, 4), np.uint8), 0), r"image: found uint8 \(4, 4\)"),
        (lambda: Image(np.zeros((4, 4, 3), np.float32), 0), "image: found float32"),
        (lambda: Image(np.zeros((4, 4, 4), np.uint8), 0), "RGB"),
    ],
)
def test_what_no_sensor_gives_is_refused(make, message):
    with pytest.raises(FrameError, match=message):
        make()
