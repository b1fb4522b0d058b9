"""What a camera makes of its hits: colors with sun and haze, noise, depth and class of each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.pose import Pose
from understudy.rig import Camera
from understudy_training.scenes.config import BUILDING, SKY, PictureConfig
from understudy_training.scenes.geometry import Solids
from understudy_training.scenes.lidar import GROUND_CLASS
from understudy_training.scenes.ray_casting import NOTHING, Hits, cast
from understudy_training.scenes.windows import camera_windows, corners

_RANGE_M = 150.0
_GROUND_COLOR = np.array(
    [[0.70, 0.80, 0.92], [0.27, 0.27, 0.29], [0.80, 0.80, 0.78], [0.50, 0.49, 0.47], [0.30, 0.40, 0.20], [0.60] * 3],
    np.float32,
)
"""Of each ground code, row `-1 - code`; the first is the sky's."""
_HAZE_M = 220.0


@dataclass(frozen=True, eq=False)
class Picture:
    """One exposure.

    Attributes:
        pixels: `(H, W, 3)` uint8 RGB.
        depth_m: `(H, W)` float32 along the optical axis, infinite in the sky.
        pixel_class: `(H, W)` uint8, a point class or SKY.
    """

    pixels: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    pixel_class: NDArray[np.uint8]


class CameraModel:
    """A camera on its mount; `picture` looks at posed primitives."""

    def __init__(self, config: PictureConfig, camera: Camera) -> None:
        self.config = config
        self.camera = camera
        self.ego_from_camera = camera.ego_from_sensor.pose()
        self.camera_from_ego = self.ego_from_camera.inverse()
        rays = _pixel_rays(camera)
        self.forward = rays[..., 2].astype(np.float32)
        self.rays_ego = (rays @ self.ego_from_camera.rotation.T).astype(np.float32)

    def picture(
        self,
        solids: Solids,
        placed: NDArray[np.float64],
        pieces: NDArray[np.float64],
        sun_ego: NDArray[np.float32],
        world_from_ego: Pose,
        rng: np.random.Generator,
    ) -> Picture:
        """One picture under a sun in direction `(3,)` `sun_ego`."""
        windows = camera_windows(corners(placed, self.camera_from_ego), self.camera)
        origin = self.ego_from_camera.translation_m
        hits = cast(origin, self.rays_ego, windows, solids.kinds, placed, pieces, _RANGE_M)
        classes = np.concatenate([solids.point_class, GROUND_CLASS[::-1]])[hits.surface]
        classes[hits.surface == NOTHING] = SKY
        color = self._shade(solids, hits, classes, sun_ego, world_from_ego)
        noisy = color * 255 + self.config.noise * rng.standard_normal(color.shape, np.float32)
        pixels = np.clip(noisy, 0, 255).astype(np.uint8)
        return Picture(pixels, hits.distance_m * self.forward, classes)

    def _shade(
        self,
        solids: Solids,
        hits: Hits,
        classes: NDArray[np.uint8],
        sun_ego: NDArray[np.float32],
        world_from_ego: Pose,
    ) -> NDArray[np.float32]:
        """`(H, W, 3)` colors: Lambert's law plus sky light, windows on houses, haze with the distance."""
        base = np.concatenate([solids.color, _GROUND_COLOR[::-1]])[hits.surface]
        facing = np.maximum(hits.normal @ sun_ego, 0)
        light = 0.45 + 0.55 * facing
        light[hits.surface == NOTHING] = 1.0
        distance = np.minimum(hits.distance_m, 1000.0)
        walls = classes == BUILDING
        light[walls] *= self._panes(hits, walls, world_from_ego)
        clear = np.exp(-distance / _HAZE_M)[..., None]
        sky = _GROUND_COLOR[0]
        shaded: NDArray[np.float32] = base * light[..., None] * clear + sky * (1 - clear)
        return shaded

    def _panes(self, hits: Hits, walls: NDArray[np.bool_], world_from_ego: Pose) -> NDArray[np.float32]:
        """`(M,)` light of the `walls`' pixels: darker panes in a grid along each wall and up, fixed in the world."""
        origin = self.ego_from_camera.translation_m
        points = world_from_ego.apply(self.rays_ego[walls] * hits.distance_m[walls][:, None] + origin)
        normals = hits.normal[walls] @ world_from_ego.rotation.T
        along = points[:, 0] * normals[:, 1] - points[:, 1] * normals[:, 0]
        pane = (along % 2.6 < 1.2) & ((points[:, 2] - 0.9) % 2.9 < 1.5) & (np.abs(normals[:, 2]) < 0.5)
        return np.where(pane, np.float32(0.4), np.float32(1.0))


def _pixel_rays(camera: Camera) -> NDArray[np.float64]:
    """`(H, W, 3)` unit rays through the pixels' centers, in the optical frame."""
    u, v = np.meshgrid(np.arange(camera.width_px), np.arange(camera.height_px))
    rays = np.stack([(u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px, np.ones(u.shape)], axis=-1)
    unit: NDArray[np.float64] = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    return unit
