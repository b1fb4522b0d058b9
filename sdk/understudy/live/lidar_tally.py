"""What became of each message, how long each stage took, and what is wrong now."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np

Outcome = Literal["published", "superseded", "rejected", "stale", "failed", "discarded"]
OUTCOMES: tuple[Outcome, ...] = ("published", "superseded", "rejected", "stale", "failed", "discarded")
"""Ends of a message. superseded: a newer one came first; rejected: it cannot be used; stale: older than the deadline;
failed: a bug of ours or of the engine; discarded: the node was stopped."""
Level = Literal["ok", "warn", "error"]

_KEPT = 100


@dataclass(frozen=True)
class Times:
    """How long one message took, in nanoseconds.

    Attributes:
        convert_ns: from message to cloud.
        wait_ns: in the queue.
        run_ns: from frame to result.
        publish_ns: from result to messages that are sent.
        age_ns: from the sensor's stamp until they were sent, on the caller's clock.
    """

    convert_ns: int
    wait_ns: int
    run_ns: int
    publish_ns: int
    age_ns: int


@dataclass(frozen=True)
class Status:
    """One look at a sensor's stream; the counts are of one instant and add up.

    Attributes:
        sensor: its name in the rig.
        received: messages pushed.
        waiting: of these, not yet at an end.
        outcomes: of these, by end.
        late: of those published, older than the deadline when they were.
        silent_ns: since the last message, or since the start when there was none.
        trouble: the last reason why a message was not used; empty when none was.
        stages_ms: median and largest of the last hundred published, by stage.
    """

    sensor: str
    received: int = 0
    waiting: int = 0
    outcomes: Mapping[Outcome, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    late: int = 0
    silent_ns: int = 0
    trouble: str = ""
    stages_ms: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def adds_up(self) -> bool:
        """Whether each message waits or has exactly one end."""
        return self.received == self.waiting + sum(self.outcomes.values())


@dataclass(frozen=True)
class Verdict:
    """How a stream is doing, for whoever looks at diagnostics."""

    level: Level
    message: str


class Tally:
    """Counters that the receiving and the inferring thread share."""

    def __init__(self, sensor: str) -> None:
        self._sensor = sensor
        self._lock = threading.Lock()
        self._outcomes: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
        self._received = self._late = 0
        self._trouble = ""
        self._times: deque[Times] = deque(maxlen=_KEPT)

    def receive(self) -> None:
        """A message came."""
        with self._lock:
            self._received += 1

    def settle(self, outcome: Outcome, trouble: str = "") -> None:
        """A message came to its end."""
        with self._lock:
            self._outcomes[outcome] += 1
            self._trouble = trouble or self._trouble

    def publish(self, times: Times, *, late: bool) -> None:
        """A message became a result that was sent."""
        with self._lock:
            self._outcomes["published"] += 1
            self._late += late
            self._times.append(times)

    def status(self, silent_ns: int) -> Status:
        """All of it at one instant."""
        with self._lock:
            outcomes, times = dict(self._outcomes), list(self._times)
            received, late, trouble = self._received, self._late, self._trouble
        waiting = received - sum(outcomes.values())
        return Status(self._sensor, received, waiting, outcomes, late, silent_ns, trouble, _stages_ms(times))


def judge(before: Status, now: Status, silent_after_ns: int) -> Verdict:
    """All that happened between two looks at a stream, of the worst level; always names the sensor.

    What is left out here is never said again, for the next look starts from this one: silence hides no refused message.
    """
    findings = _findings(before, now, silent_after_ns)
    if not findings:
        return Verdict("ok", f"{now.sensor}: {_new(before, now, 'published')} published")
    level: Level = "error" if any(finding.level == "error" for finding in findings) else "warn"
    return Verdict(level, f"{now.sensor}: " + "; ".join(finding.message for finding in findings))


def _findings(before: Status, now: Status, silent_after_ns: int) -> list[Verdict]:
    found: list[Verdict] = []
    published, stale, late = _new(before, now, "published"), _new(before, now, "stale"), now.late - before.late
    unused = _new(before, now, "rejected") + _new(before, now, "failed")
    loss: Level = "warn" if published else "error"
    if now.silent_ns > silent_after_ns:
        found.append(Verdict("error", f"no message for {now.silent_ns / 1e9:.1f} s"))
    if unused:
        found.append(Verdict(loss, f"{unused} not used; the last: {now.trouble}"))
    if stale:
        found.append(Verdict(loss, f"{stale} older than the deadline"))
    if late:
        found.append(Verdict("warn", f"{late} published after the deadline"))
    if now.waiting and not published:
        found.append(Verdict("warn", f"{now.waiting} waiting for a result"))
    return found


def _new(before: Status, now: Status, outcome: Outcome) -> int:
    return now.outcomes[outcome] - before.outcomes[outcome]


def _stages_ms(times: list[Times]) -> dict[str, tuple[float, float]]:
    if not times:
        return {}
    stages = [entry.name for entry in fields(Times)]
    values_ms = np.array([[getattr(entry, stage) for stage in stages] for entry in times]) / 1e6
    medians, largest = np.median(values_ms, axis=0).tolist(), values_ms.max(axis=0).tolist()
    names = [stage.removesuffix("_ns") for stage in stages]
    return dict(zip(names, zip(medians, largest, strict=True), strict=True))
