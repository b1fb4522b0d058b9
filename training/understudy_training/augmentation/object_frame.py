"""Points in a box's own frame and back, so that a point that lay inside does not fall out by rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDING_M = 5e-5
"""Float32 coordinates at 200 m are 1.5e-5 m apart; boxes' own fields round once more."""


def local_points(points: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float64]:
    """`(M, 3)` points in the frame of a `(7,)` box, as parts of its half sizes: inside is [-1, 1]."""
    center, half_m, turn = _parts(box)
    local: NDArray[np.float64] = (points[:, :3].astype(np.float64) - center) @ turn / half_m
    return local


def placed_points(local: NDArray[np.float64], box: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(M, 3)` points at those places of a `(7,)` box: inside it whatever the rounding."""
    center, half_m, turn = _parts(box)
    limit_m = np.maximum(half_m - _ROUNDING_M, 0.0)
    placed: NDArray[np.float64] = np.clip(local * half_m, -limit_m, limit_m) @ turn.T + center
    return placed.astype(np.float32)


def _parts(box: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    values = box.astype(np.float64)
    cos, sin = np.cos(values[6]), np.sin(values[6])
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return values[:3], np.maximum(values[3:6] / 2, 1e-6), turn
