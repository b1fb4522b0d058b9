"""What every fault is: something that happens to one target between two moments, and whether it must be named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypedDict

import numpy as np

from understudy.faults.clocks import Jump, Pause
from understudy.faults.drafts import Sent

STUDENT, PUBLISHER, CLOCK = "student", "publisher", "clock"
"""Targets that are no sensors."""
Concern = Literal["lidar", "camera", "any", "none"]
"""Which sensors a kind of fault happens to."""


@dataclass(frozen=True)
class Situation:
    """What a fault is drawn for.

    Attributes:
        target: sensor that it happens to, by its name in the rig.
        is_camera: whether that is a camera.
        start_ns: when it begins, since the scenario began.
        end_ns: when it ends.
        periods_ns: from one message to the next, by sensor.
        deadline_ns: oldest that a sweep may be.
        max_wait_ns: longest that a sweep waits for its cameras.
    """

    target: str
    is_camera: bool
    start_ns: int
    end_ns: int
    periods_ns: Mapping[str, int]
    deadline_ns: int
    max_wait_ns: int


@dataclass(frozen=True)
class Strike:
    """What the student does when it is called while a fault lasts.

    Attributes:
        added_ns: time it takes beyond its own.
        error: makes what it raises after that, if anything.
    """

    added_ns: int = 0
    error: Callable[[], Exception] | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of a scenario.

    Attributes:
        target: a sensor's name, or `STUDENT`, `PUBLISHER`, `CLOCK`.
        start_ns: when it begins, since the scenario began.
        end_ns: when it ends.
        must_be_named: whether diagnostics have to say which sensor is at fault.
        notice_ns: time that nobody can do without to notice it, beyond the second that there is to name it.
    """

    kind: ClassVar[str]
    on: ClassVar[Concern]
    target: str
    start_ns: int
    end_ns: int
    must_be_named: bool = True
    notice_ns: int = 0

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> Fault:
        """One of this kind, its parameters drawn."""
        raise NotImplementedError

    @property
    def text(self) -> str:
        """Kind, target and parameters in one line."""
        common = {"target", "start_ns", "end_ns", "must_be_named", "notice_ns"}
        given = {name: value for name, value in vars(self).items() if name not in common}
        details = " ".join(f"{name}={_short(name, value)}" for name, value in given.items())
        span = f"{self.start_ns / 1e9:.2f}-{self.end_ns / 1e9:.2f} s"
        return f"{self.kind} of {self.target} {span} {details}".strip()

    def alter(self, sent: list[Sent], rng: np.random.Generator) -> list[Sent]:
        """What becomes of the messages that the target takes while the fault lasts."""
        return sent

    @property
    def jumps(self) -> tuple[Jump, ...]:
        """What it does to the clock of the stamps."""
        return ()

    @property
    def pauses(self) -> tuple[Pause, ...]:
        """When it stops the clock of the stamps."""
        return ()

    def strike(self, begun_ns: int) -> Strike:
        """What it does to the student's run that begins then, inside of the fault."""
        return Strike()

    def breaks_publisher(self) -> bool:
        """Whether publishing fails while it lasts."""
        return False


def _short(name: str, value: object) -> str:
    if name.endswith("_ns") and isinstance(value, int):
        return f"{value / 1e6:g}ms"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


class Span(TypedDict):
    """When a fault lasts."""

    start_ns: int
    end_ns: int


def span_of(where: Situation) -> Span:
    """Start and end for a fault's constructor."""
    return {"start_ns": where.start_ns, "end_ns": where.end_ns}


def drawn_ns(rng: np.random.Generator, low_ms: float, high_ms: float) -> int:
    """A duration in integer nanoseconds, in whole milliseconds."""
    return int(rng.integers(round(low_ms), round(high_ms) + 1)) * 1_000_000
