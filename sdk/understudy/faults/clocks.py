"""The two clocks of a scenario: one that never jumps, and that of the stamps, which jumps and pauses as scripted."""

from __future__ import annotations

from dataclasses import dataclass

EPOCH_NS = 1_700_000_000_000_000_000
"""What the clock of the stamps shows when a scenario begins, unless it is played in real time."""


@dataclass(frozen=True)
class Jump:
    """The clock of the stamps is set forward, or back.

    Attributes:
        at_ns: when, since the scenario began.
        by_ns: how far; negative is back.
    """

    at_ns: int
    by_ns: int


@dataclass(frozen=True)
class Pause:
    """The clock of the stamps stands still: a simulation that is paused.

    Attributes:
        start_ns: from when, since the scenario began.
        end_ns: until when.
    """

    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class ClockScript:
    """What the clock of the stamps does, from what it shows at the beginning."""

    jumps: tuple[Jump, ...] = ()
    pauses: tuple[Pause, ...] = ()
    epoch_ns: int = EPOCH_NS

    def stamp_ns(self, elapsed_ns: int) -> int:
        """What it shows at a moment of the clock that never jumps."""
        jumped_ns = sum(jump.by_ns for jump in self.jumps if jump.at_ns <= elapsed_ns)
        stood_ns = sum(max(0, min(elapsed_ns, pause.end_ns) - pause.start_ns) for pause in self.pauses)
        return self.epoch_ns + elapsed_ns + jumped_ns - stood_ns

    def is_paused(self, elapsed_ns: int) -> bool:
        """Whether it stands still then."""
        return any(pause.start_ns <= elapsed_ns < pause.end_ns for pause in self.pauses)


class VirtualClock:
    """A `Clock` of `understudy.live` that moves only when it is told to."""

    def __init__(self, script: ClockScript) -> None:
        self._script = script
        self.elapsed_ns = 0

    def now_ns(self) -> int:
        """The clock of the stamps."""
        return self._script.stamp_ns(self.elapsed_ns)

    def steady_ns(self) -> int:
        """The clock that never jumps."""
        return self.elapsed_ns
