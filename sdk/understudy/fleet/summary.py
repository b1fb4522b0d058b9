"""What an annotation came to, with numbers that add up."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from understudy.fleet.merge import Merged
from understudy.fleet.plan import Plan
from understudy.fleet.store import Store, UnitRecord

_NAME_WIDTH, _WIDTH = 36, 100


@dataclass(frozen=True)
class SourceRow:
    """A bag or data set: units, and sweeps of the finished ones; `problem` is why it was not merged."""

    name: str
    units: int
    finished: int
    failed: int
    read: int
    used: int
    rejected: int
    num_boxes: int
    problem: str | None


@dataclass(frozen=True)
class WorkerRow:
    """A worker: what it finished in this run or an earlier one."""

    name: str
    units: int
    sweeps: int
    wall_s: float

    @property
    def sweeps_per_s(self) -> float:
        """Sweeps for each second that it computed."""
        return self.sweeps / self.wall_s if self.wall_s > 0 else 0.0


@dataclass(frozen=True)
class AnnotationSummary:
    """An annotation in numbers; each unit is finished or failed, each sweep read is used or rejected.

    Attributes:
        sources: rows by source.
        workers: rows by worker that computed in this run.
        num_before: units that were finished before this run began.
        num_damaged: units whose results were damaged and were computed again.
    """

    sources: tuple[SourceRow, ...]
    workers: tuple[WorkerRow, ...]
    num_before: int
    num_damaged: int

    @property
    def num_failed(self) -> int:
        """Sources without detections."""
        return sum(row.problem is not None for row in self.sources)

    def lines(self) -> Iterator[str]:
        """Tables of at most 100 columns."""
        heads = ("units", "done", "failed", "read", "used", "rejected", "boxes")
        yield f"{'source':<{_NAME_WIDTH}}" + "".join(f"{head:>9}" for head in heads)
        for row in self.sources:
            numbers = (row.units, row.finished, row.failed, row.read, row.used, row.rejected, row.num_boxes)
            yield f"{_short(row.name, _NAME_WIDTH):<{_NAME_WIDTH}}" + "".join(f"{number:>9}" for number in numbers)
        for row in self.sources:
            if row.problem is not None:
                yield _short(f"not merged: {row.name}: {row.problem}", 3 * _WIDTH)
        for worker in self.workers:
            yield (
                f"worker {_short(worker.name, 40)}: {worker.units} units, {worker.sweeps} sweeps, "
                f"{worker.sweeps_per_s:.1f} sweeps/s"
            )
        yield self._total()

    def _total(self) -> str:
        units, finished, failed = (
            sum(getattr(row, name) for row in self.sources) for name in ("units", "finished", "failed")
        )
        again = f", {self.num_damaged} damaged ones computed again" if self.num_damaged else ""
        now = finished - self.num_before
        return f"{units} units = {finished} finished ({self.num_before} before, {now} now{again}) + {failed} failed"


def summarize(
    store: Store, plan: Plan, merged: Merged, before: Collection[str], damaged: Collection[str]
) -> AnnotationSummary:
    """Counts from the records in the folder."""
    finished, failed = store.finished(), store.failed()
    records = {unit.key: store.record(unit.key) for unit in plan.units if unit.key in finished - failed}
    problems = {failure.source: failure.error for failure in merged.failures}
    rows = []
    for source in plan.sources:
        keys = [unit.key for unit in plan.units_of(source)]
        own = [records[key] for key in keys if key in records]
        rows.append(
            SourceRow(
                name=source.name,
                units=len(keys),
                finished=len(own),
                failed=sum(key in failed for key in keys),
                read=sum(record.read for record in own),
                used=sum(record.used for record in own),
                rejected=sum(record.rejected for record in own),
                num_boxes=sum(record.num_boxes for record in own),
                problem=problems.get(source.name),
            )
        )
    summary = AnnotationSummary(tuple(rows), _workers(records, before), len(before), len(damaged))
    assert all(row.units == row.finished + row.failed and row.read == row.used + row.rejected for row in rows)
    return summary


def _workers(records: dict[str, UnitRecord], before: Collection[str]) -> tuple[WorkerRow, ...]:
    by_name: dict[str, list[UnitRecord]] = {}
    for key, record in records.items():
        if key not in before:
            by_name.setdefault(record.worker.name, []).append(record)
    return tuple(
        WorkerRow(name, len(own), sum(record.read for record in own), sum(record.wall_s for record in own))
        for name, own in sorted(by_name.items())
    )


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
