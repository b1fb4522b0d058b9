"""What a rule that puts messages together is given and gives: policy, stamped messages, matched sets, counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

from pydantic import Field

from understudy.configuration import Config
from understudy.errors import InputError

T = TypeVar("T")

Outcome = Literal["used", "stale", "duplicate", "out_of_order", "unmatched", "rejected"]
OUTCOMES: tuple[Outcome, ...] = ("used", "stale", "duplicate", "out_of_order", "unmatched", "rejected")


class SyncPolicy(Config):
    """When frames belong together and how long a sweep waits for its cameras."""

    tolerance_ns: int = Field(50_000_000, ge=0)
    """Farthest that a camera frame may be from the sweep's reference time."""
    max_wait_ns: int = Field(100_000_000, ge=0)
    """Longest that a sweep waits, from its arrival."""
    silent_after_ns: int | None = Field(1_000_000_000, gt=0)
    """A sweep waits for no camera that has sent nothing since one that came so much earlier waited for it in vain; None
    waits for every camera. Must be longer than the slowest camera's period."""
    require: Literal["all", "min_n", "any"] = "any"
    """Cameras without which a sweep is not used: all of them, `min_cameras` of them, or none."""
    min_cameras: int = Field(1, ge=0)
    """Used with `min_n`."""
    queue_size: int = Field(16, ge=1)
    """Most messages of one sensor that wait; the oldest goes first."""
    jump_back_ns: int | None = Field(1_000_000_000, ge=0)
    """The clock, or a sensor's stamps, that go back by more have jumped and are followed; None follows no jump."""

    def cameras_needed(self, num_cameras: int) -> int:
        """How many of the cameras a set must hold."""
        return {"all": num_cameras, "min_n": min(self.min_cameras, num_cameras), "any": 0}[self.require]


@dataclass
class Counts:
    """What became of a sensor's messages; `waiting` of those pushed have no outcome yet."""

    pushed: int = 0
    waiting: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))

    def settle(self, outcome: Outcome, num: int = 1) -> None:
        """Messages that were waiting come to their end."""
        self.waiting -= num
        self.outcomes[outcome] += num

    def move(self, source: Outcome, target: Outcome) -> None:
        """One message turned out otherwise: a frame that was used could not be decoded, say."""
        self.outcomes[source] -= 1
        self.outcomes[target] += 1

    @property
    def adds_up(self) -> bool:
        """Whether each message pushed waits or has exactly one outcome."""
        return self.pushed == self.waiting + sum(self.outcomes.values())


@dataclass(frozen=True, eq=False)
class Stamped(Generic[T]):
    """A message with its reference time (header stamp plus the sensor's offset)."""

    time_ns: int
    item: T


@dataclass(frozen=True, eq=False)
class MatchedSet(Generic[T]):
    """A sweep and the camera frames that belong to it.

    Attributes:
        pivot: the sweep.
        cameras: the partner of each camera, None where there was none, in the rig's order.
    """

    pivot: Stamped[T]
    cameras: Mapping[str, Stamped[T] | None]

    @property
    def mask(self) -> tuple[bool, ...]:
        """For each camera, whether it is there."""
        return tuple(partner is not None for partner in self.cameras.values())

    @property
    def is_complete(self) -> bool:
        """Whether every camera is there."""
        return all(self.mask)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the cameras that are not there."""
        return tuple(name for name, partner in self.cameras.items() if partner is None)


class Matcher(Protocol[T]):
    """What every rule offers that puts messages together: `Synchronizer` here, and `ApproximateTime`."""

    @property
    def counts(self) -> dict[str, Counts]:
        """Counters by sensor, the pivot first."""

    @property
    def next_deadline_ns(self) -> int | None:
        """When `advance` has something to do although nothing arrives; None for never."""

    def push(self, sensor: str, stamp_ns: int, item: T, now_ns: int) -> list[MatchedSet[T]]:
        """Takes a message; gives the sets that it completes or that have waited long enough."""

    def reject(self, sensor: str) -> None:
        """Counts a message that could not be read at all."""

    def advance(self, now_ns: int) -> list[MatchedSet[T]]:
        """The sets that are closed because time has passed."""

    def flush(self) -> list[MatchedSet[T]]:
        """The sets that are closed by the end of the stream; nothing waits after it."""


def check_names(pivot: str, cameras: tuple[str, ...]) -> None:
    """Each sensor must have a name of its own.

    Raises:
        InputError: when two of them share one.
    """
    names = (pivot, *cameras)
    if len(set(names)) < len(names):
        raise InputError("sensors to match", found=", ".join(names), wanted="each name once")
