"""The doctor beside nodes of ours and of others, whose services it asks and whose topics it compares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage

from tests.ros_nodes.doctor_cases import SIMPLE, Drivers, about, patient_look, says, started_drivers
from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import Nodes
from understudy.configuration import write_yaml
from understudy.diagnosis.findings import Finding
from understudy.diagnosis.vehicle import Vehicle
from understudy.messages.transforms import rig_transforms_message
from understudy.rig import Rig
from understudy.testing import simple_rig, tiny_bundle
from understudy_ros.doctor import look
from understudy_ros.make import make_message

LONGEST_LOOK_S = 60.0


@pytest.fixture
def drivers(tmp_path: Path) -> Iterator[Drivers]:
    with started_drivers(tmp_path) as start:
        yield start


def look_beside(observer: Observer, enough: Callable[[list[Finding]], object]) -> list[Finding]:
    """What the doctor finds while the observer, a node too, answers."""

    def one(vehicle: Vehicle) -> list[Finding]:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(lambda: list(look(vehicle)))
            observer.until(future.done, "the doctor", LONGEST_LOOK_S)
            return future.result()

    return patient_look(SIMPLE, enough, one)


def test_another_subscriber_that_hears_nothing(drivers: Drivers, observer: Observer) -> None:
    drivers("--best-effort")
    reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    subscription = observer.node.create_subscription(PointCloud2, "/points", print, reliable)
    found = look_beside(observer, lambda found: [each.state for each in about(found, "/points")] == ["warn"])
    observer.node.destroy_subscription(subscription)
    assert says(found, "/points", "/observer gets nothing")


@pytest.fixture
def points(observer: Observer) -> Iterator[None]:
    """A publisher that says nothing: a topic that is there is not waited for."""
    publisher = observer.publisher(PointCloud2, "/points")
    yield
    observer.node.destroy_publisher(publisher)


@pytest.mark.usefixtures("points")
class TestTransforms:
    @staticmethod
    def found_with(observer: Observer, rig: Rig, durability: DurabilityPolicy, what: str) -> list[Finding]:
        publisher = observer.node.create_publisher(TFMessage, "/tf_static", QoSProfile(depth=1, durability=durability))
        publisher.publish(rig_transforms_message(make_message, rig, 0))
        found = look_beside(observer, lambda found: what in " ".join(each.seen for each in found))
        observer.node.destroy_publisher(publisher)
        return [finding for finding in found if finding.what == "/tf_static"]

    def test_that_agree(self, observer: Observer) -> None:
        [finding] = self.found_with(observer, simple_rig(), DurabilityPolicy.TRANSIENT_LOCAL, "agrees with the rig")
        assert finding.state == "ok"

    def test_of_a_sensor_that_is_elsewhere(self, observer: Observer) -> None:
        rig = simple_rig(height_m=1.9)
        [finding] = self.found_with(observer, rig, DurabilityPolicy.TRANSIENT_LOCAL, "away from the rig")
        assert finding.state == "missing"
        assert "lidar is 0.100 m" in finding.seen

    def test_that_latecomers_do_not_hear(self, observer: Observer) -> None:
        found = self.found_with(observer, simple_rig(), DurabilityPolicy.VOLATILE, "not heard by who comes later")
        assert "transient local" in found[0].remedy


@pytest.mark.usefixtures("points")
def test_lifecycle_and_diagnostics_of_our_node(observer: Observer, nodes: Nodes, tmp_path: Path) -> None:
    write_yaml(tmp_path / "rig.yaml", simple_rig())
    given = {"bundle": tiny_bundle(tmp_path / "bundle").folder, "rig": tmp_path / "rig.yaml"}
    node = "/lidar_detector"
    process = nodes.start("understudy_ros.lidar_detector", name="lidar_detector", **given)
    observer.state(node)
    found = look_beside(observer, lambda found: says(found, node, "unconfigured, not active"))
    assert "ros2 lifecycle set /lidar_detector configure, then activate" in about(found, node)[0].remedy
    observer.bring_up(node)
    found = look_beside(observer, lambda found: says(found, "/diagnostics", "lidar_detector"))
    assert about(found, node) == []
    assert any(finding.what == node and finding.seen == "active" for finding in found)
    assert says(found, "/diagnostics", "lidar_detector")  # no cloud comes
    assert process.stop() == 0
