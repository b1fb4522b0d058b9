"""The base of nodes whose student looks at one LiDAR and at no camera."""

from __future__ import annotations

from understudy_ros.parameters import LIDAR_PARAMETERS, Declared
from understudy_ros.student import Student
from understudy_ros.student_node import StudentNode

__all__ = ["LidarNode", "Student"]


class LidarNode(StudentNode):
    """A `StudentNode` without the parameters and topics of cameras."""

    base_parameters: tuple[Declared, ...] = LIDAR_PARAMETERS
