"""The rule that a stream matches by, with what both rules must tell: where time began anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from understudy.live.options import StreamOptions
from understudy.rig import Sensor
from understudy.synchronization.approximate_time import ApproximatePolicy, ApproximateTime
from understudy.synchronization.matcher import MatchedSet, Matcher
from understudy.synchronization.nearest import JUMP_SEEN, Synchronizer

T = TypeVar("T")


class JumpingMatcher(Matcher[T], Protocol[T]):
    """A matcher that follows jumps and counts them."""

    clock_jumps: int

    @property
    def jumps(self) -> dict[str, int]:
        """How often each sensor's own stamps have gone back for good."""


def matcher_for(options: StreamOptions, sensors: Mapping[str, Sensor]) -> JumpingMatcher[T]:
    """The rule of the options, with the rig's time offsets."""
    offsets_ns = {name: sensor.time_offset_ns for name, sensor in sensors.items()}
    if options.rule == "approximate_time":
        return _ApproximateTime(options, offsets_ns)
    return Synchronizer(options.pivot, options.cameras, options.policy, offsets_ns)


class _ApproximateTime(ApproximateTime[T]):
    """The C++ rule, which takes stamps in any order, made to begin anew where the pivot's stamps go back for good."""

    def __init__(self, options: StreamOptions, offsets_ns: Mapping[str, int]) -> None:
        policy = options.policy
        rule = ApproximatePolicy(queue_size=policy.queue_size, jump_back_ns=policy.jump_back_ns)
        super().__init__(options.pivot, options.cameras, rule, offsets_ns)
        self._pivot, self._offset_ns = options.pivot, offsets_ns[options.pivot]
        self._stamps = _StampJumps(policy.jump_back_ns)
        self._num_jumps = 0

    @property
    def jumps(self) -> dict[str, int]:
        """The pivot's; the rule does not care about the others' order."""
        return {name: self._num_jumps if name == self._pivot else 0 for name in self.counts}

    def push(self, sensor: str, stamp_ns: int, item: T, now_ns: int) -> list[MatchedSet[T]]:
        """As the rule says; after a jump nothing waits from before."""
        closed = self.advance(now_ns)
        if sensor == self._pivot and self._stamps.has_jumped(stamp_ns + self._offset_ns):
            self._num_jumps += 1
            closed += self.flush()
        return closed + super().push(sensor, stamp_ns, item, now_ns)

    def advance(self, now_ns: int) -> list[MatchedSet[T]]:
        """As the rule says."""
        num_before = self.clock_jumps
        closed = super().advance(now_ns)
        if self.clock_jumps > num_before:
            self._stamps.restart()
        return closed


class _StampJumps:
    """Notices where one sensor's stamps go back for good, by the rule of `Synchronizer`, for a rule that does not.

    Args:
        jump_back_ns: stamps that are farther behind the newest are of another time; None follows no jump.
    """

    def __init__(self, jump_back_ns: int | None) -> None:
        self._jump_back_ns = jump_back_ns
        self._newest_ns: int | None = None
        self._behind_ns = 0
        self._num_behind = 0

    def restart(self) -> None:
        """Takes any stamp again."""
        self._newest_ns, self._num_behind = None, 0

    def has_jumped(self, time_ns: int) -> bool:
        """Whether this stamp is the last of enough that are far behind and rising."""
        newest_ns, jump_back_ns = self._newest_ns, self._jump_back_ns
        if newest_ns is None or jump_back_ns is None or newest_ns - time_ns <= jump_back_ns:
            self._newest_ns = time_ns if newest_ns is None else max(newest_ns, time_ns)
            self._num_behind = 0
            return False
        if self._num_behind == 0 or time_ns > self._behind_ns:
            self._num_behind += 1
            self._behind_ns = time_ns
        if self._num_behind < JUMP_SEEN:
            return False
        self._newest_ns, self._num_behind = time_ns, 0
        return True
