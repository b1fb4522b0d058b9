"""Land that is not flat: a few long waves of height under roads, sidewalks and all that stands on them."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_compiled = numba.njit(cache=True, nogil=True, error_model="numpy")
_NUM_WAVES = 4
_FIRST = 10
"""First column of a relief beside `Road.pieces`: the height's offset, then amplitude, two wave numbers, phase each."""
_CELL_M = 2.5
_SAMPLED_M = 100.0
_STEP_M = 3.0
_GROWTH = 1.35
_STEEP = 0.09
"""Downward part of a ray from which it is steeper than any land here: it meets it once."""


def draw_relief(rng: np.random.Generator) -> Array:
    """`(1 + 4 * waves,)` a gently rolling land: over 30 m the ground rises or falls by some decimeters.

    Drawn to the spread of road points in KITTI, PandaSet and Argoverse 2 (docs/reality.md): nearly flat in some drives,
    half a meter and more at 30 m in others.
    """
    share = float(np.sqrt(rng.uniform(0.0, 1.0)))
    length_m = rng.uniform(60.0, 220.0, _NUM_WAVES)
    slope = share * rng.uniform(0.004, 0.03, _NUM_WAVES)
    direction, phase = rng.uniform(-np.pi, np.pi, (2, _NUM_WAVES))
    number = 2 * np.pi / length_m
    waves = np.column_stack([slope / number, number * np.cos(direction), number * np.sin(direction), phase])
    return np.concatenate([[0.0], waves.ravel()])


def relief_columns(pieces: Array, relief: Array) -> Array:
    """Road pieces `(K, 10)` with a relief beside them, the same in each row."""
    return np.hstack([pieces, np.tile(relief, (len(pieces), 1))])


def relief_in_ego(pieces: Array, ego_pose: Array) -> Array:
    """The columns of a relief `(K, R)` from the world to ego (its pose in the world: x, y, yaw, height)."""
    moved = pieces[:, _FIRST:].copy()
    cos, sin = np.cos(ego_pose[2]), np.sin(ego_pose[2])
    if moved.shape[1]:
        moved[:, 0] -= ego_pose[3]
        along, across = pieces[:, _FIRST + 2 :: 4], pieces[:, _FIRST + 3 :: 4]
        moved[:, 2::4], moved[:, 3::4] = cos * along + sin * across, cos * across - sin * along
        moved[:, 4::4] += along * ego_pose[0] + across * ego_pose[1]
    return moved


@_compiled
def height_at(pieces, x, y):  # type: ignore[no-untyped-def]
    """Height of the land at a point; 0 where the pieces have no relief."""
    if len(pieces) == 0 or pieces.shape[1] <= _FIRST:
        return 0.0
    height = pieces[0, _FIRST]
    for k in range(_FIRST + 1, pieces.shape[1], 4):
        height += pieces[0, k] * math.sin(pieces[0, k + 1] * x + pieces[0, k + 2] * y + pieces[0, k + 3])
    return height


@_compiled
def sampled(pieces, reach_m):  # type: ignore[no-untyped-def]
    """`(n, n)` heights about the origin, one each 2.5 m, and the highest; beyond 100 m as at the rim."""
    half = 0
    if len(pieces) > 0 and pieces.shape[1] > _FIRST:
        half = int(min(reach_m + 25.0, _SAMPLED_M) / _CELL_M) + 1
    heights = np.zeros((2 * half + 1, 2 * half + 1))
    for i in range(heights.shape[0]):
        for j in range(heights.shape[1]):
            heights[i, j] = height_at(pieces, (i - half) * _CELL_M, (j - half) * _CELL_M)
    return heights, heights.max()


@_compiled
def _between(heights, x, y):  # type: ignore[no-untyped-def]
    size = heights.shape[0]
    if size < 3:
        return heights[0, 0]
    u = min(max(x / _CELL_M + (size - 1) / 2, 0.0), size - 1.001)
    v = min(max(y / _CELL_M + (size - 1) / 2, 0.0), size - 1.001)
    i, j = int(u), int(v)
    p, q = u - i, v - j
    low = heights[i, j] * (1 - q) + heights[i, j + 1] * q
    return low * (1 - p) + (heights[i + 1, j] * (1 - q) + heights[i + 1, j + 1] * q) * p


@_compiled
def meets_relief(relief, ox, oy, oz, dx, dy, dz, level, first_m, last_m):  # type: ignore[no-untyped-def]
    """Where along a ray, from `first_m` on, it goes below the land raised by `level`; infinite when not by `last_m`."""
    heights, top = relief
    if heights.shape[0] < 3:
        return max((level + heights[0, 0] - oz) / dz, first_m) if dz < -1e-4 else math.inf
    if dz < -_STEEP:
        t = _steep_meeting(heights, ox, oy, oz, dx, dy, dz, level, first_m)
        if t >= 0.0:
            return t
    t, step = first_m, _STEP_M / (math.sqrt(dx * dx + dy * dy) + 1e-3)
    above = oz + t * dz - level - _between(heights, ox + t * dx, oy + t * dy)
    while t < last_m and (dz < 0.0 or oz + t * dz < top + level):
        after = t + step
        below = oz + after * dz - level - _between(heights, ox + after * dx, oy + after * dy)
        if below <= 0.0:
            return _crossing(heights, ox, oy, oz, dx, dy, dz, level, t, above, after, below)
        t, above, step = after, below, step * _GROWTH
    return math.inf


@_compiled
def _steep_meeting(heights, ox, oy, oz, dx, dy, dz, level, first_m):  # type: ignore[no-untyped-def]
    """The same for a ray much steeper than the land, by fixed-point iteration; -1 when that does not settle."""
    t = max((level - oz) / dz, first_m)
    for _ in range(8):
        left = oz + t * dz - level - _between(heights, ox + t * dx, oy + t * dy)
        t -= left / dz
        if abs(left) < 2e-3:
            return max(t, first_m)
    return -1.0


@_compiled
def _crossing(heights, ox, oy, oz, dx, dy, dz, level, t, above, after, below):  # type: ignore[no-untyped-def]
    """The zero between two places, by false position."""
    middle = t
    for _ in range(4):
        middle = t + (after - t) * above / (above - below + 1e-12)
        left = oz + middle * dz - level - _between(heights, ox + middle * dx, oy + middle * dy)
        if abs(left) < 1e-3:
            break
        if left > 0.0:
            t, above = middle, left
        else:
            after, below = middle, left
    return middle
