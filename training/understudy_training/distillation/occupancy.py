"""How much of the cameras' depth falls into each voxel (VCD's occupancy, arXiv 2310.15670).

One index convention for everything: voxel `(layer * H + row) * W + column` with layers along z, rows along y and
columns along x, as in the bird's-eye maps. The release builds the frustum from the bird's-eye map's size, fills its
3D heat-map as [y, x, z] against occupancy as [x, y, z], and drops half of the boxes; none of that is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from understudy.bundle.inputs import Pictures
from understudy.bundle.manifest import Grid
from understudy.network_pictures import network_camera
from understudy.rig import Camera

_LEAST = 1e-7
"""Added to the boxes' Gaussians, as in the release: a frame without boxes still counts a little."""


@dataclass(frozen=True)
class VoxelGrid:
    """Voxels over a grid's area: `layers` along z, cells of `stride` grid cells."""

    grid: Grid
    layers: int = 4
    stride: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, H, W)."""
        return self.layers, self.grid.height // self.stride, self.grid.width // self.stride

    @property
    def count(self) -> int:
        """Number of voxels."""
        layers, height, width = self.shape
        return layers * height * width

    @property
    def layer_m(self) -> float:
        """Height of a voxel."""
        return (self.grid.z_range_m[1] - self.grid.z_range_m[0]) / self.layers

    def place(self, points_ego: Tensor) -> Tensor:
        """`(..., 3)` column, row and layer of points, not rounded."""
        grid, cell_m = self.grid, self.grid.cell_m * self.stride
        corner = points_ego.new_tensor([grid.x_range_m[0], grid.y_range_m[0], grid.z_range_m[0]])
        return (points_ego - corner) / points_ego.new_tensor([cell_m, cell_m, self.layer_m])

    def voxels(self, points_ego: Tensor) -> Tensor:
        """`(...,)` int64 voxel of each point; -1 off the grid or where a coordinate is no number."""
        layers, height, width = self.shape
        place = self.place(points_ego)
        column, row, layer = place.nan_to_num(-1.0, -1.0, -1.0).floor().long().unbind(-1)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (layer >= 0) & (layer < layers)
        return torch.where(inside, (layer * height + row) * width + column, torch.full_like(row, -1))


@dataclass(frozen=True, eq=False)
class OccupancyGeometry:
    """Where a frustum's bins fall, and which voxels count.

    Attributes:
        voxels: `(B, N, D, h, w)` int64 voxel of each bin of each camera's pixels, -1 off the grid.
        weight: `(B, Z, H, W)` the labeled boxes' Gaussians in 3D.
    """

    voxels: Tensor
    weight: Tensor


def frustum_voxels(cameras: Sequence[Camera], pictures: Pictures, voxel_grid: VoxelGrid) -> Tensor:
    """`(N, D, h, w)` int64 voxel in which the middle of each bin of each feature lies, -1 off the grid.

    Args:
        cameras: in the network's order.
        pictures: what the network takes; its depths count as of a camera of `focal_px`.
        voxel_grid: the voxels.
    """
    places = [torch.from_numpy(_frustum_m(camera, pictures)) for camera in cameras]
    return voxel_grid.voxels(torch.stack(places))


def _frustum_m(camera: Camera, pictures: Pictures) -> NDArray[np.float64]:
    """`(D, h, w, 3)` middles of a camera's bins, in ego."""
    seen_by, stride = network_camera(camera, pictures.width_px, pictures.height_px), pictures.feature_stride
    v, u = ((np.arange(count) + 0.5) * stride - 0.5 for count in pictures.feature_size)
    v, u = np.meshgrid(v, u, indexing="ij")
    rays = np.stack(
        [(u - seen_by.cx_px) / seen_by.fx_px, (v - seen_by.cy_px) / seen_by.fy_px, np.ones_like(u)], axis=-1
    )
    depth_m = pictures.depth.middles_m() * (seen_by.fx_px / pictures.focal_px)
    return seen_by.ego_from_sensor.pose().apply(depth_m[:, None, None, None] * rays)


def occupancy(depth: Tensor, voxels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """`(B, Z, H, W)`: sum of the depth probabilities that fall into each voxel.

    Args:
        depth: `(B, N, D, h, w)` probabilities.
        voxels: `(B, N, D, h, w)` as in `OccupancyGeometry`.
        shape: (Z, H, W).
    """
    count = shape[0] * shape[1] * shape[2]
    index = torch.where(voxels >= 0, voxels, torch.full_like(voxels, count)).flatten(1)
    filled = depth.new_zeros(len(depth), count + 1).scatter_add(1, index, depth.flatten(1))
    return filled[:, :count].reshape(len(depth), *shape)


def box_gaussians(geometry: Tensor, valid: Tensor, voxel_grid: VoxelGrid, radius: Tensor) -> Tensor:
    """`(B, Z, H, W)`: a Gaussian about each box's center voxel, the largest where they overlap, plus 1e-7.

    Args:
        geometry: `(B, N, 7)` boxes in ego.
        valid: `(B, N)` bool.
        voxel_grid: the voxels.
        radius: `(B, N)` radius in cells along x and y; a box's half height serves along z.
    """
    layers, height, width = voxel_grid.shape
    column, row, layer = voxel_grid.place(geometry[..., :3]).floor().unbind(-1)
    across = _falling(torch.arange(width).to(column), column, radius)
    along = _falling(torch.arange(height).to(row), row, radius)
    tall = (geometry[..., 5] / 2 / voxel_grid.layer_m).floor().clamp(min=0)
    upward = _falling(torch.arange(layers).to(layer), layer, tall)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (layer >= 0) & (layer < layers)
    drawn = (valid & inside).to(geometry.dtype)
    heat = geometry.new_zeros(len(geometry), layers, height, width)
    for box in range(geometry.shape[1]):
        part = upward[:, box, :, None, None] * along[:, box, None, :, None] * across[:, box, None, None, :]
        heat = torch.maximum(heat, part * drawn[:, box, None, None, None])
    return heat + _LEAST


def _falling(places: Tensor, center: Tensor, radius: Tensor) -> Tensor:
    """`(B, N, P)` a Gaussian of width (2 radius + 1) / 6 about the center, 0 beyond the radius."""
    steps = places - center[..., None]
    spread = 2 * ((2 * radius + 1) / 6)[..., None] ** 2
    return torch.where(steps.abs() <= radius[..., None], (-steps.square() / spread).exp(), torch.zeros_like(steps))
