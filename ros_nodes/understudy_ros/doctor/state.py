"""The state of the nodes of a vehicle: middleware, clock, lifecycle, transforms and what diagnostics say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import rclpy
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters

from understudy.diagnosis.findings import Finding, Purpose, missing, ok, unknown, warn
from understudy.diagnosis.vehicle import Vehicle
from understudy.errors import GeometryError, InputError
from understudy.messages.frame_tree import FrameTree
from understudy.messages.headers import BASE_FRAME
from understudy.messages.rig_comparison import mounting_difference
from understudy.topics import STATIC_TRANSFORMS_TOPIC
from understudy_ros.diagnostics import level_of
from understudy_ros.doctor.graph import Graph, Question
from understudy_ros.doctor.topics import parameter
from understudy_ros.make import message_class
from understudy_ros.qos import latched_profile, mismatch

_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
_GET_STATE, _GET_PARAMETERS = "lifecycle_msgs/srv/GetState", "rcl_interfaces/srv/GetParameters"
_MOST_NODES, _MOST_STATUSES, _SHORT_NAMES = 60, 8, 5
_LEVELS = {0: "ok", 1: "warning", 2: "error", 3: "stale"}
_NEEDED: tuple[Purpose, ...] = ("rig", "lidar", "fusion", "camera")
_LATCHED = latched_profile(100)


@dataclass
class Told:
    """What nodes said by themselves while topics were listened to.

    Attributes:
        statuses: of /diagnostics, the last of each name: level and message.
        tree: of /tf_static.
        refused: why transforms could not be taken.
    """

    statuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    tree: FrameTree = field(default_factory=FrameTree)
    refused: str = ""

    def listen(self, graph: Graph) -> None:
        """Hears both from now on."""
        diagnostics = message_class("diagnostic_msgs/msg/DiagnosticArray")
        graph.node.create_subscription(diagnostics, "/diagnostics", self._diagnose, 50)
        try:
            transforms = message_class("tf2_msgs/msg/TFMessage")
        except InputError as error:
            self.refused = str(error)
            return
        graph.node.create_subscription(transforms, STATIC_TRANSFORMS_TOPIC, self._transform, _LATCHED)

    def _diagnose(self, message: Any) -> None:
        for status in message.status:
            self.statuses[str(status.name)] = (level_of(status), str(status.message))

    def _transform(self, message: Any) -> None:
        try:
            self.tree.add(message)
        except GeometryError as error:
            self.refused = str(error)


def middleware(graph: Graph) -> Iterator[Finding]:
    """Middleware, domain, discovery range, and whether anybody else is there."""
    nodes = graph.nodes()
    discovery = os.environ.get(_RANGE, "SUBNET")
    domain = graph.node.context.get_domain_id()
    seen = f"{rclpy.get_rmw_implementation_identifier()}, domain {domain}, discovery range {discovery}"
    if discovery not in _RANGES:
        yield warn("middleware", f"{_RANGE} is {discovery}, taken for LOCALHOST", f"one of {', '.join(_RANGES)}")
    if os.environ.get("ROS_LOCALHOST_ONLY", "0") != "0":
        yield warn("middleware", "ROS_LOCALHOST_ONLY hides other machines", f"unset it, and use {_RANGE}")
    if nodes:
        yield ok("middleware", f"{seen}, {len(nodes)} other nodes")
    else:
        remedy = "start the vehicle, or set ROS_DOMAIN_ID and the range as its nodes have them"
        yield missing("middleware", f"{seen}: no other node is seen", remedy, _NEEDED)


def clock_mode(graph: Graph, vehicle: Vehicle) -> Iterator[Finding]:
    """Whether all nodes live in the same time."""
    sources = [each.node for each in graph.publishers("/clock")]
    yield from _clock_sources(graph, sources)
    simulated, real, silent = _by_clock(graph)
    real = [name for name in real if name not in sources]
    wants = parameter(vehicle, "use_sim_time") is True
    if sources and real:
        remedy = "start them with use_sim_time:=true, or stop the node that publishes /clock"
        yield warn("clock mode", f"/clock is there, but on system time: {_names(real)}", remedy, _NEEDED)
    if not sources and (simulated or wants):
        who = _names(simulated) if simulated else "the params file"
        remedy = "play with --clock or start the simulator; on a vehicle use_sim_time: false"
        yield missing("clock mode", f"no /clock, but use_sim_time in {who}: time stands at 0", remedy, _NEEDED)
    if silent:
        yield unknown("clock mode", f"no answer on use_sim_time from {_names(silent)}")
    if not (sources and real) and not (not sources and (simulated or wants)):
        yield ok("clock mode", f"simulated, from {_names(sources)}" if sources else "system time in all nodes")


def _clock_sources(graph: Graph, sources: list[str]) -> Iterator[Finding]:
    if len(sources) > 1:
        yield warn("clock mode", f"{len(sources)} publishers of /clock: {_names(sources)}", "stop all but one", _NEEDED)
    if sources and not graph.num_ticks:
        remedy = "unpause the player or the simulator"
        yield missing("clock mode", f"/clock of {_names(sources)} stands still", remedy, _NEEDED)


def _by_clock(graph: Graph) -> tuple[list[str], list[str], list[str]]:
    """Nodes in simulated time, in the system's, and those that do not answer."""
    services = set(graph.services_of(_GET_PARAMETERS))
    nodes = [name for name in graph.nodes() if f"{name}/get_parameters" in services][:_MOST_NODES]
    request = GetParameters.Request(names=["use_sim_time"])
    answers = graph.ask([Question(f"{name}/get_parameters", GetParameters, request) for name in nodes])
    values = {name: answers.get(f"{name}/get_parameters") for name in nodes}
    silent = [name for name, answer in values.items() if answer is None]
    simulated = [name for name, answer in values.items() if answer and any(v.bool_value for v in answer.values)]
    return simulated, [name for name in nodes if name not in simulated and name not in silent], silent


def lifecycle(graph: Graph) -> Iterator[Finding]:
    """Lifecycle nodes that are not active."""
    nodes = [service.removesuffix("/get_state") for service in graph.services_of(_GET_STATE)][:_MOST_NODES]
    answers = graph.ask([Question(f"{name}/get_state", GetState, GetState.Request()) for name in nodes])
    for name in nodes:
        answer = answers.get(f"{name}/get_state")
        state = str(answer.current_state.label) if answer else ""
        if state == "active":
            yield ok(name, "active")
        elif not state:
            yield unknown(name, "does not tell its state: it is busy, or it hangs", f"ros2 lifecycle get {name}")
        elif state == "finalized":
            yield warn(name, "finalized: it was shut down", "start it anew")
        else:
            transitions = "activate" if state == "inactive" else "configure, then activate"
            remedy = f"ros2 lifecycle set {name} {transitions}; diagnostics say what it waits for"
            yield warn(name, f"{state}, not active", remedy)


def diagnostics(told: Told) -> Iterator[Finding]:
    """What nodes complain of."""
    bad = {name: status for name, status in told.statuses.items() if status[0]}
    worst_first = sorted(bad, key=lambda name: (-bad[name][0], name))
    for name in worst_first[:_MOST_STATUSES]:
        level, message = bad[name]
        yield warn("/diagnostics", f"{_LEVELS.get(level, level)} of {name}: {message}", "see its values there")
    if len(bad) > _MOST_STATUSES:
        yield warn("/diagnostics", f"and {len(bad) - _MOST_STATUSES} more", "ros2 topic echo /diagnostics")
    if told.statuses and not bad:
        yield ok("/diagnostics", f"{len(told.statuses)} entries, all ok")
    if not told.statuses:
        yield unknown("/diagnostics", "nothing was said while listening")


def transforms(graph: Graph, told: Told, vehicle: Vehicle) -> Iterator[Finding]:
    """/tf_static against the rig, as the node compares them."""
    mode = parameter(vehicle, "use_tf")
    if vehicle.rig is None or mode == "ignore":
        return
    if told.refused:
        yield unknown(STATIC_TRANSFORMS_TOPIC, told.refused)
        return
    publishers = graph.publishers(STATIC_TRANSFORMS_TOPIC)
    for each in publishers:
        if why := mismatch(each.profile, _LATCHED):
            remedy = "publish it transient local, as tf2's static broadcaster does"
            yield warn(STATIC_TRANSFORMS_TOPIC, f"{each.node} is not heard by who comes later: {why}", remedy, _NEEDED)
    if told.tree.is_empty:
        text = "no transforms" if publishers else "nobody publishes it"
        if mode == "replace":
            yield missing(
                STATIC_TRANSFORMS_TOPIC, f"{text}, and use_tf is replace", "start them, or use_tf: compare", _NEEDED
            )
        else:
            yield ok(STATIC_TRANSFORMS_TOPIC, f"{text}: the rig alone counts")
        return
    yield from _mountings(told.tree, vehicle, is_refused=mode == "compare")


def _mountings(tree: FrameTree, vehicle: Vehicle, *, is_refused: bool) -> Iterator[Finding]:
    assert vehicle.rig is not None
    good = []
    for name, sensor in vehicle.rig.sensors.items():
        pose = tree.pose(BASE_FRAME, sensor.frame_id) if sensor.frame_id else None
        if pose is None:
            text = f"no way from {BASE_FRAME} to {sensor.frame_id or '(no frame id)'} of {name}"
            yield unknown(STATIC_TRANSFORMS_TOPIC, text, "set its frame_id in the rig, or publish the transform")
        elif difference := mounting_difference(sensor, pose):
            remedy = f"correct {name} in the rig file or in the robot's description"
            make = missing if is_refused else warn
            yield make(STATIC_TRANSFORMS_TOPIC, f"{name} is {difference}", remedy, _NEEDED)
        else:
            good.append(name)
    if good:
        yield ok(STATIC_TRANSFORMS_TOPIC, f"agrees with the rig: {_names(good)}")


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHORT_NAMES} more" if len(names) > _SHORT_NAMES else ""
    return ", ".join(names[:_SHORT_NAMES]) + more
