"""Boxes as Autoware's message of detected objects, filled as its own detectors fill it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from understudy.autoware.labels import LABELS
from understudy.boxes import Boxes
from understudy.messages.headers import BASE_FRAME, Make, header_message

OBJECTS_TYPE = "autoware_perception_msgs/msg/DetectedObjects"
_PACKAGE = "autoware_perception_msgs/msg"
_CAR_LIKE = {"CAR", "TRUCK", "BUS", "TRAILER"}
_UNAVAILABLE, _SIGN_UNKNOWN = 0, 1
_BOUNDING_BOX = 0


def detected_objects_message(
    make: Make, boxes: Boxes, labels: Sequence[str], stamp_ns: int, frame_id: str = BASE_FRAME
) -> Any:
    """`autoware_perception_msgs/msg/DetectedObjects`.

    As Autoware's own LiDAR detectors do: the score is the existence probability, the class has probability 1, vehicles
    have an orientation whose sign is not to be trusted, others none; no twist, no covariance, an empty footprint.

    Args:
        make: factory of messages.
        boxes: in the frame `frame_id`.
        labels: Autoware's label for each of the boxes' classes, in label order, as `labels_of` gives them.
        stamp_ns: of the sweep.
        frame_id: frame of the boxes.
    """
    objects = [_object(make, boxes, row, labels[boxes.labels[row]]) for row in range(len(boxes))]
    return make(OBJECTS_TYPE, header=header_message(make, stamp_ns, frame_id), objects=objects)


def _object(make: Make, boxes: Boxes, row: int, label: str) -> Any:
    x, y, z, length, width, height, yaw = (float(value) for value in boxes.geometry[row])
    shape = make(
        f"{_PACKAGE}/Shape",
        type=_BOUNDING_BOX,
        footprint=make("geometry_msgs/msg/Polygon", points=[]),
        dimensions=_vector(make, length, width, height),
    )
    return make(
        f"{_PACKAGE}/DetectedObject",
        existence_probability=1.0 if boxes.scores is None else float(boxes.scores[row]),
        classification=[make(f"{_PACKAGE}/ObjectClassification", label=LABELS[label], probability=1.0)],
        kinematics=_kinematics(make, (x, y, z), yaw, label),
        shape=shape,
    )


def _kinematics(make: Make, position_m: tuple[float, float, float], yaw_rad: float, label: str) -> Any:
    x, y, z = position_m
    half_rad = yaw_rad / 2
    turn = make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=math.sin(half_rad), w=math.cos(half_rad))
    position = make("geometry_msgs/msg/Point", x=x, y=y, z=z)
    pose = make("geometry_msgs/msg/Pose", position=position, orientation=turn)
    still = make("geometry_msgs/msg/Twist", linear=_vector(make, 0.0, 0.0, 0.0), angular=_vector(make, 0.0, 0.0, 0.0))
    return make(
        f"{_PACKAGE}/DetectedObjectKinematics",
        pose_with_covariance=make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
        has_position_covariance=False,
        orientation_availability=_SIGN_UNKNOWN if label in _CAR_LIKE else _UNAVAILABLE,
        twist_with_covariance=make("geometry_msgs/msg/TwistWithCovariance", twist=still, covariance=np.zeros(36)),
        has_twist=False,
        has_twist_covariance=False,
    )


def _vector(make: Make, x: float, y: float, z: float) -> Any:
    return make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)
