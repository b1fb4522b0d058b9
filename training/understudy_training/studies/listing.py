"""What a study has to do yet, and what that will cost on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from understudy.datasets.files import read_json
from understudy_training.checkpoint import read_record
from understudy_training.ledger import read_ledger
from understudy_training.ledger_table import describe_ledger
from understudy_training.studies.planning import Planned, StudyPlan, share_of
from understudy_training.studies.records import LEDGER, read_study_ledger
from understudy_training.studies.running import state_of
from understudy_training.studies.table import COLUMNS, describe_study

_GMACS_PER_CPU_S = 30.0
"""Of a training, forward and backward, before any job of the study has been measured."""


def describe_jobs(jobs: tuple[Planned, ...], out: Path, at_a_time: int = 1) -> Iterator[str]:
    """A line for each job: how far it is, its computing, and its processor time, measured or estimated."""
    speed, measured = _speed(jobs, out)
    yield f"{'job':52s}{'state':>8s}{'frames':>8s}{'TMAC':>9s}{'CPU':>11s}  address"
    left_s = 0.0
    for job in jobs:
        state, spent_s = state_of(job, out), _spent_s(job, out)
        if state != "done":
            left_s += job.gmacs / speed
        cost = f"{clock(job.gmacs / speed)} est." if spent_s is None else clock(spent_s)
        line = f"{job.name[:51]:52s}{state:>8s}{job.frames:>8d}{job.gmacs / 1e3:>9.1f}{cost:>11s}  {job.address[:8]}"
        yield line[:COLUMNS]
    source = "as measured on the jobs that are done" if measured else "a guess until a job is done"
    yield (
        f"{sum(state_of(job, out) == 'done' for job in jobs)} of {len(jobs)} done; left: {clock(left_s)} of one core "
        f"at {speed:.0f} GMAC/s ({source})"
    )
    if at_a_time > 1:
        yield f"with {at_a_time} processes on cores of their own: {clock(left_s / at_a_time)}"


def describe_shares(plan: StudyPlan, selected: tuple[Planned, ...], number: int, shares: int) -> Iterator[str]:
    """What the shares have, where there are several."""
    if shares == 1:
        return
    yield f"share {number} of {shares}: {len(selected)} jobs, {sum(job.gmacs for job in selected) / 1e3:.1f} TMAC"
    largest = max(sum(job.gmacs for job in share_of(plan.jobs, each, shares)) for each in range(1, shares + 1))
    yield f"the largest share of all methods: {largest / 1e3:.1f} TMAC"


def describe_any(path: Path) -> Iterator[str]:
    """A study's ledger, or one of `understudy distill`.

    Raises:
        InputError: when the file is missing or neither.
    """
    file = path / LEDGER if path.is_dir() else path
    values = read_json(file)
    if isinstance(values, dict) and "entries" in values:
        return describe_ledger(read_ledger(file))
    return describe_study(read_study_ledger(file))


def clock(seconds: float) -> str:
    """Hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if seconds >= 60 else f"{seconds:.0f} s"


def _spent_s(job: Planned, out: Path) -> float | None:
    if state_of(job, out) != "done" or job.untrained or job.run is not None:
        return None
    return read_record(out / job.folder).cpu_s


def _speed(jobs: tuple[Planned, ...], out: Path) -> tuple[float, bool]:
    """GMAC of the plan per second of processor time, and whether that was measured."""
    done = [(job, spent_s) for job in jobs if (spent_s := _spent_s(job, out))]
    students = [(job, spent_s) for job, spent_s in done if job.part != "teacher"] or done
    if not students:
        return _GMACS_PER_CPU_S, False
    return sum(job.gmacs for job, _ in students) / sum(spent_s for _, spent_s in students), True
