"""Tracklets of a KITTI raw drive: `tracklet_labels.xml`, tracked boxes in the LiDAR's frame.

Source: readme of the raw data development kit. A tracklet is one object with its size and, from its first frame on, one
pose per frame: the middle of its bottom face and a turn about z.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from understudy.datasets.files import read_text
from understudy.errors import InputError

OCCLUSION = {-1: "unset", 255: "unset", 0: "visible", 1: "partly", 2: "fully"}
TRUNCATION = {-1: "unset", 255: "unset", 0: "in image", 1: "truncated", 2: "out of image", 99: "behind image"}
_POSE_FIELDS = ("tx", "ty", "tz", "rz")
_SIZE_FIELDS = ("l", "w", "h")


@dataclass(frozen=True)
class TrackedBox:
    """An object at one frame.

    Attributes:
        track_id: number of its tracklet in the file.
        name: type as the object benchmark writes it.
        geometry: center x, y, z, length, width, height, yaw, in the LiDAR's frame.
        occlusion: a value of `OCCLUSION`, as seen by camera 2.
        truncation: a value of `TRUNCATION`.
    """

    track_id: int
    name: str
    geometry: tuple[float, ...]
    occlusion: str
    truncation: str


def read_tracklets(path: Path) -> dict[int, tuple[TrackedBox, ...]]:
    """Boxes by frame number, in the file's order.

    Raises:
        InputError: when the file is missing, is no tracklet file, defines entities, or an entry is missing or wrong.
    """
    text = read_text(path)
    if "<!ENTITY" in text:
        raise InputError(f"{path}", found="an entity definition", wanted="tracklets only")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{path}", found=f"{error}", wanted="XML") from None
    by_frame: dict[int, list[TrackedBox]] = {}
    items = root.findall("./tracklets/item")
    if root.find("./tracklets") is None:
        raise InputError(f"{path}", found=f"<{root.tag}> without <tracklets>", wanted="tracklet_labels.xml")
    for number, item in enumerate(items):
        for frame, box in _boxes(item, number, f"{path}: tracklet {number}"):
            by_frame.setdefault(frame, []).append(box)
    return {frame: tuple(boxes) for frame, boxes in by_frame.items()}


def _boxes(item: ElementTree.Element, track_id: int, where: str) -> Iterator[tuple[int, TrackedBox]]:
    # The object benchmark writes Person_sitting for the same type.
    name = _text(item, "objectType", where).replace("Person (sitting)", "Person_sitting")
    length, width, height = (_number(item, field, where) for field in _SIZE_FIELDS)
    if min(length, width, height) < 0:
        raise InputError(where, found=f"size {length:g} x {width:g} x {height:g} m", wanted="sizes >= 0")
    first = _whole(item, "first_frame", where)
    for step, pose in enumerate(item.findall("./poses/item")):
        at = f"{where} frame {first + step}"
        x, y, z, yaw = (_number(pose, field, at) for field in _POSE_FIELDS)
        geometry = (x, y, z + height / 2, length, width, height, yaw)
        occlusion = _state(pose, "occlusion", OCCLUSION, at)
        yield first + step, TrackedBox(track_id, name, geometry, occlusion, _state(pose, "truncation", TRUNCATION, at))


def _state(pose: ElementTree.Element, field: str, names: dict[int, str], where: str) -> str:
    value = _whole(pose, field, where)
    if value not in names:
        wanted = ", ".join(str(known) for known in names)
        raise InputError(f"{where}: {field}", found=value, wanted=f"one of {wanted}")
    return names[value]


def _whole(element: ElementTree.Element, field: str, where: str) -> int:
    value = _number(element, field, where)
    if value != int(value):
        raise InputError(f"{where}: {field}", found=value, wanted="a whole number")
    return int(value)


def _number(element: ElementTree.Element, field: str, where: str) -> float:
    text = _text(element, field, where)
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{where}: {field}", found=repr(text), wanted="a number") from None
    if not np.isfinite(value):
        raise InputError(f"{where}: {field}", found=text, wanted="a finite number")
    return value


def _text(element: ElementTree.Element, field: str, where: str) -> str:
    text = element.findtext(field)
    if text is None:
        raise InputError(where, found=f"no <{field}>", wanted="one")
    return text.strip()
