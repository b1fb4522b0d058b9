"""Which points lie in which box, fast for a few dozen boxes in a large cloud."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes

_CELLS = 256
"""Cells of a meter each way about ego; what is farther away falls into the last one."""


def members(boxes: Boxes, points: NDArray[np.float32]) -> list[NDArray[np.intp]]:
    """Rows of the `(M, 3+)` points that lie in each box, ascending; the same rule as `Boxes.contains`."""
    owners, rows = _pairs(boxes, points)
    ends = np.cumsum(np.bincount(owners, minlength=len(boxes)))
    return np.split(rows, ends[:-1]) if len(boxes) else []


def counts_inside(boxes: Boxes, points: NDArray[np.float32]) -> NDArray[np.int32]:
    """`(N,)` points inside each box."""
    return np.bincount(_pairs(boxes, points)[0], minlength=len(boxes)).astype(np.int32)


def _pairs(boxes: Boxes, points: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """`(P,)` box and `(P,)` row of every point in a box, boxes and rows ascending."""
    if len(boxes) == 0 or len(points) == 0:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    # 16-bit keys, because NumPy sorts those by radix
    keys = (_cell(points[:, 0]) * _CELLS + _cell(points[:, 1])).astype(np.uint16)
    order = np.argsort(keys, kind="stable")
    owners, first, last = _runs(boxes.geometry.astype(np.float64), keys[order])
    lengths = last - first
    pairs = np.repeat(owners, lengths)
    places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(first, lengths)
    rows = order[places]
    inside = _inside(boxes.geometry.astype(np.float64)[pairs], points[rows, :3])
    pairs, rows = pairs[inside], rows[inside]
    ascending = np.lexsort((rows, pairs))
    return pairs[ascending], rows[ascending]


def _runs(
    boxes: NDArray[np.float64], sorted_keys: NDArray[np.uint16]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """`(R,)` box, begin and end of the runs of sorted keys that a box touches: one for each of its strips in x."""
    cos, sin = np.abs(np.cos(boxes[:, 6])), np.abs(np.sin(boxes[:, 6]))
    reach_x = (cos * boxes[:, 3] + sin * boxes[:, 4]) / 2 + 1e-3
    reach_y = (sin * boxes[:, 3] + cos * boxes[:, 4]) / 2 + 1e-3
    low, high = _cell(boxes[:, 0] - reach_x), _cell(boxes[:, 0] + reach_x)
    strips = (high - low + 1).astype(np.intp)
    owners = np.repeat(np.arange(len(boxes)), strips)
    strip = low[owners] + np.arange(len(owners)) - np.repeat(np.cumsum(strips) - strips, strips)
    begin = strip * _CELLS + _cell(boxes[:, 1] - reach_y)[owners]
    end = strip * _CELLS + _cell(boxes[:, 1] + reach_y)[owners]
    first = np.searchsorted(sorted_keys, begin.astype(np.uint16))
    return owners, first, np.searchsorted(sorted_keys, end.astype(np.uint16), side="right")


def _cell(meters: NDArray[np.floating]) -> NDArray[np.int32]:
    return np.clip(np.floor(meters) + _CELLS // 2, 0, _CELLS - 1).astype(np.int32)


def _inside(boxes: NDArray[np.float64], points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """`(P,)`: the rule of `Boxes.contains` for `(P, 7)` boxes and `(P, 3)` points, pair by pair."""
    dx, dy, dz = (points - boxes[:, :3]).T
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    along, across = np.abs(cos * dx + sin * dy), np.abs(cos * dy - sin * dx)
    half = boxes[:, 3:6] / 2
    inside: NDArray[np.bool_] = (along <= half[:, 0]) & (across <= half[:, 1]) & (np.abs(dz) <= half[:, 2])
    return inside
