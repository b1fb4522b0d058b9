"""`Boxes` to `vision_msgs/Detection3DArray` and `visualization_msgs/MarkerArray`, and the first one back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from understudy.boxes import Boxes
from understudy.messages.headers import BASE_FRAME, Make, header_message

DETECTIONS_TYPE = "vision_msgs/msg/Detection3DArray"
MARKERS_TYPE = "visualization_msgs/msg/MarkerArray"
COLORS_RGB: tuple[tuple[float, float, float], ...] = (
    (0.16, 0.62, 0.87),
    (0.94, 0.55, 0.13),
    (0.86, 0.24, 0.42),
    (0.28, 0.71, 0.42),
    (0.58, 0.42, 0.82),
    (0.55, 0.55, 0.55),
)
"""Color of each class, by label, from the start again when there are more."""

_LINE_LIST, _TEXT, _ADD, _DELETE_ALL = 5, 9, 0, 3
_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
_FRONT = ((0, 5), (1, 4))
_LINES = _EDGES + _FRONT
"""Pairs of `Boxes.corners`: the edges, and a cross on the front side."""
_LINE_WIDTH_M = 0.08
_TEXT_HEIGHT_M = 0.8


def detections_message(make: Make, boxes: Boxes, stamp_ns: int, frame_id: str = BASE_FRAME) -> Any:
    """`vision_msgs/msg/Detection3DArray`: full extents, one hypothesis with class name and score per box."""
    header = header_message(make, stamp_ns, frame_id)
    detections = [_detection(make, header, boxes, row) for row in range(len(boxes))]
    return make(DETECTIONS_TYPE, header=header, detections=detections)


def _detection(make: Make, header: Any, boxes: Boxes, row: int) -> Any:
    x, y, z, length, width, height, yaw = (float(value) for value in boxes.geometry[row])
    pose = _upright_pose(make, (x, y, z), yaw)
    hypothesis = make(
        "vision_msgs/msg/ObjectHypothesis",
        class_id=boxes.class_names[boxes.labels[row]],
        score=1.0 if boxes.scores is None else float(boxes.scores[row]),
    )
    with_pose = make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36))
    return make(
        "vision_msgs/msg/Detection3D",
        header=header,
        results=[make("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=hypothesis, pose=with_pose)],
        bbox=make(
            "vision_msgs/msg/BoundingBox3D",
            center=pose,
            size=make("geometry_msgs/msg/Vector3", x=length, y=width, z=height),
        ),
        id="" if boxes.track_ids is None else str(int(boxes.track_ids[row])),
    )


def boxes_from_detections(message: Any, class_names: tuple[str, ...]) -> Boxes:
    """The boxes of a `vision_msgs/Detection3DArray`; each box takes its first hypothesis.

    Raises:
        UnderstudyError: when a class is not among `class_names`.
    """
    rows = [detection for detection in message.detections if detection.results]
    names = [detection.results[0].hypothesis.class_id for detection in rows]
    return Boxes(
        np.array([_geometry(detection.bbox) for detection in rows], np.float32).reshape(-1, 7),
        np.array([class_names.index(name) if name in class_names else -1 for name in names], np.int32),
        class_names,
        scores=np.array([detection.results[0].hypothesis.score for detection in rows], np.float32),
    )


def ids_from_detections(message: Any) -> list[str]:
    """The `id` of each detection that `boxes_from_detections` makes a box of; empty where it has none."""
    return [str(detection.id) for detection in message.detections if detection.results]


def _geometry(bbox: Any) -> tuple[float, ...]:
    center, turn, size = bbox.center.position, bbox.center.orientation, bbox.size
    yaw = np.arctan2(2 * (turn.w * turn.z + turn.x * turn.y), 1 - 2 * (turn.y**2 + turn.z**2))
    return (center.x, center.y, center.z, size.x, size.y, size.z, float(yaw))


def markers_message(make: Make, boxes: Boxes, stamp_ns: int, frame_id: str = BASE_FRAME) -> Any:
    """`visualization_msgs/msg/MarkerArray`: first one that deletes the last frame's, then lines by class, labels."""
    markers = _Markers(make, header_message(make, stamp_ns, frame_id))
    markers.add(_DELETE_ALL)
    corners = boxes.corners().astype(np.float64)
    for label in np.unique(boxes.labels).tolist():
        points = [point for box in corners[boxes.labels == label].tolist() for point in _outline(make, box)]
        markers.add(_ADD, namespace="boxes", number=label, kind=_LINE_LIST, label=label, points=points)
    for row, (x, y, z, _, _, height, _) in enumerate(boxes.geometry.tolist()):
        label, above_m = int(boxes.labels[row]), z + height / 2 + _TEXT_HEIGHT_M
        text = boxes.class_names[label] + ("" if boxes.scores is None else f" {boxes.scores[row]:.2f}")
        place = (x, y, above_m)
        markers.add(_ADD, namespace="labels", number=row, kind=_TEXT, label=label, text=text, position_m=place)
    return make(MARKERS_TYPE, markers=markers.made)


def _outline(make: Make, corners: list[list[float]]) -> list[Any]:
    """Both ends of each line of a box; ends are shared, for there are thousands."""
    points = [make("geometry_msgs/msg/Point", x=x, y=y, z=z) for x, y, z in corners]
    return [points[corner] for line in _LINES for corner in line]


class _Markers:
    """Collects markers; what they have in common is made once."""

    def __init__(self, make: Make, header: Any) -> None:
        self.made: list[Any] = []
        self._make, self._header = make, header
        unnamed = make("std_msgs/msg/Header", stamp=header.stamp, frame_id="")
        nothing = np.zeros(0, np.uint8)
        self._unused: dict[str, Any] = {
            "lifetime": make("builtin_interfaces/msg/Duration", sec=0, nanosec=0),
            "frame_locked": False,
            "colors": [],
            "texture_resource": "",
            "texture": make("sensor_msgs/msg/CompressedImage", header=unnamed, format="", data=nothing),
            "uv_coordinates": [],
            "mesh_resource": "",
            "mesh_file": make("visualization_msgs/msg/MeshFile", filename="", data=nothing),
            "mesh_use_embedded_materials": False,
        }

    def add(
        self,
        action: int,
        *,
        namespace: str = "",
        number: int = 0,
        kind: int = 0,
        label: int = 0,
        points: Sequence[Any] = (),
        text: str = "",
        position_m: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        width_m, height_m = (0.0, _TEXT_HEIGHT_M) if kind == _TEXT else (_LINE_WIDTH_M, 0.0)
        red, green, blue = COLORS_RGB[label % len(COLORS_RGB)]
        marker = self._make(
            "visualization_msgs/msg/Marker",
            header=self._header,
            ns=namespace,
            id=number,
            type=kind,
            action=action,
            pose=_upright_pose(self._make, position_m, 0.0),
            scale=self._make("geometry_msgs/msg/Vector3", x=width_m, y=0.0, z=height_m),
            color=self._make("std_msgs/msg/ColorRGBA", r=red, g=green, b=blue, a=1.0),
            points=list(points),
            text=text,
            **self._unused,
        )
        self.made.append(marker)


def _upright_pose(make: Make, position_m: tuple[float, float, float], yaw_rad: float) -> Any:
    x, y, z = position_m
    position = make("geometry_msgs/msg/Point", x=x, y=y, z=z)
    half_rad = yaw_rad / 2
    turn = make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=math.sin(half_rad), w=math.cos(half_rad))
    return make("geometry_msgs/msg/Pose", position=position, orientation=turn)
