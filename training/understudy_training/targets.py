"""What the center head is asked for: Gaussian heat-maps and box residuals at the center cells (CenterPoint)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from understudy.boxes import Boxes
from understudy.bundle.manifest import Grid


@dataclass(frozen=True, eq=False)
class BoxBatch:
    """Labeled boxes of a batch in ego, padded to the same number.

    Attributes:
        geometry: `(B, N, 7)` float32: x, y, z, length, width, height (meters), yaw (radians).
        labels: `(B, N)` int64, index into the student's classes.
        valid: `(B, N)` bool: a box to be found.
        ignored: `(B, N)` bool: a box that too few points hit, or nobody is sure of; neither to be found nor background.
        past: boxes of earlier frames, carried into the current ego frame, where a term asks for them.
    """

    geometry: Tensor
    labels: Tensor
    valid: Tensor
    ignored: Tensor
    past: BoxBatch | None = field(default=None, kw_only=True)

    def to(self, device: torch.device) -> BoxBatch:
        """The same boxes on another device."""
        past = None if self.past is None else self.past.to(device)
        return BoxBatch(*(part.to(device, non_blocking=True) for part in self._parts()), past=past)

    def pin_memory(self) -> BoxBatch:
        """The same boxes in pinned memory."""
        past = None if self.past is None else self.past.pin_memory()
        return BoxBatch(*(part.pin_memory() for part in self._parts()), past=past)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.geometry, self.labels, self.valid, self.ignored


@dataclass(frozen=True, eq=False)
class Targets:
    """What the head should say, on the output map of `h` rows (along y) and `w` columns (along x).

    Attributes:
        heatmap: `(B, K, h, w)` float32 in [0, 1], 1 at the center cell of a box of that class.
        background: `(B, 1, h, w)` float32: 0 around ignored boxes, where nothing is asked, else 1.
        regression: `(B, N, 8)` float32: dx, dy in cells from the lower corner of the center cell, z, log l, log w,
            log h, sin yaw, cos yaw.
        cells: `(B, N)` int64: `row * w + column` of the center cell; 0 where `mask` is False.
        mask: `(B, N)` bool: the box is valid and its center is on the map.
    """

    heatmap: Tensor
    background: Tensor
    regression: Tensor
    cells: Tensor
    mask: Tensor


def batch_boxes(samples: Sequence[Boxes], class_names: Sequence[str], grid: Grid, min_points: int) -> BoxBatch:
    """Pads the boxes of several frames to the same number.

    Boxes of other classes and those centered off the grid are left out; those hit too rarely are marked as ignored.
    """
    rows = [_rows_of(boxes, class_names, grid, min_points) for boxes in samples]
    most = max([len(geometry) for geometry, _, _ in rows] + [1])
    geometry = np.zeros((len(rows), most, 7), np.float32)
    labels = np.zeros((len(rows), most), np.int64)
    valid, ignored = np.zeros((len(rows), most), bool), np.zeros((len(rows), most), bool)
    for index, (boxes, classes, seen) in enumerate(rows):
        geometry[index, : len(boxes)], labels[index, : len(boxes)] = boxes, classes
        valid[index, : len(boxes)], ignored[index, : len(boxes)] = seen, ~seen
    return BoxBatch(*(torch.from_numpy(part) for part in (geometry, labels, valid, ignored)))


def _rows_of(
    boxes: Boxes, class_names: Sequence[str], grid: Grid, min_points: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    index_of = {name: index for index, name in enumerate(class_names)}
    label_map = np.array([index_of.get(name, -1) for name in boxes.class_names], np.int64)
    labels = label_map[boxes.labels]
    x, y = boxes.geometry[:, 0], boxes.geometry[:, 1]
    known = (labels >= 0) & (x >= grid.x_range_m[0]) & (x < grid.x_range_m[1])
    known &= (y >= grid.y_range_m[0]) & (y < grid.y_range_m[1])
    num_points = boxes.num_points if boxes.num_points is not None else np.full(len(boxes), min_points)
    return boxes.geometry[known], labels[known], (num_points >= min_points)[known]


def gaussian_radius(length_cells: Tensor, width_cells: Tensor, overlap: float) -> Tensor:
    """How far a center may move, in whole cells, with the box still overlapping itself by `overlap`.

    The rule of CornerNet in its widely copied form (the denominators are not scaled), the least of three cases.
    """
    both, area = length_cells + width_cells, length_cells * width_cells
    c1 = area * (1 - overlap) / (1 + overlap)
    r1 = (both + (both**2 - 4 * c1).sqrt()) / 2
    c2 = (1 - overlap) * area
    r2 = (2 * both + (4 * both**2 - 16 * c2).sqrt()) / 2
    r3 = (-2 * overlap * both + (4 * overlap**2 * both**2 + 16 * overlap * (1 - overlap) * area).sqrt()) / 2
    return torch.minimum(torch.minimum(r1, r2), r3).floor()


def make_targets(
    boxes: BoxBatch, grid: Grid, stride: int, num_classes: int, *, overlap: float, min_radius: int
) -> Targets:
    """The targets of a batch.

    Args:
        boxes: labeled boxes in ego.
        grid: the detector's input grid.
        stride: input cells per output cell.
        num_classes: K.
        overlap: how much a shifted box must still overlap, for the Gaussians' radius.
        min_radius: least radius in output cells.
    """
    height, width, cell_m = grid.height // stride, grid.width // stride, grid.cell_m * stride
    place, column, row, on_map = _cells(boxes.geometry, grid, cell_m, height, width)
    mask = boxes.valid & on_map
    radius = gaussian_radius(boxes.geometry[..., 3] / cell_m, boxes.geometry[..., 4] / cell_m, overlap)
    radius = radius.clamp(min=min_radius)
    shape = (boxes.geometry.shape[0], num_classes, height, width)
    heatmap = draw_gaussians(row, column, radius, boxes.labels, mask, shape)
    unseen = draw_gaussians(
        row, column, radius, torch.zeros_like(boxes.labels), boxes.ignored & on_map, (shape[0], 1, height, width)
    )
    offsets = place - torch.stack([column, row], dim=-1)
    regression = torch.cat([offsets, boxes.geometry[..., 2:3], *_shape_targets(boxes.geometry)], dim=-1)
    cells = torch.where(mask, row * width + column, torch.zeros_like(row)).long()
    return Targets(heatmap, (unseen == 0).float(), regression, cells, mask)


def _cells(
    geometry: Tensor, grid: Grid, cell_m: float, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Place in cells `(B, N, 2)`, column and row of its cell, and whether that cell is on the map."""
    corner = geometry.new_tensor([grid.x_range_m[0], grid.y_range_m[0]])
    place = (geometry[..., :2] - corner) / cell_m
    column, row = place.floor().unbind(-1)
    on_map = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return place, column, row, on_map


def _shape_targets(geometry: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    yaw_rad = geometry[..., 6:7]
    return geometry[..., 3:6].clamp(min=1e-2).log(), yaw_rad.sin(), yaw_rad.cos()


def draw_gaussians(
    row: Tensor, column: Tensor, radius: Tensor, channels: Tensor, mask: Tensor, shape: tuple[int, int, int, int]
) -> Tensor:
    """Gaussians of width (2 radius + 1) / 6 in windows of `radius` cells around each center, overlaps by maximum.

    Args:
        row: `(B, N)` of the center cells.
        column: `(B, N)` of the center cells.
        radius: `(B, N)` in cells.
        channels: `(B, N)` int64, which channel of the map each is drawn on.
        mask: `(B, N)` bool, the ones to draw.
        shape: (B, C, h, w) of the result.
    """
    _, num_channels, height, width = shape
    flat = row.new_zeros(shape).view(-1)
    if not bool(mask.any()):
        return flat.view(shape)
    sample = torch.arange(shape[0], device=row.device)[:, None].expand_as(row)[mask]
    row, column, radius, channels = row[mask], column[mask], radius[mask], channels[mask]
    steps = torch.arange(-int(radius.max()), int(radius.max()) + 1, device=row.device, dtype=row.dtype)
    rows, columns = (row[:, None] + steps)[:, :, None], (column[:, None] + steps)[:, None, :]
    near = (steps.abs()[None, :] <= radius[:, None]).to(row.dtype)
    spread = 2 * ((2 * radius + 1) / 6)[:, None, None] ** 2
    value = (-(steps[:, None] ** 2 + steps[None, :] ** 2) / spread).exp() * near[:, :, None] * near[:, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    plane = (sample * num_channels + channels)[:, None, None]
    index = ((plane * height + rows.clamp(0, height - 1)) * width + columns.clamp(0, width - 1)).long()
    flat.scatter_reduce_(0, index.reshape(-1), (value * inside).reshape(-1), reduce="amax", include_self=True)
    return flat.view(shape)
