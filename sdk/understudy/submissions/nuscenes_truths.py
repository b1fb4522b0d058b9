"""The labels that nuScenes results are scored against: from the official tables, or from a data set's own boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.converters.class_maps import NUSCENES_DETECTION_NAMES, chosen_map
from understudy.converters.nuscenes import nuscenes_from_boxes
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.nuscenes_tables import NuscenesTables
from understudy.errors import InputError
from understudy.metrics.nuscenes_objects import (
    ATTRIBUTE_NAMES,
    NO_ATTRIBUTE,
    UNKNOWN_POINTS,
    NuscenesObjects,
    NuscenesTruths,
)
from understudy.pose import Pose

_RACK = "static_object.bicycle_rack"


def truths_of(dataset: Dataset) -> NuscenesTruths:
    """All labels of the detection task.

    Official tables give them unrounded, with attributes, LiDAR and radar points and bicycle racks, and no sensor file
    is read. Any other data set with the ten classes gives its samples' boxes, which tell no attributes, racks or radar.

    Raises:
        InputError: when the data set has no labels, is of other classes, or a label has two attributes.
    """
    return _from_tables(dataset) if isinstance(dataset, NuscenesTables) else _from_samples(dataset)


def world_from_ego(sample: Sample) -> Pose:
    """Where the vehicle was.

    Raises:
        InputError: when the frame does not tell.
    """
    if sample.frame.world_from_ego is None:
        raise InputError(f"sample {sample.key}", found="no pose of the vehicle", wanted="world_from_ego")
    return sample.frame.world_from_ego


def objects_of(sample: int, boxes: Boxes, global_from_ego: Pose) -> NuscenesObjects:
    """Boxes in ego as the task's objects in the global frame, without attributes; `sample` is its number.

    Raises:
        InputError: when a class is not one of the ten.
    """
    annotations, count = nuscenes_from_boxes(boxes, global_from_ego), len(boxes)
    strangers = sorted(set(boxes.class_names) - set(NUSCENES_DETECTION_NAMES))
    if strangers:
        wanted = f"classes among {', '.join(NUSCENES_DETECTION_NAMES)}"
        remedy = "train with `data: {classes: official}`; score other classes by `evaluate` without --official"
        raise InputError("nuScenes detection task", found=f"class {', '.join(strangers)}", wanted=wanted, remedy=remedy)
    table = np.array([NUSCENES_DETECTION_NAMES.index(name) for name in boxes.class_names], np.int64)
    velocities = np.full((count, 2), np.nan)
    if boxes.velocities_mps is not None:
        velocities = boxes.velocities_mps.astype(np.float64) @ global_from_ego.rotation[:2, :2].T
    unknown = np.full(count, UNKNOWN_POINTS, np.int64)
    return NuscenesObjects(
        samples=np.full(count, sample, np.int64),
        labels=table[boxes.labels],
        centers_m=annotations.translations_m,
        sizes_m=annotations.sizes_m,
        rotations_wxyz=annotations.rotations_wxyz,
        velocities_mps=velocities,
        attributes=np.full(count, NO_ATTRIBUTE, np.int64),
        scores=np.zeros(count) if boxes.scores is None else boxes.scores.astype(np.float64),
        num_points=unknown if boxes.num_points is None else boxes.num_points.astype(np.int64),
    )


def _from_samples(dataset: Dataset) -> NuscenesTruths:
    if set(dataset.class_names) - set(NUSCENES_DETECTION_NAMES):
        found, wanted = ", ".join(dataset.class_names), f"classes among {', '.join(NUSCENES_DETECTION_NAMES)}"
        raise InputError("data set for the metric nuscenes", found=found, wanted=wanted, remedy="open a nuScenes one")
    tokens, positions, parts = [], [], []
    has_velocities = False
    for index in range(len(dataset)):
        sample = dataset[index]
        if sample.boxes is None:
            raise InputError(f"sample {sample.key}", found="no labels", wanted="labels of the detection task")
        pose = world_from_ego(sample)
        has_velocities |= sample.boxes.velocities_mps is not None
        tokens.append(sample.key)
        positions.append(pose.translation_m)
        parts.append(objects_of(index, sample.boxes, pose))
    return NuscenesTruths(
        tokens=tuple(tokens),
        ego_positions_m=np.array(positions).reshape(-1, 3),
        objects=NuscenesObjects.concatenate([NuscenesObjects.empty(), *parts]),
        rack_samples=np.zeros(0, np.int64),
        rack_centers_m=np.zeros((0, 3)),
        rack_sizes_m=np.zeros((0, 3)),
        rack_rotations_wxyz=np.zeros((0, 4)),
        has_velocities=has_velocities,
        has_attributes=False,
    )


def _from_tables(tables: NuscenesTables) -> NuscenesTruths:
    class_map = chosen_map("nuscenes-tables", "official")
    parts, rack_samples, racks = [], [], []
    for index in range(len(tables)):
        annotations = tables.annotations(index)
        labels = class_map.labels([str(name) for name in annotations.names]).astype(np.int64)
        scored, is_rack = labels >= 0, annotations.names == _RACK
        shown = annotations[scored]
        parts.append(
            NuscenesObjects(
                samples=np.full(len(shown), index, np.int64),
                labels=labels[scored],
                centers_m=shown.translations_m,
                sizes_m=shown.sizes_m,
                rotations_wxyz=shown.rotations_wxyz,
                velocities_mps=shown.velocities_mps[:, :2],
                attributes=_attributes(shown.attributes, tables.key(index)),
                scores=np.zeros(len(shown)),
                num_points=shown.num_lidar_points.astype(np.int64) + shown.num_radar_points,
            )
        )
        racks.append(annotations[is_rack])
        rack_samples.append(np.full(len(racks[-1]), index, np.int64))
    if not any(len(part) for part in parts):
        raise InputError("data set for the metric nuscenes", found="no labels", wanted="a release with labels")
    return NuscenesTruths(
        tokens=tuple(tables.key(index) for index in range(len(tables))),
        ego_positions_m=np.array([tables.world_from_ego(index).translation_m for index in range(len(tables))]),
        objects=NuscenesObjects.concatenate(parts),
        rack_samples=np.concatenate(rack_samples),
        rack_centers_m=np.concatenate([rack.translations_m for rack in racks]),
        rack_sizes_m=np.concatenate([rack.sizes_m for rack in racks]),
        rack_rotations_wxyz=np.concatenate([rack.rotations_wxyz for rack in racks]),
    )


def _attributes(names: Sequence[str] | NDArray[np.object_], token: str) -> NDArray[np.int64]:
    known = {"": NO_ATTRIBUTE, **{name: number for number, name in enumerate(ATTRIBUTE_NAMES)}}
    strangers = [str(name) for name in names if name not in known]
    if strangers:
        wanted = f"at most one of {', '.join(ATTRIBUTE_NAMES)}"
        raise InputError(f"sample {token}", found=f"a label with attribute {strangers[0]}", wanted=wanted)
    return np.array([known[name] for name in names], np.int64).reshape(len(names))
