"""A look at a running vehicle for `understudy doctor`, which finds it by the entry point `understudy.doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from rclpy.qos import QoSProfile, ReliabilityPolicy

from understudy.diagnosis_findings import Finding
from understudy.diagnosis_vehicle import Vehicle
from understudy_ros.doctor_graph import Graph, opened_graph
from understudy_ros.doctor_judgement import Seen, topic_findings
from understudy_ros.doctor_state import Told, clock_mode, diagnostics, lifecycle, middleware, transforms
from understudy_ros.doctor_topics import Expected, expected_topics, parameter, parameter_findings
from understudy_ros.lidar_detector import PARAMETERS
from understudy_ros.parameters import CAMERA_PARAMETERS, LIDAR_PARAMETERS

_LEAST_DISCOVERY_S, _DISCOVERY_S = 1.0, 4.0
_RELIABLY_S = 3.0
_DEPTH = 5
_KNOWN = (*LIDAR_PARAMETERS, *CAMERA_PARAMETERS, *PARAMETERS)


def look(vehicle: Vehicle) -> Iterator[Finding]:
    """All that can be said of the vehicle; takes the listening time and some seconds more."""
    yield from parameter_findings(vehicle, _KNOWN)
    expected = expected_topics(vehicle)
    with opened_graph() as graph:
        graph.spin(_LEAST_DISCOVERY_S)
        graph.spin(_DISCOVERY_S, lambda: all(graph.publishers(each.topic) for each in expected))
        yield from middleware(graph)
        told = Told()
        told.listen(graph)
        if graph.publishers("/clock"):
            graph.follow_clock()
            graph.spin(_LEAST_DISCOVERY_S, lambda: graph.num_ticks > 0)
        seen = _listen(graph, expected, vehicle.seconds)
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
    seen = [_seen(graph, each) for each in expected]
    subscriptions = []
    for each in seen:
        each.heard, subscription = graph.listen(each.expected.topic, each.expected.type_name, each.profile)
        subscriptions.append(subscription)
    graph.spin(seconds)
    for subscription in subscriptions:
        graph.stop(subscription)
    lossy = [each for each in seen if each.may_lose_large]
    again = []
    for each in lossy:
        heard, subscription = graph.listen(each.expected.topic, each.expected.type_name, QoSProfile(depth=_DEPTH))
        each.heard_reliably = heard
        again.append(subscription)
    if lossy:
        graph.spin(min(seconds, _RELIABLY_S))
    for subscription in again:
        graph.stop(subscription)
    return seen


def _seen(graph: Graph, expected: Expected) -> Seen:
    policy = ReliabilityPolicy.RELIABLE if expected.reliable else ReliabilityPolicy.BEST_EFFORT
    others = [topic for topic in graph.topics_of(expected.type_name) if topic != expected.topic]
    return Seen(
        expected,
        QoSProfile(depth=_DEPTH, reliability=policy),
        graph.publishers(expected.topic),
        graph.subscribers(expected.topic),
        others,
        clock="this machine's clock" if graph.sim_time_ns is None else "/clock",
    )
