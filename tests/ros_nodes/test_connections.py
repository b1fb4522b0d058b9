"""Nodes side by side, drivers that die and come back, ends that ask for more than they get, students that hang."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros` or `make test-jazzy`")

from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from vision_msgs.msg import Detection3DArray

from tests.ros_nodes.answering import NODE_MODULE, Answering
from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import NodeProcess, Nodes
from understudy.configuration import write_yaml
from understudy.testing import CLASS_NAMES, simple_rig, tiny_bundle

NODE = "/slow_node"
ERROR = b"\x02"


@pytest.fixture
def rig_file(tmp_path: Path) -> Path:
    write_yaml(tmp_path / "rig.yaml", simple_rig())
    return tmp_path / "rig.yaml"


def start_driver(nodes: Nodes, *, reliable: bool) -> NodeProcess:
    return nodes.start("tests.ros_nodes.road_driver", name="driver", reliable=reliable)


def test_two_nodes_at_once_hear_their_own_topics(observer: Observer, nodes: Nodes, rig_file: Path) -> None:
    sides = {}
    for number, side in enumerate(("left", "right")):
        remap = {"points": f"/{side}/lidar"}
        process = nodes.start(NODE_MODULE, name=side, namespace="/car", remap=remap, rig=rig_file, reliable=True)
        sides[side] = (process, Answering(observer, f"/car/{side}", f"/{side}/lidar"), 10**18 + number)
    for side, (_, topics, stamp_ns) in sides.items():
        observer.bring_up(f"/car/{side}")
        topics.ask(stamp_ns)
    for side, (_, topics, stamp_ns) in sides.items():
        assert set(topics.stamps_ns) == {stamp_ns}
        observer.diagnosis(f"/car/{side}", lambda status: True, "anything")
        topics.close()
    process, _, _ = sides["left"]
    assert process.stop() == 0
    assert observer.state("/car/right") == 3


def test_a_driver_that_dies_is_named_and_its_successor_is_heard(
    observer: Observer, nodes: Nodes, rig_file: Path
) -> None:
    process = nodes.start(NODE_MODULE, name="slow_node", rig=rig_file, reliable=True, silent_ms=500)
    driver, topics = start_driver(nodes, reliable=True), Answering(observer, NODE)
    observer.bring_up(NODE)
    for _ in range(2):
        topics.heard.messages.clear()
        observer.until(lambda: len(topics.heard.messages) >= 3, "answers")
        driver.stop(signal.SIGKILL)
        status = observer.diagnosis(NODE, lambda status: "no message for" in status.message, "silence")
        assert status.level == ERROR
        assert "lidar" in status.message
        driver = start_driver(nodes, reliable=True)
    topics.heard.messages.clear()
    observer.until(lambda: len(topics.heard.messages) >= 3, "answers")
    observer.diagnosis(NODE, lambda status: status.level == b"\x00", "nothing wrong")
    topics.close()
    assert process.stop() == 0


def test_a_driver_that_offers_less_than_is_asked_for_is_named(observer: Observer, nodes: Nodes, rig_file: Path) -> None:
    process = nodes.start(NODE_MODULE, name="slow_node", rig=rig_file, reliable=True)
    observer.bring_up(NODE)
    topics = Answering(observer, NODE)
    start_driver(nodes, reliable=False)
    status = observer.diagnosis(NODE, lambda status: "RELIABILITY" in status.message.upper(), "the mismatch")
    assert status.level == ERROR
    assert "lidar" in status.message
    assert "RELIABILITY" in process.log.upper()
    assert observer.set_parameters(NODE, [Parameter("reliable", value=False)]) == [True]
    assert observer.change(NODE, "deactivate")
    assert observer.change(NODE, "activate")
    observer.until(lambda: topics.heard.messages, "answers once the node asks for less")
    observer.diagnosis(NODE, lambda status: status.level == b"\x00", "nothing wrong")
    topics.close()


def test_a_driver_of_another_type_is_named(observer: Observer, nodes: Nodes, rig_file: Path, tmp_path: Path) -> None:
    """ROS itself connects nobody and says nothing; it is no matter of the transport either."""
    process = nodes.start(NODE_MODULE, name="slow_node", rig=rig_file)
    observer.bring_up(NODE)
    command = [sys.executable, "-m", "tests.ros_nodes.sensor_driver", "--kind", "info", "--topic", "/points"]
    driver = NodeProcess(command, tmp_path / "driver.log")
    try:
        status = observer.diagnosis(NODE, lambda status: "CameraInfo" in status.message, "the type")
        assert status.level == ERROR
        assert "lidar: /points has sensor_msgs/msg/CameraInfo, wanted sensor_msgs/msg/PointCloud2" in status.message
        observer.spin(2.0)
        status = observer.diagnosis(NODE, lambda status: "CameraInfo" in status.message, "the type")
        assert "Fast DDS" not in status.message + process.log
    finally:
        driver.stop()
    observer.diagnosis(NODE, lambda status: "CameraInfo" not in status.message, "no such driver any more")
    assert process.stop() == 0


def test_a_student_that_hangs_is_named_and_goes_on_afterwards(
    observer: Observer, nodes: Nodes, rig_file: Path, tmp_path: Path
) -> None:
    hang = tmp_path / "hang"
    process = nodes.start(NODE_MODULE, name="slow_node", rig=rig_file, reliable=True, hang_while=hang)
    observer.bring_up(NODE)
    topics = Answering(observer, NODE)
    topics.ask(10**18)
    hang.touch()
    sent = iter(range(1, 1000))

    def is_named(status: Any) -> bool:
        topics.send(10**18 + next(sent))
        return "student" in status.message and "busy" in status.message

    observer.diagnosis(NODE, is_named, "the student at fault")
    assert observer.state(NODE) == 3
    hang.unlink()
    topics.ask(2 * 10**18)
    observer.diagnosis(NODE, lambda status: "student" not in status.message, "the student free again")
    assert process.stop() == 0
    topics.close()


def test_whoever_comes_late_hears_the_class_names_and_no_old_result(
    observer: Observer, nodes: Nodes, rig_file: Path, tmp_path: Path
) -> None:
    bundle = tiny_bundle(tmp_path / "bundle").folder
    nodes.start("understudy_ros.lidar_detector", name="lidar_detector", bundle=bundle, rig=rig_file, reliable=True)
    observer.bring_up("/lidar_detector")
    for _ in range(2):
        names: list[String] = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        subscription = observer.node.create_subscription(String, "/lidar_detector/class_names", names.append, latched)
        results = observer.hear(Detection3DArray, "/lidar_detector/detections")
        observer.until(lambda: names, "class names")  # noqa: B023
        assert list(json.loads(names[0].data).values()) == list(CLASS_NAMES)
        assert not results.messages
        observer.node.destroy_subscription(subscription)
        observer.forget(results)
