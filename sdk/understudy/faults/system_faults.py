"""Faults of clocks, of the student and of whoever publishes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from understudy.errors import EngineError
from understudy.faults.clocks import Jump, Pause
from understudy.faults.drafts import Sent
from understudy.faults.fault import CLOCK, PUBLISHER, STUDENT, Fault, Situation, Strike, drawn_ns, span_of

_CERTAIN_JUMP_NS = 1_300_000_000
"""What is set by less, up to about a second, may pass for a late message or a clock that runs fast."""


@dataclass(frozen=True, kw_only=True)
class ClockJump(Fault):
    """The clock of all stamps is set, or the clock of one sensor is off for a while."""

    kind, on = "clock_jump_forward", "any"
    direction = 1
    by_ns: int

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> ClockJump:
        """Everybody's clock, once and for good, in half of the cases; else one sensor's, until the end."""
        by_ns = cls.direction * int(10 ** rng.uniform(8.0, 12.5))
        if rng.random() < 0.5:
            named = abs(by_ns) > _CERTAIN_JUMP_NS
            at_ns = where.start_ns
            return cls(target=CLOCK, start_ns=at_ns, end_ns=at_ns, by_ns=by_ns, must_be_named=named)
        named = abs(by_ns) > _CERTAIN_JUMP_NS
        return cls(target=where.target, **span_of(where), by_ns=by_ns, must_be_named=named)

    def alter(self, sent: list[Sent], rng: np.random.Generator) -> list[Sent]:
        """The sensor's stamps."""
        return [one.but(shift_ns=one.shift_ns + self.by_ns) for one in sent]

    @property
    def jumps(self) -> tuple[Jump, ...]:
        """Everybody's clock, where it is that."""
        return (Jump(self.start_ns, self.by_ns),) if self.target == CLOCK else ()


@dataclass(frozen=True, kw_only=True)
class ClockJumpBack(ClockJump):
    """The same, back."""

    kind, on = "clock_jump_back", "any"
    direction = -1


@dataclass(frozen=True, kw_only=True)
class SimTimePause(Fault):
    """A simulation is paused: its clock stands still and nothing is sent."""

    kind, on = "sim_time_pause", "none"

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> SimTimePause:
        """Nothing to draw."""
        return cls(target=CLOCK, **span_of(where))

    @property
    def pauses(self) -> tuple[Pause, ...]:
        """All of it."""
        return (Pause(self.start_ns, self.end_ns),)


@dataclass(frozen=True, kw_only=True)
class CallbackException(Fault):
    """Whoever publishes raises, every time."""

    kind, on = "callback_exception", "none"

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> CallbackException:
        """Nothing to draw."""
        return cls(target=PUBLISHER, **span_of(where))

    def breaks_publisher(self) -> bool:
        """It does."""
        return True


@dataclass(frozen=True, kw_only=True)
class EngineFailure(Fault):
    """The student raises: an error of its engine, or one that nobody expects."""

    kind, on = "engine_error", "none"
    expected: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> EngineFailure:
        """One of the two."""
        return cls(target=STUDENT, **span_of(where), expected=bool(rng.random() < 0.5))

    def strike(self, begun_ns: int) -> Strike:
        """An error, every time."""
        return Strike(error=_engine_error if self.expected else _unexpected_error)


def _engine_error() -> Exception:
    return EngineError("engine", found="an error of the device", wanted="a result")


def _unexpected_error() -> Exception:
    return RuntimeError("illegal memory access")


@dataclass(frozen=True, kw_only=True)
class EngineHang(Fault):
    """The student does not come back before the end."""

    kind, on = "engine_hang", "none"

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> EngineHang:
        """Nothing to draw."""
        return cls(target=STUDENT, **span_of(where), notice_ns=HANG_NOTICED_NS)

    def strike(self, begun_ns: int) -> Strike:
        """Until the end."""
        return Strike(added_ns=self.end_ns - begun_ns)


HANG_NOTICED_NS = 500_000_000
"""How long a student must be busy before anybody can say that it hangs."""


@dataclass(frozen=True, kw_only=True)
class SlowEngine(Fault):
    """The student takes longer than usual."""

    kind, on = "slow_engine", "none"
    added_ns: int

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> SlowEngine:
        """Up to 700 ms; it must be named when all results are older than the deadline."""
        added_ns = drawn_ns(rng, 50, 700)
        named = added_ns > where.deadline_ns
        return cls(target=STUDENT, **span_of(where), added_ns=added_ns, must_be_named=named, notice_ns=added_ns)

    def strike(self, begun_ns: int) -> Strike:
        """More time."""
        return Strike(added_ns=self.added_ns)
