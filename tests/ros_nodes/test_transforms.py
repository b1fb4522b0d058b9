"""The rig against `/tf_static`, over DDS: refused, reported, taken over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from rclpy.parameter import Parameter
from vision_msgs.msg import Detection3DArray

from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import Nodes
from tests.ros_nodes.running_detector import (
    ERROR,
    PERIOD_NS,
    START_NS,
    Running,
    assert_same,
    at_fault,
    message_of,
    road,
    values_of,
    written,
)
from tests.ros_nodes.sensor_rack import SensorRack, StaticTransformsOf, noise_message
from understudy.messages.headers import stamp_ns_from_message
from understudy.pipeline import open_pipeline
from understudy.rig import Mounting, Rig
from understudy.testing import frame_of, simple_rig, tiny_bundle

MODULE, NODE = "understudy_ros.lidar_detector", "/lidar_detector"
RIG = simple_rig(camera=True)


def moved(sensor: str, by_m: float) -> Rig:
    """The rig with a sensor that sits elsewhere."""
    entry = RIG.sensors[sensor]
    x, y, z = entry.ego_from_sensor.translation_m
    mounting = Mounting(translation_m=(x + by_m, y, z), rotation_wxyz=entry.ego_from_sensor.rotation_wxyz)
    return RIG.model_copy(
        update={"sensors": {**RIG.sensors, sensor: entry.model_copy(update={"ego_from_sensor": mounting})}}
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("student") / "bundle").folder


@pytest.fixture(scope="module")
def rig_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(RIG, tmp_path_factory.mktemp("rig") / "rig.yaml")


@pytest.fixture
def transforms(observer: Observer) -> Iterator[StaticTransformsOf]:
    made = StaticTransformsOf(observer)
    yield made
    made.close()


def test_a_lidar_elsewhere_refuses_to_configure_and_stops_an_active_node(
    observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path, transforms: StaticTransformsOf
) -> None:
    transforms.send(moved("lidar", 0.05))
    process = nodes.start(MODULE, name="lidar_detector", bundle=bundle, rig=rig_file, reliable=True, silent_ms=60_000)
    observer.until(lambda: observer.node.count_subscribers("/tf_static") > 0, "the node")
    observer.spin(0.5)
    assert not observer.change(NODE, "configure")
    reason = "lidar: found /tf_static has it 0.050 m and 0.00 degrees away from the rig's mounting"
    assert observer.diagnosis(NODE, lambda status: reason in status.message, "the refusal").level == ERROR

    transforms.send(RIG)
    observer.spin(0.5)
    running = Running(observer, process, road(-20), NODE)
    known = len(running.detections.messages)
    transforms.send(moved("lidar", -0.02))
    status = observer.diagnosis(NODE, lambda status: "lidar" in at_fault(status), "the LiDAR at fault")
    assert status.level == ERROR
    assert "0.020 m" in values_of(status)["geometry/lidar"]
    running.publisher.publish(message_of(road(1)))
    observer.diagnosis(NODE, lambda status: values_of(status).get("rejected/lidar") == "1", "the sweep refused")
    assert len(running.detections.messages) == known, "nothing is published from a rig that is proven wrong"
    transforms.send(RIG)
    observer.diagnosis(NODE, lambda status: "geometry/lidar" not in values_of(status), "no contradiction")
    running.ask(message_of(road(2)))
    running.close()
    assert process.stop() == 0


def test_a_camera_elsewhere_costs_its_pictures(
    observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path, transforms: StaticTransformsOf
) -> None:
    node = "/fusion_detector"
    given = {"bundle": bundle, "rig": rig_file, "reliable": True, "cameras_reliable": True, "max_wait_ms": 300}
    process = nodes.start("understudy_ros.fusion_detector", name="fusion_detector", **given)
    rack, heard = SensorRack(observer, RIG), observer.hear(Detection3DArray, f"{node}/detections")
    observer.bring_up(node)
    rack.connect()
    observer.connect(rack.points, heard)
    transforms.send(moved("front", 0.03))
    observer.diagnosis(node, lambda status: "front" in at_fault(status) and "0.030 m" in status.message, "the camera")
    cloud = road(1)
    rack.send(cloud, {"front": noise_message(RIG.cameras["front"], 1, cloud.stamp_ns)})
    observer.until(lambda: cloud.stamp_ns in map(stamp_ns_from_message, heard.messages), "detections")
    status = observer.diagnosis(node, lambda status: values_of(status).get("results") == "1", "a result")
    assert values_of(status)["rejected/front"] == "1"
    rack.close()
    observer.forget(heard)
    assert process.stop() == 0


@pytest.mark.parametrize("use_tf", ["warn", "ignore"])
def test_who_does_not_want_it_is_not_refused(
    observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path, transforms: StaticTransformsOf, use_tf: str
) -> None:
    transforms.send(moved("lidar", 1.0))
    given = {"bundle": bundle, "rig": rig_file, "reliable": True, "silent_ms": 60_000, "use_tf": use_tf}
    process = nodes.start(MODULE, name="lidar_detector", **given)
    running = Running(observer, process, road(-20), NODE)
    status = observer.diagnosis(NODE, lambda status: int(values_of(status).get("results", 0)) > 0, "a result")
    assert ("geometry/lidar" in values_of(status)) == (use_tf == "warn")
    assert status.level != ERROR
    running.close()
    assert process.stop() == 0


def test_mountings_may_come_from_the_transforms(
    observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path, transforms: StaticTransformsOf
) -> None:
    given = {"bundle": bundle, "rig": rig_file, "reliable": True, "use_tf": "replace", "tf_wait_ms": 200}
    process = nodes.start(MODULE, name="lidar_detector", **given)
    assert not observer.change(NODE, "configure")
    reason = "no transform of lidar within 0.2 s"
    assert observer.diagnosis(NODE, lambda status: reason in status.message, "the refusal").level == ERROR
    elsewhere = moved("lidar", 0.5)
    transforms.send(elsewhere)
    assert observer.set_parameters(NODE, [Parameter("tf_wait_ms", value=15_000)]) == [True]
    running = Running(observer, process, road(-20), NODE)
    with open_pipeline(bundle, elsewhere) as pipeline:
        wanted = pipeline(frame_of(road(1)))
    with open_pipeline(bundle, RIG) as pipeline:
        assert not np.array_equal(pipeline(frame_of(road(1))).geometry, wanted.geometry)
    assert_same(running.ask(message_of(road(1))), wanted, START_NS + PERIOD_NS)
    running.close()
    assert process.stop() == 0
