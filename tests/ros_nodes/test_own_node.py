"""The public base: somebody's own node in ten lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from sensor_msgs.msg import PointCloud2
from std_msgs.msg import UInt32

from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import Nodes
from understudy.configuration import write_yaml
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.pipeline import open_pipeline
from understudy.testing import frame_of, road_cloud, simple_rig, tiny_bundle
from understudy_ros.make import make_message


def test_ten_lines_are_a_node(observer: Observer, nodes: Nodes, tmp_path: Path) -> None:
    bundle, rig = tiny_bundle(tmp_path / "bundle").folder, tmp_path / "rig.yaml"
    write_yaml(rig, simple_rig())
    cloud = road_cloud(np.random.default_rng(0))
    with open_pipeline(bundle, simple_rig()) as pipeline:
        wanted = len(pipeline(frame_of(cloud)))
    process = nodes.start("tests.ros_nodes.box_counter", name="box_counter", bundle=bundle, rig=rig, reliable=True)
    publisher = observer.publisher(PointCloud2, "/points")
    heard = observer.hear(UInt32, "/box_counter/count")
    observer.bring_up("/box_counter")
    for _ in range(5):
        observer.connect(publisher, heard)
        publisher.publish(cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0))
        if observer.happens(lambda: heard.messages, timeout_s=4.0):
            break
    assert wanted > 0
    assert heard.messages[0].data == wanted
    observer.node.destroy_publisher(publisher)
    observer.forget(heard)
    assert process.stop() == 0


def test_the_page_shows_this_very_node() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "ros.md"
    source = Path(__file__).with_name("box_counter.py").read_text().split('"""', 2)[2].strip()
    assert source in page.read_text()
