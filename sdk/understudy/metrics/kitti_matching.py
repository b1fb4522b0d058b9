"""Which detection KITTI gives to which label, at many score thresholds at once.

The development kit walks through the labels of a frame; each takes one detection that no label before it took. With
the rule for choosing written as an order of preference per label, that is "the first in its list that is still there",
and labels that share no detection need not wait for each other: all of them, over all frames and thresholds, choose in
the same step. Only labels of one frame that compete for detections choose in turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Preferences:
    """Which detections each label would take, best first.

    Attributes:
        truths: `(E,)` label of each entry, ascending; entries of a label stand in order of preference.
        detections: `(E,)` detection of each entry.
    """

    truths: NDArray[np.int64]
    detections: NDArray[np.int64]

    @classmethod
    def by_score(
        cls, truths: NDArray[np.int64], detections: NDArray[np.int64], scores: NDArray[np.float64]
    ) -> Preferences:
        """The highest score first, of equals the first line: how recall thresholds are found."""
        order = np.lexsort((detections, -scores[detections], truths))
        return cls(truths[order], detections[order])

    @classmethod
    def by_overlap(
        cls,
        truths: NDArray[np.int64],
        detections: NDArray[np.int64],
        overlaps: NDArray[np.float64],
        ignored: NDArray[np.bool_],
    ) -> Preferences:
        """The largest overlap first, of equals the first line; ignored detections last, in the order of lines."""
        passed_over = ignored[detections]
        order = np.lexsort((detections, np.where(passed_over, 0.0, -overlaps), passed_over, truths))
        return cls(truths[order], detections[order])


@dataclass(frozen=True, eq=False)
class Choices:
    """What each label took.

    Attributes:
        truths: `(G,)` labels that any detection overlaps enough, ascending.
        detections: `(G, T)` detection taken at each threshold, -1 for none.
    """

    truths: NDArray[np.int64]
    detections: NDArray[np.int64]


def choose(preferences: Preferences, frames: NDArray[np.int64], available: NDArray[np.bool_]) -> Choices:
    """Lets every label take its first detection that is available and not yet taken, in the order of lines.

    Args:
        preferences: over labels and detections.
        frames: frame of each label.
        available: `(D, T)` whether the detection reaches the threshold; emptied of what is taken.
    """
    truths, starts, lengths = np.unique(preferences.truths, return_index=True, return_counts=True)
    chosen = np.full((len(truths), available.shape[1]), -1, np.int64)
    turns = _turns(preferences, frames[truths], starts, lengths)
    for turn in range(int(turns.max(initial=-1)) + 1):
        rows = np.flatnonzero(turns == turn)
        chosen[rows] = _first_available(preferences.detections, starts[rows], lengths[rows], available)
        taken, at = np.nonzero(chosen[rows] >= 0)
        available[chosen[rows[taken], at], at] = False
    return Choices(truths, chosen)


def _first_available(
    detections: NDArray[np.int64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    available: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """`(R, T)` the first available detection of each list `detections[start : start + length]`, -1 for none."""
    chosen = np.full((len(starts), available.shape[1]), -1, np.int64)
    for place in range(int(lengths.max(initial=0))):
        rows = np.flatnonzero(lengths > place)
        candidates = detections[starts[rows] + place]
        free = available[candidates] & (chosen[rows] < 0)
        chosen[rows] = np.where(free, candidates[:, None], chosen[rows])
    return chosen


def _turns(
    preferences: Preferences, frames: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.int64]:
    """`(G,)` turn in which each label chooses: the first, unless another label of its frame wants the same."""
    wanted_by = np.bincount(preferences.detections, minlength=1)
    shared = wanted_by[preferences.detections] > 1
    competing = np.add.reduceat(shared, starts) > 0 if len(starts) else np.zeros(0, bool)
    rows = np.flatnonzero(competing)
    _, first, counts = np.unique(frames[rows], return_index=True, return_counts=True)
    turns = np.zeros(len(lengths), np.int64)
    turns[rows] = np.arange(len(rows)) - np.repeat(first, counts)
    return turns
