"""Where the features of pictures look: a ray for each, and the depths that their bins stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from understudy.bundle.inputs import Pictures
from understudy.network_pictures import network_camera
from understudy.rig import Camera


@dataclass(frozen=True, eq=False)
class Frustum:
    """The rays of the cameras of several frames.

    Attributes:
        origins: `(B, N, 3)` float32 where each camera sits, in ego.
        rays: `(B, N, h, w, 3)` float32 from there through the middle of each feature's cell to depth 1, along its axes.
        depths_m: `(B, N, D)` float32 middle of each bin, along the optical axis.
    """

    origins: Tensor
    rays: Tensor
    depths_m: Tensor

    @classmethod
    def of(cls, frames: Sequence[Sequence[Camera]], pictures: Pictures) -> Frustum:
        """Those of the cameras of each frame, in the network's order, for what the network takes."""
        parts = [[_looks(camera, pictures) for camera in cameras] for cameras in frames]
        stacked = (np.stack([np.stack([part[k] for part in row]) for row in parts]) for k in range(3))
        return cls(*(torch.from_numpy(part.astype(np.float32)) for part in stacked))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Frustum:
        """The same on a device."""
        return Frustum(*(getattr(self, part.name).to(device, non_blocking=non_blocking) for part in fields(self)))

    def pin_memory(self) -> Frustum:
        """The same in pinned memory."""
        return Frustum(*(getattr(self, part.name).pin_memory() for part in fields(self)))

    def places(self) -> Tensor:
        """`(B, N, D, h, w, 3)` middle of every bin of every feature, in ego."""
        by_axis = self.rays.movedim(-1, 0)[:, :, :, None] * self.depths_m[:, :, :, None, None]
        by_axis += self.origins.movedim(-1, 0)[..., None, None, None]
        return by_axis.movedim(0, -1)


def _looks(camera: Camera, pictures: Pictures) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A camera's `(3,)` origin, `(h, w, 3)` rays and `(D,)` depths; the depths count as of `pictures.focal_px`."""
    seen_by, stride = network_camera(camera, pictures.width_px, pictures.height_px), pictures.feature_stride
    v, u = ((np.arange(count) + 0.5) * stride - 0.5 for count in pictures.feature_size)
    v, u = np.meshgrid(v, u, indexing="ij")
    rays = np.stack([(u - seen_by.cx_px) / seen_by.fx_px, (v - seen_by.cy_px) / seen_by.fy_px, np.ones_like(u)], -1)
    pose = seen_by.ego_from_sensor.pose()
    depths_m = pictures.depth.middles_m() * (seen_by.fx_px / pictures.focal_px)
    return pose.translation_m, rays @ pose.rotation.T, depths_m
