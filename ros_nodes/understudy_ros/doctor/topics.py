"""Which topics a vehicle should have for our nodes, by its rig and the nodes' parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_full_topic_name import validate_full_topic_name

from understudy.diagnosis.findings import Finding, Purpose, missing, ok, warn
from understudy.diagnosis.vehicle import Vehicle
from understudy.errors import InputError, UnderstudyError
from understudy.rig import Camera, Lidar, Rig
from understudy_ros.parameters import CAMERA_PARAMETERS, LIDAR_PARAMETERS, Declared, described, named_cameras

POINTS_TYPE = "sensor_msgs/msg/PointCloud2"
IMAGE_TYPES = {"compressed": "sensor_msgs/msg/CompressedImage", "raw": "sensor_msgs/msg/Image"}
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
_LIDAR: tuple[Purpose, ...] = ("rig", "lidar", "fusion")
_NODES: tuple[Purpose, ...] = (*_LIDAR, "camera")
_PICTURES: tuple[Purpose, ...] = ("fusion", "camera")
_DEFAULTS = {parameter.name: parameter.default for parameter in (*LIDAR_PARAMETERS, *CAMERA_PARAMETERS)}


@dataclass(frozen=True)
class Expected:
    """A topic that a node would subscribe to.

    Attributes:
        name: as the node calls it.
        topic: in full.
        type_name: of its messages.
        reliable: how the node asks for it.
        sensor: name and entry in the rig; None without a rig.
        rate_hz: that somebody knows; None: any that is plausible.
        needed_for: the purposes that fail without it.
    """

    name: str
    topic: str
    type_name: str
    reliable: bool = False
    sensor: tuple[str, Lidar | Camera] | None = None
    rate_hz: float | None = None
    needed_for: tuple[Purpose, ...] = _LIDAR


def parameter(vehicle: Vehicle, name: str) -> Any:
    """What the node would have: from the params file, or its default."""
    return vehicle.parameters.get(name, _DEFAULTS.get(name))


def resolved(vehicle: Vehicle, name: str) -> str:
    """A topic's full name, after remapping and namespace."""
    full = _absolute(vehicle.namespace, name)
    for source, target in vehicle.remaps.items():
        if _absolute(vehicle.namespace, source) == full:
            return _absolute(vehicle.namespace, target)
    return full


def _absolute(namespace: str, name: str) -> str:
    return name if name.startswith("/") else f"{namespace.rstrip('/')}/{name}"


def expected_topics(vehicle: Vehicle) -> list[Expected]:
    """The LiDAR's topic, where one is needed, and those of the cameras; what does not fit is `parameter_findings`."""
    if not _needs_lidar(vehicle):
        return list(_camera_topics(vehicle))
    name = str(parameter(vehicle, "points_topic"))
    sensor = _lidar(vehicle)
    rate_hz = vehicle.rates_hz.get(sensor[0]) if sensor else None
    reliable = bool(parameter(vehicle, "reliable"))
    points = Expected(name, resolved(vehicle, name), POINTS_TYPE, reliable, sensor, rate_hz)
    return [points, *_camera_topics(vehicle)]


def name_findings(vehicle: Vehicle, expected: list[Expected]) -> Iterator[Finding]:
    """Remappings of topics that the node does not have, and names that are none in ROS."""
    names = {_absolute(vehicle.namespace, each.name): each.name for each in expected}
    for source in vehicle.remaps:
        if _absolute(vehicle.namespace, source) not in names:
            yield warn("remap", f"the node has no topic {source}", f"one of: {', '.join(names.values())}")
    for each in expected:
        if not is_topic_name(each.topic):
            remedy = "letters, digits and _ between slashes, no digit first"
            yield missing("params", f"{each.topic} is no name of a topic", remedy, each.needed_for or _NODES)


def is_topic_name(topic: str) -> bool:
    """Whether ROS takes a full name."""
    try:
        return bool(validate_full_topic_name(topic))
    except InvalidTopicNameException:
        return False


def _needs_lidar(vehicle: Vehicle) -> bool:
    """Not for students of pictures alone: asked for, or all that a rig without a LiDAR can have."""
    has_cameras_alone = vehicle.rig is not None and not vehicle.rig.lidars and bool(vehicle.rig.cameras)
    return vehicle.purpose != "camera" and not has_cameras_alone


def _lidar(vehicle: Vehicle) -> tuple[str, Lidar | Camera] | None:
    if vehicle.rig is None:
        return None
    try:
        return vehicle.rig.lidar(parameter(vehicle, "lidar") or None)
    except UnderstudyError:
        return None


def _camera_topics(vehicle: Vehicle) -> Iterator[Expected]:
    if vehicle.rig is None or vehicle.purpose == "lidar":
        return
    transport = str(parameter(vehicle, "image_transport"))
    reliable = bool(parameter(vehicle, "cameras_reliable"))
    # Asked for by name in the params file, a camera is needed; else only by a student that looks at pictures.
    needed: tuple[Purpose, ...] = ("rig", *_PICTURES) if vehicle.parameters.get("cameras") else _PICTURES
    for name in _cameras(vehicle, vehicle.rig):
        sensor, rate_hz = (name, vehicle.rig.cameras[name]), vehicle.rates_hz.get(name)
        image = f"{name}/image/compressed" if transport == "compressed" else f"{name}/image"
        kind = IMAGE_TYPES.get(transport, IMAGE_TYPES["compressed"])
        yield Expected(image, resolved(vehicle, image), kind, reliable, sensor, rate_hz, needed)
        info = f"{name}/camera_info"
        if parameter(vehicle, "camera_info") != "ignore":
            yield Expected(info, resolved(vehicle, info), CAMERA_INFO_TYPE, False, sensor, None, ())


def _cameras(vehicle: Vehicle, rig: Rig) -> tuple[str, ...]:
    try:
        return named_cameras(parameter(vehicle, "cameras"), tuple(rig.cameras), rig.name)
    except InputError:
        return tuple(rig.cameras)


def parameter_findings(vehicle: Vehicle, known: tuple[Declared, ...]) -> Iterator[Finding]:
    """Parameters that no node has, values that it refuses, and sensors that the rig does not have."""
    given = vehicle.parameters
    names = {declared.name for declared in known} | {"use_sim_time"}
    unknown = tuple(sorted(name for name in given if name not in names and not name.startswith("qos_overrides.")))
    if unknown:
        yield warn("params", described(unknown, known), "correct or remove them in the params file")
    problems = [text for declared in known if declared.name in given for text in _problem(declared, given)]
    problems += list(_strangers(vehicle))
    for text in problems:
        yield missing("params", text, "the node refuses to start or to configure with it; correct it", _NODES)
    if given and not unknown and not problems:
        yield ok("params", f"{len(given)} parameters, all known")


def _problem(declared: Declared, given: dict[str, Any]) -> Iterator[str]:
    value = given[declared.name]
    if not declared.any_type and type(value) is not type(declared.default):
        yield f"{declared.name} is {value!r}, not {_kind(declared.default)}"
        return
    if declared.limits and not declared.limits[0] <= value <= declared.limits[1]:
        yield f"{declared.name} is {value}, not {declared.limits[0]} to {declared.limits[1]}"
    try:
        declared.checked(value)
    except InputError as error:
        yield str(error)


def _kind(value: object) -> str:
    return {bool: "true or false", int: "a whole number", str: "text"}.get(type(value), type(value).__name__)


def _strangers(vehicle: Vehicle) -> Iterator[str]:
    if vehicle.rig is None:
        return
    try:
        if _needs_lidar(vehicle):
            vehicle.rig.lidar(parameter(vehicle, "lidar") or None)
    except UnderstudyError as error:
        yield f"{error}; set the parameter lidar"
    try:
        named_cameras(parameter(vehicle, "cameras"), tuple(vehicle.rig.cameras), vehicle.rig.name)
    except InputError as error:
        yield str(error)
