"""A look at a running vehicle for `understudy doctor`, which finds it by the entry point `understudy.doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from rclpy.qos import QoSProfile

from understudy.diagnosis.findings import Finding
from understudy.diagnosis.vehicle import Vehicle
from understudy_ros.doctor.graph import Graph, opened_graph
from understudy_ros.doctor.heard import Heard
from understudy_ros.doctor.judgement import Seen, topic_findings
from understudy_ros.doctor.state import Told, clock_mode, diagnostics, lifecycle, middleware, transforms
from understudy_ros.doctor.topics import (
    Expected,
    expected_topics,
    is_topic_name,
    name_findings,
    parameter,
    parameter_findings,
)
from understudy_ros.lidar_detector import PARAMETERS
from understudy_ros.parameters import CAMERA_PARAMETERS, LIDAR_PARAMETERS
from understudy_ros.qos import profile_of

_LEAST_DISCOVERY_S, _DISCOVERY_S = 1.0, 2.0
_RELIABLY_S = 3.0
_DEPTH = 5
KNOWN = (*LIDAR_PARAMETERS, *CAMERA_PARAMETERS, *PARAMETERS)
"""Parameters of all our nodes."""


def look(vehicle: Vehicle) -> Iterator[Finding]:
    """All that can be said of the vehicle; takes the listening time and some seconds more."""
    yield from parameter_findings(vehicle, KNOWN)
    wanted = expected_topics(vehicle)
    yield from name_findings(vehicle, wanted)
    expected = [each for each in wanted if is_topic_name(each.topic)]
    with opened_graph() as graph:
        graph.follow_clock()
        graph.spin(_LEAST_DISCOVERY_S)
        graph.spin(_DISCOVERY_S, lambda: all(graph.publishers(each.topic) for each in expected))
        told = Told()
        told.listen(graph)
        seen = _listen(graph, expected, vehicle.seconds)
        yield from middleware(graph)
        yield from clock_mode(graph, vehicle)
        deadline_s = _number(parameter(vehicle, "deadline_ms")) / 1e3
        for each in seen:
            yield from topic_findings(each, deadline_s)
        yield from transforms(graph, told, vehicle)
        yield from lifecycle(graph)
        yield from diagnostics(told)


def _number(value: object) -> float:
    """A parameter that should be one; what is wrong with it, `parameter_findings` has said."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def _listen(graph: Graph, expected: list[Expected], seconds: float) -> list[Seen]:
    """Each topic as our node asks for it; then reliably, where messages got lost."""
    wanted = [(each, profile_of(_DEPTH, reliable=each.reliable)) for each in expected]
    heard = _hear(graph, wanted, seconds)
    # Who is there is looked up after the listening: nodes on a busy machine are found late.
    seen = [_seen(graph, *pair, of_it) for pair, of_it in zip(wanted, heard, strict=True)]
    lossy = [each for each in seen if each.may_lose_large]
    reliably = [(each.expected, profile_of(_DEPTH, reliable=True)) for each in lossy]
    for each, of_it in zip(lossy, _hear(graph, reliably, min(seconds, _RELIABLY_S)), strict=True):
        each.heard_reliably = of_it
    return seen


def _hear(graph: Graph, wanted: list[tuple[Expected, QoSProfile]], seconds: float) -> list[Heard]:
    listening = [graph.listen(expected.topic, expected.type_name, profile) for expected, profile in wanted]
    graph.spin(seconds if wanted else 0.0)
    for _, subscription in listening:
        graph.stop(subscription)
    return [heard for heard, _ in listening]


def _seen(graph: Graph, expected: Expected, profile: QoSProfile, heard: Heard) -> Seen:
    others = [topic for topic in graph.topics_of(expected.type_name) if topic != expected.topic]
    return Seen(
        expected,
        profile,
        graph.publishers(expected.topic),
        graph.subscribers(expected.topic),
        others,
        heard,
        clock="this machine's clock" if graph.sim_time_ns is None else "/clock",
    )
