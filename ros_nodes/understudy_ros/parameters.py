"""Parameters of the nodes: what differs per vehicle, each with a description that `ros2 param describe` shows."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from rcl_interfaces.msg import IntegerRange, ParameterDescriptor
from rclpy.node import Node

_ALWAYS_KNOWN = ("use_sim_time", "start_type_description_service")
_MIDDLEWARE = "qos_overrides."


@dataclass(frozen=True)
class Declared:
    """A parameter of a node; a change counts from the next configure on.

    Attributes:
        name: of the parameter.
        default: its value where none is given; its type is the parameter's.
        description: for `ros2 param describe`.
        limits: smallest and largest, of an integer.
        choices: all that it may be; the node refuses to configure with another one.
    """

    name: str
    default: str | int | bool
    description: str
    limits: tuple[int, int] | None = None
    choices: tuple[str, ...] = ()

    def descriptor(self) -> ParameterDescriptor:
        """As ROS has it."""
        ranges = [IntegerRange(from_value=low, to_value=high, step=1) for low, high in filter(None, [self.limits])]
        constraints = "one of: " + ", ".join(self.choices) if self.choices else ""
        return ParameterDescriptor(
            description=self.description, additional_constraints=constraints, integer_range=ranges
        )


LIDAR_PARAMETERS = (
    Declared("bundle", "", "Folder or zip of the student's bundle."),
    Declared("rig", "", "Rig file of this vehicle: where its sensors sit and what they deliver."),
    Declared("lidar", "", "Name of the LiDAR in the rig; may be empty when there is one."),
    Declared("precision", "", "fp32, fp16, int8 or uint8; empty takes the fastest that the bundle has for this CPU."),
    Declared("threads", 1, "Threads of the engine.", limits=(1, 64)),
    Declared("points_topic", "points", "sensor_msgs/PointCloud2 of the LiDAR; relative to the node's namespace."),
    Declared("reliable", False, "Subscribe reliably; off accepts any publisher and never holds one up."),
    Declared("deadline_ms", 0, "Oldest that a sweep may be, by its stamp; 0 takes any age.", limits=(0, 60_000)),
    Declared("silent_ms", 1000, "Time without a message after which the LiDAR is at fault.", limits=(100, 60_000)),
)


def declare(node: Node, parameters: tuple[Declared, ...]) -> None:
    """Declares them all; a value of the wrong type or out of range ends the start."""
    for parameter in parameters:
        node.declare_parameter(parameter.name, parameter.default, parameter.descriptor())


def unknown_parameters(node: Node) -> tuple[str, ...]:
    """What was given on the command line or in a file and nobody declared, which ROS ignores without a word."""
    given: dict[str, Any] = getattr(node, "_parameter_overrides", {})
    unknown = (name for name in given if not node.has_parameter(name) and name not in _ALWAYS_KNOWN)
    return tuple(sorted(name for name in unknown if not name.startswith(_MIDDLEWARE)))


def described(unknown: tuple[str, ...], parameters: tuple[Declared, ...]) -> str:
    """One line about unknown parameters, with what was probably meant; empty when there are none."""
    known = [parameter.name for parameter in parameters]
    parts = []
    for name in unknown:
        close = get_close_matches(name, known, n=1)
        parts.append(f"{name} (did you mean {close[0]}?)" if close else name)
    return f"unknown parameters: {', '.join(parts)}; ignored" if parts else ""
