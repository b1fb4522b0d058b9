"""How ROS 2's Python ApproximateTimeSynchronizer behaves, written from a description: what ours is compared with.

Leaner than the original, which makes an object for every stamp, so it is not the slower for being ours.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any


class StockSynchronizer:
    """All topics or nothing, greedy.

    Args:
        num_topics: topics, numbered from 0.
        queue_size: stamps kept for each topic; the oldest goes first.
        slop_ns: a set's stamps are closer together than this.
        callback: gets the messages of a set, under the lock, which an exception leaves locked.
    """

    def __init__(self, num_topics: int, queue_size: int, slop_ns: int, callback: Callable[..., None]) -> None:
        self.queues: list[dict[int, Any]] = [{} for _ in range(num_topics)]
        self.queue_size, self.slop_ns, self.callback = queue_size, slop_ns, callback
        self.lock = threading.Lock()

    def add(self, topic: int, stamp_ns: int, message: Any) -> None:
        """A message arrives; only sets with it in them are looked for."""
        self.lock.acquire()
        queue = self.queues[topic]
        queue[stamp_ns] = message
        while len(queue) > self.queue_size:
            del queue[min(queue)]
        self._match(topic, stamp_ns)
        self.lock.release()

    def _match(self, topic: int, stamp_ns: int) -> None:
        choices: list[list[int]] = []
        for number, queue in enumerate(self.queues):
            if number == topic:
                choices.append([stamp_ns])
                continue
            near = [stamp for stamp in queue if abs(stamp - stamp_ns) <= self.slop_ns]
            if not near:
                return
            choices.append(sorted(near, key=lambda stamp: abs(stamp - stamp_ns)))
        for stamps in itertools.product(*choices):
            is_there = all(stamp in queue for queue, stamp in zip(self.queues, stamps, strict=True))
            if is_there and max(stamps) - min(stamps) < self.slop_ns:
                self.callback(*[queue[stamp] for queue, stamp in zip(self.queues, stamps, strict=True)])
                for queue, stamp in zip(self.queues, stamps, strict=True):
                    del queue[stamp]
                return
