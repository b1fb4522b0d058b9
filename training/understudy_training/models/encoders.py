"""From points to a bird's-eye map, in forms that every runtime accepts: one plain scatter, no reduction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.bundle.manifest import Grid
from understudy.pillars import group_points
from understudy_training.models.config import LearnedPillarEncoder, OccupancyEncoder

DECORATED_CHANNELS = 9


@dataclass(frozen=True, eq=False)
class PointsBatch:
    """Points of several clouds in one list.

    Attributes:
        points: `(N, 4)` float32 x, y, z in ego and intensity in [0, 1].
        cloud_index: `(N,)` int16, which cloud each point belongs to.
        batch_size: number of clouds.
    """

    points: Tensor
    cloud_index: Tensor
    batch_size: int

    def to(self, device: torch.device | str) -> PointsBatch:
        """The same batch on a device."""
        points, cloud_index = (value.to(device, non_blocking=True) for value in (self.points, self.cloud_index))
        return replace(self, points=points, cloud_index=cloud_index)

    def pin_memory(self) -> PointsBatch:
        """The same batch in pinned memory."""
        return replace(self, points=self.points.pin_memory(), cloud_index=self.cloud_index.pin_memory())


@dataclass(frozen=True, eq=False)
class PillarsBatch:
    """Grouped points of several clouds in one list.

    Attributes:
        pillars: `(V, P, 4)` float32 in ego, rows from `num_points` on are zero.
        num_points: `(V,)` int32.
        cells: `(V,)` int64, `cloud * H * W + row * W + column`, unique.
        batch_size: number of clouds.
    """

    pillars: Tensor
    num_points: Tensor
    cells: Tensor
    batch_size: int

    def to(self, device: torch.device | str) -> PillarsBatch:
        """The same batch on a device."""
        tensors = (self.pillars, self.num_points, self.cells)
        return PillarsBatch(*(value.to(device, non_blocking=True) for value in tensors), self.batch_size)

    def pin_memory(self) -> PillarsBatch:
        """The same batch in pinned memory."""
        tensors = (self.pillars, self.num_points, self.cells)
        return PillarsBatch(*(value.pin_memory() for value in tensors), self.batch_size)


class OccupancyMap(nn.Module):
    """Occupied height slices (and intensity slices) as channels; has no parameters."""

    def __init__(self, config: OccupancyEncoder, grid: Grid) -> None:
        super().__init__()
        self.config = config
        self.grid = grid
        self.channels = config.channels

    def collate(self, clouds: Sequence[NDArray[np.float32]]) -> PointsBatch:
        """`(N, 4)` clouds in ego, one behind the other."""
        points = np.concatenate([*clouds, np.zeros((0, 4), np.float32)]).astype(np.float32, copy=False)
        cloud_index = np.repeat(np.arange(len(clouds), dtype=np.int16), [len(cloud) for cloud in clouds])
        return PointsBatch(torch.from_numpy(points), torch.from_numpy(cloud_index), len(clouds))

    def forward(self, batch: PointsBatch) -> Tensor:
        """`(B, C, H, W)` of zeros and ones, channels last in memory."""
        cells = self.grid.height * self.grid.width * self.channels
        voxels, inside = self._voxels(*batch.points.unbind(1), batch.cloud_index.repeat(1 + self._has_intensity))
        occupied = torch.zeros(batch.batch_size * cells, device=batch.points.device)
        occupied[voxels[inside].long()] = 1.0
        return self._as_map(occupied, batch.batch_size).contiguous(memory_format=torch.channels_last)

    def map_from_columns(self, x: Tensor, y: Tensor, z: Tensor, intensity: Tensor) -> Tensor:
        """The `(1, C, H, W)` map of one cloud given as `(N,)` columns in ego: the form that is exported."""
        dump = self.channels * self.grid.height * self.grid.width
        voxels, inside = self._voxels(x, y, z, intensity, None)
        index = torch.where(inside, voxels, float(dump)).long()
        occupied = torch.zeros(dump + 1).index_put((index,), torch.ones_like(voxels))
        return self._as_map(occupied[:-1], 1)

    @property
    def _has_intensity(self) -> bool:
        return self.config.intensity_slices > 0

    def _as_map(self, occupied: Tensor, batch_size: int) -> Tensor:
        return occupied.reshape(batch_size, self.channels, self.grid.height, self.grid.width)

    def _voxels(
        self, x: Tensor, y: Tensor, z: Tensor, intensity: Tensor, cloud_index: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Voxel numbers as floats and whether the point lies in the grid; comparisons are false for NaN."""
        grid, slices = self.grid, self.config.height_slices
        column = torch.floor((x - grid.x_range_m[0]) * (1.0 / grid.cell_m))
        row = torch.floor((y - grid.y_range_m[0]) * (1.0 / grid.cell_m))
        z_span_m = grid.z_range_m[1] - grid.z_range_m[0]
        layer = torch.floor((z - grid.z_range_m[0]) * (slices / z_span_m))
        inside = (column >= 0) & (column < grid.width) & (row >= 0) & (row < grid.height)
        inside = inside & (layer >= 0) & (layer < slices)
        if self._has_intensity:
            shade = self._intensity_layer(intensity)
            layer, row, column = torch.cat([layer, shade]), row.repeat(2), column.repeat(2)
            inside = torch.cat([inside, inside & (shade >= 0)])
        voxels = (layer * grid.height + row) * grid.width + column
        if cloud_index is None:
            return voxels, inside
        cells = self.channels * grid.height * grid.width
        return voxels.nan_to_num().double() + cloud_index.double() * cells, inside

    def _intensity_layer(self, intensity: Tensor) -> Tensor:
        slices = self.config.intensity_slices
        shade = torch.clamp(torch.floor(intensity * slices), 0, slices - 1)
        return shade + self.config.height_slices


class PillarFeatureNet(nn.Module):
    """PointPillars' feature net: decorate, 1x1 convolution, normalize, rectify, maximum over the points.

    The linear layer is a 1x1 convolution because the TensorRT-RTX builder has no FP32 matrix product for SM75.
    """

    def __init__(self, config: LearnedPillarEncoder, grid: Grid) -> None:
        super().__init__()
        self.config = config
        self.grid = grid
        self.channels = config.channels
        self.linear = nn.Conv2d(DECORATED_CHANNELS, config.channels, 1, bias=False)
        self.normalization = nn.BatchNorm2d(config.channels, eps=1e-3, momentum=0.01)

    def collate(self, clouds: Sequence[NDArray[np.float32]]) -> PillarsBatch:
        """`(N, 4)` clouds in ego, grouped and put one behind the other."""
        config, area = self.config, self.grid.height * self.grid.width
        groups = [group_points(cloud, self.grid, config.max_points_per_pillar, config.max_pillars) for cloud in clouds]
        cells = [group.cells.astype(np.int64) + cloud * area for cloud, group in enumerate(groups)]
        pillars = torch.from_numpy(np.concatenate([group.points for group in groups]))
        num_points = torch.from_numpy(np.concatenate([group.num_points for group in groups]))
        return PillarsBatch(pillars, num_points, torch.from_numpy(np.concatenate(cells)), len(clouds))

    def forward(self, batch: PillarsBatch) -> Tensor:
        """`(B, C, H, W)` map, channels last in memory; only real points pass through the layers."""
        real = _is_real(batch.pillars, batch.num_points)
        mean, center = self._references(
            batch.pillars, batch.num_points, batch.cells % (self.grid.height * self.grid.width)
        )
        owner = real.nonzero()[:, 0]
        decorated = _decorate(batch.pillars[real], mean[owner], center[owner])
        points = torch.relu(self.normalization(self.linear(decorated.T[None, :, :, None])))
        points = points[0, :, :, 0].T.to(torch.float32)
        features = torch.zeros(len(batch.cells), self.channels, device=points.device)
        features = features.scatter_reduce(0, owner[:, None].expand(-1, self.channels), points, "amax")
        return self._as_map(features, batch.cells, batch.batch_size)

    def map_from_pillars(self, pillars: Tensor, num_points: Tensor, cells: Tensor) -> Tensor:
        """The `(1, C, H, W)` map of one cloud with padded rows and unique cells: the form that is exported."""
        real = _is_real(pillars, num_points).to(pillars.dtype)
        mean, center = self._references(pillars, num_points, cells)
        decorated = _decorate(pillars, mean[:, None], center[:, None])
        points = torch.relu(self.normalization(self.linear(decorated.permute(2, 0, 1)[None])))
        features = (points * real[None, None]).amax(3)[0].T
        return self._as_map(features, cells.long(), 1)

    def _references(self, pillars: Tensor, num_points: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """`(V, 3)` mean of each pillar's points and `(V, 2)` its center in x and y; padded rows are zero."""
        count = torch.clamp(num_points, min=1).to(pillars.dtype)
        number = cells.to(pillars.dtype)
        row = torch.floor((number + 0.5) * (1.0 / self.grid.width))
        column = number - row * self.grid.width
        center_x = (column + 0.5) * self.grid.cell_m + self.grid.x_range_m[0]
        center_y = (row + 0.5) * self.grid.cell_m + self.grid.y_range_m[0]
        return pillars[..., :3].sum(1) / count[:, None], torch.stack([center_x, center_y], 1)

    def _as_map(self, features: Tensor, cells: Tensor, batch_size: int) -> Tensor:
        height, width = self.grid.height, self.grid.width
        flat = torch.zeros(batch_size * height * width, self.channels, device=features.device)
        flat = flat.index_put((cells,), features)
        return flat.reshape(batch_size, height, width, self.channels).permute(0, 3, 1, 2)


def _is_real(pillars: Tensor, num_points: Tensor) -> Tensor:
    """`(V, P)`: which rows hold a point."""
    return torch.arange(pillars.shape[1], device=pillars.device)[None] < num_points[:, None]


def _decorate(points: Tensor, mean: Tensor, center: Tensor) -> Tensor:
    """`(..., 9)`: x, y, z, intensity, offsets from the pillar's mean, offsets from its center in x and y."""
    return torch.cat([points, points[..., :3] - mean, points[..., :2] - center], -1)


def build_encoder(config: OccupancyEncoder | LearnedPillarEncoder, grid: Grid) -> OccupancyMap | PillarFeatureNet:
    """The encoder that a configuration describes."""
    if isinstance(config, OccupancyEncoder):
        return OccupancyMap(config, grid)
    return PillarFeatureNet(config, grid)
