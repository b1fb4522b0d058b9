"""`ros2 bag play --clock` in miniature: a bag's messages on their topics, its times on /clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rosgraph_msgs.msg import Clock

from tests.ros_nodes.observer import Observer
from understudy.bags.reader import BagReader
from understudy_ros.make import message_class


class BagPlayer:
    """Publishes through an observer, which hears meanwhile.

    Args:
        observer: the node that publishes.
        bag: what to play.
        topics: where, by the name in the bag.
    """

    def __init__(self, observer: Observer, bag: Path, topics: dict[str, str]) -> None:
        self._observer, self._bag = observer, bag
        self._clock = observer.publisher(Clock, "/clock")
        with BagReader(bag) as reader:
            kinds = {name: message_class(reader.topics[name].type_name) for name in topics}
        self.publishers: dict[str, Any] = {
            name: observer.publisher(kinds[name], target) for name, target in topics.items()
        }

    def play(self, step_s: float = 0.1) -> None:
        """Each message some time after the clock says its time, as published: the bag's own bytes."""
        with BagReader(self._bag) as reader:
            for message in reader.messages(list(self.publishers)):
                self._tell(message.log_time_ns)
                self._observer.spin(step_s)
                self.publishers[message.topic].publish(bytes(message.raw))
                self._observer.spin(step_s)

    def close(self) -> None:
        for publisher in (self._clock, *self.publishers.values()):
            self._observer.node.destroy_publisher(publisher)

    def _tell(self, time_ns: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(int(time_ns), 1_000_000_000)
        self._clock.publish(message)
