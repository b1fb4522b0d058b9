"""Time, handed in: ROS time in a node, the recorder's in a replay, a script's in the fault suite."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

LEAP_NS = 1_000_000_000
"""A clock that goes ahead by more, at once, has jumped."""
_FASTEST = 10
"""A simulation may run so many times as fast as real time; what is faster is a jump."""

_UNEVEN_NS = 10_000_000
"""What goes back by less makes nobody's age wrong."""


class Clock(Protocol):
    """The two times that a stream looks at, in integer nanoseconds."""

    def now_ns(self) -> int:
        """The clock that the stamps are of; it may jump, stand still or run at another speed."""

    def steady_ns(self) -> int:
        """A clock that never jumps: for silence and durations."""


class SystemClock:
    """This computer's clocks; the default."""

    def now_ns(self) -> int:
        """Since 1970."""
        return time.time_ns()

    def steady_ns(self) -> int:
        """Since some moment or other."""
        return time.monotonic_ns()


class StampClock(SystemClock):
    """Stamps of a clock of one's own, durations of this computer's.

    Args:
        now_ns: the clock that the stamps are of, such as a node's ROS time.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """As the function given says."""
        return self._now_ns()


class ClockWatch:
    """Reads a clock and notices when it leaps ahead or stands still; what goes back the synchronizer notices itself.

    Attributes:
        leaps: how often the clock of the stamps has jumped ahead. The first reading of a clock that showed 0, as ROS
            time does before the first `/clock`, is none.
        set_back_ns: when it was last seen to have gone back, on the clock that never jumps; None for never. From its
            stamp alone a sweep of before that seems younger than it is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now_ns, self._steady_ns = clock.now_ns(), clock.steady_ns()
        self._moved_ns = self._steady_ns
        self.leaps = 0
        self.set_back_ns: int | None = None

    def now_ns(self) -> int:
        """What the clock of the stamps shows."""
        now_ns, steady_ns = self._clock.now_ns(), self._clock.steady_ns()
        passed_ns = steady_ns - self._steady_ns
        if self._now_ns and now_ns - self._now_ns > LEAP_NS + _FASTEST * passed_ns:
            self.leaps += 1
        if self._now_ns - now_ns > _UNEVEN_NS:
            self.set_back_ns = steady_ns
        if now_ns != self._now_ns:
            self._moved_ns = steady_ns
        self._now_ns, self._steady_ns = now_ns, steady_ns
        return now_ns

    def still_ns(self) -> int:
        """For how long it has shown the same, as far as anybody looked."""
        self.now_ns()
        return self._steady_ns - self._moved_ns
