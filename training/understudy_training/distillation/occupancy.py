"""How much of the cameras' depth falls into each voxel (VCD's occupancy, arXiv 2310.15670).

One index convention for everything: voxel `(layer * H + row) * W + column` with layers along z, rows along y and
columns along x, as in the bird's-eye maps. The release builds the frustum from the bird's-eye map's size, fills its
3D heat-map as [y, x, z] against occupancy as [x, y, z], and drops half of the boxes; none of that is here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.bundle.manifest import Grid
from understudy_training.targets import gaussian_radius

_LAYER_M = 1.0
_LEAST = 1e-7
"""Added to the boxes' Gaussians, as in the release: a frame without boxes still counts a little."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class VoxelGrid:
    """Voxels over a grid's area: a column of layers of about a meter over each cell of `stride` grid cells."""

    grid: Grid
    stride: int = 1

    @property
    def shape(self) -> Shape:
        """(Z, H, W)."""
        low_m, high_m = self.grid.z_range_m
        layers = max(1, round((high_m - low_m) / _LAYER_M))
        return layers, self.grid.height // self.stride, self.grid.width // self.stride

    @property
    def layer_m(self) -> float:
        """Height of a voxel."""
        return (self.grid.z_range_m[1] - self.grid.z_range_m[0]) / self.shape[0]

    @property
    def cell_m(self) -> float:
        """Side of a voxel on the ground."""
        return self.grid.cell_m * self.stride

    def cells(self, points_ego: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Column, row and layer of `(..., 3)` points as whole numbers in float, wherever they are."""
        lows_m = (self.grid.x_range_m[0], self.grid.y_range_m[0], self.grid.z_range_m[0])
        sizes_m = (self.cell_m, self.cell_m, self.layer_m)
        column, row, layer = (
            ((part - low_m) * (1 / size_m)).floor()
            for part, low_m, size_m in zip(points_ego.unbind(-1), lows_m, sizes_m, strict=True)
        )
        return column, row, layer

    def holds(self, column: Tensor, row: Tensor, layer: Tensor) -> Tensor:
        """Whether each cell lies on the grid."""
        layers, height, width = self.shape
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return inside & (layer >= 0) & (layer < layers)

    def voxels(self, points_ego: Tensor) -> Tensor:
        """`(...,)` int64 voxel of each of `(..., 3)` points; -1 off the grid."""
        _, height, width = self.shape
        column, row, layer = self.cells(points_ego)
        number = (layer * height + row) * width + column
        return torch.where(self.holds(column, row, layer), number, torch.full_like(number, -1)).long()


@dataclass(frozen=True, eq=False)
class OccupancyGeometry:
    """Where a frustum's bins fall, and which voxels count.

    Attributes:
        voxels: `(B, N, D, h, w)` int64 voxel of each bin of each camera's features, -1 off the grid.
        weight: `(B, Z, H, W)` the labeled boxes' Gaussians in 3D.
    """

    voxels: Tensor
    weight: Tensor

    @property
    def shape(self) -> Shape:
        """(Z, H, W)."""
        _, layers, height, width = self.weight.shape
        return layers, height, width


def occupancy(depth: Tensor, voxels: Tensor, shape: Shape) -> Tensor:
    """`(B, Z, H, W)`: sum of the depth probabilities that fall into each voxel.

    Args:
        depth: `(B, N, D, h, w)` probabilities.
        voxels: `(B, N, D, h, w)` as in `OccupancyGeometry`.
        shape: (Z, H, W).
    """
    count = shape[0] * shape[1] * shape[2]
    index = torch.where(voxels >= 0, voxels, torch.full_like(voxels, count)).flatten(1)
    index = index + (count + 1) * torch.arange(len(depth), device=index.device)[:, None]
    filled = depth.new_zeros(len(depth) * (count + 1)).scatter_add(0, index.flatten(), depth.flatten())
    return filled.reshape(len(depth), count + 1)[:, :count].reshape(len(depth), *shape)


def box_gaussians(
    geometry: Tensor, valid: Tensor, voxel_grid: VoxelGrid, *, overlap: float = 0.1, min_radius: int = 2
) -> Tensor:
    """`(B, Z, H, W)`: a Gaussian about each box's center voxel, the largest where they overlap, plus 1e-7.

    Args:
        geometry: `(B, N, 7)` boxes in ego.
        valid: `(B, N)` bool.
        voxel_grid: the voxels.
        overlap: how much a shifted box must still overlap, for the radius on the ground; upward half its height.
        min_radius: least radius on the ground, in voxels.
    """
    layers, height, width = voxel_grid.shape
    cells = voxel_grid.cells(geometry[..., :3])
    drawn = valid & voxel_grid.holds(*cells)
    flat = torch.full((len(geometry) * layers * height * width,), _LEAST, device=geometry.device)
    if not bool(drawn.any()):
        return flat.view(len(geometry), layers, height, width)
    frame, boxes = drawn.nonzero()[:, 0], geometry[drawn]
    column, row, layer = (part[drawn] for part in cells)
    radius = gaussian_radius(boxes[:, 3] / voxel_grid.cell_m, boxes[:, 4] / voxel_grid.cell_m, overlap)
    radius = radius.clamp(min=min_radius)
    layers_of, upward = _window(layer, (boxes[:, 5] / 2 / voxel_grid.layer_m).floor(), layers)
    rows_of, along = _window(row, radius, height)
    columns_of, across = _window(column, radius, width)
    value = upward[:, :, None, None] * along[:, None, :, None] * across[:, None, None, :]
    plane = ((frame * layers)[:, None] + layers_of)[:, :, None, None]
    index = (plane * height + rows_of[:, None, :, None]) * width + columns_of[:, None, None, :]
    flat.scatter_reduce_(0, index.flatten(), value.flatten() + _LEAST, reduce="amax", include_self=True)
    return flat.view(len(geometry), layers, height, width)


def _window(center: Tensor, radius: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`(M, K)` int64 places within the widest radius of each center, and there a Gaussian of width (2 radius + 1) / 6.

    It is 0 beyond the center's own radius and off the axis, whose places are 0 to `count - 1`.
    """
    reach = int(radius.max())
    steps = torch.arange(-reach, reach + 1, device=center.device, dtype=center.dtype)
    places = center[:, None] + steps
    spread = 2 * ((2 * radius + 1) / 6)[:, None] ** 2
    near = (steps.abs() <= radius[:, None]) & (places >= 0) & (places < count)
    value = torch.where(near, (-steps.square() / spread).exp(), torch.zeros_like(places))
    return places.clamp(0, count - 1).long(), value
