"""What a study has to do yet, and what that will cost on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from understudy.datasets.files import read_json
from understudy_training.label_free.ledger import describe_label_free, read_label_free_ledger
from understudy_training.ledger import read_ledger
from understudy_training.ledger_table import describe_ledger
from understudy_training.studies.planning import Planned, StudyPlan, share_of
from understudy_training.studies.records import LEDGER, read_study_ledger
from understudy_training.studies.running import cost_of, state_of
from understudy_training.studies.table import COLUMNS, describe_study

_GMACS_PER_CPU_S = {"teacher": 80.0, "student": 30.0}
"""Of a training, forward and backward, on a core with AVX512-BF16, before any job of the study has been measured."""


def describe_jobs(jobs: tuple[Planned, ...], out: Path, at_a_time: int = 1) -> Iterator[str]:
    """A line for each job: how far it is, its computing, and its processor time, measured or estimated."""
    speeds = _speeds(jobs, out)
    yield f"{'job':50s}{'state':>7s}{'frames':>8s}{'TMAC':>8s}{'CPU':>14s}  address"
    left_s = 0.0
    for job in jobs:
        state, cost = state_of(job, out), cost_of(job, out)
        expected_s = job.gmacs / _speed_of(job, speeds)
        left_s += 0.0 if state == "done" else expected_s
        spent = f"{clock(expected_s)} est." if cost is None else clock(cost.cpu_s)
        line = f"{job.name[:49]:50s}{state:>7s}{job.frames:>8d}{job.gmacs / 1e3:>8.1f}{spent:>14s}  {job.address[:8]}"
        yield line[:COLUMNS]
    source = "as measured on jobs of this study" if speeds else "a guess until a job is done"
    done = sum(state_of(job, out) == "done" for job in jobs)
    yield f"{done} of {len(jobs)} done; left: {clock(left_s)} of one core ({source})"
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
    """A study's ledger, or one of `understudy distill` or of training without labels.

    Raises:
        InputError: when the file is missing or neither.
    """
    file = path / LEDGER if path.is_dir() else path
    values = read_json(file)
    if isinstance(values, dict) and "entries" in values:
        return describe_ledger(read_ledger(file))
    without_labels = read_label_free_ledger(file)
    return describe_study(read_study_ledger(file)) if without_labels is None else describe_label_free(without_labels)


def clock(seconds: float) -> str:
    """Seconds, from ten minutes on hours and minutes."""
    minutes = round(seconds / 60)
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def _speeds(jobs: tuple[Planned, ...], out: Path) -> dict[str, float]:
    """GMAC of the plan per second of processor time, by method, and by "teacher" and "student", where measured."""
    totals: dict[str, list[float]] = {}
    for job in jobs:
        cost = cost_of(job, out)
        if cost is None or cost.resumed or state_of(job, out) != "done":
            continue
        for name in (job.label, _sort_of(job)):
            found = totals.setdefault(name, [0.0, 0.0])
            found[0], found[1] = found[0] + job.gmacs, found[1] + cost.cpu_s
    return {name: gmacs / spent_s for name, (gmacs, spent_s) in totals.items() if spent_s > 0}


def _speed_of(job: Planned, speeds: dict[str, float]) -> float:
    return speeds.get(job.label) or speeds.get(_sort_of(job)) or _GMACS_PER_CPU_S[_sort_of(job)]


def _sort_of(job: Planned) -> str:
    return "teacher" if job.part == "teacher" else "student"
