"""How many LiDAR returns lie in each box, without testing every point against every box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes

_STRIP_M = 0.25
_MOST_STRIPS = 1 << 15


def count_points_inside(boxes: Boxes, points: NDArray[np.floating]) -> NDArray[np.int32]:
    """`(N,)` returns inside each box; the same rule as `Boxes.contains`, in a fraction of its time for many boxes.

    Points are sorted into strips along x by 16-bit numbers, which numpy does in linear time; only those in the strips
    that a box touches, and near it along y, are tested.

    Args:
        boxes: N boxes.
        points: `(M, 3+)` points in the boxes' frame; NaN points lie in no box.
    """
    reach_m = np.hypot(boxes.geometry[:, 3], boxes.geometry[:, 4]) / 2 + 1e-3
    x_m, y_m = boxes.geometry[:, 0], boxes.geometry[:, 1]
    if len(boxes) == 0 or not np.isfinite(x_m + reach_m).all():
        return np.asarray(boxes.contains(points).sum(axis=1), np.int32)
    start_m = float((x_m - reach_m).min())
    strips = _strips(points[:, 0], start_m)
    order = np.argsort(strips, kind="stable")
    in_order_y_m = points[order, 1]
    ends = np.cumsum(np.bincount(strips, minlength=_MOST_STRIPS))
    firsts, lasts = _strips(x_m - reach_m, start_m), _strips(x_m + reach_m, start_m)
    begins = np.where(firsts > 0, ends[firsts - 1], 0)
    counts = np.zeros(len(boxes), np.int32)
    for row, (low, high) in enumerate(zip(begins, ends[lasts], strict=True)):
        near = order[low:high][np.abs(in_order_y_m[low:high] - y_m[row]) <= reach_m[row]]
        counts[row] = boxes[row : row + 1].contains(points[near]).sum()
    return counts


def _strips(x_m: NDArray[np.floating], start_m: float) -> NDArray[np.int16]:
    """`(M,)` number of the strip of each x, counted from a strip before `start_m`; the outer ones take the rest."""
    places = (x_m - start_m) * (1.0 / _STRIP_M) + 1.0
    numbers: NDArray[np.int16] = np.nan_to_num(np.clip(places, 0, _MOST_STRIPS - 1), nan=0.0).astype(np.int16)
    return numbers
