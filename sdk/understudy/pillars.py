"""Points grouped into the vertical columns of a grid: what a graph with learned pillars is fed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.bundle.manifest import Grid
from understudy.errors import FrameError

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pillars:
    """Points by pillar, pillars by rising cell.

    A cloud without a point in the grid gives one empty pillar at cell 0, because engines differ on dimensions of zero.

    Attributes:
        points: `(V, P, 4)` float32 x, y, z in ego and intensity; rows from `num_points` on are zero.
        num_points: `(V,)` int32, at most P.
        cells: `(V,)` int32, `row * W + column`, unique.
    """

    points: Floats
    num_points: Ints
    cells: Ints


def group_points(
    points_ego: Floats,
    grid: Grid,
    max_points_per_pillar: int,
    max_pillars: int,
    *,
    compiled: bool | None = None,
) -> Pillars:
    """Groups a cloud; the same bits with numba and without.

    A pillar keeps its first points in the cloud's order. Of too many pillars those with most points stay, and of
    equally full ones those of the lower cell.

    Args:
        points_ego: `(N, 4)` float32; NaN and infinite points are left out.
        grid: bird's-eye grid in ego.
        max_points_per_pillar: P.
        max_pillars: upper limit of V.
        compiled: whether to use numba; None uses it where it is installed.

    Raises:
        FrameError: when shape or dtype is wrong.
    """
    if points_ego.ndim != 2 or points_ego.shape[1] != 4 or points_ego.dtype != np.float32:
        raise FrameError("points", found=f"{points_ego.dtype} {points_ego.shape}", wanted="float32 (N, 4)")
    uses_numba = numba_is_installed() if compiled is None else compiled
    number, fill = _compiled() if uses_numba else (_cell_of_each, _fill)
    cells = number(points_ego, *_bounds(grid), grid.width, grid.height)
    counts = np.bincount(cells, minlength=grid.width * grid.height + 1)[:-1]
    chosen = _chosen_cells(counts, max_pillars)
    if not len(chosen):
        empty = np.zeros((1, max_points_per_pillar, 4), np.float32)
        return Pillars(empty, np.zeros(1, np.int32), np.zeros(1, np.int32))
    pillar_of_cell = np.full(len(counts) + 1, -1, np.int32)
    pillar_of_cell[chosen] = np.arange(len(chosen), dtype=np.int32)
    points = fill(points_ego, cells, pillar_of_cell, len(chosen), max_points_per_pillar)
    return Pillars(points, np.minimum(counts[chosen], max_points_per_pillar).astype(np.int32), chosen)


@cache
def numba_is_installed() -> bool:
    """Whether the fast path can be used."""
    return importlib.util.find_spec("numba") is not None


def _bounds(grid: Grid) -> tuple[np.float32, np.float32, np.float32, np.float32, np.float32]:
    """Lower corner, upper end of z and cells per meter, rounded to float32 once, so that both paths round alike."""
    (x_low_m, _), (y_low_m, _), (z_low_m, z_high_m) = grid.x_range_m, grid.y_range_m, grid.z_range_m
    cells_per_m = np.float32(1.0 / grid.cell_m)
    return np.float32(x_low_m), np.float32(y_low_m), np.float32(z_low_m), np.float32(z_high_m), cells_per_m


def _chosen_cells(counts: NDArray[np.int64], max_pillars: int) -> Ints:
    occupied = np.flatnonzero(counts)
    if len(occupied) > max_pillars:
        fullest = np.argsort(-counts[occupied], kind="stable")[:max_pillars]
        occupied = np.sort(occupied[fullest])
    return occupied.astype(np.int32)


def _cell_of_each(
    points: Floats,
    x_low: np.float32,
    y_low: np.float32,
    z_low: np.float32,
    z_high: np.float32,
    cells_per_m: np.float32,
    width: int,
    height: int,
) -> Ints:
    """`(N,)` cell of each point, `width * height` outside the grid."""
    with np.errstate(invalid="ignore", over="ignore"):
        column = np.floor((points[:, 0] - x_low) * cells_per_m)
        row = np.floor((points[:, 1] - y_low) * cells_per_m)
    z = points[:, 2]
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (z >= z_low) & (z < z_high)
    cells = np.full(len(points), width * height, np.int32)
    cells[inside] = row[inside].astype(np.int32) * width + column[inside].astype(np.int32)
    return cells


def _fill(points: Floats, cells: Ints, pillar_of_cell: Ints, num_pillars: int, max_points: int) -> Floats:
    """`(V, P, 4)`: the first points of each chosen cell, in the cloud's order."""
    pillar = pillar_of_cell[cells]
    kept = np.flatnonzero(pillar >= 0)
    order = kept[np.argsort(pillar[kept], kind="stable")]
    pillar = pillar[order]
    first = np.searchsorted(pillar, np.arange(num_pillars))
    slot = np.arange(len(order)) - first[pillar]
    fits = slot < max_points
    filled = np.zeros((num_pillars, max_points, 4), np.float32)
    filled[pillar[fits], slot[fits]] = points[order[fits]]
    return filled


@cache
def _compiled() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The two passes over the points in machine code; numba is imported here and nowhere else."""
    import math

    import numba

    @numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
    def cell_of_each(
        points: Floats,
        x_low: float,
        y_low: float,
        z_low: float,
        z_high: float,
        cells_per_m: float,
        width: int,
        height: int,
    ) -> Ints:
        cells = np.empty(len(points), np.int32)
        for i in range(len(points)):
            column = math.floor((points[i, 0] - x_low) * cells_per_m) if math.isfinite(points[i, 0]) else -1
            row = math.floor((points[i, 1] - y_low) * cells_per_m) if math.isfinite(points[i, 1]) else -1
            z = points[i, 2]
            inside = 0 <= column < width and 0 <= row < height and z >= z_low and z < z_high
            cells[i] = row * width + column if inside else width * height
        return cells

    @numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
    def fill(points: Floats, cells: Ints, pillar_of_cell: Ints, num_pillars: int, max_points: int) -> Floats:
        filled = np.zeros((num_pillars, max_points, 4), np.float32)
        used = np.zeros(num_pillars, np.int32)
        for i in range(len(points)):
            pillar = pillar_of_cell[cells[i]]
            if pillar >= 0 and used[pillar] < max_points:
                filled[pillar, used[pillar]] = points[i]
                used[pillar] += 1
        return filled

    return cell_of_each, fill
