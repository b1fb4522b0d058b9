"""Which objects count in the nuScenes detection task: in range of the vehicle, seen by a sensor, not in a bicycle rack.

Source: the detection task's description and its configuration `detection_cvpr_2019` in nuscenes-devkit 1.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from understudy.converters.class_maps import NUSCENES_DETECTION_NAMES
from understudy.metrics.nuscenes_objects import NuscenesObjects, NuscenesTruths
from understudy.pose import Pose

CLASS_RANGES_M = {
    **dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), 50.0),
    **dict.fromkeys(("pedestrian", "motorcycle", "bicycle"), 40.0),
    **dict.fromkeys(("traffic_cone", "barrier"), 30.0),
}
"""Distance from the vehicle, from above, below which a class is scored."""

_KEPT_IN_RACKS = ("bicycle", "motorcycle")


def counted(objects: NuscenesObjects, truths: NuscenesTruths) -> NuscenesObjects:
    """The objects that count; labels and detections go through the same rules.

    Args:
        objects: labels, or detections (of which none is left out for its points, as they tell none).
        truths: where the vehicle was and where the bicycle racks stand.
    """
    kept = _in_range(objects, truths.ego_positions_m) & (objects.num_points != 0)
    kept &= ~_in_a_rack(objects, truths)
    return objects[kept]


def _in_range(objects: NuscenesObjects, ego_positions_m: NDArray[np.float64]) -> NDArray[np.bool_]:
    limits_m = np.array([CLASS_RANGES_M[name] for name in NUSCENES_DETECTION_NAMES])
    offsets_m = objects.centers_m[:, :2] - ego_positions_m[objects.samples, :2]
    inside: NDArray[np.bool_] = np.sqrt((offsets_m**2).sum(axis=1)) < limits_m[objects.labels]
    return inside


def _in_a_rack(objects: NuscenesObjects, truths: NuscenesTruths) -> NDArray[np.bool_]:
    """`(N,)`: bicycles and motorcycles whose center lies in or on a rack of the same sample."""
    parked = np.zeros(len(objects), bool)
    candidates = np.isin(objects.labels, [NUSCENES_DETECTION_NAMES.index(name) for name in _KEPT_IN_RACKS])
    for rack, sample in enumerate(truths.rack_samples):
        rows = np.flatnonzero(candidates & (objects.samples == sample))
        parked[rows] |= _inside(objects.centers_m[rows], truths, rack)
    return parked


def _inside(points_m: NDArray[np.float64], truths: NuscenesTruths, rack: int) -> NDArray[np.bool_]:
    """Whether each of the `(P, 3)` points lies in the rack, its faces included."""
    wxyz = truths.rack_rotations_wxyz[rack]
    global_from_rack = Pose.from_quaternion(wxyz / np.linalg.norm(wxyz), truths.rack_centers_m[rack])
    width_m, length_m, height_m = truths.rack_sizes_m[rack]
    half_m = np.array([length_m, width_m, height_m]) / 2
    within = np.abs(global_from_rack.inverse().apply(points_m)) <= half_m
    inside: NDArray[np.bool_] = np.logical_and.reduce(within, axis=1)
    return inside
