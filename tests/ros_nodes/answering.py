"""A slow node with its topics connected: clouds of a given stamp go in, headers of the same stamp come out."""

from __future__ import annotations

from typing import Any

import numpy as np
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from tests.ros_nodes.observer import Observer
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.testing import road_cloud
from understudy_ros.make import make_message

NODE_MODULE = "tests.ros_nodes.slow_node"
NUM_POINTS = 60
_NS_PER_S = 1_000_000_000


def road_message(stamp_ns: int) -> Any:
    """A cloud that is another one for each stamp."""
    cloud = road_cloud(np.random.default_rng(stamp_ns % 2**63), num_points=NUM_POINTS, stamp_ns=stamp_ns)
    return cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0)


class Answering:
    """Sends clouds to a node and hears its answers.

    Args:
        observer: the test's own node.
        node: full name of the node under test.
        points: full name of its topic.
    """

    def __init__(self, observer: Observer, node: str, points: str = "/points") -> None:
        self.observer, self.node = observer, node
        self.publisher = observer.publisher(PointCloud2, points)
        self.heard = observer.hear(Header, f"{node}/answers")

    @property
    def stamps_ns(self) -> list[int]:
        return [answer.stamp.sec * _NS_PER_S + answer.stamp.nanosec for answer in self.heard.messages]

    def send(self, stamp_ns: int) -> None:
        self.publisher.publish(road_message(stamp_ns))

    def ask(self, stamp_ns: int) -> None:
        """Until it is answered; sent again where the two ends had not found each other yet."""
        for _ in range(5):
            self.observer.connect(self.publisher, self.heard)
            self.send(stamp_ns)
            if self.observer.happens(lambda: stamp_ns in self.stamps_ns, timeout_s=4.0):
                return
        raise AssertionError(f"no answer to {stamp_ns}; those there were: {self.stamps_ns}")

    def close(self) -> None:
        self.observer.node.destroy_publisher(self.publisher)
        self.observer.forget(self.heard)
