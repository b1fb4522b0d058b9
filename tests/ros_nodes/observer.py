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
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

LONGEST_WAIT_S = 20.0
PATIENCE_S = (0.5, 1.0, 2.0, 4.0, 4.0, 4.0)
"""For the answer to a question that may be asked again."""
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
        """Of a lifecycle node, by its full name."""
        return int(self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.id)

    def change(self, node: str, transition: str) -> bool:
        """Whether the transition succeeded; a lost answer is looked up in the state before it is asked for again."""
        client = self.node.create_client(ChangeState, f"{node}/change_state")
        request = ChangeState.Request(transition=Transition(id=_NUMBERS[transition]))
        try:
            self.until(client.service_is_ready, f"{node}/change_state")
            # Endpoints are announced in their order: a node that answers a younger client knows this one too.
            self.state(node)
            for _ in range(2):
                answer = self._answer(client.call_async(request), LONGEST_WAIT_S)
                if answer is not None:
                    return bool(answer.success)
                if self.state(node) == _AFTER[transition]:
                    return True
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
        self._answer(client.call_async(ChangeState.Request(transition=Transition(id=number))), PATIENCE_S[-1])
        self.node.destroy_client(client)

    def bring_up(self, node: str) -> None:
        for transition in ("configure", "activate"):
            assert self.change(node, transition), f"{node} refused to {transition}"

    def set_parameters(self, node: str, parameters: list[Any]) -> list[bool]:
        request = SetParameters.Request(parameters=[parameter.to_parameter_msg() for parameter in parameters])
        return [result.successful for result in self.call(SetParameters, f"{node}/set_parameters", request).results]

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """A service's answer; the first one may be lost, so this is for what may be asked twice."""
        client = self.node.create_client(kind, service)
        try:
            self.until(client.service_is_ready, service)
            for patience_s in PATIENCE_S:
                answer = self._answer(client.call_async(request), patience_s)
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

    def _answer(self, future: Any, timeout_s: float) -> Any:
        end_s = time.monotonic() + timeout_s
        while not future.done() and time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=0.05)
        return future.result() if future.done() else None


def assign_bytes(message: Any, data: bytes) -> None:
    """`message.data`, in the one way that is fast with field checks on."""
    message.data = array("B", data)
