"""The nuScenes detection metrics: mean average precision by center distance, five true-positive errors, and NDS.

Source: H. Caesar et al., "nuScenes: a multimodal dataset for autonomous driving" (CVPR 2020), the detection task's
description, and the rules as nuscenes-devkit 1.2 applies them (`detection_cvpr_2019`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.converters.class_maps import NUSCENES_DETECTION_NAMES
from understudy.metrics.center_matching import NOBODY, match, near_pairs
from understudy.metrics.nuscenes_filters import counted
from understudy.metrics.nuscenes_objects import NO_ATTRIBUTE, NuscenesObjects, NuscenesTruths

THRESHOLDS_M = (0.5, 1.0, 2.0, 4.0)
"""Center distances, from above, below which a detection is a hit; average precision is the mean over them."""
ERROR_THRESHOLD_M = 2.0
"""The distance at which the errors of true positives are measured."""
ERROR_NAMES = ("ATE", "ASE", "AOE", "AVE", "AAE")
"""Translation (m), scale (1 - IoU of aligned boxes), orientation (rad), velocity (m/s), attribute (1 - accuracy)."""
MAX_BOXES_PER_SAMPLE = 500

_UNDEFINED = {"traffic_cone": ("AOE", "AVE", "AAE"), "barrier": ("AVE", "AAE")}
_MEAN_AP_WEIGHT = 5.0
_MIN_PRECISION = 0.1
_FIRST_RECALL = 11
"""Number of the first recall above the minimum of 0.1, in steps of a hundredth."""
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False)
class NuscenesScores:
    """What the detection task says, by class in the order of `NUSCENES_DETECTION_NAMES`.

    Attributes:
        average_precisions: `(10, 4)` float64 in 0..1, by `THRESHOLDS_M`.
        errors: `(10, 5)` float64 by `ERROR_NAMES`; NaN where a class has no such error.
        num_truths: `(10,)` int64 labels that counted.
        num_detections: `(10,)` int64 detections that counted.
    """

    average_precisions: NDArray[np.float64]
    errors: NDArray[np.float64]
    num_truths: NDArray[np.int64]
    num_detections: NDArray[np.int64]

    @property
    def mean_ap(self) -> float:
        """Mean over distances and classes; a class without labels counts as 0."""
        return float(self.average_precisions.mean(axis=1).mean())

    @property
    def mean_errors(self) -> NDArray[np.float64]:
        """`(5,)` mean over the classes that have the error; a class without hits counts as 1."""
        means: NDArray[np.float64] = np.nanmean(self.errors, axis=0)
        return means

    @property
    def nds(self) -> float:
        """The nuScenes detection score: half mean average precision, half what the errors leave of one."""
        return self.nds_from(ERROR_NAMES)

    def nds_from(self, names: tuple[str, ...]) -> float:
        """The score with only some of the errors, for labels that cannot tell them all; comparable to itself only."""
        errors = self.mean_errors[[ERROR_NAMES.index(name) for name in names]]
        kept = np.maximum(0.0, 1.0 - errors).sum()
        return float((_MEAN_AP_WEIGHT * self.mean_ap + kept) / (_MEAN_AP_WEIGHT + len(names)))


def evaluate(truths: NuscenesTruths, detections: NuscenesObjects) -> NuscenesScores:
    """Scores detections against labels, after the rules on which of both count."""
    return score(counted(truths.objects, truths), counted(detections, truths))


def score(truths: NuscenesObjects, detections: NuscenesObjects) -> NuscenesScores:
    """Scores detections against labels that all count.

    Of detections with equal scores the last one chooses first, as in the devkit; of labels at equal distances the first
    one is taken.
    """
    detections = detections[np.argsort(detections.scores, kind="stable")[::-1]]
    num_samples = 1 + max(truths.samples.max(initial=0), detections.samples.max(initial=0))
    pairs = near_pairs(
        detections.labels * num_samples + detections.samples,
        detections.centers_m[:, :2],
        truths.labels * num_samples + truths.samples,
        truths.centers_m[:, :2],
        max(THRESHOLDS_M),
    )
    taken = {threshold_m: match(pairs, threshold_m) for threshold_m in THRESHOLDS_M}
    errors = _errors(truths, detections, taken[ERROR_THRESHOLD_M])
    num_truths = np.bincount(truths.labels, minlength=len(NUSCENES_DETECTION_NAMES))
    classes = [
        _class_scores(
            {threshold_m: rows[of_class] >= 0 for threshold_m, rows in taken.items()},
            detections.scores[of_class],
            errors[of_class],
            int(num_truths[label]),
        )
        for label, of_class in enumerate(_rows_by_class(detections.labels))
    ]
    precisions, class_errors = (np.array(column) for column in zip(*classes, strict=True))
    for name, missing in _UNDEFINED.items():
        class_errors[NUSCENES_DETECTION_NAMES.index(name), [ERROR_NAMES.index(error) for error in missing]] = np.nan
    num_detections = np.bincount(detections.labels, minlength=len(NUSCENES_DETECTION_NAMES))
    return NuscenesScores(precisions, class_errors, num_truths, num_detections)


def _rows_by_class(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(labels == label) for label in range(len(NUSCENES_DETECTION_NAMES))]


def _class_scores(
    hits: dict[float, NDArray[np.bool_]], scores: NDArray[np.float64], errors: NDArray[np.float64], num_truths: int
) -> tuple[list[float], list[float]]:
    """Average precision by threshold and the five errors of one class, its detections in descending order of score."""
    precisions = [_average_precision(hit, num_truths) for hit in hits.values()]
    hit = hits[ERROR_THRESHOLD_M]
    return precisions, _mean_errors(hit, scores, errors[hit], num_truths)


def _average_precision(hit: NDArray[np.bool_], num_truths: int) -> float:
    """Mean precision above the minimum, over the recalls above the minimum, rescaled to reach 1."""
    if not hit.any():
        return 0.0
    num_hits = np.cumsum(hit)
    precisions = np.interp(_RECALLS, num_hits / num_truths, num_hits / np.arange(1, len(hit) + 1), right=0)
    above = np.maximum(precisions[_FIRST_RECALL:] - _MIN_PRECISION, 0.0)
    return float(above.mean()) / (1.0 - _MIN_PRECISION)


def _mean_errors(
    hit: NDArray[np.bool_], scores: NDArray[np.float64], errors: NDArray[np.float64], num_truths: int
) -> list[float]:
    """Each error's running mean, read at the scores that reach each recall, averaged up to the recall reached."""
    if not hit.any():
        return [1.0] * len(ERROR_NAMES)
    at_recalls = np.interp(_RECALLS, np.cumsum(hit) / num_truths, scores, right=0)
    reached = np.flatnonzero(at_recalls)
    last = int(reached[-1]) if len(reached) else 0
    if last < _FIRST_RECALL:
        return [1.0] * len(ERROR_NAMES)
    wanted = at_recalls[_FIRST_RECALL : last + 1]
    ascending = scores[hit][::-1]
    return [float(np.interp(wanted, ascending, _running_mean(column)[::-1]).mean()) for column in errors.T]


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of all values so far, NaN left out; 0 before the first known value, 1 throughout when none is known."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    count = np.cumsum(known)
    means: NDArray[np.float64] = np.nancumsum(values) / np.maximum(count, 1)
    return means


def _errors(truths: NuscenesObjects, detections: NuscenesObjects, taken: NDArray[np.int64]) -> NDArray[np.float64]:
    """`(D, 5)` errors of the detections that took a label; NaN elsewhere and where the label does not tell."""
    errors = np.full((len(detections), len(ERROR_NAMES)), np.nan)
    rows = np.flatnonzero(taken != NOBODY)
    found, meant = detections[rows], truths[taken[rows]]
    barrier = NUSCENES_DETECTION_NAMES.index("barrier")
    period_rad = np.where(found.labels == barrier, np.pi, 2 * np.pi)
    attribute = np.where(found.attributes == meant.attributes, 0.0, 1.0)
    errors[rows] = np.column_stack(
        [
            _distances(found.centers_m[:, :2], meant.centers_m[:, :2]),
            1.0 - _aligned_iou(found.sizes_m, meant.sizes_m),
            _turns(meant.yaw_rad - found.yaw_rad, period_rad),
            _distances(found.velocities_mps, meant.velocities_mps),
            np.where(meant.attributes == NO_ATTRIBUTE, np.nan, attribute),
        ]
    )
    return errors


def _distances(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.sqrt(((first - second) ** 2).sum(axis=1))
    return distances


def _aligned_iou(first_m: NDArray[np.float64], second_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Overlap of two boxes moved and turned onto each other, from their `(N, 3)` sizes."""
    common = np.minimum(first_m, second_m).prod(axis=1)
    iou: NDArray[np.float64] = common / (first_m.prod(axis=1) + second_m.prod(axis=1) - common)
    return iou


def _turns(difference_rad: NDArray[np.float64], period_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest turn, in radians, between headings that repeat with the period."""
    turns: NDArray[np.float64] = np.abs((difference_rad + period_rad / 2) % period_rad - period_rad / 2)
    return turns
