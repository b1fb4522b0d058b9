"""The sensors of a scenario as publishers: they die, come back, and offer less than is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, PointCloud2
from std_msgs.msg import String

from understudy.messages.headers import time_message
from understudy_ros.make import make_message, message_class
from understudy_ros.qos import profile_of
from understudy_ros.topics import naming

_DEPTH = 10
_RELIABLE = profile_of(_DEPTH, reliable=True)
_CLOCK_TYPE = "rosgraph_msgs/msg/Clock"


class Publishers:
    """One publisher for each sensor, one for the student's orders, one for `/clock`.

    Args:
        node: who publishes.
        topics: by sensor; clouds on the LiDAR's, compressed pictures on the cameras'.
        lidar: name of the LiDAR.
        orders: topic on which a student is told to fail; empty for none.
        clock: whether to publish `/clock`.
    """

    def __init__(
        self, node: Node, topics: Mapping[str, str], lidar: str, orders: str = "", clock: bool = False
    ) -> None:
        self._node, self._topics, self._lidar = node, topics, lidar
        self._by_sensor: dict[str, Any] = {}
        for sensor in topics:
            self.open(sensor)
        with naming(orders):
            self._orders = node.create_publisher(String, orders, _RELIABLE) if orders else None
        self._clock = node.create_publisher(message_class(_CLOCK_TYPE), "/clock", _RELIABLE) if clock else None

    def open(self, sensor: str, *, mismatched: bool = False) -> None:
        """Makes a sensor's publisher anew; a mismatched one delivers nothing to who listens reliably."""
        self.close(sensor)
        kind = PointCloud2 if sensor == self._lidar else CompressedImage
        profile = profile_of(_DEPTH, reliable=not mismatched)
        with naming(self._topics[sensor]):
            self._by_sensor[sensor] = self._node.create_publisher(kind, self._topics[sensor], profile)

    def close(self, sensor: str) -> None:
        """A sensor's publisher dies."""
        publisher = self._by_sensor.pop(sensor, None)
        if publisher is not None:
            self._node.destroy_publisher(publisher)

    def send(self, sensor: str, message: Any) -> None:
        """Publishes, where there is a publisher."""
        publisher = self._by_sensor.get(sensor)
        if publisher is not None:
            publisher.publish(message)

    def order(self, text: str) -> None:
        """Tells the student what to do."""
        if self._orders is not None:
            self._orders.publish(String(data=text))

    def show(self, now_ns: int) -> None:
        """Publishes the time."""
        if self._clock is not None:
            self._clock.publish(make_message(_CLOCK_TYPE, clock=time_message(make_message, now_ns)))

    @property
    def unheard(self) -> tuple[str, ...]:
        """Topics of sensors, and of orders, that nobody listens to."""
        silent = [self._topics[name] for name, made in self._by_sensor.items() if not made.get_subscription_count()]
        if self._orders is not None and not self._orders.get_subscription_count():
            silent.append(self._orders.topic_name)
        return tuple(silent)

    def listens_reliably(self, sensor: str) -> bool:
        """Whether everybody who listens to a sensor asks for more than best effort."""
        infos = self._node.get_subscriptions_info_by_topic(self._node.resolve_topic_name(self._topics[sensor]))
        return bool(infos) and all(info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in infos)
