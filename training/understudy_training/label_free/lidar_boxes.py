"""Boxes from the cloud alone: clusters of what stands, of those that move between passes, as rectangles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.configuration import Config
from understudy_training.label_free.clustering import NOISE, ClusterSettings, clusters
from understudy_training.label_free.ground import Plane
from understudy_training.label_free.rectangles import box_around

KEPT = "kept"


class ClusterRules(Config):
    """Which clusters become boxes; the numbers are MODEST's."""

    min_points: int = Field(10, ge=1)
    percentile: float = Field(20.0, ge=0, le=100)
    max_persistency: float = Field(0.7, ge=0, le=1)
    """Of the points' persistency, this percentile is at most so much: a part of what moves may look persistent."""
    min_top_m: float = 0.5
    """Above the ground."""
    max_bottom_m: float = 1.0
    """Above the ground: what hangs in the air is a tree or a sign."""
    min_volume_m3: float = Field(0.5, ge=0)
    max_volume_m3: float = Field(120.0, gt=0)
    max_length_m: float = Field(16.0, gt=0)
    """Longer ones are walls and rows of things."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A cluster with the box around it.

    Attributes:
        box: `(7,)` in ego.
        persistency: `(N,)` of its points.
        ground_z_m: height of the ground below it.
    """

    box: NDArray[np.float32]
    persistency: NDArray[np.floating]
    ground_z_m: float

    @property
    def volume_m3(self) -> float:
        """Of the box."""
        return float(np.prod(self.box[3:6].astype(np.float64)))

    @property
    def bottom_m(self) -> float:
        """Of the box, above the ground."""
        return float(self.box[2] - self.box[5] / 2) - self.ground_z_m

    @property
    def top_m(self) -> float:
        """Of the box, above the ground."""
        return float(self.box[2] + self.box[5] / 2) - self.ground_z_m


Filter = Callable[[Candidate, ClusterRules], bool]
FILTERS: dict[str, Filter] = {
    "few points": lambda found, rules: len(found.persistency) < rules.min_points,
    "persistent": lambda found, rules: is_persistent(found.persistency, rules),
    "flat": lambda found, rules: found.top_m < rules.min_top_m,
    "in the air": lambda found, rules: found.bottom_m > rules.max_bottom_m,
    "too small": lambda found, rules: found.volume_m3 < rules.min_volume_m3,
    "too large": lambda found, rules: found.volume_m3 > rules.max_volume_m3,
    "too long": lambda found, rules: float(found.box[3]) > rules.max_length_m,
}
"""What speaks against a cluster, in the order in which it is asked."""


def is_persistent(scores: NDArray[np.floating], rules: ClusterRules) -> bool:
    """Whether `(N,)` points stand where something stands in every pass; no points at all do."""
    return len(scores) == 0 or float(np.percentile(scores, rules.percentile)) > rules.max_persistency


def verdict(found: Candidate, rules: ClusterRules) -> str:
    """`KEPT`, or the first of `FILTERS` that speaks against it."""
    return next((name for name, speaks_against in FILTERS.items() if speaks_against(found, rules)), KEPT)


@dataclass(frozen=True, eq=False)
class Found:
    """Boxes `(N, 7)` of a frame, and for every candidate what became of it."""

    boxes: NDArray[np.float32]
    verdicts: tuple[str, ...]


def boxes_from_clusters(
    points: NDArray[np.float32],
    stands: NDArray[np.bool_],
    persistency: NDArray[np.floating],
    ground: Plane,
    settings: ClusterSettings,
    rules: ClusterRules,
) -> Found:
    """Boxes of what stands and moves between passes.

    Args:
        points: `(N, 3+)` the cloud in ego.
        stands: `(N,)` points above the ground that are near enough to count.
        persistency: `(N,)`; only that of standing points is looked at.
        ground: of the frame.
        settings: of the clustering.
        rules: which clusters become boxes.
    """
    standing, scores = points[stands], persistency[stands]
    labels = clusters(standing[:, :3], scores, settings)
    candidates = []
    for number in range(labels.max(initial=NOISE) + 1):
        own = labels == number
        if is_persistent(scores[own], rules):  # asked before the rectangle is searched, for most are
            candidates.append(Candidate(np.zeros(7, np.float32), scores[own], 0.0))
            continue
        box = box_around(standing[own], points)
        candidates.append(Candidate(box, scores[own], float(ground.at(box[None, :2])[0])))
    verdicts = tuple(verdict(candidate, rules) for candidate in candidates)
    kept = [candidate.box for candidate, what in zip(candidates, verdicts, strict=True) if what == KEPT]
    return Found(np.stack(kept) if kept else np.zeros((0, 7), np.float32), verdicts)
