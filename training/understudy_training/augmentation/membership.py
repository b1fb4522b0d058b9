"""Which points lie in which box, fast for a few dozen boxes in a large cloud."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes


def members(boxes: Boxes, points: NDArray[np.float32]) -> list[NDArray[np.intp]]:
    """Rows of the `(M, 3+)` points that lie in each box, ascending; the same rule as `Boxes.contains`.

    Points are put into strips of a meter first (a radix sort of small integers), so that a box looks at few of them.
    """
    if len(boxes) == 0:
        return []
    strips = np.clip(np.floor(points[:, 0]), -32000, 32000).astype(np.int16)
    order = np.argsort(strips, kind="stable")
    strips, ys = strips[order], points[order, 1]
    reach_m = np.hypot(boxes.geometry[:, 3], boxes.geometry[:, 4]) / 2 + np.float32(1e-2)
    lows, highs = (np.floor(boxes.geometry[:, 0] + sign * reach_m) for sign in (-1, 1))
    first = np.searchsorted(strips, np.clip(lows, -32000, 32000).astype(np.int16))
    last = np.searchsorted(strips, np.clip(highs, -32000, 32000).astype(np.int16), side="right")
    found = []
    for row, y in enumerate(boxes.geometry[:, 1]):
        near = np.flatnonzero(np.abs(ys[first[row] : last[row]] - y) <= reach_m[row]) + first[row]
        rows = order[near]
        found.append(np.sort(rows[boxes[row : row + 1].contains(points[rows])[0]]))
    return found


def counts_inside(boxes: Boxes, points: NDArray[np.float32]) -> NDArray[np.int32]:
    """`(N,)` points inside each box."""
    return np.array([len(rows) for rows in members(boxes, points)], np.int32)
