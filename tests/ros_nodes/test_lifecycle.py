"""Transitions in every order, allowed or not: the node's state is the standard's, and it works afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros` or `make test-jazzy`")

from lifecycle_msgs.msg import State, Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions

from tests.ros_nodes.answering import Answering
from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import NodeProcess, Nodes
from understudy.configuration import write_yaml
from understudy.testing import simple_rig

MODULE, NODE = "tests.ros_nodes.slow_node", "/walker"
UNCONFIGURED, INACTIVE, ACTIVE = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
)
ALLOWED = {
    (UNCONFIGURED, "configure"): INACTIVE,
    (INACTIVE, "activate"): ACTIVE,
    (ACTIVE, "deactivate"): INACTIVE,
    (INACTIVE, "cleanup"): UNCONFIGURED,
}
NUMBERS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
}
SHUTDOWN = {
    UNCONFIGURED: Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    INACTIVE: Transition.TRANSITION_INACTIVE_SHUTDOWN,
    ACTIVE: Transition.TRANSITION_ACTIVE_SHUTDOWN,
}


class Walker:
    """A node, the state that it should be in, and clients that are kept: a first answer of a new one may be lost."""

    def __init__(self, observer: Observer, process: NodeProcess) -> None:
        self.observer, self.process, self.state = observer, process, UNCONFIGURED
        self._client = observer.node.create_client(ChangeState, f"{NODE}/change_state")
        observer.until(self._client.service_is_ready, "the walker's services")

    def close(self) -> None:
        self.observer.node.destroy_client(self._client)

    def ask(self, transition: Transition) -> bool | None:
        """Whether it succeeded; None when no answer came."""
        future = self._client.call_async(ChangeState.Request(transition=transition))
        self.observer.happens(future.done, timeout_s=10.0)
        return bool(future.result().success) if future.done() else None

    def step(self, name: str) -> None:
        """Asks for a transition; answer and state must be as the standard says."""
        wanted = ALLOWED.get((self.state, name))
        answer = self.ask(Transition(id=NUMBERS[name]))
        self.state = wanted or self.state
        assert answer in (None, wanted is not None), f"{name} was answered with {answer}"
        assert self.observer.state(NODE) == self.state, f"after {name}"

    def go(self, state: int) -> None:
        """By the shortest way."""
        for name in {UNCONFIGURED: ("deactivate", "cleanup"), ACTIVE: ("configure", "activate")}.get(state, ()):
            if (self.state, name) in ALLOWED:
                self.step(name)
        if state == INACTIVE and self.state != INACTIVE:
            self.step("configure" if self.state == UNCONFIGURED else "deactivate")


@pytest.fixture
def walker(observer: Observer, nodes: Nodes, tmp_path: Path) -> Iterator[Walker]:
    write_yaml(tmp_path / "rig.yaml", simple_rig())
    made = Walker(observer, nodes.start(MODULE, name="walker", rig=tmp_path / "rig.yaml", reliable=True))
    yield made
    made.close()


def test_every_transition_in_every_state(walker: Walker) -> None:
    for state in (UNCONFIGURED, INACTIVE, ACTIVE):
        for name in NUMBERS:
            walker.go(state)
            walker.step(name)
        walker.go(state)
        for other, number in SHUTDOWN.items():
            if other != state:
                assert walker.ask(Transition(id=number)) is False, f"shutdown {number} in {state}"
        assert walker.ask(Transition(id=200)) is False
        assert walker.ask(Transition(label="fly")) is False
        assert walker.observer.state(NODE) == state
    assert walker.process.stop() == 0
    assert "Traceback" not in walker.process.log


def test_random_walks_are_followed_and_only_an_active_node_speaks(walker: Walker) -> None:
    rng, topics = np.random.default_rng(20), Answering(walker.observer, NODE)
    names, unheard_ns = list(NUMBERS), set()
    for number in range(60):
        walker.step(names[rng.integers(len(names))])
        stamp_ns = 10**17 + number
        if walker.state != ACTIVE:
            unheard_ns.add(stamp_ns)
        topics.send(stamp_ns)
    walker.go(ACTIVE)
    topics.ask(10**18)
    assert len(unheard_ns) > 10
    assert not unheard_ns & set(topics.stamps_ns)
    topics.close()


@pytest.mark.parametrize("state", [UNCONFIGURED, INACTIVE, ACTIVE])
def test_shutdown_ends_the_process_in_every_state(walker: Walker, state: int) -> None:
    walker.go(state)
    assert walker.ask(Transition(id=SHUTDOWN[state])) in (None, True)
    assert walker.process.wait() == 0
    assert "Traceback" not in walker.process.log


def test_transitions_are_told_and_what_is_possible_is_listed(walker: Walker) -> None:
    observer = walker.observer
    told = observer.hear(TransitionEvent, f"{NODE}/transition_event")
    observer.until(lambda: observer.node.count_publishers(f"{NODE}/transition_event") > 0, "a publisher")
    request = GetAvailableTransitions.Request()
    answer = observer.call(GetAvailableTransitions, f"{NODE}/get_available_transitions", request)
    assert {entry.transition.label for entry in answer.available_transitions} == {"configure", "shutdown"}
    for _ in range(3):  # what is told before the two have found each other is lost
        walker.go(ACTIVE)
        walker.go(UNCONFIGURED)
        if observer.happens(lambda: len(told.messages) >= 4, timeout_s=1.0):
            break
    assert {event.goal_state.label for event in told.messages} >= {"inactive", "active", "unconfigured"}
    observer.forget(told)
