"""`use_sim_time`: the node follows `/clock` where it stands still, runs on, and jumps back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros` or `make test-jazzy`")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rosgraph_msgs.msg import Clock

from tests.ros_nodes.answering import NODE_MODULE, Answering
from tests.ros_nodes.observer import Heard, Observer
from tests.ros_nodes.processes import Nodes
from understudy.configuration import write_yaml
from understudy.testing import simple_rig

NODE = "/slow_node"
S = 1_000_000_000


class Simulated:
    """A node on simulated time, and the clock that it follows."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.topics = Answering(observer, NODE)
        self._clock = observer.publisher(Clock, "/clock")
        self._told = observer.hear(DiagnosticArray, "/diagnostics")

    def show(self, now_s: float) -> None:
        """Sets the clock, and waits until the node's diagnostics carry that time."""
        self._told.messages.clear()

        def is_seen() -> bool:
            self._clock.publish(Clock(clock=Time(sec=int(now_s), nanosec=int(now_s % 1 * S))))
            return any(abs(seconds(message) - now_s) < 1e-6 for message in self._told.messages)

        self.observer.until(is_seen, f"the node's clock to show {now_s}")

    def told(self) -> Heard:
        return self._told

    def close(self) -> None:
        self.topics.close()
        self.observer.node.destroy_publisher(self._clock)
        self.observer.forget(self._told)


def seconds(message: DiagnosticArray) -> float:
    return float(message.header.stamp.sec + message.header.stamp.nanosec / S)


@pytest.fixture
def simulated(observer: Observer, nodes: Nodes, tmp_path: Path) -> Iterator[Simulated]:
    write_yaml(tmp_path / "rig.yaml", simple_rig())
    given = {"rig": tmp_path / "rig.yaml", "reliable": True, "use_sim_time": True, "deadline_ms": 500}
    process = nodes.start(NODE_MODULE, name="slow_node", **given)
    made = Simulated(observer)
    observer.bring_up(NODE)
    yield made
    made.close()
    assert process.stop() == 0
    assert "Traceback" not in process.log


def test_the_clock_stands_still_runs_on_and_jumps_back(simulated: Simulated) -> None:
    topics, observer = simulated.topics, simulated.observer
    simulated.show(1000.0)
    topics.ask(1000 * S)
    simulated.show(1000.25)
    topics.ask(1000 * S + S // 4)

    # A pause: nobody publishes the clock any more, and diagnostics go on in real time.
    simulated.told().messages.clear()
    observer.until(lambda: len(simulated.told().messages) >= 3, "diagnostics while the clock stands still")
    assert {seconds(message) for message in simulated.told().messages} == {1000.25}
    topics.ask(1000 * S + S // 4 + 1)

    # It runs on: what is older than the deadline by this clock is not used.
    simulated.show(1010.0)
    topics.send(1009 * S)
    observer.diagnosis(NODE, lambda status: "old" in status.message, "a cloud that is too old")
    assert 1009 * S not in topics.stamps_ns
    topics.ask(1010 * S)

    # A simulation that begins anew.
    simulated.show(3.0)
    topics.ask(3 * S)
    simulated.show(3.25)
    topics.ask(3 * S + S // 4)
    topics.send(2 * S)
    topics.ask(3 * S + S // 4 + 1)
    assert 2 * S not in topics.stamps_ns
