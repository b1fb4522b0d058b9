"""Greedy matching by center distance over many samples at once.

Detections come in descending order of score; each takes the nearest label of its class and sample that is still free
and nearer than a threshold. All labels prefer the detection that comes first, so the outcome is that of deferred
acceptance (Gale and Shapley, 1962) with these preferences, and whole rounds of proposals are array operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOBODY = -1
_PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True, eq=False)
class NearPairs:
    """Detections and labels of one group that are near each other, each detection's nearest first.

    Attributes:
        starts: `(D + 1,)` int64: pairs of detection d are rows `starts[d]` to `starts[d + 1]`.
        truths: `(P,)` int64.
        distances_m: `(P,)` float64, ascending per detection; equals in the order of the labels.
        num_truths: labels in all.
    """

    starts: NDArray[np.int64]
    truths: NDArray[np.int64]
    distances_m: NDArray[np.float64]
    num_truths: int


def near_pairs(
    groups: NDArray[np.int64],
    centers_m: NDArray[np.float64],
    truth_groups: NDArray[np.int64],
    truth_centers_m: NDArray[np.float64],
    limit_m: float,
) -> NearPairs:
    """All pairs of a group whose centers are less than `limit_m` apart.

    Args:
        groups: `(D,)` class and sample of each detection as one number.
        centers_m: `(D, 2 or 3)`.
        truth_groups: `(T,)`.
        truth_centers_m: `(T, 2 or 3)`.
        limit_m: the largest threshold in use.
    """
    by_group = np.argsort(truth_groups, kind="stable")
    sorted_groups = truth_groups[by_group]
    first = np.searchsorted(sorted_groups, groups, side="left")
    counts = np.searchsorted(sorted_groups, groups, side="right") - first
    parts = []
    for rows in _portions(counts):
        detections = np.repeat(rows, counts[rows])
        within = np.arange(len(detections)) - np.repeat(np.cumsum(counts[rows]) - counts[rows], counts[rows])
        truths = by_group[first[detections] + within]
        offsets_m = centers_m[detections] - truth_centers_m[truths]
        distances_m = np.sqrt((offsets_m**2).sum(axis=1))
        near = distances_m < limit_m
        parts.append((detections[near], truths[near], distances_m[near]))
    detections, truths, distances_m = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((distances_m, detections))
    starts = np.searchsorted(detections, np.arange(len(groups) + 1))
    return NearPairs(starts, truths[order], distances_m[order], len(truth_groups))


def _portions(counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows in runs of about `_PAIRS_AT_ONCE` pairs; at least one run."""
    portion = np.cumsum(counts) // _PAIRS_AT_ONCE
    cuts = np.flatnonzero(np.diff(portion)) + 1
    return np.split(np.arange(len(counts)), cuts)


def match(pairs: NearPairs, threshold_m: float) -> NDArray[np.int64]:
    """`(D,)` label that each detection takes, -1 for none; detections are given in the order in which they choose."""
    num_detections = len(pairs.starts) - 1
    below = np.concatenate([[0], np.cumsum(pairs.distances_m < threshold_m)])
    choice = pairs.starts[:-1].copy()
    ends = choice + below[pairs.starts[1:]] - below[pairs.starts[:-1]]
    holders = np.full(pairs.num_truths, num_detections)
    proposing = np.flatnonzero(choice < ends)
    while len(proposing):
        wanted = pairs.truths[choice[proposing]]
        before = holders[wanted]
        np.minimum.at(holders, wanted, proposing)
        after = holders[wanted]
        displaced = np.unique(before[(before != after) & (before < num_detections)])
        proposing = np.concatenate([proposing[after != proposing], displaced])
        choice[proposing] += 1
        proposing = proposing[choice[proposing] < ends[proposing]]
    taken = np.full(num_detections, NOBODY)
    held = np.flatnonzero(holders < num_detections)
    taken[holders[held]] = held
    return taken
