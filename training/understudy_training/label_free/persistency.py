"""How persistent each point is over several passes of the same street: 1 stands there always, 0 only once.

Source: Y. You et al., "Learning to detect mobile objects from LiDAR scans without labels" (MODEST, CVPR 2022), eq. 1-2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.spatial import cKDTree

from understudy.configuration import Config


class PersistencyRules(Config):
    """How passes are gathered and compared."""

    radius_m: float = Field(0.3, gt=0)
    """Points of another pass within so much of a point count for it."""
    spacing_m: float = Field(10.0, ge=0)
    """Of another pass, frames are taken so far apart: closer ones would draw out what moves to a persistent trail."""
    thin_m: float = Field(0.1, gt=0)
    """Points of a pass are thinned to one per cube of this size."""
    min_passes: int = Field(2, ge=2)
    """Other passes that a drive must have."""


def persistency(counts: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Entropy of where a point's neighbors are, over the largest possible one.

    Args:
        counts: `(N, T)` neighbors of each point in each of `T` >= 2 passes.

    Returns:
        `(N,)` in [0, 1]: 1 when all passes have as many, 0 when one has them all or none has any.
    """
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    logarithms = np.log(shares, out=np.zeros(counts.shape), where=shares > 0)
    entropy = -np.sort(shares * logarithms, axis=1).sum(axis=1)  # sorted: the same bits in every order of passes
    score: NDArray[np.float64] = np.clip(entropy / np.log(counts.shape[1]), 0.0, 1.0)
    return score


def neighbors_in(points: NDArray[np.floating], passes: Sequence[cKDTree], radius_m: float) -> NDArray[np.int64]:
    """`(N, T)` points of each pass within a radius of each of the `(N, 3)` points, all in the same frame."""
    counts = [tree.query_ball_point(points, radius_m, return_length=True) for tree in passes]
    return np.stack(counts, axis=1).astype(np.int64) if counts else np.zeros((len(points), 0), np.int64)


def thinned(points: NDArray[np.floating], cube_m: float) -> NDArray[np.floating]:
    """The first of the `(N, 3)` points in each cube, in their order."""
    if len(points) == 0:
        return points
    cubes = np.floor((points - points.min(axis=0)) / cube_m).astype(np.int64)
    sizes = cubes.max(axis=0) + 1
    numbers = (cubes[:, 0] * sizes[1] + cubes[:, 1]) * sizes[2] + cubes[:, 2]
    first = np.unique(numbers, return_index=True)[1]
    kept: NDArray[np.floating] = points[np.sort(first)]
    return kept
