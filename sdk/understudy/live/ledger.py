"""What became of sets that were matched, and how long they took; the messages before that are the intake's to count."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Literal

import numpy as np

from understudy.live.accumulating import Matched, pending
from understudy.live.intake import Intake
from understudy.live.tally import MOTION, OUTCOMES, Outcome, SensorStatus, Status, Times

End = Literal["published", "superseded", "stale", "failed", "discarded"]
ENDS: tuple[End, ...] = ("published", "superseded", "stale", "failed", "discarded")
BEFORE_MATCHED: tuple[Literal["rejected", "duplicate", "out_of_order", "unmatched"], ...] = (
    *("rejected", "duplicate"),
    *("out_of_order", "unmatched"),
)
_KEPT = 100


class Ledger:
    """Counters of a stream; whoever calls holds the intake's lock.

    Args:
        sensors: names, the pivot first.
        steady_ns: when the stream began.
        needs_motion: whether it is a fault when nobody tells where the ego is.
    """

    def __init__(self, sensors: tuple[str, ...], steady_ns: int, *, needs_motion: bool = False) -> None:
        self._pivot, self._started_ns = sensors[0], steady_ns
        self._ends: dict[str, Counter[End]] = {name: Counter() for name in sensors}
        self._after_stop: Counter[str] = Counter()
        self._heard_ns = dict.fromkeys((*sensors, MOTION), steady_ns)
        self._needs_motion = needs_motion
        self._missing: Counter[str] = Counter()
        self._times: deque[Times] = deque(maxlen=_KEPT)
        self._results = self._late = 0
        self._last_missing: tuple[str, ...] = ()

    def hear(self, sensor: str, steady_ns: int) -> None:
        """A message came, good or bad."""
        self._heard_ns[sensor] = steady_ns

    def discard(self, sensor: str) -> None:
        """A message came after the stream was stopped."""
        self._after_stop[sensor] += 1

    def settle(self, matched: Matched, end: End) -> tuple[str, ...]:
        """The messages of a set that have not come to their end come to this one; gives whose they are."""
        members = pending(matched, self._pivot)
        for name, arrival in members.items():
            arrival.done = True
            self._ends[name][end] += 1
        return tuple(members)

    def publish(self, matched: Matched, times: Times, *, late: bool) -> None:
        """A set became a result that was sent."""
        sensors = self.settle(matched, "published")
        self._results += 1
        self._late += late
        self._times.append(times)
        self._last_missing = tuple(name for name in self._ends if name not in sensors)
        self._missing.update(self._last_missing)

    def status(self, intake: Intake, under_way: Iterable[Matched], steady_ns: int) -> Status:
        """What the counters tell, with what the intake has counted; of sets under way what waits is looked up."""
        matched = Counter(name for entry in (*intake.held, *under_way) for name in pending(entry, self._pivot))
        return Status(
            self._pivot,
            {name: self._sensor_status(name, intake, matched[name], steady_ns) for name in self._ends},
            results=self._results,
            late=self._late,
            clock_jumps=intake.clock_jumps,
            missing=self._last_missing,
            motion=self._motion_status(intake, steady_ns),
            stages_ms=self._stages_ms(),
            last=self._times[-1] if self._times else None,
            started_ns=self._started_ns,
        )

    def _sensor_status(self, name: str, intake: Intake, num_matched: int, steady_ns: int) -> SensorStatus:
        """One sensor's messages, from what the intake has counted of them and the ends of their sets."""
        ends, late, counts = self._ends[name], self._after_stop[name], intake.counts[name]
        outcomes: dict[Outcome, int] = {
            **{end: ends[end] for end in ENDS},
            **{outcome: counts.outcomes[outcome] for outcome in BEFORE_MATCHED},
            "stale": counts.outcomes["stale"] + ends["stale"],
            "discarded": ends["discarded"] + late,
        }
        return SensorStatus(
            name,
            received=counts.pushed + late,
            waiting=counts.waiting + num_matched,
            outcomes=outcomes,
            silent_ns=steady_ns - self._heard_ns[name],
            missing=self._missing[name],
            jumps=intake.jumps[name],
            trouble=intake.reasons[name].last,
            reasons=dict(intake.reasons[name].counts),
        )

    def _motion_status(self, intake: Intake, steady_ns: int) -> SensorStatus | None:
        num, refused, reasons = intake.num_motion, intake.num_motion_refused, intake.reasons[MOTION]
        if not (num or self._needs_motion):
            return None
        return SensorStatus(
            MOTION,
            received=num,
            outcomes={**dict.fromkeys(OUTCOMES, 0), "published": num - refused, "rejected": refused},
            silent_ns=steady_ns - self._heard_ns[MOTION],
            trouble=reasons.last,
            reasons=dict(reasons.counts),
        )

    def _stages_ms(self) -> Mapping[str, tuple[float, float]]:
        """Median and largest of the last hundred published, by stage."""
        if not self._times:
            return {}
        stages = [entry.name for entry in fields(Times)]
        values_ms = np.array([[getattr(entry, stage) for stage in stages] for entry in self._times]) / 1e6
        medians, largest = np.median(values_ms, axis=0).tolist(), values_ms.max(axis=0).tolist()
        names = [stage.removesuffix("_ns") for stage in stages]
        return dict(zip(names, zip(medians, largest, strict=True), strict=True))
