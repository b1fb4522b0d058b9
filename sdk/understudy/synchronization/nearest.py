"""Which camera frames belong to which sweep: stamps in, matched or partial sets out, counters kept; nothing of ROS.

The LiDAR sweep is the pivot. For each camera the frame nearest to the sweep's reference time, within a tolerance, is
its partner. A set is closed when every camera has delivered a frame at or after the reference time, or when `max_wait`
has passed on the clock that the caller passes along: ROS time in a node, the recorder's log time in a replay. A camera
that is silent while sweeps come is not waited for after a while: it would delay every set. Nothing here calls anybody
back, so nobody's exception can interrupt it; `delivery` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Generic, TypeVar

from understudy.synchronization.matcher import Counts, MatchedSet, Outcome, Stamped, SyncPolicy, check_names

T = TypeVar("T")

_NEVER_NS = float("-inf")

JUMP_SEEN = 3
"""Messages far behind and rising, no good one among them, that tell a clock that was set back from late messages."""


class _Queue(Generic[T]):
    """The messages of one sensor that wait, oldest first, their stamps rising."""

    def __init__(self, offset_ns: int) -> None:
        self.offset_ns = offset_ns
        self.counts = Counts()
        self.waiting: deque[Stamped[T]] = deque()
        self.jumps = 0
        self._forget()

    def _forget(self) -> None:
        self.newest_ns: float = _NEVER_NS
        self.unanswered_ns: int | None = None
        self.last_used_ns: int | None = None
        self._behind_ns = 0
        self._num_behind = 0

    def restart(self) -> None:
        """Gives up on what waits and takes any stamp again."""
        while self.waiting:
            self.drop_oldest()
        self._forget()

    def has_jumped(self, time_ns: int, jump_back_ns: int | None) -> bool:
        """Whether a late message is the last of enough that are far behind the newest one and rising."""
        if jump_back_ns is None or self.newest_ns - time_ns <= jump_back_ns:
            self._num_behind = 0
            return False
        if self._num_behind == 0 or time_ns > self._behind_ns:  # copies and swapped messages neither count nor undo
            self._num_behind += 1
            self._behind_ns = time_ns
        return self._num_behind >= JUMP_SEEN

    def refusal(self, time_ns: int) -> Outcome:
        """Why a late message cannot be taken any more."""
        if time_ns == self.last_used_ns or any(time_ns == entry.time_ns for entry in self.waiting):
            return "duplicate"
        if self.last_used_ns is not None and time_ns < self.last_used_ns:
            return "stale"
        return "out_of_order"

    def append(self, entry: Stamped[T]) -> None:
        self.waiting.append(entry)
        self.newest_ns, self.unanswered_ns = entry.time_ns, None
        self._num_behind = 0

    def take(self, entry: Stamped[T]) -> None:
        """Uses an entry; what is older can no longer be used."""
        self.drop_before(entry.time_ns)
        self.waiting.popleft()
        self.counts.settle("used")
        self.last_used_ns = entry.time_ns

    def drop_before(self, time_ns: int) -> None:
        while self.waiting and self.waiting[0].time_ns < time_ns:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        self.waiting.popleft()
        self.counts.settle("unmatched")

    def nearest(self, time_ns: int, tolerance_ns: int) -> Stamped[T] | None:
        """The entry nearest to a time; of two equally near the earlier."""
        best, best_gap_ns = None, tolerance_ns
        for entry in reversed(self.waiting):  # the newest first: only they differ in number from queue to queue
            gap_ns = abs(entry.time_ns - time_ns)
            if gap_ns <= best_gap_ns:
                best, best_gap_ns = entry, gap_ns
            if entry.time_ns <= time_ns:
                break
        return best


class Synchronizer(Generic[T]):
    """Matches sweeps with camera frames; deterministic in what is pushed and when.

    Args:
        pivot: name of the LiDAR.
        cameras: names of the cameras; none makes every sweep a set of its own.
        policy: tolerance, waiting time, what is required.
        offsets_ns: added to a sensor's stamps to get reference times, as in the rig; 0 where missing.

    Raises:
        InputError: when two sensors share a name.
    """

    def __init__(
        self,
        pivot: str,
        cameras: tuple[str, ...] = (),
        policy: SyncPolicy | None = None,
        offsets_ns: Mapping[str, int] | None = None,
    ) -> None:
        check_names(pivot, cameras)
        offsets_ns = offsets_ns or {}
        self._policy = policy or SyncPolicy()
        self._cameras_needed = self._policy.cameras_needed(len(cameras))
        self._pivot: _Queue[T] = _Queue(offsets_ns.get(pivot, 0))
        self._cameras: dict[str, _Queue[T]] = {name: _Queue(offsets_ns.get(name, 0)) for name in cameras}
        self._queues = {pivot: self._pivot} | self._cameras
        self._deadlines_ns: deque[int] = deque()
        self._now_ns: int | None = None
        self.clock_jumps = 0
        """How often the clock has gone back by more than the policy's `jump_back_ns`."""

    @property
    def counts(self) -> dict[str, Counts]:
        """Counters by sensor, the pivot first."""
        return {name: queue.counts for name, queue in self._queues.items()}

    @property
    def jumps(self) -> dict[str, int]:
        """How often each sensor's own stamps have gone back for good, the pivot first."""
        return {name: queue.jumps for name, queue in self._queues.items()}

    @property
    def next_deadline_ns(self) -> int | None:
        """When the oldest sweep that waits has waited long enough; None while none waits."""
        return self._deadlines_ns[0] if self._deadlines_ns else None

    def push(self, sensor: str, stamp_ns: int, item: T, now_ns: int) -> list[MatchedSet[T]]:
        """Takes a message and gives the sets that are closed by it or by the time that has passed.

        Args:
            sensor: name of the pivot or of a camera.
            stamp_ns: stamp in the message's header.
            item: whatever the caller wants back.
            now_ns: the clock; a value below an earlier one counts as the earlier one, unless it has jumped.

        Raises:
            KeyError: when there is no such sensor.
        """
        queue = self._queues[sensor]
        entry = Stamped(stamp_ns + queue.offset_ns, item)
        closed = self.advance(now_ns)  # first: what arrives after a sweep's deadline is too late for it
        counts = queue.counts
        counts.pushed += 1
        counts.waiting += 1
        if entry.time_ns <= queue.newest_ns and not self._follows_jump(queue, entry.time_ns):
            counts.settle(queue.refusal(entry.time_ns))
            return closed
        if len(queue.waiting) >= self._policy.queue_size:
            closed += self._make_room(queue)
        queue.append(entry)
        if queue is self._pivot:
            assert self._now_ns is not None
            self._deadlines_ns.append(self._now_ns + self._policy.max_wait_ns)
        elif not self._deadlines_ns or entry.time_ns < self._pivot.waiting[0].time_ns:
            return closed  # no sweep waits for this frame
        return closed + self._close_ready()

    def reject(self, sensor: str) -> None:
        """Counts a message that could not be read at all."""
        counts = self.counts[sensor]
        counts.pushed += 1
        counts.outcomes["rejected"] += 1

    def advance(self, now_ns: int) -> list[MatchedSet[T]]:
        """The sets that are closed because time has passed.

        A clock that has jumped back (a simulation that starts over) begins anew: what waits belongs to a time that is
        no more and is counted as unmatched, and any stamp is taken again.
        """
        jump_back_ns = self._policy.jump_back_ns
        if self._now_ns is None or now_ns >= self._now_ns:
            self._now_ns = now_ns
        elif jump_back_ns is not None and self._now_ns - now_ns > jump_back_ns:
            self._restart(now_ns)
        return self._close_ready() if self._deadlines_ns and self._is_due() else []

    def flush(self) -> list[MatchedSet[T]]:
        """Closes every sweep that waits, then gives up on the camera frames that are left: the stream has ended."""
        closed = []
        while self._deadlines_ns:
            closed += self._close_oldest()
        for queue in self._cameras.values():
            while queue.waiting:
                queue.drop_oldest()
        return closed

    def _restart(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self.clock_jumps += 1
        self._deadlines_ns.clear()
        for queue in self._queues.values():
            queue.restart()

    def _follows_jump(self, queue: _Queue[T], time_ns: int) -> bool:
        """Where a sensor's clock was set back, or one stamp was far ahead: from here on its stamps count again."""
        if not queue.has_jumped(time_ns, self._policy.jump_back_ns):
            return False
        queue.restart()
        queue.jumps += 1
        if queue is self._pivot:
            self._deadlines_ns.clear()
        return True

    def _close_ready(self) -> list[MatchedSet[T]]:
        closed: list[MatchedSet[T]] = []
        while self._is_due() or self._is_answered():
            closed += self._close_oldest()
        return closed

    def _is_due(self) -> bool:
        """Whether the oldest sweep has waited long enough."""
        return bool(self._deadlines_ns) and self._now_ns is not None and self._now_ns >= self._deadlines_ns[0]

    def _is_answered(self) -> bool:
        """Whether every camera that is not silent has delivered a frame at or after the oldest sweep."""
        if not self._deadlines_ns:
            return False
        time_ns = self._pivot.waiting[0].time_ns
        for queue in self._cameras.values():  # noqa: SIM110 - asked for every frame, and a generator costs more
            if queue.newest_ns < time_ns and not self._was_silent(queue):
                return False
        return True

    def _was_silent(self, camera: _Queue[T]) -> bool:
        """Whether a camera has sent nothing that was taken since a sweep that came long before the oldest."""
        limit_ns, arrived_ns = self._policy.silent_after_ns, self._deadlines_ns[0] - self._policy.max_wait_ns
        if limit_ns is None or camera.unanswered_ns is None:
            return False
        return arrived_ns - camera.unanswered_ns > limit_ns

    def _close_oldest(self) -> list[MatchedSet[T]]:
        """The oldest sweep with its partners, or nothing where the policy wants more of them."""
        arrived_ns = self._deadlines_ns.popleft() - self._policy.max_wait_ns
        sweep, tolerance_ns = self._pivot.waiting[0], self._policy.tolerance_ns
        partners = {name: queue.nearest(sweep.time_ns, tolerance_ns) for name, queue in self._cameras.items()}
        for queue in self._cameras.values():
            if queue.newest_ns < sweep.time_ns and queue.unanswered_ns is None:
                queue.unanswered_ns = arrived_ns
        found = sum(partner is not None for partner in partners.values())
        if found < self._cameras_needed:
            self._pivot.drop_oldest()
            return []
        self._pivot.take(sweep)
        for name, partner in partners.items():
            if partner is not None:
                self._cameras[name].take(partner)
            else:
                self._cameras[name].drop_before(sweep.time_ns - tolerance_ns)
        return [MatchedSet(sweep, partners)]

    def _make_room(self, queue: _Queue[T]) -> list[MatchedSet[T]]:
        if queue is self._pivot:
            return self._close_oldest()
        queue.drop_oldest()
        return []
