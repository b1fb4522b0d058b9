"""Autoware's object labels and which of them a student's class is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from understudy.errors import InputError

LABELS: Mapping[str, int] = {
    "UNKNOWN": 0,
    "CAR": 1,
    "TRUCK": 2,
    "BUS": 3,
    "TRAILER": 4,
    "MOTORCYCLE": 5,
    "BICYCLE": 6,
    "PEDESTRIAN": 7,
    "ANIMAL": 8,
    "HAZARD": 9,
    "OVER_DRIVABLE": 10,
    "UNDER_DRIVABLE": 11,
}
"""Constants of `autoware_perception_msgs/msg/ObjectClassification`."""

_USUAL: Mapping[str, str] = {
    **dict.fromkeys(("car", "van", "regular_vehicle"), "CAR"),
    **dict.fromkeys(("truck", "box_truck", "truck_cab"), "TRUCK"),
    **dict.fromkeys(("bus", "school_bus", "articulated_bus"), "BUS"),
    **dict.fromkeys(("trailer", "vehicular_trailer"), "TRAILER"),
    **dict.fromkeys(("motorcycle", "motorbike", "motorcyclist"), "MOTORCYCLE"),
    **dict.fromkeys(("bicycle", "cyclist", "bicyclist"), "BICYCLE"),
    **dict.fromkeys(("pedestrian", "person", "person_sitting"), "PEDESTRIAN"),
    **dict.fromkeys(("animal", "dog"), "ANIMAL"),
    **dict.fromkeys(("traffic_cone", "barrier"), "HAZARD"),
}
"""What the classes of the usual data sets are; every other is UNKNOWN unless its user says what it is."""


def labels_of(class_names: Sequence[str], chosen: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Autoware's label for each class of a student.

    Args:
        class_names: in label order.
        chosen: labels by class name, where the usual one is not right.

    Raises:
        InputError: when a chosen class is none of the student's, or a label none of Autoware's.
    """
    chosen = chosen or {}
    for name, label in chosen.items():
        if name not in class_names:
            raise InputError(f"--class {name}={label}", found=name, wanted=" or ".join(class_names))
        if label not in LABELS:
            raise InputError(f"--class {name}={label}", found=label, wanted=" or ".join(LABELS))
    return tuple(chosen.get(name) or _USUAL.get(_plain(name), "UNKNOWN") for name in class_names)


def chosen_labels(texts: Sequence[str]) -> dict[str, str]:
    """`--class van=CAR`, as often as it was typed.

    Raises:
        InputError: when a text is not of that form, or a class is named twice.
    """
    pairs = [text.partition("=") for text in texts]
    for text, (name, equals, label) in zip(texts, pairs, strict=True):
        if not (name and equals and label):
            raise InputError(f"--class {text}", found=text, wanted="CLASS=LABEL, as van=CAR")
    labels = {name: label for name, _, label in pairs}
    if len(labels) < len(pairs):
        raise InputError("--class", found=", ".join(texts), wanted="each class once")
    return labels


def _plain(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")
