"""Label or result lines of many frames as one table, and which lines of two tables stand in the same frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.converters.kitti import KittiObjects


@dataclass(frozen=True, eq=False)
class KittiTable:
    """Lines of many frames, column by column, in order of frames and of lines within.

    Attributes:
        frames: `(N,)` int64 number of the frame, ascending.
        types: `(N,)` class names in lower case: the benchmark does not tell case apart.
        truncated: `(N,)`.
        occluded: `(N,)`.
        alpha_rad: `(N,)`.
        boxes_px: `(N, 4)` left, top, right, bottom.
        sizes_m: `(N, 3)` height, width, length.
        locations_m: `(N, 3)`.
        rotations_y_rad: `(N,)`.
        scores: `(N,)`; zeros for labels.
    """

    frames: NDArray[np.int64]
    types: NDArray[np.str_]
    truncated: NDArray[np.float64]
    occluded: NDArray[np.int64]
    alpha_rad: NDArray[np.float64]
    boxes_px: NDArray[np.float64]
    sizes_m: NDArray[np.float64]
    locations_m: NDArray[np.float64]
    rotations_y_rad: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frames)

    def of_type(self, name: str) -> NDArray[np.bool_]:
        """`(N,)`: whether the line is of that class."""
        return np.asarray(self.types == name.lower(), bool)

    @classmethod
    def of_frames(cls, frames: Sequence[KittiObjects]) -> KittiTable:
        """The lines of frames numbered from 0."""
        names = [name.lower() for objects in frames for name in objects.types]
        return cls(
            frames=np.repeat(np.arange(len(frames)), [len(objects) for objects in frames]),
            types=np.array(names, dtype=np.str_) if names else np.zeros(0, "<U1"),
            truncated=_column([objects.truncated for objects in frames]),
            occluded=np.concatenate([np.zeros(0, np.int64), *(objects.occluded for objects in frames)]),
            alpha_rad=_column([objects.alpha_rad for objects in frames]),
            boxes_px=_column([objects.boxes_px for objects in frames], 4),
            sizes_m=_column([objects.sizes_m for objects in frames], 3),
            locations_m=_column([objects.locations_m for objects in frames], 3),
            rotations_y_rad=_column([objects.rotations_y_rad for objects in frames]),
            scores=_column([_scores(objects) for objects in frames]),
        )


@dataclass(frozen=True, eq=False)
class Pairs:
    """Detections with labels of the same frame.

    Attributes:
        detections: `(P,)` rows of the detections' table.
        truths: `(P,)` rows of the labels' table.
    """

    detections: NDArray[np.int64]
    truths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.detections)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
        """The pairs chosen by a mask or an index array."""
        return Pairs(self.detections[index], self.truths[index])


def pairs_within_frames(detections: KittiTable, truths: KittiTable, wanted: NDArray[np.bool_]) -> Pairs:
    """Every detection with every label of its frame that is `wanted` (a mask over the labels)."""
    rows = np.flatnonzero(wanted)
    first = np.searchsorted(truths.frames[rows], detections.frames, side="left")
    counts = np.searchsorted(truths.frames[rows], detections.frames, side="right") - first
    ends = np.cumsum(counts)
    within = np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)
    return Pairs(np.repeat(np.arange(len(detections)), counts), rows[np.repeat(first, counts) + within])


def _scores(objects: KittiObjects) -> NDArray[np.float64]:
    return np.zeros(len(objects)) if objects.scores is None else objects.scores


def _column(parts: list[NDArray[np.float64]], width: int | None = None) -> NDArray[np.float64]:
    empty = np.zeros(0) if width is None else np.zeros((0, width))
    return np.concatenate([empty, *parts])
