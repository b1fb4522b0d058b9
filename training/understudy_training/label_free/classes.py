"""Which class a box without labels has: that of the 2D box it is seen in, else that of boxes of its size.

The second rule is ours: a camera sees a part of what a LiDAR sees, and a box without a class can teach a detector of
several classes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.spatial import cKDTree

from understudy.boxes import Boxes
from understudy.configuration import Config
from understudy.rig import Camera
from understudy_training.label_free.cues import PictureBoxes
from understudy_training.label_free.synthetic_cues import projected

OBJECT = "object"
UNKNOWN = -1


class ClassRules(Config):
    """How boxes come by a class."""

    same_iou: float = Field(0.5, gt=0, le=1)
    """Overlap of a projected box with a 2D box from which it carries that one's class."""
    voters: int = Field(15, ge=1)
    """A box that no picture speaks of takes the class of so many boxes of nearly its size."""
    min_agreement: float = Field(0.6, gt=0, le=1)
    """Share of them that must agree; else the box is neither asked for nor background."""


def classes_in_pictures(
    boxes: Boxes,
    cues: Mapping[str, PictureBoxes],
    cameras: Mapping[str, Camera],
    class_names: tuple[str, ...],
    rules: ClassRules,
) -> NDArray[np.int64]:
    """`(N,)` class of the 2D box that each box looks most like in any picture, `UNKNOWN` where none is alike enough."""
    best = np.full(len(boxes), rules.same_iou)
    labels = np.full(len(boxes), UNKNOWN, np.int64)
    for camera, found in cues.items():
        corners, shown = projected(boxes, cameras[camera])
        overlaps = picture_iou(corners, found.corners_px) * shown[:, None]
        for row in np.flatnonzero(overlaps.max(axis=1, initial=0.0) >= best):
            name = found.class_names[int(overlaps[row].argmax())]
            labels[row] = class_names.index(name) if name in class_names else UNKNOWN
            best[row] = overlaps[row].max()
    return labels


def classes_by_size(
    geometry: NDArray[np.floating], labels: NDArray[np.int64], num_classes: int, rules: ClassRules
) -> NDArray[np.int64]:
    """`(N,)` the labels, with those that are `UNKNOWN` voted for by known boxes of nearly the same size.

    Args:
        geometry: `(N, 7)` boxes of all frames.
        labels: `(N,)` their classes.
        num_classes: how many there are.
        rules: who votes.
    """
    known = labels != UNKNOWN
    if not known.any() or known.all():
        return labels
    sizes = np.log(np.maximum(geometry[:, 3:6].astype(np.float64), 0.05))
    voters = min(rules.voters, int(known.sum()))
    _, nearest = cKDTree(sizes[known]).query(sizes[~known], k=voters)
    said = labels[known][np.asarray(nearest).reshape(-1, voters)]
    votes = np.stack([(said == label).sum(axis=1) for label in range(num_classes)], axis=1)
    agreed = votes.max(axis=1) >= rules.min_agreement * voters
    result: NDArray[np.int64] = labels.copy()
    result[~known] = np.where(agreed, votes.argmax(axis=1), UNKNOWN)
    return result


def picture_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(N, M)` intersection over union of upright boxes given by their corners."""
    shared = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    overlap = np.prod(np.maximum(shared, 0.0), axis=2)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None] - overlap
    ratio: NDArray[np.float64] = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return ratio
