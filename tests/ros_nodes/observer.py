"""The other side of a node under test: changes its state, sends it clouds, and hears what it says."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

LONGEST_WAIT_S = 20.0
ANSWER_S = 2.0
_AFTER = {
    "configure": State.PRIMARY_STATE_INACTIVE,
    "activate": State.PRIMARY_STATE_ACTIVE,
    "deactivate": State.PRIMARY_STATE_INACTIVE,
    "cleanup": State.PRIMARY_STATE_UNCONFIGURED,
}
_NUMBERS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}


@dataclass
class Heard:
    """Messages of one topic, in their order."""

    subscription: Any
    messages: list[Any] = field(default_factory=list)


class Observer:
    """A ROS node in the test's own process; nothing runs behind the test's back."""

    def __init__(self) -> None:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("observer")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        # Always listening: what a node says in the first moments of a subscription would be missed.
        self._told = self.hear(DiagnosticArray, "/diagnostics")

    def __enter__(self) -> Observer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = LONGEST_WAIT_S) -> None:
        assert self.happens(condition, timeout_s), f"waited {timeout_s} s in vain for {what}"

    def happens(self, condition: Callable[[], object], timeout_s: float = LONGEST_WAIT_S) -> bool:
        """Whether it does before the time is over; messages come in meanwhile."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def spin(self, duration_s: float) -> None:
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=0.05)

    def hear(self, kind: Any, topic: str) -> Heard:
        heard = Heard(None)
        profile = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
        heard.subscription = self.node.create_subscription(kind, topic, heard.messages.append, profile)
        return heard

    def forget(self, heard: Heard) -> None:
        self.node.destroy_subscription(heard.subscription)

    def publisher(self, kind: Any, topic: str) -> Any:
        return self.node.create_publisher(kind, topic, 10)

    def connect(self, publisher: Any, *heard: Heard) -> None:
        """Waits until everybody knows everybody: what is sent before is lost."""
        self.until(lambda: publisher.get_subscription_count() > 0, "a subscriber of the clouds")
        for one in heard:
            self.until(lambda: self.node.count_publishers(one.subscription.topic_name) > 0, "a publisher")  # noqa: B023

    def state(self, node: str) -> int:
        """Of a lifecycle node, by its full name; the first answer may be lost, so it is asked for again."""
        client = self.node.create_client(GetState, f"{node}/get_state")
        try:
            self.until(client.service_is_ready, f"{node}/get_state")
            for _ in range(5):
                answer = self._answer(client.call_async(GetState.Request()))
                if answer is not None:
                    return int(answer.current_state.id)
        finally:
            self.node.destroy_client(client)
        raise AssertionError(f"{node} does not tell its state")

    def change(self, node: str, transition: str) -> bool:
        """Whether the transition succeeded; a lost answer is looked up in the state before it is asked for again."""
        client = self.node.create_client(ChangeState, f"{node}/change_state")
        request = ChangeState.Request(transition=Transition(id=_NUMBERS[transition]))
        try:
            self.until(client.service_is_ready, f"{node}/change_state")
            for attempt in range(5):
                answer = self._answer(client.call_async(request), LONGEST_WAIT_S / 4)
                if answer is not None and (answer.success or not attempt):
                    return bool(answer.success)
                if self.state(node) == _AFTER[transition]:
                    return True
                if answer is not None:
                    return False
        finally:
            self.node.destroy_client(client)
        raise AssertionError(f"{node} does not answer to {transition}")

    def shut_down(self, node: str) -> None:
        """Asks for the transition after which a node's process ends; whether the answer still arrives is left open."""
        client = self.node.create_client(ChangeState, f"{node}/change_state")
        self.until(client.service_is_ready, f"{node}/change_state")
        number = {
            State.PRIMARY_STATE_UNCONFIGURED: Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
            State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_INACTIVE_SHUTDOWN,
            State.PRIMARY_STATE_ACTIVE: Transition.TRANSITION_ACTIVE_SHUTDOWN,
        }[self.state(node)]
        self._answer(client.call_async(ChangeState.Request(transition=Transition(id=number))))
        self.node.destroy_client(client)

    def bring_up(self, node: str) -> None:
        for transition in ("configure", "activate"):
            assert self.change(node, transition), f"{node} refused to {transition}"

    def set_parameters(self, node: str, parameters: list[Any]) -> list[bool]:
        client = AsyncParameterClient(self.node, node)
        self.until(client.services_are_ready, f"parameters of {node}")
        for _ in range(5):
            answer = self._answer(client.set_parameters(parameters))
            if answer is not None:
                return [result.successful for result in answer.results]
        raise AssertionError(f"{node} does not take parameters")

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """A service's answer; the first one may be lost, so this is for what may be asked twice."""
        client = self.node.create_client(kind, service)
        try:
            self.until(client.service_is_ready, service)
            for _ in range(5):
                answer = self._answer(client.call_async(request))
                if answer is not None:
                    return answer
        finally:
            self.node.destroy_client(client)
        raise AssertionError(f"{service} does not answer")

    def diagnosis(self, node: str, wanted: Callable[[Any], bool], what: str) -> Any:
        """The first diagnostic status of a node that is as wanted, of those that no call before has looked at."""
        found: list[Any] = []

        def look() -> bool:
            statuses = [status for message in self._told.messages for status in message.status]
            self._told.messages.clear()
            found.extend(status for status in statuses if f"/{status.name}" == node and wanted(status))
            return bool(found)

        self.until(look, f"diagnostics of {node} with {what}")
        return found[0]

    def _answer(self, future: Any, timeout_s: float = ANSWER_S) -> Any:
        end_s = time.monotonic() + timeout_s
        while not future.done() and time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=0.05)
        return future.result() if future.done() else None


def assign_bytes(message: Any, data: bytes) -> None:
    """`message.data`, in the one way that is fast with field checks on."""
    message.data = array("B", data)
