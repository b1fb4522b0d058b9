"""Matched sets and the vehicle's motion: each waits for its pose and takes along the sweeps before it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from understudy.datasets.dataset import Sweep
from understudy.datasets.sweeps import accumulate
from understudy.ego_motion import EgoMotion
from understudy.errors import FrameError
from understudy.frame import PointCloud
from understudy.pose import Pose
from understudy.synchronization.matcher import MatchedSet

LONGEST_GAP_NS = 1_000_000_000
"""Sweeps farther apart are not put into one cloud."""


@dataclass(eq=False)
class Arrival:
    """A message that was taken; of a pivot also what is known of the vehicle's motion.

    Attributes:
        stamp_ns: of its header.
        content: the cloud; of a picture the message, not decoded yet.
        now_ns: what the clock of the stamps showed when it came.
        received_ns: when it came, on a clock that never jumps.
        converted_ns: when it was read, on that clock.
        epoch: `Intake.epoch` when it had been pushed.
        world_from_ego: where the ego was; None while nobody knows.
        earlier: sweeps before it, the latest first.
        done: whether it has come to its end since its set was closed; whoever counts that end says so.
    """

    stamp_ns: int
    content: Any
    now_ns: int
    received_ns: int
    converted_ns: int
    epoch: tuple[int, int] = (0, 0)
    world_from_ego: Pose | None = None
    earlier: tuple[Sweep, ...] = ()
    done: bool = False


Matched = MatchedSet[Arrival]


def pending(matched: Matched, pivot: str) -> dict[str, Arrival]:
    """The members of a set that have not come to their end, by sensor, the pivot first."""
    members = {pivot: matched.pivot.item}
    members |= {name: partner.item for name, partner in matched.cameras.items() if partner is not None}
    return {name: arrival for name, arrival in members.items() if not arrival.done}


class Accumulation:
    """Gives matched sets on, in their order, each as soon as the ego's pose at its stamp is known.

    A set waits no longer than `max_wait_ns`: odometry comes later than the sweep, or not at all. Where single sweeps
    are wanted nothing waits. After a gap, a step back or in a new world the sweeps before are forgotten.

    Args:
        motion: where the ego was.
        ego_from_sensor: where the LiDAR sits.
        num_sweeps: sweeps of a cloud, its own counted.
        max_wait_ns: longest that a set waits, on the clock of the stamps.
        most: sets that wait, at most.
    """

    def __init__(
        self, motion: EgoMotion, ego_from_sensor: Pose, num_sweeps: int, *, max_wait_ns: int, most: int
    ) -> None:
        self._motion, self._ego_from_sensor, self._num_sweeps = motion, ego_from_sensor, num_sweeps
        self._max_wait_ns, self._most = max_wait_ns, most
        self._held: deque[tuple[Matched, int]] = deque()
        self._before: deque[Sweep] = deque(maxlen=num_sweeps - 1)
        self._last_ns: int | None = None
        self._world = motion.restarts

    @property
    def next_deadline_ns(self) -> int | None:
        """When the oldest set has waited long enough; None while none waits."""
        return self._held[0][1] if self._held else None

    @property
    def held(self) -> list[Matched]:
        """The sets that wait."""
        return [matched for matched, _ in self._held]

    def give(self, matched: list[Matched], now_ns: int) -> list[Matched]:
        """Takes sets; gives those that wait for nothing any more."""
        self._held.extend((entry, now_ns + self._max_wait_ns) for entry in matched)
        given: list[Matched] = []
        while self._held and self._is_ready(now_ns):
            given.append(self._release())
        return given

    def flush(self, matched: list[Matched]) -> list[Matched]:
        """These and all that wait: the stream has ended."""
        self._held.extend((entry, 0) for entry in matched)
        return [self._release() for _ in range(len(self._held))]

    def restart(self) -> list[Matched]:
        """Forgets everything, for the clock has jumped; gives the sets that waited and are not to be used."""
        dropped = self.held
        self._held.clear()
        self._forget()
        return dropped

    def _forget(self) -> None:
        self._before.clear()
        self._last_ns = None

    def _is_ready(self, now_ns: int) -> bool:
        matched, deadline_ns = self._held[0]
        if self._num_sweeps == 1 or now_ns >= deadline_ns or len(self._held) > self._most:
            return True
        return self._motion.world_from_ego(matched.pivot.time_ns) is not None

    def _release(self) -> Matched:
        matched, _ = self._held.popleft()
        arrival, time_ns = matched.pivot.item, matched.pivot.time_ns
        arrival.world_from_ego = self._motion.world_from_ego(time_ns)
        if self._num_sweeps > 1 and arrival.world_from_ego is not None:
            self._forget_unless_continues(time_ns)
            arrival.earlier = tuple(self._before)
            self._before.appendleft(Sweep(arrival.content, arrival.world_from_ego @ self._ego_from_sensor))
            self._last_ns = time_ns
        return matched

    def _forget_unless_continues(self, time_ns: int) -> None:
        is_other_world = self._motion.restarts != self._world
        self._world = self._motion.restarts
        if is_other_world or (self._last_ns is not None and not 0 < time_ns - self._last_ns <= LONGEST_GAP_NS):
            self._forget()


def accumulated(arrival: Arrival, ego_from_sensor: Pose, num_sweeps: int, what: str) -> PointCloud:
    """The cloud of a sweep and of those before it.

    Raises:
        FrameError: when nobody knows where the ego was.
    """
    cloud: PointCloud = arrival.content
    if num_sweeps == 1:
        return cloud
    if arrival.world_from_ego is None:
        found = "no odometry or transforms around its stamp"
        raise FrameError(f"ego motion for {what}", found=found, wanted=f"a pose, for {num_sweeps} sweeps in a cloud")
    return accumulate(cloud, arrival.world_from_ego @ ego_from_sensor, arrival.earlier)
