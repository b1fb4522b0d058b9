"""Average precision from above and in 3D, by class and by range.

The rule, in full:

1. Detections are matched to truths per frame and class as `match_frame` says. Truths with fewer than `min_points`
   LiDAR returns are ignored: they count neither as found nor as missed, and who hits one is no false alarm.
2. A range bin [low, high) holds the counted truths whose own center lies in it, the detections that took one of them,
   and the false alarms whose own center lies in it. Matching knows nothing of bins, so a detection just across a
   boundary from its truth is still correct, in the truth's bin, and the bins' truths, hits and false alarms add up.
3. Detections are sorted by score; precision and recall are read where the score changes (equal scores stand or fall
   together).
4. Average precision is the mean over the recalls 1/40, 2/40, ..., 1 of the best precision at that recall or a higher
   one. Source: A. Simonelli et al., "Disentangling monocular 3D object detection" (ICCV 2019), section 6.
5. A class without counted truths has no average precision and does not enter the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from understudy.configuration import Config
from understudy.errors import InputError
from understudy.metrics.matching import OVERLAPS, Matches, Overlap, ScoredFrame, match_frame

NUM_RECALLS = 40
Range = tuple[float, float]


class MetricSettings(Config):
    """What counts as found, and where."""

    iou_thresholds: dict[str, float] = Field(
        default_factory=lambda: {"car": 0.5, "truck": 0.5, "pedestrian": 0.25, "cyclist": 0.25}
    )
    """Overlap from which a detection takes a truth, by class."""
    min_points: int = Field(5, ge=0)
    """LiDAR returns below which a truth is ignored."""
    max_range_m: float = Field(50.0, gt=0)
    """How far from ego, from above, truths and detections count."""
    range_bins_m: tuple[Range, ...] = ((0.0, 15.0), (15.0, 30.0), (30.0, 50.0))

    @model_validator(mode="after")
    def _can_be_met(self) -> MetricSettings:
        for name, threshold in self.iou_thresholds.items():
            if not 0 < threshold <= 1:
                raise ValueError(f"iou_thresholds.{name}: {threshold} is not in (0, 1]")
        for low, high in self.range_bins_m:
            if not 0 <= low < high:
                raise ValueError(f"range_bins_m: [{low}, {high}) is no range")
        return self

    @property
    def ranges_m(self) -> tuple[Range, ...]:
        """The whole range, then the bins."""
        return ((0.0, self.max_range_m), *self.range_bins_m)

    def iou_threshold(self, class_name: str) -> float:
        """The class's threshold.

        Raises:
            InputError: when the table has no such class.
        """
        if class_name not in self.iou_thresholds:
            known = ", ".join(self.iou_thresholds)
            remedy = "give its overlap threshold in the metric's settings"
            raise InputError(f"iou_thresholds: class {class_name}", found=known, wanted="an entry", remedy=remedy)
        return self.iou_thresholds[class_name]


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision against recall as the score threshold falls, one entry per distinct score.

    Attributes:
        scores: `(S,)` float64, descending.
        precisions: `(S,)` float64 in [0, 1].
        recalls: `(S,)` float64 in [0, 1], ascending.
    """

    scores: NDArray[np.float64]
    precisions: NDArray[np.float64]
    recalls: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassPrecision:
    """How well one class was found in one range.

    Attributes:
        class_name: the class.
        overlap: which overlap decided.
        range_m: [low, high) from ego, from above.
        iou_threshold: overlap from which a detection counted.
        num_truths: labeled objects that count.
        num_detections: detections that count, correct or not.
        num_correct: detections that took a truth.
        ap_percent: average precision, or None without truths.
        curve: for plots.
    """

    class_name: str
    overlap: Overlap
    range_m: Range
    iou_threshold: float
    num_truths: int
    num_detections: int
    num_correct: int
    ap_percent: float | None
    curve: Curve


def average_precision(
    frames: Sequence[ScoredFrame], settings: MetricSettings | None = None
) -> tuple[ClassPrecision, ...]:
    """Average precision of every class, overlap and range, in this order of nesting.

    Raises:
        InputError: when there are no frames, or a class has no overlap threshold.
        UnderstudyError: when the frames' classes differ.
    """
    settings = settings or MetricSettings()
    if not frames:
        raise InputError("average precision", found="no frames", wanted="at least one labeled frame")
    class_names = frames[0].truths.class_names
    if any(frame.truths.class_names != class_names for frame in frames):
        raise InputError("average precision", found="frames over different classes", wanted="the same classes in all")
    entries = []
    for label, class_name in enumerate(class_names):
        threshold = settings.iou_threshold(class_name)
        for overlap in OVERLAPS:
            found = [match_frame(frame, label, overlap, threshold, settings.min_points) for frame in frames]
            matches = Matches.concatenate(found)
            entries += [_entry(matches, class_name, overlap, range_m, threshold) for range_m in settings.ranges_m]
    return tuple(entries)


def mean_ap_percent(entries: Sequence[ClassPrecision], overlap: Overlap, range_m: Range | None = None) -> float | None:
    """Mean over the classes that have truths; None where none has. `range_m` None is the whole range."""
    wanted = range_m or entries[0].range_m
    chosen = [entry.ap_percent for entry in entries if entry.overlap == overlap and entry.range_m == wanted]
    known = [value for value in chosen if value is not None]
    return sum(known) / len(known) if known else None


def _entry(matches: Matches, class_name: str, overlap: Overlap, range_m: Range, threshold: float) -> ClassPrecision:
    low_m, high_m = range_m
    inside = (matches.ranges_m >= low_m) & (matches.ranges_m < high_m)
    num_truths = int(((matches.truth_ranges_m >= low_m) & (matches.truth_ranges_m < high_m)).sum())
    scores, correct = matches.scores[inside], matches.correct[inside]
    curve, hits = _curve(scores, correct, num_truths)
    return ClassPrecision(
        class_name=class_name,
        overlap=overlap,
        range_m=range_m,
        iou_threshold=threshold,
        num_truths=num_truths,
        num_detections=len(scores),
        num_correct=int(correct.sum()),
        ap_percent=_interpolated_percent(hits, curve.precisions, num_truths) if num_truths else None,
        curve=curve,
    )


def _curve(scores: NDArray[np.float64], correct: NDArray[np.bool_], num_truths: int) -> tuple[Curve, NDArray[np.int64]]:
    """The curve, and the number of hits at each of its points."""
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    last_of_equals = np.flatnonzero(np.append(scores[1:] != scores[:-1], len(scores) > 0))
    hits: NDArray[np.int64] = np.cumsum(correct[order], dtype=np.int64)[last_of_equals]
    recalls = hits / num_truths if num_truths else np.zeros(len(hits))
    return Curve(scores[last_of_equals], hits / (last_of_equals + 1), recalls), hits


def _interpolated_percent(hits: NDArray[np.int64], precisions: NDArray[np.float64], num_truths: int) -> float:
    """Mean of the best precision at or beyond each of the 40 recalls; recalls compared as whole numbers."""
    if len(hits) == 0:
        return 0.0
    best_from_here = np.maximum.accumulate(precisions[::-1])[::-1]
    needed = np.arange(1, NUM_RECALLS + 1) * num_truths
    first = np.searchsorted(hits * NUM_RECALLS, needed)
    reached = first < len(hits)
    return float(100.0 * best_from_here[first[reached]].sum() / NUM_RECALLS)
