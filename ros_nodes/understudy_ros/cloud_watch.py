"""Whether the clouds that a driver sends arrive here, told from their sizes and stamps."""

from __future__ import annotations

import time
from collections import deque
from statistics import median
from typing import Any

from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier

from understudy.errors import UnderstudyError
from understudy.messages.headers import stamp_ns_from_message
from understudy_ros.transport import CloudTraffic, profile_in_use, shm_free_bytes, transport_warning

_POINTS_TYPE = "sensor_msgs/msg/PointCloud2"
_EVERY_S = 1.0
_PERIODS = 20
_LONGEST_PAUSE_PERIODS = 50


class CloudWatch:
    """Counts clouds and the gaps between their stamps, and says when the transport is the likely reason.

    Attributes:
        warning: what is lost and what to do; empty while there is nothing to say.
        is_losing: whether anything was seen to be lost, or nothing has come at all.

    Args:
        node: whose log hears of it, once for each kind of trouble.
        topic: of the clouds.
        reliable: how they are subscribed.
    """

    def __init__(self, node: Node, topic: str, *, reliable: bool) -> None:
        self._node, self._topic, self._reliable = node, topic, reliable
        self._profile, self._middleware = profile_in_use(), get_rmw_implementation_identifier()
        self._received = self._largest_bytes = self._gaps = 0
        self._last_ns: int | None = None
        self._periods_ns: deque[int] = deque(maxlen=_PERIODS)
        self._looked_s = time.monotonic()
        self.warning = ""

    @property
    def is_losing(self) -> bool:
        """Whether the warning is about what happened, not about what may."""
        return bool(self.warning) and (self._gaps > 0 or not self._received)

    def hear(self, message: Any) -> None:
        """Takes a `sensor_msgs/PointCloud2`."""
        self._received += 1
        self._largest_bytes = max(self._largest_bytes, len(message.data))
        try:
            stamp_ns = stamp_ns_from_message(message)
        except UnderstudyError:
            return
        if self._last_ns is not None and stamp_ns > self._last_ns:
            self._add_period(stamp_ns - self._last_ns)
        self._last_ns = stamp_ns

    def look(self) -> None:
        """Works out the warning, once a second at most."""
        if time.monotonic() - self._looked_s < _EVERY_S:
            return
        self._looked_s = time.monotonic()
        before = self.warning
        self.warning = transport_warning(self._traffic())
        if self.warning and not before:
            self._node.get_logger().warning(self.warning)

    def _add_period(self, period_ns: int) -> None:
        """Whole periods without a cloud are gaps; a long pause is a driver that was stopped."""
        usual_ns = median(self._periods_ns) if len(self._periods_ns) == _PERIODS else 0
        if usual_ns:
            missed = round(period_ns / usual_ns) - 1
            self._gaps += missed if missed < _LONGEST_PAUSE_PERIODS else 0
        self._periods_ns.append(period_ns)

    def _traffic(self) -> CloudTraffic:
        topic = self._node.resolve_topic_name(self._topic)
        publishers = self._node.get_publishers_info_by_topic(topic)
        return CloudTraffic(
            topic,
            self._reliable,
            self._received,
            self._largest_bytes,
            self._gaps,
            sum(info.topic_type == _POINTS_TYPE for info in publishers),
            self._profile,
            shm_free_bytes(),
            self._middleware,
        )
