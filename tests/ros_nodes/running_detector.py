"""A detector under test with its topics connected, and what it must say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import NodeProcess
from understudy.boxes import Boxes, wrap_angle
from understudy.configuration import write_yaml
from understudy.frame import PointCloud
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.headers import stamp_ns_from_message
from understudy.messages.outputs import boxes_from_detections
from understudy.rig import Rig
from understudy.testing import road_cloud
from understudy_ros.make import make_message

ERROR, WARN, OK = b"\x02", b"\x01", b"\x00"
PERIOD_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
OUTCOMES = ("published", "superseded", "rejected", "stale", "failed", "discarded")
OUTCOMES += ("duplicate", "out_of_order", "unmatched")


def written(rig: Rig, path: Path) -> Path:
    write_yaml(path, rig)
    return path


def message_of(cloud: PointCloud, layout: str = "plain", intensity_scale: float = 1.0) -> Any:
    return cloud_message(make_message, cloud, LAYOUTS[layout], intensity_scale)


def road(number: int = 0) -> PointCloud:
    """The sweep of that number of a LiDAR at 10 Hz."""
    return road_cloud(np.random.default_rng(abs(number)), stamp_ns=START_NS + number * PERIOD_NS)


class Running:
    """An active detector whose answer has proved that both ends have found each other.

    Args:
        observer: this process.
        process: the node's.
        first: a cloud that is older than all that will be asked by a second or more.
        node: its full name.
        points: its topic of clouds.
    """

    def __init__(
        self, observer: Observer, process: NodeProcess, first: PointCloud, node: str, points: str = "/points"
    ) -> None:
        self.observer, self.process, self.node = observer, process, node
        self.publisher = observer.publisher(PointCloud2, points)
        self.detections = observer.hear(Detection3DArray, f"{node}/detections")
        self.markers = observer.hear(MarkerArray, f"{node}/markers")
        observer.bring_up(node)
        self.meet(first)

    def meet(self, cloud: PointCloud) -> None:
        """Asks until there is an answer, each time with a stamp of its own: a lost answer is not given again."""
        for attempt in range(9):
            self.observer.connect(self.publisher, self.detections, self.markers)
            stamp_ns = cloud.stamp_ns - PERIOD_NS + attempt * (PERIOD_NS // 10)
            self.publisher.publish(message_of(replace(cloud, stamp_ns=stamp_ns)))
            if self.observer.happens(lambda: self.detections.messages and self.markers.messages, timeout_s=3.0):
                return
        raise AssertionError("no detections")

    def ask(self, message: Any) -> Any:
        """The detections that a cloud leads to."""
        self.publisher.publish(message)
        return self.answer(stamp_ns_from_message(message))

    def answer(self, stamp_ns: int) -> Any:
        """The detections of the sweep with that stamp."""
        heard = self.detections.messages
        answers = lambda: [answer for answer in heard if stamp_ns_from_message(answer) == stamp_ns]  # noqa: E731
        self.observer.until(answers, "detections")
        return answers()[0]

    def close(self) -> None:
        self.observer.node.destroy_publisher(self.publisher)
        for heard in (self.detections, self.markers):
            self.observer.forget(heard)


def assert_same(message: Any, boxes: Boxes, stamp_ns: int) -> None:
    """Position and size bit for bit; the yaw went through a quaternion."""
    received = boxes_from_detections(message, boxes.class_names)
    assert (stamp_ns_from_message(message), message.header.frame_id) == (stamp_ns, "base_link")
    np.testing.assert_array_equal(received.geometry[:, :6], boxes.geometry[:, :6])
    turn_rad = received.geometry[:, 6] - boxes.geometry[:, 6]
    np.testing.assert_allclose(wrap_angle(turn_rad), 0.0, atol=1e-6)
    np.testing.assert_array_equal(received.labels, boxes.labels)
    np.testing.assert_array_equal(received.scores, boxes.scores)


def values_of(status: Any) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def at_fault(status: Any) -> set[str]:
    return set(filter(None, values_of(status)["at_fault"].split(", ")))


def assert_counts_add_up(status: Any, *sensors: str) -> None:
    values = values_of(status)
    for name in sensors:
        ends = sum(int(values[f"{end}/{name}"]) for end in ("waiting", *OUTCOMES))
        assert int(values[f"received/{name}"]) == ends, name
