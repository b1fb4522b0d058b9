"""The doctor's own node: it listens and asks, within a time, and changes nothing on the vehicle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

from understudy_ros.doctor.heard import Heard
from understudy_ros.doctor.judgement import Endpoint
from understudy_ros.make import message_class
from understudy_ros.qos import profile_of

NAME = "understudy_doctor"
_NS_PER_S = 1_000_000_000
_NAP_S = 0.05
_CLOCK_DEPTH = 10
_ROUNDS, _ANSWER_S = 2, 2.0
"""The first answer of a service just found may get lost, so it is asked again."""


@dataclass(frozen=True)
class Question:
    """A service that is called once."""

    service: str
    kind: Any
    request: Any


class Graph:
    """What runs in this domain."""

    def __init__(self, node: Node, executor: SingleThreadedExecutor) -> None:
        self.node = node
        self._executor = executor
        self.sim_time_ns: int | None = None
        """The last time on /clock; None where there is none."""
        self.num_ticks = 0
        self._listening: list[Heard] = []

    def spin(self, duration_s: float, until: Callable[[], bool] = lambda: False) -> None:
        """Lets messages come in, for so long or until something is so."""
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s and not until():
            try:
                self._executor.spin_once(timeout_sec=_NAP_S)
            except ExternalShutdownException:
                return

    def now_ns(self) -> int:
        """The time that nodes with use_sim_time have where there is a /clock, else this machine's."""
        return time.time_ns() if self.sim_time_ns is None else self.sim_time_ns

    def follow_clock(self) -> None:
        """Takes the time from /clock from now on."""
        kind = message_class("rosgraph_msgs/msg/Clock")
        self.node.create_subscription(kind, "/clock", self._tick, profile_of(_CLOCK_DEPTH, reliable=False))

    def _tick(self, message: Any) -> None:
        if not self.num_ticks:
            for heard in self._listening:
                heard.ages_s.clear()  # against the machine's clock, as it now shows, the wrong one
        self.num_ticks += 1
        self.sim_time_ns = int(message.clock.sec) * _NS_PER_S + int(message.clock.nanosec)

    def listen(self, topic: str, type_name: str, profile: QoSProfile) -> tuple[Heard, Any]:
        """Hears a topic from now on; the second part is for `stop`."""
        heard = Heard()
        self._listening.append(heard)

        def take(raw: bytes, info: Any) -> None:
            heard.add(raw, info, time.monotonic(), self.now_ns())

        return heard, self.node.create_subscription(message_class(type_name), topic, take, profile, raw=True)

    def stop(self, subscription: Any) -> None:
        """Ends a `listen`."""
        self.node.destroy_subscription(subscription)

    def publishers(self, topic: str) -> list[Endpoint]:
        """Who publishes a topic."""
        return _endpoints(self.node.get_publishers_info_by_topic(topic))

    def subscribers(self, topic: str) -> list[Endpoint]:
        """Who subscribes to a topic, without the doctor."""
        found = _endpoints(self.node.get_subscriptions_info_by_topic(topic))
        return [each for each in found if not each.node.endswith(f"/{NAME}")]

    def topics_of(self, type_name: str) -> list[str]:
        """Topics with messages of a type that somebody publishes."""
        topics = self.node.get_topic_names_and_types()
        return sorted(name for name, types in topics if type_name in types and self.node.count_publishers(name))

    def nodes(self) -> list[str]:
        """Full names of the other nodes."""
        pairs = self.node.get_node_names_and_namespaces()
        names = {f"{namespace.rstrip('/')}/{name}" for name, namespace in pairs if name != NAME}
        return sorted(name for name in names if not name.rpartition("/")[2].startswith("_"))

    def services_of(self, type_name: str) -> list[str]:
        """Names of the services of a type."""
        return sorted(name for name, types in self.node.get_service_names_and_types() if type_name in types)

    def ask(self, questions: Sequence[Question]) -> dict[str, Any]:
        """Answers by service; who does not answer in time is left out."""
        answers: dict[str, Any] = {}
        clients = {each.service: self.node.create_client(each.kind, each.service) for each in questions}
        for _ in range(_ROUNDS):
            asked = [each for each in questions if each.service not in answers]
            answers |= self._round(asked, clients)
        for client in clients.values():
            self.node.destroy_client(client)
        return answers

    def _round(self, questions: Sequence[Question], clients: dict[str, Any]) -> dict[str, Any]:
        waiting = [clients[each.service] for each in questions]
        self.spin(_ANSWER_S, lambda: all(client.service_is_ready() for client in waiting))
        ready = [each for each in questions if clients[each.service].service_is_ready()]
        futures = {each.service: clients[each.service].call_async(each.request) for each in ready}
        self.spin(_ANSWER_S, lambda: all(future.done() for future in futures.values()))
        done = {name: future.result() for name, future in futures.items() if future.done()}
        return {name: answer for name, answer in done.items() if answer is not None}


@contextmanager
def opened_graph() -> Iterator[Graph]:
    """A node that offers no services and logs nowhere."""
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(
        NAME, context=context, use_global_arguments=False, start_parameter_services=False, enable_rosout=False
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        yield Graph(node, executor)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def _endpoints(infos: Sequence[Any]) -> list[Endpoint]:
    return [Endpoint(_full_name(info), str(info.topic_type), info.qos_profile) for info in infos]


def _full_name(info: Any) -> str:
    return f"{str(info.node_namespace).rstrip('/')}/{info.node_name}"
