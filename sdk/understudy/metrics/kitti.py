"""The KITTI object benchmark: average precision in the image, from above and in 3D, and orientation similarity.

Rules as the development kit's evaluation program has them (see `docs/official-metrics.md`), over all frames at once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.converters.kitti import KittiObjects
from understudy.metrics.kitti_matching import Preferences, choose
from understudy.metrics.kitti_overlap import overlaps
from understudy.metrics.kitti_rules import (
    DIFFICULTIES,
    DONT_CARE,
    KITTI_CLASSES,
    KITTI_OVERLAPS,
    MIN_SCORE,
    NEIGHBORS,
    NO_ORIENTATION,
    NUM_RECALLS,
    STRICT,
    Difficulty,
    KittiOverlap,
    MinOverlaps,
)
from understudy.metrics.kitti_table import KittiTable, Pairs, pairs_within_frames


@dataclass(frozen=True, eq=False)
class KittiCurve:
    """Precision and orientation similarity over recall, of one class, overlap and difficulty.

    Attributes:
        class_name: as the benchmark writes it.
        overlap: how boxes were compared.
        difficulty: name of the difficulty.
        num_truths: labels that count.
        precisions: `(41,)` best precision at each recall or beyond.
        similarities: `(41,)` the same of orientation similarity; for "2d" only.
    """

    class_name: str
    overlap: KittiOverlap
    difficulty: str
    num_truths: int
    precisions: NDArray[np.float64]
    similarities: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Seen:
    """Detections and labels of all frames, and how one kind of overlap relates them.

    Attributes:
        pairs: pairs of the same frame that overlap at all; labels marked DontCare left out.
        overlaps: `(P,)` of each pair.
        covered: `(D,)` largest share of each detection that a region marked DontCare covers.
    """

    detections: KittiTable
    truths: KittiTable
    pairs: Pairs
    overlaps: NDArray[np.float64]
    covered: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Judged:
    """What counts for one class and difficulty.

    Attributes:
        counted: `(T,)` labels to be found.
        bystanders: `(T,)` labels of the class or its neighbor that need not be found.
        own: `(D,)` detections of the class, tall enough.
        small: `(D,)` detections of *any* class that are too small: they may be taken and count for nothing.
    """

    counted: NDArray[np.bool_]
    bystanders: NDArray[np.bool_]
    own: NDArray[np.bool_]
    small: NDArray[np.bool_]


def kitti_curves(
    truths: Sequence[KittiObjects], detections: Sequence[KittiObjects], min_overlaps: MinOverlaps = STRICT
) -> list[KittiCurve]:
    """The benchmark's curves for every class, overlap and difficulty.

    Args:
        truths: label lines of each frame, DontCare included.
        detections: result lines of the same frames.
        min_overlaps: overlaps that detections must exceed.
    """
    assert len(truths) == len(detections)
    labels, results = KittiTable.of_frames(truths), KittiTable.of_frames(detections)
    curves = []
    for overlap in KITTI_OVERLAPS:
        seen = _seen(overlap, results, labels)
        for name in KITTI_CLASSES:
            for difficulty in DIFFICULTIES:
                judged = _judged(results, labels, name, difficulty)
                precisions, similarities = _curves(seen, judged, min_overlaps[overlap][name])
                num_truths = int(judged.counted.sum())
                curves.append(KittiCurve(name, overlap, difficulty.name, num_truths, precisions, similarities))
    return curves


def kitti_values(curves: Sequence[KittiCurve], *, oriented: bool) -> dict[str, float | None]:
    """The benchmark's percentages, named `Car/3d/R40/moderate`.

    Args:
        curves: of `kitti_curves`.
        oriented: of `is_oriented`; otherwise orientation ("aos") is not scored.

    Returns:
        None where no label counts, and for orientation that is not scored.
    """
    values: dict[str, float | None] = {}
    for name in KITTI_CLASSES:
        of_class = [curve for curve in curves if curve.class_name == name]
        for curve in of_class:
            _enter(values, curve, curve.overlap, curve.precisions)
        for curve in of_class:
            if curve.overlap == "2d":
                _enter(values, curve, "aos", curve.similarities if oriented else None)
    return values


def is_oriented(detections: Sequence[KittiObjects]) -> bool:
    """Whether every detection says how it is turned; one that does not (alpha -10) takes all out of the running."""
    return all(bool((objects.alpha_rad != NO_ORIENTATION).all()) for objects in detections)


def _enter(values: dict[str, float | None], curve: KittiCurve, kind: str, heights: NDArray[np.float64] | None) -> None:
    known = heights if curve.num_truths else None
    for rule, rows, count in (("R11", slice(0, NUM_RECALLS, 4), 11), ("R40", slice(1, NUM_RECALLS), 40)):
        percent = None if known is None else float(known[rows].sum()) / count * 100
        values[f"{curve.class_name}/{kind}/{rule}/{curve.difficulty}"] = percent


def _seen(overlap: KittiOverlap, detections: KittiTable, truths: KittiTable) -> _Seen:
    regions = truths.of_type(DONT_CARE)
    pairs = pairs_within_frames(detections, truths, ~regions)
    values = overlaps(overlap, detections, truths, pairs, "union")
    touching = values > 0
    over_regions = pairs_within_frames(detections, truths, regions)
    covered = np.zeros(len(detections))
    np.maximum.at(covered, over_regions.detections, overlaps(overlap, detections, truths, over_regions, "detection"))
    return _Seen(detections, truths, pairs[touching], values[touching], covered)


def _judged(detections: KittiTable, truths: KittiTable, name: str, difficulty: Difficulty) -> _Judged:
    heights_px = truths.boxes_px[:, 3] - truths.boxes_px[:, 1]
    too_hard = (
        (truths.occluded > difficulty.max_occlusion)
        | (truths.truncated > difficulty.max_truncation)
        | (heights_px <= difficulty.min_height_px)
    )
    of_class = truths.of_type(name)
    neighbors = truths.of_type(NEIGHBORS[name]) if name in NEIGHBORS else np.zeros(len(truths), bool)
    small = np.abs(detections.boxes_px[:, 1] - detections.boxes_px[:, 3]) < difficulty.min_height_px
    return _Judged(of_class & ~too_hard, neighbors | (of_class & too_hard), detections.of_type(name) & ~small, small)


def _curves(seen: _Seen, judged: _Judged, min_overlap: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`(41,)` precisions and `(41,)` orientation similarities."""
    usable = (
        (seen.overlaps > min_overlap)
        & (judged.own | judged.small)[seen.pairs.detections]
        & (judged.counted | judged.bystanders)[seen.pairs.truths]
    )
    pairs, values = seen.pairs[usable], seen.overlaps[usable]
    thresholds = recall_thresholds(_scores_of_found(seen, judged, pairs), int(judged.counted.sum()))
    preferences = Preferences.by_overlap(pairs.truths, pairs.detections, values, judged.small)
    reached = seen.detections.scores[:, None] >= thresholds
    choices = choose(preferences, seen.truths.frames, reached.copy())
    right = (choices.detections >= 0) & judged.counted[choices.truths][:, None] & ~judged.small[choices.detections]
    free = judged.own & ~(seen.covered > min_overlap)
    blamed = (choices.detections >= 0) & free[choices.detections]
    wrong = reached[free].sum(axis=0) - blamed.sum(axis=0)
    turned_rad = seen.truths.alpha_rad[choices.truths][:, None] - seen.detections.alpha_rad[choices.detections]
    similar = np.where(right, (1.0 + np.cos(turned_rad)) / 2.0, 0.0).sum(axis=0)
    correct = right.sum(axis=0)
    return _falling(correct, correct + wrong), _falling(similar, correct + wrong)


def _scores_of_found(seen: _Seen, judged: _Judged, pairs: Pairs) -> NDArray[np.float64]:
    """Scores at which labels that count are found when every detection is let in."""
    scores = seen.detections.scores
    pairs = pairs[scores[pairs.detections] > MIN_SCORE]
    preferences = Preferences.by_score(pairs.truths, pairs.detections, scores)
    choices = choose(preferences, seen.truths.frames, np.ones((len(scores), 1), bool))
    taken = choices.detections[:, 0]
    found: NDArray[np.float64] = scores[taken[(taken >= 0) & judged.counted[choices.truths] & ~judged.small[taken]]]
    return found


def recall_thresholds(scores: NDArray[np.float64], num_truths: int) -> NDArray[np.float64]:
    """At most 41 scores, falling, at which recall comes closest to 0, 1/40, ..., 1.

    A score is passed over when the next one's recall is nearer to the wanted recall; the last one never is.

    Args:
        scores: of the labels that were found, in any order.
        num_truths: labels that count, at least as many.
    """
    falling = np.sort(scores)[::-1]
    last, thresholds, wanted, start = len(falling) - 1, [], 0.0, 0
    while start <= last:

        def near_enough(place: int, wanted: float = wanted) -> bool:
            return not (place + 2) / num_truths - wanted < wanted - (place + 1) / num_truths

        place = bisect_left(range(last), True, lo=start, key=near_enough) if start < last else last
        thresholds.append(falling[place])
        wanted += 1.0 / (NUM_RECALLS - 1.0)
        start = place + 1
    return np.array(thresholds, np.float64)


def _falling(parts: NDArray[np.number], wholes: NDArray[np.int64]) -> NDArray[np.float64]:
    """`(41,)` the largest ratio at each recall or beyond; 0 where there are none."""
    curve = np.zeros(NUM_RECALLS)
    curve[: len(parts)] = np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)
    best: NDArray[np.float64] = np.maximum.accumulate(curve[::-1])[::-1]
    return best
