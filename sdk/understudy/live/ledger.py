"""What became of sets that were matched, and how long they took; the messages before that are the intake's to count."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Literal

import numpy as np

from understudy.live.reasons import Reasons
from understudy.live.tally import Outcome, SensorStatus, Times
from understudy.synchronizer import Counts

End = Literal["published", "superseded", "stale", "failed", "discarded"]
_KEPT = 100


class Ledger:
    """Counters of a stream; whoever calls holds the intake's lock.

    Args:
        sensors: names, the pivot first.
        steady_ns: when the stream began.
    """

    def __init__(self, sensors: tuple[str, ...], steady_ns: int) -> None:
        self._ends: dict[str, Counter[End]] = {name: Counter() for name in sensors}
        self._after_stop: Counter[str] = Counter()
        self._heard_ns = dict.fromkeys(sensors, steady_ns)
        self._missing: Counter[str] = Counter()
        self._times: deque[Times] = deque(maxlen=_KEPT)
        self.results = self.late = 0
        self.last_missing: tuple[str, ...] = ()

    def hear(self, sensor: str, steady_ns: int) -> None:
        """A message came, good or bad."""
        self._heard_ns[sensor] = steady_ns

    def discard(self, sensor: str) -> None:
        """A message came after the stream was stopped."""
        self._after_stop[sensor] += 1

    def settle(self, sensors: Iterable[str], end: End) -> None:
        """The messages of a set came to their end."""
        for name in sensors:
            self._ends[name][end] += 1

    def publish(self, sensors: tuple[str, ...], times: Times, *, late: bool) -> None:
        """A set became a result that was sent."""
        self.settle(sensors, "published")
        self.results += 1
        self.late += late
        self._times.append(times)
        self.last_missing = tuple(name for name in self._ends if name not in sensors)
        self._missing.update(self.last_missing)

    def sensor_status(self, name: str, counts: Counts, reasons: Reasons, *, jumps: int, steady_ns: int) -> SensorStatus:
        """One sensor's messages, from what the intake has counted of them and the ends of their sets."""
        ends, late = self._ends[name], self._after_stop[name]
        outcomes: dict[Outcome, int] = {
            "published": ends["published"],
            "superseded": ends["superseded"],
            "rejected": counts.outcomes["rejected"],
            "stale": counts.outcomes["stale"] + ends["stale"],
            "failed": ends["failed"],
            "discarded": ends["discarded"] + late,
            "duplicate": counts.outcomes["duplicate"],
            "out_of_order": counts.outcomes["out_of_order"],
            "unmatched": counts.outcomes["unmatched"],
        }
        return SensorStatus(
            name,
            received=counts.pushed + late,
            waiting=counts.waiting + counts.outcomes["used"] - sum(ends.values()),
            outcomes=outcomes,
            silent_ns=steady_ns - self._heard_ns[name],
            missing=self._missing[name],
            jumps=jumps,
            trouble=reasons.last,
            reasons=dict(reasons.counts),
        )

    @property
    def last(self) -> Times | None:
        """The newest result's times."""
        return self._times[-1] if self._times else None

    def stages_ms(self) -> Mapping[str, tuple[float, float]]:
        """Median and largest of the last hundred published, by stage."""
        if not self._times:
            return {}
        stages = [entry.name for entry in fields(Times)]
        values_ms = np.array([[getattr(entry, stage) for stage in stages] for entry in self._times]) / 1e6
        medians, largest = np.median(values_ms, axis=0).tolist(), values_ms.max(axis=0).tolist()
        names = [stage.removesuffix("_ns") for stage in stages]
        return dict(zip(names, zip(medians, largest, strict=True), strict=True))
