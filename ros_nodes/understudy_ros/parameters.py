"""Parameters of the nodes: what differs per vehicle, each with a description that `ros2 param describe` shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from rcl_interfaces.msg import IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node

from understudy.engines.opening import RUNTIMES
from understudy.errors import InputError

_ALWAYS_KNOWN = ("use_sim_time", "start_type_description_service")
_MIDDLEWARE = "qos_overrides."


@dataclass(frozen=True)
class Declared:
    """A parameter of a node.

    Attributes:
        name: of the parameter.
        default: its value where none is given; its type is the parameter's.
        description: for `ros2 param describe`.
        limits: smallest and largest, of an integer.
        choices: all that it may be.
        counts_from: the transition from which on a change counts.
        any_type: takes a value of any type; whoever reads it checks.
    """

    name: str
    default: str | int | bool
    description: str
    limits: tuple[int, int] | None = None
    choices: tuple[str, ...] = ()
    counts_from: Literal["configure", "activate"] = "configure"
    any_type: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """As ROS has it."""
        ranges = [IntegerRange(from_value=low, to_value=high, step=1) for low, high in filter(None, [self.limits])]
        constraints = ["one of: " + ", ".join(self.choices)] if self.choices else []
        constraints.append(f"a change counts from the next {self.counts_from}")
        return ParameterDescriptor(
            description=self.description,
            additional_constraints="; ".join(constraints),
            integer_range=ranges,
            dynamic_typing=self.any_type,
        )

    def checked(self, value: Any) -> Any:
        """The value.

        Raises:
            InputError: when it is none of the choices.
        """
        if self.choices and value not in self.choices:
            raise InputError(f"parameter {self.name}", found=value, wanted=" or ".join(self.choices))
        return value


LIDAR_PARAMETERS = (
    Declared("bundle", "", "Folder or zip of the student's bundle."),
    Declared("rig", "", "Rig file of this vehicle: where its sensors sit and what they deliver."),
    Declared("lidar", "", "Name of the LiDAR in the rig; may be empty when there is one."),
    Declared("precision", "", "fp32, fp16, int8 or uint8; empty takes the fastest there is for the runtime."),
    Declared("runtime", "onnxruntime", "What runs the student.", choices=RUNTIMES),
    Declared("threads", 1, "Threads of the engine.", limits=(1, 64)),
    Declared(
        "points_topic",
        "points",
        "sensor_msgs/PointCloud2 of the LiDAR; relative to the node's namespace.",
        counts_from="activate",
    ),
    Declared(
        "reliable",
        False,
        "Subscribe to the LiDAR reliably; off accepts any publisher and never holds one up.",
        counts_from="activate",
    ),
    Declared("depth", 5, "Clouds that the middleware keeps.", limits=(1, 1000), counts_from="activate"),
    Declared(
        "deadline_ms",
        0,
        "Oldest that a sweep may be, by its stamp; 0 takes any age.",
        limits=(0, 60_000),
        counts_from="activate",
    ),
    Declared(
        "silent_ms",
        500,
        "Time without a message after which a sensor is at fault.",
        limits=(100, 60_000),
        counts_from="activate",
    ),
    Declared(
        "frozen_after",
        3,
        "Refuse a sensor whose content stays the same, bit for bit, so many times under new stamps; 0 refuses none.",
        limits=(0, 1000),
        counts_from="activate",
    ),
    Declared(
        "use_tf",
        "compare",
        "/tf_static and the rig: compare refuses a sensor that is elsewhere, warn only reports it, replace takes the "
        "mountings from /tf_static, ignore does nothing.",
        choices=("compare", "warn", "replace", "ignore"),
    ),
    Declared(
        "tf_wait_ms",
        5000,
        "With use_tf replace: how long configure waits for the transforms.",
        limits=(0, 60_000),
    ),
    Declared(
        "motion",
        "odometry",
        "Where the ego's motion comes from, for students that see several sweeps: odometry, or tf (odom to base_link).",
        choices=("odometry", "tf"),
        counts_from="activate",
    ),
    Declared("odometry_topic", "odometry", "nav_msgs/Odometry of base_link.", counts_from="activate"),
    Declared("timing_topic", "~/timing", "std_msgs/Float64MultiArray: age and stages of each result, in ms."),
    Declared("class_names_topic", "~/class_names", "std_msgs/String, latched: the classes by number, as JSON."),
)

_OF_LIDARS = ("lidar", "points_topic", "reliable", "depth", "motion", "odometry_topic")
STUDENT_PARAMETERS = tuple(parameter for parameter in LIDAR_PARAMETERS if parameter.name not in _OF_LIDARS)
"""Those that mean something without a LiDAR, too."""

CAMERA_PARAMETERS = (
    Declared(
        "cameras",
        "",
        "Names of cameras in the rig, with commas between them or as a list; empty takes those that the student looks "
        "at, or all for one that looks at none.",
        any_type=True,
    ),
    Declared(
        "image_transport",
        "compressed",
        "compressed: sensor_msgs/CompressedImage on CAMERA/image/compressed; raw: sensor_msgs/Image on CAMERA/image.",
        choices=("compressed", "raw"),
        counts_from="activate",
    ),
    Declared("cameras_reliable", False, "Subscribe to the cameras reliably.", counts_from="activate"),
    Declared(
        "cameras_depth",
        5,
        "Pictures of a camera that the middleware keeps.",
        limits=(1, 1000),
        counts_from="activate",
    ),
    Declared(
        "camera_info",
        "compare",
        "CAMERA/camera_info and the rig: compare refuses the pictures of a camera that differs, warn only reports it, "
        "ignore does not listen.",
        choices=("compare", "warn", "ignore"),
        counts_from="activate",
    ),
    Declared(
        "tolerance_ms",
        50,
        "Farthest that a picture may be from its sweep.",
        limits=(0, 10_000),
        counts_from="activate",
    ),
    Declared(
        "max_wait_ms",
        100,
        "Longest that a sweep waits for its pictures.",
        limits=(0, 10_000),
        counts_from="activate",
    ),
    Declared(
        "require",
        "any",
        "Pictures without which a sweep is not used: all, any (the sweep alone will do), or how many.",
        counts_from="activate",
        any_type=True,
    ),
    Declared(
        "rule",
        "nearest",
        "How pictures are matched: nearest to the sweep, or as message_filters' ApproximateTime in C++ does.",
        choices=("nearest", "approximate_time"),
        counts_from="activate",
    ),
)


def _say_nothing(_: Declared) -> None:
    pass


def declare(node: Node, parameters: tuple[Declared, ...], changed: Callable[[Declared], None] = _say_nothing) -> None:
    """Declares them all; a value of the wrong type or out of range ends the start.

    From then on a value that is none of a parameter's choices is refused when it is set; `changed` hears of the others.
    """
    for parameter in parameters:
        node.declare_parameter(parameter.name, parameter.default, parameter.descriptor())
    by_name = {parameter.name: parameter for parameter in parameters}
    node.add_on_set_parameters_callback(lambda entries: _answer(by_name, entries, changed))


def _answer(
    by_name: dict[str, Declared], entries: Sequence[Any], changed: Callable[[Declared], None]
) -> SetParametersResult:
    known = [(by_name[entry.name], entry.value) for entry in entries if entry.name in by_name]
    try:
        for declared, value in known:
            declared.checked(value)
    except InputError as error:
        return SetParametersResult(successful=False, reason=str(error))
    for declared, _ in known:
        changed(declared)
    return SetParametersResult(successful=True)


def named_cameras(value: Any, known: Sequence[str], rig: str) -> tuple[str, ...]:
    """The cameras that the parameter `cameras` asks for, in its order; all of them where it asks for none.

    Raises:
        InputError: when one is not in the rig, is named twice, or the value is neither text nor a list of it.
    """
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)) or not all(isinstance(entry, str) for entry in entries):
        raise InputError("parameter cameras", found=value, wanted="names, as a list or with commas between them")
    names = tuple(name for name in (entry.strip() for entry in entries) if name)
    strangers = [name for name in names if name not in known]
    if strangers or len(set(names)) < len(names):
        found = f"{strangers[0]}" if strangers else f"{', '.join(names)}"
        wanted = f"each of the cameras of rig {rig} once at most: {', '.join(known) or 'it has none'}"
        raise InputError("parameter cameras", found=found, wanted=wanted)
    return names or tuple(known)


def cameras_required(value: Any) -> tuple[Literal["all", "min_n", "any"], int]:
    """What the parameter `require` asks for, as `SyncPolicy` has it: its word and the least number of cameras.

    Raises:
        InputError: when it is none of all, any and a number.
    """
    text = str(value).strip()
    if text == "all":
        return "all", 1
    if text == "any":
        return "any", 1
    if text.isdecimal() and not isinstance(value, bool):
        return "min_n", int(text)
    raise InputError("parameter require", found=value, wanted="all, any, or how many cameras")


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
