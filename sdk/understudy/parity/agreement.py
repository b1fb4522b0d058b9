"""How far two sets of boxes of one frame depart from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, wrap_angle
from understudy.bundle.manifest import Tolerance
from understudy.errors import EngineError

PAIRING_RADIUS_M = 2.0
"""Boxes farther apart than this (or than twice the tolerance, if that is more) are not the same object."""

MEASURES = ("position_m", "size_m", "yaw_rad", "score")
_POSITION, _SIZE, _YAW = slice(0, 3), slice(3, 6), 6


@dataclass(frozen=True, eq=False)
class Agreement:
    """Pairs of boxes of one frame, and the boxes without a partner.

    Attributes:
        labels: `(P,)` class of each pair.
        deviations: `(P, 4)` float64, a column per name in `MEASURES`: distance of the centers, largest difference of
            length, width and height, difference of yaw (modulo 2 pi: a box that faces backwards is wrong), difference
            of score; all absolute.
        missing: `(M,)` class of each reference box without a partner.
        extra: `(X,)` class of each candidate box without a partner.
        excused: `(E,)` class of each box without a partner whose score is so near its threshold that it may be
            missing; not among `missing` and `extra`.
        ranges_m: `(P,)` distance of each pair's reference box from the ego's origin, seen from above.
        missing_ranges_m: `(M,)` of each missing box.
        extra_ranges_m: `(X,)` of each extra box.
        excused_ranges_m: `(E,)` of each excused box.
    """

    labels: NDArray[np.int32]
    deviations: NDArray[np.float64]
    missing: NDArray[np.int32]
    extra: NDArray[np.int32]
    excused: NDArray[np.int32]
    ranges_m: NDArray[np.float64]
    missing_ranges_m: NDArray[np.float64]
    extra_ranges_m: NDArray[np.float64]
    excused_ranges_m: NDArray[np.float64]


def compare_boxes(
    reference: Boxes, candidate: Boxes, thresholds: NDArray[np.float32], tolerance: Tolerance
) -> Agreement:
    """Pairs each box with the nearest of its class in the other set, closest pairs first, no box twice.

    Args:
        reference: detections that are taken as right.
        candidate: detections to be judged; same classes, same frame.
        thresholds: `(C,)` score threshold of each class.
        tolerance: for `score` and `position_m`; whether deviations are within it is not decided here.

    Raises:
        EngineError: when the classes differ.
    """
    if reference.class_names != candidate.class_names:
        raise EngineError("classes", found=", ".join(candidate.class_names), wanted=", ".join(reference.class_names))
    rows, columns = _pair(reference, candidate, max(PAIRING_RADIUS_M, 2.0 * tolerance.position_m))
    lonely_reference = np.setdiff1d(np.arange(len(reference)), rows)
    lonely_candidate = np.setdiff1d(np.arange(len(candidate)), columns)
    missing, excused_reference = _judge_lonely(reference[lonely_reference], thresholds, tolerance)
    extra, excused_candidate = _judge_lonely(candidate[lonely_candidate], thresholds, tolerance)
    return Agreement(
        labels=reference.labels[rows],
        deviations=_deviations(reference[rows], candidate[columns]),
        missing=missing.labels,
        extra=extra.labels,
        excused=np.concatenate([excused_reference.labels, excused_candidate.labels]),
        ranges_m=_ranges_m(reference[rows]),
        missing_ranges_m=_ranges_m(missing),
        extra_ranges_m=_ranges_m(extra),
        excused_ranges_m=np.concatenate([_ranges_m(excused_reference), _ranges_m(excused_candidate)]),
    )


def _pair(reference: Boxes, candidate: Boxes, radius_m: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row numbers in both sets, pair by pair."""
    offsets = reference.geometry[:, None, _POSITION].astype(np.float64) - candidate.geometry[None, :, _POSITION]
    distances_m = np.linalg.norm(offsets, axis=2)
    distances_m[reference.labels[:, None] != candidate.labels[None, :]] = np.inf
    pairs: list[tuple[int, int]] = []
    taken_rows, taken_columns = set[int](), set[int]()
    for flat in np.argsort(distances_m, axis=None, kind="stable"):
        row, column = (int(number) for number in np.unravel_index(flat, distances_m.shape))
        if not distances_m[row, column] <= radius_m:
            break
        if row not in taken_rows and column not in taken_columns:
            pairs.append((row, column))
            taken_rows.add(row)
            taken_columns.add(column)
    found = np.array(pairs, np.intp).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _judge_lonely(boxes: Boxes, thresholds: NDArray[np.float32], tolerance: Tolerance) -> tuple[Boxes, Boxes]:
    """The boxes that should have had a partner, and those that need not."""
    near = np.abs(_scores(boxes) - thresholds[boxes.labels]) <= tolerance.score
    return boxes[~near], boxes[near]


def _ranges_m(boxes: Boxes) -> NDArray[np.float64]:
    ranges_m: NDArray[np.float64] = np.hypot(boxes.geometry[:, 0], boxes.geometry[:, 1]).astype(np.float64)
    return ranges_m


def _deviations(reference: Boxes, candidate: Boxes) -> NDArray[np.float64]:
    wanted, found = reference.geometry.astype(np.float64), candidate.geometry.astype(np.float64)
    return np.column_stack(
        [
            np.linalg.norm(wanted[:, _POSITION] - found[:, _POSITION], axis=1),
            np.abs(wanted[:, _SIZE] - found[:, _SIZE]).max(axis=1, initial=0.0),
            np.abs(wrap_angle(wanted[:, _YAW] - found[:, _YAW])),
            np.abs(_scores(reference) - _scores(candidate)),
        ]
    )


def _scores(boxes: Boxes) -> NDArray[np.float64]:
    if boxes.scores is None:
        raise EngineError("boxes to compare", found="no scores", wanted="detections")
    return boxes.scores.astype(np.float64)
