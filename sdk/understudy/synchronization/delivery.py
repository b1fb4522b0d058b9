"""Matched sets handed to a callback, on a clock of one's own choice, so that no callback can stop what comes after.

A matcher (`Synchronizer`, `ApproximateTime`) is done with a set before anybody sees it. What is left to guard here: a
callback that raises costs its own set and no other, a callback that pushes messages itself keeps the order of sets, and
what was not handed over because of an interrupt is handed over first the next time. For one thread, like the matchers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from understudy.synchronization.matcher import MatchedSet, Matcher

T = TypeVar("T")


class Delivery(Generic[T]):
    """Pushes messages into a matcher and hands the sets to a callback.

    Args:
        matcher: the rule; nobody else should push into it.
        callback: gets every set, in the order in which they were closed.
        clock: nanoseconds of ROS time, of bag time or of a test.
        on_error: told of each set whose callback raised, and of what it raised. Its messages are counted as rejected.
    """

    def __init__(
        self,
        matcher: Matcher[T],
        callback: Callable[[MatchedSet[T]], None],
        clock: Callable[[], int],
        on_error: Callable[[MatchedSet[T], Exception], None],
    ) -> None:
        self.matcher = matcher
        self._callback, self._clock, self._on_error = callback, clock, on_error
        self._pending: deque[MatchedSet[T]] = deque()
        self._is_busy = False

    def push(self, sensor: str, stamp_ns: int, item: T) -> None:
        """Takes a message that arrives now.

        Raises:
            KeyError: when there is no such sensor.
        """
        self._deliver(self.matcher.push(sensor, stamp_ns, item, self._clock()))

    def reject(self, sensor: str) -> None:
        """Counts a message that could not be read at all; time passes all the same."""
        self.matcher.reject(sensor)
        self.tick()

    def tick(self) -> None:
        """Lets time pass: from a timer, at the latest when the matcher's `next_deadline_ns` has come."""
        self._deliver(self.matcher.advance(self._clock()))

    def flush(self) -> None:
        """The stream has ended."""
        self._deliver(self.matcher.flush())

    def _deliver(self, closed: list[MatchedSet[T]]) -> None:
        self._pending.extend(closed)
        if self._is_busy:
            return  # called from within the callback: the call further out hands these over, too
        self._is_busy = True
        try:
            while self._pending:
                self._hand_over(self._pending.popleft())
        finally:
            self._is_busy = False

    def _hand_over(self, matched: MatchedSet[T]) -> None:
        try:
            self._callback(matched)
        except Exception as error:
            self._count_as_rejected(matched)
            self._on_error(matched, error)

    def _count_as_rejected(self, matched: MatchedSet[T]) -> None:
        pivot, *cameras = self.matcher.counts.values()
        pivot.move("used", "rejected")
        for is_there, counts in zip(matched.mask, cameras, strict=True):
            if is_there:
                counts.move("used", "rejected")
