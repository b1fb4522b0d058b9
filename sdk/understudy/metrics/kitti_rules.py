"""What the KITTI object benchmark counts: classes, difficulties and overlaps, as its development kit has them.

Source: A. Geiger, P. Lenz, R. Urtasun, "Are we ready for autonomous driving? The KITTI vision benchmark suite" (CVPR
2012) and the evaluation program of the benchmark's development kit, in its version with 40 recalls (2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

KittiOverlap = Literal["2d", "bev", "3d"]
KITTI_OVERLAPS: tuple[KittiOverlap, ...] = ("2d", "bev", "3d")
KITTI_CLASSES = ("Car", "Pedestrian", "Cyclist")
NEIGHBORS: Mapping[str, str] = {"Car": "Van", "Pedestrian": "Person_sitting"}
"""Classes so alike that finding one is neither right nor wrong."""
DONT_CARE = "DontCare"
NUM_RECALLS = 41
"""Points of the precision curve, at recalls 0, 1/40, ..., 1."""
NO_ORIENTATION = -10.0
"""The alpha of a detection that says nothing of its orientation."""
MIN_SCORE = -10_000_000.0
"""Detections must score above this to be candidates for a recall threshold."""


@dataclass(frozen=True)
class Difficulty:
    """Which labels count.

    Attributes:
        name: as in the benchmark's tables.
        min_height_px: labels must be taller in the image; detections at least as tall.
        max_occlusion: highest occlusion level, 0 to 3.
        max_truncation: largest share outside the image.
    """

    name: str
    min_height_px: float
    max_occlusion: int
    max_truncation: float


DIFFICULTIES = (
    Difficulty("easy", 40.0, 0, 0.15),
    Difficulty("moderate", 25.0, 1, 0.30),
    Difficulty("hard", 25.0, 2, 0.50),
)

MinOverlaps = Mapping[KittiOverlap, Mapping[str, float]]
"""Overlap that a detection must exceed, by kind of overlap and class."""

_IMAGE = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
_LOOSE = {"Car": 0.5, "Pedestrian": 0.25, "Cyclist": 0.25}
STRICT: MinOverlaps = {"2d": _IMAGE, "bev": _IMAGE, "3d": _IMAGE}
"""The benchmark's own."""
LOOSE: MinOverlaps = {"2d": _IMAGE, "bev": _LOOSE, "3d": _LOOSE}
"""The second set that papers report beside it; not part of the benchmark."""
