"""Which detection stands for which labeled object: the greedy rule that average precision rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.errors import UnderstudyError
from understudy.overlap import bev_iou, iou_3d

Overlap = Literal["bev", "3d"]
OVERLAPS: dict[Overlap, Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]]] = {"bev": bev_iou, "3d": iou_3d}


@dataclass(frozen=True, eq=False)
class ScoredFrame:
    """Detections and labels of one frame, in ego, over the same classes.

    Attributes:
        detections: boxes with scores.
        truths: labeled boxes; `num_points` decides which count, where it is known.
        ignored: `(len(truths),)` truths that shall not count for another reason, or None.
        excused: `(len(detections),)` detections that are no false alarm even if they take nothing, or None: for data
            sets that label only a part of what the sensors see.

    Raises:
        UnderstudyError: when classes differ, detections carry no scores or the mask's length is wrong.
    """

    detections: Boxes
    truths: Boxes
    ignored: NDArray[np.bool_] | None = None
    excused: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.detections.class_names != self.truths.class_names:
            found, wanted = self.detections.class_names, self.truths.class_names
            raise UnderstudyError("detections' classes", found=found, wanted=wanted, remedy="map them by name first")
        if self.detections.scores is None:
            raise UnderstudyError("detections", found="no scores", wanted="a score per box")
        for name, mask, boxes in (
            ("ignored truths", self.ignored, self.truths),
            ("excused detections", self.excused, self.detections),
        ):
            if mask is not None and mask.shape != (len(boxes),):
                raise UnderstudyError(name, found=mask.shape, wanted=f"({len(boxes)},)")

    def counted(self, min_points: int) -> NDArray[np.bool_]:
        """`(len(truths),)`: truths that are neither ignored nor seen by fewer than `min_points` returns."""
        counted = np.ones(len(self.truths), bool)
        if self.truths.num_points is not None:
            counted &= self.truths.num_points >= min_points
        return counted if self.ignored is None else counted & ~self.ignored


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of one class's detections over all frames; those that hit an ignored truth are left out.

    Attributes:
        scores: `(D,)` float64.
        correct: `(D,)` whether the detection took a truth.
        ranges_m: `(D,)` distance of the truth taken or, where none was, of the detection itself.
        truth_ranges_m: `(T,)` distances of the counted truths.
    """

    scores: NDArray[np.float64]
    correct: NDArray[np.bool_]
    ranges_m: NDArray[np.float64]
    truth_ranges_m: NDArray[np.float64]

    @classmethod
    def concatenate(cls, parts: Iterable[Matches]) -> Matches:
        """Those of several frames as one."""
        columns = zip(*((part.scores, part.correct, part.ranges_m, part.truth_ranges_m) for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


def match_frame(frame: ScoredFrame, label: int, overlap: Overlap, iou_threshold: float, min_points: int) -> Matches:
    """Matches one class in one frame.

    Detections come in descending order of score, equals in the order given. Each takes, of the counted truths that
    are still free and that it overlaps by at least `iou_threshold`, the one it overlaps most (of equals the first).
    One that takes none but overlaps any ignored truth by as much is left out, and so is one that the frame excuses;
    every other one is a false alarm. An ignored truth excuses any number of detections.
    """
    rows = np.flatnonzero(frame.detections.labels == label)
    assert frame.detections.scores is not None
    rows = rows[np.argsort(-frame.detections.scores[rows], kind="stable")]
    detections = frame.detections[rows]
    of_class = frame.truths.labels == label
    truths, counted = frame.truths[of_class], frame.counted(min_points)[of_class]
    overlaps = OVERLAPS[overlap](detections.geometry, truths.geometry)
    near_enough = overlaps >= iou_threshold
    taken = _take(np.where(near_enough & counted, overlaps, 0.0))
    excused = (near_enough & ~counted).any(axis=1)
    if frame.excused is not None:
        excused |= frame.excused[rows]
    kept = (taken >= 0) | ~excused
    truth_ranges_m, ranges_m = ground_ranges_m(truths), ground_ranges_m(detections)
    ranges_m[taken >= 0] = truth_ranges_m[taken[taken >= 0]]
    scores = np.asarray(detections.scores, np.float64)
    return Matches(scores[kept], (taken >= 0)[kept], ranges_m[kept], truth_ranges_m[counted])


def ground_ranges_m(boxes: Boxes) -> NDArray[np.float64]:
    """`(N,)` distance of each center from ego's origin, from above."""
    centers_m = boxes.geometry[:, :2].astype(np.float64)
    ranges_m: NDArray[np.float64] = np.hypot(centers_m[:, 0], centers_m[:, 1])
    return ranges_m


def _take(candidates: NDArray[np.float64]) -> NDArray[np.int64]:
    """`(D,)` the column each row takes in turn, -1 for none, from `(D, T)` overlaps that are 0 where not allowed."""
    taken = np.full(len(candidates), -1)
    free = candidates.copy()
    for row in np.flatnonzero(candidates.any(axis=1)):
        column = int(free[row].argmax())
        if free[row, column] > 0:
            taken[row] = column
            free[:, column] = 0.0
    return taken
