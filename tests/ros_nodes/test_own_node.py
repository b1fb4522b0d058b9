"""The public base: somebody's own node in ten lines, one with cameras, one that says what each point is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String, UInt32

from tests.ros_nodes.observer import Heard, Observer
from tests.ros_nodes.processes import Nodes
from tests.ros_nodes.running_detector import PERIOD_NS, START_NS, message_of, road, written
from tests.ros_nodes.sensor_rack import SensorRack, noise_message
from understudy.boxes import Segments
from understudy.datasets.semantickitti import SemanticKittiDataset
from understudy.frame import PointCloud
from understudy.messages.segments import segments_from_message
from understudy.pipeline import open_pipeline
from understudy.testing import frame_of, simple_rig, tiny_bundle

RIG = simple_rig(camera=True)
GROUND = ("road", "parking", "sidewalk", "other-ground", "terrain")


def asked_until_heard(observer: Observer, publisher: Any, heard: Heard, cloud: PointCloud) -> Any:
    """The answer to a cloud; asked again with a later stamp where the two ends had not found each other yet."""
    for attempt in range(5):
        observer.connect(publisher, heard)
        publisher.publish(message_of(replace(cloud, stamp_ns=cloud.stamp_ns + attempt * PERIOD_NS)))
        if observer.happens(lambda: heard.messages, timeout_s=4.0):
            return heard.messages[0]
    raise AssertionError("no answer")


def test_ten_lines_are_a_node(observer: Observer, nodes: Nodes, tmp_path: Path) -> None:
    bundle, rig_file = tiny_bundle(tmp_path / "bundle").folder, written(simple_rig(), tmp_path / "rig.yaml")
    with open_pipeline(bundle, simple_rig()) as pipeline:
        wanted = len(pipeline(frame_of(road())))
    process = nodes.start("tests.ros_nodes.box_counter", name="box_counter", bundle=bundle, rig=rig_file, reliable=True)
    publisher, heard = observer.publisher(PointCloud2, "/points"), observer.hear(UInt32, "/box_counter/count")
    observer.bring_up("/box_counter")
    assert wanted > 0
    assert asked_until_heard(observer, publisher, heard, road()).data == wanted
    observer.node.destroy_publisher(publisher)
    observer.forget(heard)
    assert process.stop() == 0


def test_an_own_node_gets_the_pictures_of_each_sweep(observer: Observer, nodes: Nodes, tmp_path: Path) -> None:
    rig_file = written(RIG, tmp_path / "rig.yaml")
    given = {"rig": rig_file, "reliable": True, "cameras_reliable": True, "max_wait_ms": 2000}
    process = nodes.start("tests.ros_nodes.camera_watcher", name="camera_watcher", **given)
    rack, heard = SensorRack(observer, RIG), observer.hear(String, "/camera_watcher/brightness")
    observer.bring_up("/camera_watcher")
    rack.connect()
    observer.connect(rack.points, heard)
    for number in range(1, 9):
        cloud = road(number)
        rack.send(cloud, {"front": noise_message(RIG.cameras["front"], number, cloud.stamp_ns)})
        if observer.happens(lambda: heard.messages, timeout_s=3.0):
            break
    assert json.loads(heard.messages[0].data)["front"] == pytest.approx(127.5, abs=2.0)
    assert "does not look at pictures" not in process.log
    rack.close()
    observer.forget(heard)
    assert process.stop() == 0


@pytest.mark.data
def test_an_own_node_segments_real_sweeps(observer: Observer, nodes: Nodes, data_root: Path, tmp_path: Path) -> None:
    sample = SemanticKittiDataset(data_root / "semantickitti")[0]
    [(lidar, cloud)] = sample.frame.clouds.items()
    rig_file = written(sample.rig, tmp_path / "rig.yaml")
    given = {"rig": rig_file, "lidar": lidar, "reliable": True}
    process = nodes.start("tests.ros_nodes.ground_splitter", name="ground_splitter", **given)
    publisher, heard = (
        observer.publisher(PointCloud2, "/points"),
        observer.hear(PointCloud2, "/ground_splitter/segments"),
    )
    observer.bring_up("/ground_splitter")
    message = asked_until_heard(observer, publisher, heard, replace(cloud, stamp_ns=START_NS))
    assert (message.header.frame_id, message.width) == (cloud.frame_id, len(cloud))
    found = segments_from_message(message, ("ground", "other"))
    assert agreement(found, sample.segments[lidar]) > 0.9
    observer.node.destroy_publisher(publisher)
    observer.forget(heard)
    assert process.stop() == 0


def agreement(found: Segments, labeled: Segments) -> float:
    """Share of the labeled points of which both say the same: ground, or not."""
    ground = [labeled.class_names.index(name) for name in GROUND]
    known = labeled.labels >= 0
    return float(np.mean((found.labels[known] == 0) == np.isin(labeled.labels[known], ground)))


@pytest.mark.parametrize("name", ["box_counter", "camera_watcher", "ground_splitter"])
def test_the_page_shows_these_very_nodes(name: str) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "ros.md"
    source = Path(__file__).with_name(f"{name}.py").read_text().split('"""', 2)[2].strip()
    assert source in page.read_text()
