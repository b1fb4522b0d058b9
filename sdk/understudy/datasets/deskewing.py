"""What the vehicle's own motion did to a sweep, undone: every point to where it would be, seen at the sweep's stamp."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from understudy.datasets.pose_tracks import PoseTrack
from understudy.errors import FrameError
from understudy.frame import PointCloud


def deskew(cloud: PointCloud, world_from_sensor: PoseTrack) -> PointCloud:
    """The cloud as a sensor would see it that fires all at once, at the cloud's stamp.

    Between two poses, position is linear and the turn follows the shorter arc, as in `PoseTrack.at`; beyond the track's
    ends its last pose is held. The points' times stay: they tell when what moves on its own was seen.

    Args:
        cloud: points as they were measured, each in the sensor frame of its own time, with `time_offset_s`.
        world_from_sensor: where the sensor was, in seconds of the same clock; several poses around the sweep.

    Raises:
        FrameError: when the cloud does not tell its points' times.
        InputError: when the track holds one pose of another time.
    """
    if cloud.time_offset_s is None:
        raise FrameError("a cloud to deskew", found="no time per point", wanted="time_offset_s")
    sensor_from_world = world_from_sensor.at(cloud.stamp_ns / 1e9).inverse()
    points = cloud.points.copy()
    world = _carried(cloud.points[:, :3].astype(np.float64), cloud.stamp_ns, cloud.time_offset_s, world_from_sensor)
    points[:, :3] = sensor_from_world.apply(world)
    return replace(cloud, points=points)


def _carried(
    points: NDArray[np.float64], stamp_ns: int, offsets_s: NDArray[np.float32], track: PoseTrack
) -> NDArray[np.float64]:
    """`(N, 3)` points to the world, each by the pose of its own time."""
    if len(track.poses) == 1:
        return track.at(stamp_ns / 1e9).apply(points)
    # Times count from the cloud's stamp: seconds since 1970 leave a float only some 0.2 us.
    knots_s = track.stamps_s - stamp_ns / 1e9
    after = np.clip(np.searchsorted(knots_s, offsets_s), 1, len(knots_s) - 1)
    begin_s, end_s = knots_s[after - 1], knots_s[after]
    share = np.clip((offsets_s - begin_s) / (end_s - begin_s), 0.0, 1.0)[:, None]
    translations_m = np.array([pose.translation_m for pose in track.poses])
    quaternions = np.array([pose.quaternion_wxyz for pose in track.poses])
    first, second = quaternions[after - 1], quaternions[after]
    nearer = np.where((first * second).sum(axis=1, keepdims=True) >= 0, second, -second)
    mixed = (1 - share) * first + share * nearer
    position = (1 - share) * translations_m[after - 1] + share * translations_m[after]
    carried: NDArray[np.float64] = _turned(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), points) + position
    return carried


def _turned(wxyz: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(N, 3)` points turned each by its own unit quaternion: p + 2 w (v x p) + 2 v x (v x p)."""
    vector = wxyz[:, 1:]
    across = 2 * np.cross(vector, points)
    turned: NDArray[np.float64] = points + wxyz[:, :1] * across + np.cross(vector, across)
    return turned
