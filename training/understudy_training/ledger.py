"""The ledger: what teacher, control, student and its quantized form are worth and cost, and whether the teacher helped.

The gain is paired: student minus control of the same seed, so that what a seed does to both cancels. Its interval is
Student's t over the seeds, 95 %, two-sided. "gain shown" is said only when the whole interval lies above zero.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Literal

from pydantic import Field

from understudy.configuration import Config, check_config, write_json
from understudy.datasets.files import read_json
from understudy.errors import InputError
from understudy.evaluation import Evaluation
from understudy.metrics.matching import OVERLAPS, Overlap
from understudy_training.checkpoint import WEIGHTS, RunRecord

Role = Literal["teacher", "control", "student", "quantized"]
PRIMARY: Overlap = "3d"
"""The overlap the verdict is about, named before any result was seen."""
_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Two-sided 95 % points of Student's t for 1 to 15 degrees of freedom."""


class Facts(Config):
    """What a network costs and how it came about; None where it does not apply."""

    parameters: int | None = None
    gmacs: float | None = None
    file_bytes: int | None = None
    latency_ms: float | None = None
    """Median, points to boxes; filled in when it has been measured."""
    frames: int | None = None
    """Labelled frames it was trained on."""
    steps: int | None = None
    wall_s: float | None = None
    teacher_shuffled: bool = False


class LedgerEntry(Config):
    """One network: a row."""

    name: str
    role: Role
    seed: int | None = None
    parent: str = ""
    """Row of the network that a quantized one was made from."""
    ap_percent: dict[Overlap, dict[str, float | None]]
    """Average precision over the whole range, by overlap and class; None for a class without truths."""
    mean_ap_percent: dict[Overlap, float | None]
    data: str = ""
    """Fingerprint of the data it was evaluated on."""
    facts: Facts = Facts()


class Gain(Config):
    """Student minus control in mean average precision, by seed."""

    overlap: Overlap
    by_seed: dict[int, float]
    mean: float
    interval: tuple[float, float] | None = None
    """95 %; None with fewer than two pairs."""

    @property
    def verdict(self) -> str:
        """`gain shown` when the interval lies above zero, else `no gain shown`."""
        return "gain shown" if self.interval is not None and self.interval[0] > 0 else "no gain shown"


class Ledger(Config):
    """All rows. Adding one gives a new ledger."""

    schema_version: Literal[1] = 1
    entries: tuple[LedgerEntry, ...] = Field(default=())

    def add(
        self,
        name: str,
        role: Role,
        evaluation: Evaluation,
        facts: Facts | None = None,
        seed: int | None = None,
        parent: str = "",
    ) -> Ledger:
        """With a row from an evaluation; a row of the same name is replaced."""
        row = LedgerEntry(
            name=name,
            role=role,
            seed=seed,
            parent=parent,
            ap_percent={overlap: _by_class(evaluation, overlap) for overlap in OVERLAPS},
            mean_ap_percent={overlap: evaluation.mean_ap_percent(overlap) for overlap in OVERLAPS},
            data=evaluation.data,
            facts=facts or Facts(),
        )
        names = [entry.name for entry in self.entries]
        if name not in names:
            return self.model_copy(update={"entries": (*self.entries, row)})
        entries = tuple(row if entry.name == name else entry for entry in self.entries)
        return self.model_copy(update={"entries": entries})

    def gain(self, overlap: Overlap = PRIMARY) -> Gain | None:
        """The paired gain over the seeds that have both a student and a control; None without any."""
        student, control = self._means("student", overlap), self._means("control", overlap)
        by_seed = {seed: student[seed] - control[seed] for seed in sorted(student.keys() & control.keys())}
        if not by_seed:
            return None
        values = list(by_seed.values())
        mean = statistics.fmean(values)
        return Gain(overlap=overlap, by_seed=by_seed, mean=mean, interval=t_interval(values))

    def write(self, path: Path) -> None:
        """Writes the record as JSON.

        Raises:
            InputError: when the file cannot be written.
        """
        write_json(path, self)

    def _means(self, role: Role, overlap: Overlap) -> dict[int, float]:
        rows = [entry for entry in self.entries if entry.role == role and entry.seed is not None]
        found = {entry.seed: entry.mean_ap_percent.get(overlap) for entry in rows}
        return {seed: mean for seed, mean in found.items() if seed is not None and mean is not None}


def t_interval(values: list[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean; None with fewer than two values."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    reach = _T_95[freedom - 1] if freedom <= len(_T_95) else 1.96 + 2.6 / freedom
    half = reach * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean - half, mean + half


def read_ledger(path: Path) -> Ledger:
    """Reads what `Ledger.write` wrote.

    Raises:
        InputError: when the file is missing or is no ledger.
    """
    return check_config(read_json(path), Ledger, f"{path}", InputError)


def facts_of_run(record: RunRecord, run: Path) -> Facts:
    """What a training run's record says about its network."""
    return Facts(
        parameters=record.parameters,
        gmacs=record.gmacs,
        file_bytes=(run / WEIGHTS).stat().st_size,
        frames=record.frames,
        steps=record.steps,
        wall_s=record.wall_s,
        teacher_shuffled=record.teacher_shuffled,
    )


def _by_class(evaluation: Evaluation, overlap: Overlap) -> dict[str, float | None]:
    return {name: evaluation.entry(name, overlap).ap_percent for name in evaluation.class_names}
