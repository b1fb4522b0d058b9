"""Pictures through rain, snow or fog: what is far fades into gray.

I = J t + A (1 - t) with t = exp(-alpha d) (H. Koschmieder, 1924), d the distance and A the light of the air. Distances
come from the LiDAR where it sees or sees something below, from a flat road elsewhere, and are 300 m above the horizon.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from understudy.rig import Camera
from understudy_training.augmentation.scene import Scene

_CELL_PX = 16
_SKY_M = 300.0
_AIR_LIGHT = 200.0


def hazed_pictures(scene: Scene, clear: Scene, extinction_per_m: float) -> Scene:
    """The scene with its pictures veiled, by the distances of the `clear` one: the air's own returns are none."""
    if not scene.images:
        return scene
    images = {
        name: hazed(pixels, coarse_distances_m(clear.cameras[name], clear.points[:, :3]), extinction_per_m)
        for name, pixels in scene.images.items()
    }
    return replace(scene, images=images)


def hazed(pixels: NDArray[np.uint8], distances_m: NDArray[np.float32], extinction_per_m: float) -> NDArray[np.uint8]:
    """An `(H, W, 3)` picture with `(h, w)` coarse distances, spread evenly over it, seen through the air."""
    through = np.exp(-np.float32(extinction_per_m) * _stretched(distances_m, *pixels.shape[:2]))[..., None]
    veiled = pixels * through + np.float32(_AIR_LIGHT) * (1 - through)
    return np.clip(np.rint(veiled), 0, 255).astype(np.uint8)


def coarse_distances_m(camera: Camera, points_ego: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(h, w)` distance of each of the picture's cells: nearest return, else that below, else the road or sky."""
    rows, columns = -(-camera.height_px // _CELL_PX), -(-camera.width_px // _CELL_PX)
    road_m = _road_distances_m(camera, rows, columns)
    pixels, depth_m = camera.project(points_ego)
    cells = np.floor((pixels + 0.5) / _CELL_PX)
    seen = (depth_m > 0.1) & (cells >= 0).all(axis=1) & (cells < [columns, rows]).all(axis=1)
    places = (cells[seen, 1] * columns + cells[seen, 0]).astype(np.int64)
    measured_m = np.full(rows * columns, np.inf)
    np.minimum.at(measured_m, places, depth_m[seen])
    measured_m = measured_m.reshape(rows, columns)
    for row in range(rows - 2, -1, -1):
        # glass and what rises above the LiDAR's view are about as far as what is seen below them
        measured_m[row] = np.where(np.isfinite(measured_m[row]), measured_m[row], measured_m[row + 1])
    return np.where(np.isfinite(measured_m), measured_m, road_m).astype(np.float32)


def _road_distances_m(camera: Camera, rows: int, columns: int) -> NDArray[np.float64]:
    pose = camera.ego_from_sensor.pose()
    u = ((np.arange(columns) + 0.5) * _CELL_PX - 0.5 - camera.cx_px) / camera.fx_px
    v = ((np.arange(rows) + 0.5) * _CELL_PX - 0.5 - camera.cy_px) / camera.fy_px
    upward = pose.rotation[2, 0] * u[None] + pose.rotation[2, 1] * v[:, None] + pose.rotation[2, 2]
    distances_m: NDArray[np.float64] = np.where(
        upward < -1e-6, pose.translation_m[2] / np.maximum(-upward, 1e-6), _SKY_M
    )
    return np.clip(distances_m, 0.0, _SKY_M)


def _stretched(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """`(h, w)` cells to `(height, width)` pixels, linear between the cells' centers."""
    down = _weights(values.shape[0], height)
    across = _weights(values.shape[1], width)
    stretched: NDArray[np.float32] = down @ values @ across.T
    return stretched


def _weights(num_cells: int, num_pixels: int) -> NDArray[np.float32]:
    """`(num_pixels, num_cells)` shares of the two cells next to each pixel."""
    place = np.clip((np.arange(num_pixels) + 0.5) / _CELL_PX - 0.5, 0, num_cells - 1)
    low = np.minimum(place.astype(np.int64), max(num_cells - 2, 0))
    weights = np.zeros((num_pixels, num_cells), np.float32)
    weights[np.arange(num_pixels), low] = 1 - (place - low)
    weights[np.arange(num_pixels), np.minimum(low + 1, num_cells - 1)] += place - low
    return weights
