"""Starts `lidar_detector`, configures it and, once that succeeded, activates it."""

from pathlib import Path

from launch import LaunchDescription

from understudy_ros.launching import inputs, middleware, student, student_arguments, view

SHARE = Path(__file__).resolve().parents[1]
NODE = "lidar_detector"


def generate_launch_description() -> LaunchDescription:
    """The node, its two transitions, RViz on demand, and the arguments of a vehicle."""
    return LaunchDescription(
        [
            *student_arguments(SHARE, NODE),
            *middleware(),
            *student(NODE, inputs()),
            view(SHARE, NODE, inputs()),
        ]
    )
