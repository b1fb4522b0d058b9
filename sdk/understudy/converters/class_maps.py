"""Every table from a data set's own class names to the classes that are trained and scored, in one place.

A `ClassMap` says which native names count and as what. Each data set has a default map onto our four classes
(`understudy`) and one onto the classes its official metric scores (`official`); a recipe may write out its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from understudy.boxes import Boxes, Segments
from understudy.configuration import Config, read_config
from understudy.converters.classes import CLASS_NAMES, labels_from_names
from understudy.errors import InputError


class ClassMap(Config):
    """Native class names to the classes that count. Native names that are not listed are dropped."""

    class_names: tuple[str, ...]
    """Classes in label order."""
    of: dict[str, str]
    """Class of each native name that counts."""

    @model_validator(mode="after")
    def _targets_exist(self) -> ClassMap:
        twice = sorted({name for name in self.class_names if self.class_names.count(name) > 1})
        if twice:
            raise ValueError(f"class_names: {', '.join(twice)} twice")
        strangers = sorted(set(self.of.values()) - set(self.class_names))
        if strangers:
            raise ValueError(f"of: {', '.join(strangers)} not among class_names {', '.join(self.class_names)}")
        return self

    def labels(self, names: Sequence[str]) -> NDArray[np.int32]:
        """`(N,)` index into `class_names` for each native name, -1 where it does not count."""
        return labels_from_names(names, self.of, self.class_names)

    def relabel_boxes(self, boxes: Boxes) -> Boxes:
        """Boxes of native classes as boxes of this map's classes; those that do not count are dropped."""
        labels = self.labels(boxes.class_names)[boxes.labels]
        kept = boxes[labels >= 0]
        return replace(kept, labels=labels[labels >= 0], class_names=self.class_names)

    def relabel_segments(self, segments: Segments) -> Segments:
        """Points of native classes as points of this map's classes; -1 where they do not count."""
        table = np.append(self.labels(segments.class_names), -1).astype(np.int16)
        return Segments(table.take(segments.labels), self.class_names)


NamedMap = Literal["understudy", "official"]
ClassChoice = NamedMap | ClassMap
"""What a recipe or a command may say: a name, or a map written out."""


def identity(names: Sequence[str]) -> ClassMap:
    """Every name as itself."""
    return ClassMap(class_names=tuple(names), of={name: name for name in names})


def chosen_map(kind: str, choice: ClassChoice | None) -> ClassMap:
    """The map of a data set's kind (a key of `TABLES`) that a choice names; None is our four classes.

    Raises:
        InputError: when the kind has no map of that name.
    """
    if isinstance(choice, ClassMap):
        return choice
    maps = TABLES[kind]
    name = choice or "understudy"
    if name not in maps:
        raise InputError(f"class map {name} of {kind}", found="no such map", wanted=" or ".join(maps))
    return maps[name]


def read_class_choice(text: str | None) -> ClassChoice | None:
    """What a command line says of classes: a name, or a YAML file with `class_names` and `of`.

    Raises:
        InputError: when it is neither, or the file is no class map.
    """
    if text is None or text in get_args(NamedMap):
        return cast("ClassChoice | None", text)
    if not Path(text).is_file():
        wanted = f"{' or '.join(get_args(NamedMap))}, or a YAML file with class_names and of"
        raise InputError("--classes", found=text, wanted=wanted)
    return read_config(Path(text), ClassMap)


def _ours(of: Mapping[str, str]) -> ClassMap:
    return ClassMap(class_names=CLASS_NAMES, of=dict(of))


NUSCENES_DETECTION_NAMES = (
    *("car", "truck", "bus", "trailer", "construction_vehicle"),
    *("pedestrian", "motorcycle", "bicycle", "traffic_cone", "barrier"),
)
"""The ten classes of the nuScenes detection task, in the order of its results tables."""

ARGOVERSE2_CATEGORIES = (
    *("ARTICULATED_BUS", "BICYCLE", "BICYCLIST", "BOLLARD", "BOX_TRUCK", "BUS", "CONSTRUCTION_BARREL"),
    *("CONSTRUCTION_CONE", "DOG", "LARGE_VEHICLE", "MESSAGE_BOARD_TRAILER", "MOBILE_PEDESTRIAN_CROSSING_SIGN"),
    *("MOTORCYCLE", "MOTORCYCLIST", "PEDESTRIAN", "REGULAR_VEHICLE", "SCHOOL_BUS", "SIGN", "STOP_SIGN", "STROLLER"),
    *("TRUCK", "TRUCK_CAB", "VEHICULAR_TRAILER", "WHEELCHAIR", "WHEELED_DEVICE", "WHEELED_RIDER"),
)
"""The 26 categories of Argoverse 2's detection competition; the annotations know 4 more."""

_DETECTION_OF_CATEGORY = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.trailer": "trailer",
    "vehicle.construction": "construction_vehicle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bicycle": "bicycle",
    "movable_object.trafficcone": "traffic_cone",
    "movable_object.barrier": "barrier",
}
"""The official map of nuScenes' 23 categories; the other nine are not scored."""

_OURS_OF_DETECTION = {
    "car": "car",
    "truck": "truck",
    "trailer": "truck",
    "bus": "truck",
    "construction_vehicle": "truck",
    "pedestrian": "pedestrian",
    "bicycle": "cyclist",
    "motorcycle": "cyclist",
}

NUSCENES_LIDARSEG_NAMES = (
    *("barrier", "bicycle", "bus", "car", "construction_vehicle", "motorcycle", "pedestrian", "traffic_cone"),
    *("trailer", "truck", "driveable_surface", "other_flat", "sidewalk", "terrain", "manmade", "vegetation"),
)
"""The sixteen classes of the nuScenes-lidarseg task in its order; its files count them from 1, 0 is ignored."""

TABLES: Mapping[str, Mapping[str, ClassMap]] = {
    # Tram, Misc and DontCare have no class of ours.
    "kitti": {
        "understudy": _ours(
            {
                "Car": "car",
                "Van": "car",
                "Truck": "truck",
                "Pedestrian": "pedestrian",
                "Person_sitting": "pedestrian",
                "Cyclist": "cyclist",
            }
        ),
        "official": identity(("Car", "Pedestrian", "Cyclist")),
    },
    # Native names are the ten detection classes; cones and barriers have no class of ours.
    "nuscenes": {
        "understudy": _ours(_OURS_OF_DETECTION),
        "official": identity(NUSCENES_DETECTION_NAMES),
    },
    # Native names are the 23 categories of the official tables. Emergency vehicles are not scored officially.
    "nuscenes-tables": {
        "understudy": _ours(
            {
                **{
                    category: _OURS_OF_DETECTION[name]
                    for category, name in _DETECTION_OF_CATEGORY.items()
                    if name in _OURS_OF_DETECTION
                },
                "vehicle.emergency.police": "car",
                "vehicle.emergency.ambulance": "truck",
            }
        ),
        "official": ClassMap(class_names=NUSCENES_DETECTION_NAMES, of=_DETECTION_OF_CATEGORY),
    },
    # Native names are the 32 classes of points.
    "nuscenes-lidarseg": {
        "official": ClassMap(
            class_names=NUSCENES_LIDARSEG_NAMES,
            of={
                **_DETECTION_OF_CATEGORY,
                "flat.driveable_surface": "driveable_surface",
                "flat.other": "other_flat",
                "flat.sidewalk": "sidewalk",
                "flat.terrain": "terrain",
                "static.manmade": "manmade",
                "static.vegetation": "vegetation",
            },
        ),
    },
    # Cones, signs, barriers, towed objects and the like have no class of ours.
    "pandaset": {
        "understudy": _ours(
            {
                "Car": "car",
                "Pickup Truck": "truck",
                "Medium-sized Truck": "truck",
                "Semi-truck": "truck",
                "Bus": "truck",
                "Emergency Vehicle": "truck",
                "Other Vehicle - Construction Vehicle": "truck",
                "Other Vehicle - Uncommon": "truck",
                "Pedestrian": "pedestrian",
                "Pedestrian with Object": "pedestrian",
                "Bicycle": "cyclist",
                "Motorcycle": "cyclist",
                "Motorized Scooter": "cyclist",
            }
        ),
    },
    # A rider and what he rides are two overlapping cuboids: the bicycle or motorcycle counts, as in nuScenes.
    "argoverse2": {
        "understudy": _ours(
            {
                "REGULAR_VEHICLE": "car",
                "LARGE_VEHICLE": "truck",
                "BOX_TRUCK": "truck",
                "TRUCK": "truck",
                "TRUCK_CAB": "truck",
                "VEHICULAR_TRAILER": "truck",
                "BUS": "truck",
                "SCHOOL_BUS": "truck",
                "ARTICULATED_BUS": "truck",
                "PEDESTRIAN": "pedestrian",
                "OFFICIAL_SIGNALER": "pedestrian",
                "BICYCLE": "cyclist",
                "MOTORCYCLE": "cyclist",
            }
        ),
        "official": identity(ARGOVERSE2_CATEGORIES),
    },
    "scenes": {"understudy": identity(CLASS_NAMES)},
    # Labels in bags are named by whoever made them: common names, in small letters.
    "recorded": {
        "understudy": _ours(
            {
                "car": "car",
                "van": "car",
                "truck": "truck",
                "bus": "truck",
                "trailer": "truck",
                "construction_vehicle": "truck",
                "pedestrian": "pedestrian",
                "person": "pedestrian",
                "cyclist": "cyclist",
                "bicycle": "cyclist",
                "motorcycle": "cyclist",
            }
        ),
    },
}
"""Maps by kind of data set and by name."""
