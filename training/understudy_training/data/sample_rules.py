"""What can be wrong with one sample, each rule a function from the sample to messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from understudy.boxes import Boxes
from understudy.datasets.dataset import Sample
from understudy.errors import UnderstudyError
from understudy.interior import count_points_inside
from understudy.overlap import bev_iou
from understudy.plausibility import refuse_impossible_cloud
from understudy_training.data.findings import Severity
from understudy_training.data.measures import points_in_ego

_SAME_OBJECT_IOU = 0.7
_COLLISION_IOU = 0.3
_FARTHEST_FROM_ROAD_M = 4.0
_LONGEST_M, _SHORTEST_M = 40.0, 0.05
_COUNT_TOLERANCE = (10, 0.2)
_BROKEN_SHARE = 0.01


@dataclass(frozen=True)
class SampleRule:
    """A rule: its name, how bad a violation is, and the function that gives a message for each."""

    name: str
    severity: Severity
    messages: Callable[[Sample], Iterator[str]]


def _no_points(sample: Sample) -> Iterator[str]:
    for name, cloud in sample.frame.clouds.items():
        if not np.isfinite(cloud.points[:, :3]).all(axis=1).any():
            yield f"LiDAR {name}: found {len(cloud)} points, none finite"


def _refused_clouds(sample: Sample) -> Iterator[str]:
    """What a pipeline would refuse: millimeters, a blocked sensor, intensities of another scale than the rig's."""
    for name, cloud in sample.frame.clouds.items():
        if np.isfinite(cloud.points[:, :3]).all(axis=1).any():
            try:
                refuse_impossible_cloud(cloud, name, sample.rig.lidars[name].intensity_scale)
            except UnderstudyError as error:
                yield str(error)


def _broken_points(sample: Sample) -> Iterator[str]:
    """Drivers mark missing returns with NaN; more than one in a hundred in a stored data set is worth knowing."""
    for name, cloud in sample.frame.clouds.items():
        share = float((~np.isfinite(cloud.points).all(axis=1)).mean()) if len(cloud) else 0.0
        if share > _BROKEN_SHARE:
            yield f"LiDAR {name}: {100 * share:.1f} % of {len(cloud)} points are not finite"


def _segments_per_point(sample: Sample) -> Iterator[str]:
    for name, segments in sample.segments.items():
        found, wanted = len(segments), len(sample.frame.clouds[name]) if name in sample.frame.clouds else 0
        if found != wanted:
            yield f"LiDAR {name}: found {found} point classes, wanted {wanted}, one per point"


def _box_numbers(sample: Sample) -> Iterator[str]:
    for row, box in enumerate(_boxes(sample).geometry):
        if not np.isfinite(box).all():
            yield f"box {row}: found {_text(box)}, wanted finite numbers"
        elif box[3:6].max() > _LONGEST_M or box[3:6].min() < _SHORTEST_M:
            yield f"box {row} ({_name(sample, row)}): found a size of {_text(box[3:6])} m, wanted 0.05 to 40 m"


def _box_height(sample: Sample) -> Iterator[str]:
    for row, box in enumerate(_boxes(sample).geometry):
        bottom_m, top_m = box[2] - box[5] / 2, box[2] + box[5] / 2
        if bottom_m > _FARTHEST_FROM_ROAD_M or top_m < -_FARTHEST_FROM_ROAD_M:
            where = f"{bottom_m:.1f} to {top_m:.1f} m above the road below ego"
            yield f"box {row} ({_name(sample, row)}): found {where}, wanted within {_FARTHEST_FROM_ROAD_M:g} m of it"


def _box_counts(sample: Sample) -> Iterator[str]:
    """Stored counts against returns counted now: far off, and box and cloud are not of one frame or one moment."""
    boxes = _boxes(sample)
    if boxes.num_points is None or not sample.frame.clouds or not len(boxes):
        return
    counted = sum(count_points_inside(boxes, points_in_ego(sample, lidar)) for lidar in sample.frame.clouds)
    absolute, relative = _COUNT_TOLERANCE
    off = np.abs(counted - boxes.num_points) > np.maximum(absolute, relative * boxes.num_points)
    for row in np.flatnonzero(off):
        yield f"box {row} ({_name(sample, row)}): {boxes.num_points[row]} returns stored, {counted[row]} counted"


def _boxes_twice(sample: Sample) -> Iterator[str]:
    yield from _overlapping(sample, _SAME_OBJECT_IOU, 1.01, "are one object, it seems")


def _boxes_collide(sample: Sample) -> Iterator[str]:
    yield from _overlapping(sample, _COLLISION_IOU, _SAME_OBJECT_IOU, "stand in each other")


def _overlapping(sample: Sample, least: float, below: float, what: str) -> Iterator[str]:
    boxes = _boxes(sample)
    overlaps = np.triu(bev_iou(boxes.geometry, boxes.geometry), k=1)
    for first, second in np.argwhere((overlaps >= least) & (overlaps < below)):
        names = f"{_name(sample, first)} {first} and {_name(sample, second)} {second}"
        yield f"boxes {names} {what}: IoU {overlaps[first, second]:.2f} from above"


def _tracks_twice(sample: Sample) -> Iterator[str]:
    ids = _boxes(sample).track_ids
    if ids is not None:
        values, counts = np.unique(ids, return_counts=True)
        for track in values[counts > 1]:
            yield f"track {track}: found on {counts[values == track][0]} boxes of one frame"


SAMPLE_RULES = (
    SampleRule("cloud without a point", "error", _no_points),
    SampleRule("cloud that a pipeline refuses", "warning", _refused_clouds),
    SampleRule("points that are not finite", "warning", _broken_points),
    SampleRule("point classes that do not fit", "error", _segments_per_point),
    SampleRule("box that cannot be", "error", _box_numbers),
    SampleRule("box far from the road", "warning", _box_height),
    SampleRule("returns in a box", "warning", _box_counts),
    SampleRule("box labeled twice", "warning", _boxes_twice),
    SampleRule("boxes in each other", "note", _boxes_collide),
    SampleRule("track on several boxes", "error", _tracks_twice),
)


def _boxes(sample: Sample) -> Boxes:
    return Boxes.empty(()) if sample.boxes is None else sample.boxes


def _name(sample: Sample, row: int) -> str:
    boxes = _boxes(sample)
    return boxes.class_names[boxes.labels[row]]


def _text(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
