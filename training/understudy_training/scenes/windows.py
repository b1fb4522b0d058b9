"""Which rays of a sensor's grid can meet a primitive: a rectangle of the grid, never too small."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import wrap_angle
from understudy.pose import Pose
from understudy.rig import Camera

_SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
_NEAR_M = 0.05

Array = NDArray[np.float64]


def corners(placed: Array, sensor_from_ego: Pose) -> Array:
    """`(P, 8, 3)` corners of the primitives' bounding boxes in a sensor's frame."""
    local = _SIGNS[None] * placed[:, None, 3:6]
    cos, sin = np.cos(placed[:, 6:7]), np.sin(placed[:, 6:7])
    x = cos * local[..., 0] - sin * local[..., 1]
    y = sin * local[..., 0] + cos * local[..., 1]
    return sensor_from_ego.apply(np.stack([x, y, local[..., 2]], axis=-1) + placed[:, None, :3])


def lidar_windows(corners_lidar: Array, elevations_rad: Array, num_steps: int, range_m: float) -> NDArray[np.int64]:
    """`(P, 4)` windows of the (azimuth step, beam) grid; the steps may run past the end, where they wrap around."""
    azimuth = np.arctan2(corners_lidar[..., 1], corners_lidar[..., 0])
    center = corners_lidar.mean(axis=1)
    middle = np.arctan2(center[:, 1], center[:, 0])
    spread = wrap_angle(azimuth - middle[:, None])
    around = np.abs(spread).max(axis=1) > np.pi / 2 - 0.05
    per_rad = num_steps / (2 * np.pi)
    first = np.floor((np.pi - middle - spread.max(axis=1)) * per_rad).astype(int) - 1
    last = np.ceil((np.pi - middle - spread.min(axis=1)) * per_rad).astype(int) + 2
    first, last = np.where(around, 0, first), np.where(around, num_steps, last)
    low, high = _elevation_limits(corners_lidar, center)
    beams = np.searchsorted(elevations_rad, low), np.searchsorted(elevations_rad, high, side="right")
    radius = np.linalg.norm(corners_lidar - center[:, None], axis=-1).max(axis=1)
    last = np.where(np.linalg.norm(center, axis=1) - radius > range_m, first, last)
    return np.stack([first, last, *beams], axis=1).astype(np.int64)


def _elevation_limits(corners_lidar: Array, center: Array) -> tuple[Array, Array]:
    reach = np.linalg.norm(corners_lidar[..., :2] - center[:, None, :2], axis=-1).max(axis=1)
    distance = np.linalg.norm(center[:, :2], axis=1)
    near, far = np.maximum(distance - reach, _NEAR_M), distance + reach
    bottom, top = corners_lidar[..., 2].min(axis=1), corners_lidar[..., 2].max(axis=1)
    low = np.arctan2(bottom, np.where(bottom < 0, near, far))
    high = np.arctan2(top, np.where(top > 0, near, far))
    return low, high


def camera_windows(corners_camera: Array, camera: Camera) -> NDArray[np.int64]:
    """`(P, 4)` windows of the (row, column) grid of pixels."""
    depth = corners_camera[..., 2]
    safe = np.maximum(depth, _NEAR_M)
    u = camera.fx_px * corners_camera[..., 0] / safe + camera.cx_px
    v = camera.fy_px * corners_camera[..., 1] / safe + camera.cy_px
    crosses = depth.min(axis=1) < _NEAR_M
    columns = _limits(u, crosses, camera.width_px)
    rows = _limits(v, crosses, camera.height_px)
    hidden = (depth.max(axis=1) < _NEAR_M) | _outside(corners_camera, camera)
    rows[:, 1] = np.where(hidden, rows[:, 0], rows[:, 1])
    return np.hstack([rows, columns])


def _limits(pixels: Array, crosses: NDArray[np.bool_], size_px: int) -> NDArray[np.int64]:
    first = np.where(crosses, 0, np.clip(np.floor(pixels.min(axis=1)), 0, size_px))
    last = np.where(crosses, size_px, np.clip(np.ceil(pixels.max(axis=1)) + 1, 0, size_px))
    return np.stack([first, last], axis=1).astype(np.int64)


def _outside(corners_camera: Array, camera: Camera) -> NDArray[np.bool_]:
    """Whether all corners lie beyond one of the four planes through the picture's border."""
    x, y, depth = corners_camera[..., 0], corners_camera[..., 1], corners_camera[..., 2]
    left, right = -camera.cx_px / camera.fx_px, (camera.width_px - camera.cx_px) / camera.fx_px
    top, bottom = -camera.cy_px / camera.fy_px, (camera.height_px - camera.cy_px) / camera.fy_px
    beyond = np.stack([x < left * depth, x > right * depth, y < top * depth, y > bottom * depth])
    return beyond.all(axis=2).any(axis=0)
