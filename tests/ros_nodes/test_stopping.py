"""SIGINT and SIGTERM in every state: the process ends by itself, with status 0 and without a traceback.

`UNDERSTUDY_ROS_REPEATS` says how often each case runs: once, or as often as a hunt for rare failures needs.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros` or `make test-jazzy`")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import PointCloud2

from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import NodeProcess, Nodes
from understudy.configuration import write_yaml
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.testing import road_cloud, simple_rig
from understudy_ros.make import make_message

MODULE, NODE = "tests.ros_nodes.slow_node", "/slow_node"
REPEATS = range(int(os.environ.get("UNDERSTUDY_ROS_REPEATS", "1")))
SIGNALS = (signal.SIGINT, signal.SIGTERM)

pytestmark = [pytest.mark.parametrize("repeat", REPEATS), pytest.mark.parametrize("number", SIGNALS)]


@pytest.fixture
def rig_file(tmp_path: Path) -> Path:
    write_yaml(tmp_path / "rig.yaml", simple_rig())
    return tmp_path / "rig.yaml"


def assert_ends(process: NodeProcess, number: signal.Signals) -> None:
    """Within the time after which `stop` kills it."""
    assert process.stop(number) == 0, process.log
    assert "Traceback" not in process.log


def handles_signals(process: NodeProcess) -> bool:
    """Whether the process has come far enough to handle SIGTERM, which Python itself does not."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3])
def test_right_after_the_start(nodes: Nodes, number: signal.Signals, repeat: int, delay_s: float) -> None:
    process = nodes.start(MODULE, name="slow_node")
    while not handles_signals(process):
        time.sleep(0.002)
    time.sleep(delay_s + 0.01 * repeat)
    assert_ends(process, number)


def test_while_it_configures(
    observer: Observer, nodes: Nodes, rig_file: Path, number: signal.Signals, repeat: int
) -> None:
    process = nodes.start(MODULE, name="slow_node", rig=rig_file, open_ms=1000)
    client = observer.node.create_client(ChangeState, f"{NODE}/change_state")
    observer.until(client.service_is_ready, "its services")
    client.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
    observer.spin(0.3 + 0.05 * repeat)
    assert_ends(process, number)
    observer.node.destroy_client(client)


@pytest.mark.parametrize("transitions", [(), ("configure",), ("configure", "activate")])
def test_while_it_waits(
    observer: Observer,
    nodes: Nodes,
    rig_file: Path,
    number: signal.Signals,
    repeat: int,
    transitions: tuple[str, ...],
) -> None:
    process = nodes.start(MODULE, name="slow_node", rig=rig_file)
    observer.state(NODE)
    for transition in transitions:
        assert observer.change(NODE, transition)
    assert_ends(process, number)


def test_while_it_infers_and_more_is_waiting(
    observer: Observer, nodes: Nodes, rig_file: Path, number: signal.Signals, repeat: int
) -> None:
    process = nodes.start(MODULE, name="slow_node", rig=rig_file, reliable=True, run_ms=500)
    publisher = observer.publisher(PointCloud2, "/points")
    observer.bring_up(NODE)
    for stamp_ns in range(1, 6):
        observer.connect(publisher)
        publisher.publish(cloud(stamp_ns))
    observer.spin(0.1 + 0.05 * repeat)
    assert_ends(process, number)
    observer.node.destroy_publisher(publisher)


def test_while_the_student_hangs(
    observer: Observer, nodes: Nodes, rig_file: Path, tmp_path: Path, number: signal.Signals, repeat: int
) -> None:
    if repeat:
        pytest.skip("it takes seconds until a hanging student is given up")
    (tmp_path / "hang").touch()
    process = nodes.start(MODULE, name="slow_node", rig=rig_file, reliable=True, hang_while=tmp_path / "hang")
    publisher = observer.publisher(PointCloud2, "/points")
    observer.bring_up(NODE)
    for stamp_ns in range(1, 4):
        observer.connect(publisher)
        publisher.publish(cloud(stamp_ns))
        observer.spin(0.1)
    assert_ends(process, number)
    assert "does not come back" in process.log
    observer.node.destroy_publisher(publisher)


def cloud(stamp_ns: int) -> Any:
    made = road_cloud(np.random.default_rng(stamp_ns), num_points=50, stamp_ns=10**18 + stamp_ns)
    return cloud_message(make_message, made, LAYOUTS["plain"], 1.0)
