"""The base of nodes whose student looks at pictures and at no LiDAR."""

from __future__ import annotations

from understudy_ros.parameters import CAMERA_PARAMETERS, STUDENT_PARAMETERS, Declared
from understudy_ros.student import Student
from understudy_ros.student_node import StudentNode

__all__ = ["CameraNode", "Student"]


class CameraNode(StudentNode):
    """A `StudentNode` without the parameters and topics of a LiDAR; the student's first camera makes sets."""

    base_parameters: tuple[Declared, ...] = (*STUDENT_PARAMETERS, *CAMERA_PARAMETERS)
