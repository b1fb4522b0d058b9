"""Where in which picture each place over the ground is seen: the look-up table that lifts image features.

Lift-Splat-Shoot (Philion and Fidler 2020, arXiv 2008.05711) spreads each pixel's feature along its ray, weighted with a
distribution over depth, and adds up what falls into a cell: a scatter with a sum, which no TensorRT builder takes. Read
the other way, each place of the map looks up the pixels that see it and takes their features weighted with the
probability of its own depth. The places and the cameras are fixed, so which rows to gather is a table that depends on
the rig alone, and it goes into the graph as an input.

A picture does not tell how far a thing is, only how large it seems for a focal length. So the network predicts depth as
of a camera of its own focal length, and the table, which knows the real one, scales (as in Metric3D, arXiv 2307.10984).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from understudy.bundle.inputs import Pictures
from understudy.bundle.manifest import Grid
from understudy.network_pictures import network_camera
from understudy.rig import Camera

_TABLES_KEPT = 16


@dataclass(frozen=True, eq=False)
class LiftTable:
    """Rows to gather, for `S = heights * hits` slots (the hits of the lowest height first) and `V` cells of the map.

    Attributes:
        pixels: `(S, V)` int32, row of the features of all pictures `(N * h * w, C)`; one past them where none.
        depths: `(S, V)` int32, row of the depths of all pictures `(N * h * w * D,)`; one past them where none.
    """

    pixels: NDArray[np.int32]
    depths: NDArray[np.int32]


def lifted_size(grid: Grid, pictures: Pictures) -> tuple[int, int]:
    """Rows (along y) and columns (along x) of the lifted map."""
    return grid.height // pictures.cell_stride, grid.width // pictures.cell_stride


@lru_cache(_TABLES_KEPT)
def lift_table(cameras: tuple[Camera, ...], pictures: Pictures, grid: Grid) -> LiftTable:
    """The table of some cameras; the last few are kept, because a rig's cameras stay what they are.

    Args:
        cameras: in the network's order, of the rig.
        pictures: what the network takes.
        grid: its grid in ego.
    """
    (rows, columns), (height, width) = lifted_size(grid, pictures), pictures.feature_size
    places, num_bins = _places(grid, pictures), pictures.depth.count
    nothing = len(cameras) * height * width
    pixels = np.full((pictures.hits, len(places)), nothing, np.int64)
    depths = np.full((pictures.hits, len(places)), nothing * num_bins, np.int64)
    taken = np.zeros(len(places), np.int64)
    for number, camera in enumerate(cameras):
        seen, cell, depth_m = cells_and_depths(places, camera, pictures)
        depth_bin = pictures.depth.bin_of(depth_m)
        free = np.flatnonzero((depth_bin >= 0) & (taken[seen] < pictures.hits))
        seen, row = seen[free], number * height * width + cell[free]
        pixels[taken[seen], seen] = row
        depths[taken[seen], seen] = row * num_bins + depth_bin[free]
        taken[seen] += 1
    return LiftTable(*(_by_slot(table, len(pictures.heights_m), rows * columns) for table in (pixels, depths)))


def cells_and_depths(
    places: NDArray[np.floating], camera: Camera, pictures: Pictures
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Which of `(P, 3)` places a camera shows, `(M,)` ascending; of each its cell and its depth.

    A cell is `row * w + column` of the picture's features. Depths are in meters as of a camera of `pictures.focal_px`,
    whether or not a bin holds them.

    Args:
        places: in ego.
        camera: of the rig.
        pictures: what the network takes.
    """
    seen_by, stride = network_camera(camera, pictures.width_px, pictures.height_px), pictures.feature_stride
    inverse = seen_by.ego_from_sensor.pose().inverse()
    x, y, depth_m = inverse.rotation @ places.T + inverse.translation_m[:, None]
    ahead = np.flatnonzero(depth_m > 0)
    depth_m = depth_m[ahead]
    u = x[ahead] / depth_m * seen_by.fx_px + (seen_by.cx_px + 0.5)  # a network's camera bends nothing
    v = y[ahead] / depth_m * seen_by.fy_px + (seen_by.cy_px + 0.5)
    inside = np.flatnonzero((u >= 0) & (v >= 0) & (u < pictures.width_px) & (v < pictures.height_px))
    column, row = (u[inside] // stride).astype(np.int64), (v[inside] // stride).astype(np.int64)
    cell = row * pictures.feature_size[1] + column
    return ahead[inside], cell, depth_m[inside] * (pictures.focal_px / seen_by.fx_px)


def depth_targets(points: NDArray[np.floating], cameras: Sequence[Camera], pictures: Pictures) -> NDArray[np.int16]:
    """`(N, h, w)` bin of the nearest point that falls into each cell of the pictures' features, -1 where none does.

    Args:
        points: `(P, 3)` or more columns, in ego.
        cameras: in the network's order.
        pictures: what the network takes.
    """
    height, width = pictures.feature_size
    bins = np.full((len(cameras), height * width), pictures.depth.count, np.int64)
    for number, camera in enumerate(cameras):
        _, cell, depth_m = cells_and_depths(points[:, :3], camera, pictures)
        depth_bin = pictures.depth.bin_of(depth_m)
        near = depth_bin >= 0
        np.minimum.at(bins[number], cell[near], depth_bin[near])
    bins[bins == pictures.depth.count] = -1
    return bins.reshape(len(cameras), height, width).astype(np.int16)


def _places(grid: Grid, pictures: Pictures) -> NDArray[np.float64]:
    """`(Z * V, 3)` middles of the lifted map's cells at each height, in ego."""
    (rows, columns), step_m = lifted_size(grid, pictures), grid.cell_m * pictures.cell_stride
    y = grid.y_range_m[0] + (np.arange(rows) + 0.5) * step_m
    x = grid.x_range_m[0] + (np.arange(columns) + 0.5) * step_m
    z, y, x = np.meshgrid(np.array(pictures.heights_m), y, x, indexing="ij")
    return np.stack([x, y, z], axis=-1).reshape(-1, 3)


def _by_slot(table: NDArray[np.int64], num_heights: int, num_cells: int) -> NDArray[np.int32]:
    """`(hits, Z * V)` to `(Z * hits, V)`."""
    by_height = table.reshape(len(table), num_heights, num_cells).transpose(1, 0, 2)
    return np.ascontiguousarray(by_height.reshape(-1, num_cells), dtype=np.int32)
