"""LiDAR boxes and picture boxes as one set: pictures speak from a distance on, and each object stands once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.metrics.matching import ground_ranges_m
from understudy.overlap import bev_iou

SAME_IOU = 0.1
"""Two boxes of different sources that overlap by more are the same object."""
LIDAR_WINS_M = 30.0


def merge(lidar: Boxes, pictures: Boxes, min_range_m: float) -> Boxes:
    """All LiDAR boxes, and those picture boxes whose center is no nearer to ego than `min_range_m`, from above.

    Optional columns stay where both have them.
    """
    return Boxes.concatenate([lidar, pictures[ground_ranges_m(pictures) >= min_range_m]])


def without_doubles(
    lidar: Boxes, pictures: Boxes, *, iou: float = SAME_IOU, lidar_wins_m: float = LIDAR_WINS_M
) -> tuple[Boxes, Boxes]:
    """Both sets with each object in one of them only: within `lidar_wins_m` (of the LiDAR's box) in the LiDAR's.

    Call it with the picture boxes that will be merged; one that is too near to be merged may take nothing away.
    """
    same: NDArray[np.bool_] = bev_iou(lidar.geometry, pictures.geometry) > iou
    near: NDArray[np.bool_] = (ground_ranges_m(lidar) < lidar_wins_m)[:, None]
    beaten = np.asarray((same & near).any(axis=0), bool)
    gives_way = np.asarray((same & ~near & ~beaten[None]).any(axis=1), bool)
    return lidar[~gives_way], pictures[~beaten]


def suppressed(boxes: Boxes, iou: float = SAME_IOU) -> Boxes:
    """Without boxes that overlap one of higher score by more than `iou` from above; of equals the first stays."""
    scores = np.zeros(len(boxes)) if boxes.scores is None else boxes.scores
    order = np.argsort(-scores, kind="stable")
    overlaps = bev_iou(boxes.geometry[order], boxes.geometry[order]) > iou
    stays = np.ones(len(boxes), bool)
    for place in range(len(order)):
        if stays[place]:
            stays[place + 1 :] &= ~overlaps[place, place + 1 :]
    rows: NDArray[np.intp] = np.sort(order[stays])
    return boxes[rows]
