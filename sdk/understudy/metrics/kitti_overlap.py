"""How much KITTI's detections and labels overlap: in the image, from above and in 3D, pair by pair in float64.

The image overlap follows the development kit's arithmetic step by step, so that an overlap exactly at a threshold is
decided alike. Where it divides nothing by nothing the overlap is 0: nothing is found there.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from understudy.metrics.kitti_rules import KittiOverlap
from understudy.metrics.kitti_table import KittiTable, Pairs
from understudy.overlap import paired_intersections_m2

Over = Literal["union", "detection"]


def overlaps(
    kind: KittiOverlap, detections: KittiTable, truths: KittiTable, pairs: Pairs, over: Over
) -> NDArray[np.float64]:
    """`(P,)` intersection over union, or over the detection alone as regions marked DontCare have it."""
    if kind == "2d":
        return _in_image(detections, truths, pairs, over)
    shared_m2 = _shared_footprint_m2(detections, truths, pairs)
    if kind == "bev":
        own_m2, other_m2 = _footprint_m2(detections)[pairs.detections], _footprint_m2(truths)[pairs.truths]
        return _ratio(shared_m2, own_m2, other_m2, over)
    bottoms_m = (detections.locations_m[pairs.detections, 1], truths.locations_m[pairs.truths, 1])
    heights_m = (detections.sizes_m[pairs.detections, 0], truths.sizes_m[pairs.truths, 0])
    lowest_m = np.minimum(*bottoms_m)
    highest_m = np.maximum(bottoms_m[0] - heights_m[0], bottoms_m[1] - heights_m[1])
    shared_m3 = shared_m2 * np.maximum(0.0, lowest_m - highest_m)
    return _ratio(shared_m3, _volume_m3(detections)[pairs.detections], _volume_m3(truths)[pairs.truths], over)


def _in_image(detections: KittiTable, truths: KittiTable, pairs: Pairs, over: Over) -> NDArray[np.float64]:
    own, other = detections.boxes_px[pairs.detections], truths.boxes_px[pairs.truths]
    sides_px = np.minimum(own[:, 2:], other[:, 2:]) - np.maximum(own[:, :2], other[:, :2])
    shared_px2 = np.where((sides_px > 0).all(axis=1), sides_px[:, 0] * sides_px[:, 1], 0.0)
    return _ratio(shared_px2, _area_px2(own), _area_px2(other), over)


def _area_px2(boxes_px: NDArray[np.float64]) -> NDArray[np.float64]:
    areas_px2: NDArray[np.float64] = (boxes_px[:, 2] - boxes_px[:, 0]) * (boxes_px[:, 3] - boxes_px[:, 1])
    return areas_px2


def _shared_footprint_m2(detections: KittiTable, truths: KittiTable, pairs: Pairs) -> NDArray[np.float64]:
    return paired_intersections_m2(_upright(detections)[pairs.detections], _upright(truths)[pairs.truths])


def _upright(table: KittiTable) -> NDArray[np.float64]:
    """`(N, 7)` boxes whose x and y are the rectified camera's x and z; a size of -1 means no size and acts as 1."""
    height_m, width_m, length_m = np.abs(table.sizes_m).T
    x_m, _, z_m = table.locations_m.T
    return np.column_stack([x_m, z_m, 0 * x_m, length_m, width_m, height_m, -table.rotations_y_rad])


def _footprint_m2(table: KittiTable) -> NDArray[np.float64]:
    footprint_m2: NDArray[np.float64] = table.sizes_m[:, 1] * table.sizes_m[:, 2]
    return footprint_m2


def _volume_m3(table: KittiTable) -> NDArray[np.float64]:
    volume_m3: NDArray[np.float64] = table.sizes_m[:, 0] * table.sizes_m[:, 2] * table.sizes_m[:, 1]
    return volume_m3


def _ratio(
    shared: NDArray[np.float64], own: NDArray[np.float64], other: NDArray[np.float64], over: Over
) -> NDArray[np.float64]:
    whole = own + other - shared if over == "union" else own
    return np.divide(shared, whole, out=np.zeros_like(shared), where=(shared > 0) & (whole != 0))
