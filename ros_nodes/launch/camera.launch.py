"""Starts `camera_detector` with the cameras of the rig, configures it and, once that succeeded, activates it.

Drivers have their own names for topics; `{camera}` in them is the camera's name in the rig:
    ros2 launch understudy_ros camera.launch.py bundle:=... rig:=... image:='/{camera}/image_raw'
"""

from pathlib import Path
from typing import Any

from launch import LaunchDescription
from launch.actions import OpaqueFunction

from understudy_ros.launching import (
    camera_arguments,
    camera_inputs,
    middleware,
    numbered,
    student,
    student_arguments,
    view,
)

SHARE = Path(__file__).resolve().parents[1]
NODE = "camera_detector"


def generate_launch_description() -> LaunchDescription:
    """The node, its two transitions, RViz on demand, and the arguments of a vehicle."""
    return LaunchDescription(
        [
            *student_arguments(SHARE, NODE, topics={}),
            *camera_arguments(),
            *middleware(),
            OpaqueFunction(function=_start),
        ]
    )


def _start(context: Any) -> list[Any]:
    """Which topics there are is known once the rig is: its cameras name them."""
    cameras = camera_inputs(context)
    return [
        *student(NODE, cameras, texts=["cameras"]),
        view(SHARE, NODE, numbered(cameras)),
    ]
