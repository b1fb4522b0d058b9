"""Reading bird's-eye maps at metric places, so that maps of any stride can be compared."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from understudy.bundle.manifest import Grid
from understudy_training.losses import gather_cells, wide

POINTS_PER_BOX = 9
_CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
_LOCAL = ((1, 1), (-1, 1), (-1, -1), (1, -1), (0, 0), (1, 0), (0, 1), (-1, 0), (0, -1))


def sample_map(dense: Tensor, places_m: Tensor, grid: Grid) -> Tensor:
    """A map's values at places, bilinear between cell centres, zero outside.

    Args:
        dense: `(B, C, h, w)` over the grid's area, whatever its stride; rows along y, columns along x.
        places_m: `(B, P, 2)` x, y in ego.
        grid: the area.

    Returns:
        `(B, P, C)` in float32, or float64 when the map is.
    """
    channels, height, width = dense.shape[1:]
    if channels == 0:
        return wide(dense).new_zeros((*places_m.shape[:2], 0))
    low = places_m.new_tensor([grid.x_range_m[0], grid.y_range_m[0]])
    high = places_m.new_tensor([grid.x_range_m[1], grid.y_range_m[1]])
    cells = (places_m - low) / (high - low) * places_m.new_tensor([width, height]) - 0.5
    first = cells.floor()
    corners = first[:, :, None] + places_m.new_tensor(_CORNERS)
    sizes = corners.new_tensor([width, height])
    weights = (1 - (cells[:, :, None] - corners).abs()).prod(-1) * ((corners >= 0) & (corners < sizes)).all(-1)
    column, row = (corners.clamp(min=corners.new_zeros(2), max=sizes - 1)).long().unbind(-1)
    # only the cells in question are widened: a whole map is many times more
    values = wide(gather_cells(dense, (row * width + column).flatten(1))).view(*weights.shape, channels)
    return (values * weights[..., None].to(values.dtype)).sum(2)


def box_points(geometry: Tensor) -> Tensor:
    """Nine places per box: the four corners, the centre and the middles of the four edges.

    Args:
        geometry: `(B, N, 7)` boxes in ego.

    Returns:
        `(B, N, 9, 2)` x, y in ego.
    """
    local = geometry.new_tensor(_LOCAL) * geometry[..., None, 3:5] / 2
    cos, sin = geometry[..., 6:7].cos(), geometry[..., 6:7].sin()
    x = cos * local[..., 0] - sin * local[..., 1] + geometry[..., 0:1]
    y = sin * local[..., 0] + cos * local[..., 1] + geometry[..., 1:2]
    return torch.stack([x, y], dim=-1)


def sample_boxes(dense: Tensor, geometry: Tensor, grid: Grid) -> Tensor:
    """A map's values at the nine places of each box: `(B, N, 9, C)`."""
    places_m = box_points(geometry)
    values = sample_map(dense, places_m.flatten(1, 2), grid)
    return values.unflatten(1, (geometry.shape[1], POINTS_PER_BOX))


def on_grid_of(dense: Tensor, wanted: Tensor) -> Tensor:
    """A `(B, C, h, w)` map read at the cell centers of another over the same area; the same map where strides agree.

    Bilinear between cell centers, which is what `sample_map` gives at those places.
    """
    if dense.shape[2:] == wanted.shape[-2:]:
        return dense
    return functional.interpolate(wide(dense), size=wanted.shape[-2:], mode="bilinear", align_corners=False)
