"""How many LiDAR returns lie in each box, without testing every point against every box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes


def count_points_inside(boxes: Boxes, points: NDArray[np.floating]) -> NDArray[np.int32]:
    """`(N,)` returns inside each box; the same rule as `Boxes.contains`, in a fraction of its time for many boxes.

    Args:
        boxes: N boxes.
        points: `(M, 3+)` points in the boxes' frame; NaN points lie in no box.
    """
    order = np.argsort(points[:, 0])
    sorted_points = points[order]
    reach_m = np.hypot(boxes.geometry[:, 3], boxes.geometry[:, 4]) / 2 + 1e-3
    first = np.searchsorted(sorted_points[:, 0], boxes.geometry[:, 0] - reach_m)
    last = np.searchsorted(sorted_points[:, 0], boxes.geometry[:, 0] + reach_m, side="right")
    spans = zip(range(len(boxes)), first, last, strict=True)
    counts = [boxes[row : row + 1].contains(sorted_points[low:high]).sum() for row, low, high in spans]
    return np.array(counts, np.int32)
