"""The ledger of a study over methods: a row for each network that was trained and evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from understudy.configuration import Config, check_config, write_json
from understudy.datasets.files import read_json
from understudy.errors import InputError
from understudy.evaluation import Evaluation, read_evaluation
from understudy.metrics.average_precision import Range
from understudy.metrics.matching import OVERLAPS, Overlap
from understudy_training.checkpoint import RunRecord, read_labels_used, read_record
from understudy_training.distillation.study import EVALUATION
from understudy_training.studies.planning import Part, Planned, StudyPlan
from understudy_training.studies.running import FAILURE, cost_of, state_of

LEDGER = "ledger.json"
ALL_CLASSES = "mean"


class StudyRow(Config):
    """One network: what it is worth and what it cost."""

    part: Part
    label: str
    student: str = ""
    teacher: str = ""
    seed: int
    ap_percent: dict[Overlap, dict[str, dict[str, float | None]]]
    """Average precision by overlap, range ("0-50") and class, with the mean over the classes under "mean"."""
    parameters: int
    gmacs: float
    labels: int
    """Labelled frames behind it, those of a teacher that made labels included; 0 for a method that uses none."""
    steps: int
    cpu_s: float | None = None
    """Processor time of the training; None where it was interrupted, or computed on a GPU."""
    wall_s: float
    precision: str = ""
    device: str = ""
    taught_by: str = ""
    """SHA-256 of its teacher's weights."""


class StudyLedger(Config):
    """What a study found; everything its page is made of."""

    kind: Literal["methods"] = "methods"
    schema_version: Literal[1] = 1
    name: str
    data: dict[str, str]
    """Fingerprints of what was trained on and evaluated on, by name."""
    num_frames: int = 0
    """Evaluated."""
    class_names: tuple[str, ...] = ()
    ranges_m: tuple[Range, ...] = ()
    """The whole, then the bins."""
    methods: dict[str, str] = Field(default_factory=dict)
    """Labels of all methods that are tried, with their source: also of those without a row."""
    rows: tuple[StudyRow, ...] = ()
    failures: dict[str, str] = Field(default_factory=dict)
    """What went wrong, by name of the job."""
    planned: int = 0
    """Networks that are to have a row: not those that are never trained, nor a teacher's run that nobody evaluated."""

    @property
    def overall(self) -> str:
        """Name of the whole range."""
        return range_name(self.ranges_m[0])

    def write(self, path: Path) -> None:
        """Writes the record as JSON.

        Raises:
            InputError: when the file cannot be written.
        """
        write_json(path, self)


def range_name(range_m: Range) -> str:
    """A range as it is called in tables."""
    return f"{range_m[0]:g}-{range_m[1]:g}"


def read_study_ledger(path: Path) -> StudyLedger:
    """Reads what `StudyLedger.write` wrote; a study's folder stands for the ledger in it.

    Raises:
        InputError: when the file is missing or is no such ledger.
    """
    file = path / LEDGER if path.is_dir() else path
    values = read_json(file)
    if isinstance(values, dict) and values.get("kind") != "methods":
        remedy = "ledger show also takes that of distill; a page, studies and what `label-free ledger` makes of scores"
        raise InputError(f"{file}", found="no ledger of a study over methods", wanted="ledger.json", remedy=remedy)
    return check_config(values, StudyLedger, f"{file}", InputError)


def collect(plan: StudyPlan, out: Path) -> StudyLedger:
    """The ledger of what is done by now."""
    done = [job for job in plan.all if state_of(job, out) == "done" and not job.untrained]
    evaluated = [job for job in done if (out / job.folder / EVALUATION).is_file()]
    evaluations = [read_evaluation(out / job.folder / EVALUATION) for job in evaluated]
    free = {method.label for method in plan.study.methods if not method.uses_labels}
    rows = [_row(job, out, each, job.label in free) for job, each in zip(evaluated, evaluations, strict=True)]
    first = evaluations[0] if evaluations else None
    trained_on = {read_record(out / job.folder).data for job in evaluated if job.part == "control"}
    return StudyLedger(
        name=plan.study.name,
        data={"train": ", ".join(sorted(trained_on)), "eval": first.data if first else ""},
        num_frames=first.num_frames if first else 0,
        class_names=first.class_names if first else (),
        ranges_m=first.settings.metric.ranges_m if first else (),
        methods={method.label: method.source for method in plan.study.methods},
        rows=tuple(rows),
        failures=dict(_failures(plan, out)),
        planned=sum(not job.untrained and (job.run is None or job in evaluated) for job in plan.all),
    )


def _failures(plan: StudyPlan, out: Path) -> Iterator[tuple[str, str]]:
    for job in plan.all:
        if state_of(job, out) == "failed":
            yield job.name, str(read_json(out / job.folder / FAILURE).get("error", ""))


def _row(job: Planned, out: Path, evaluation: Evaluation, label_free: bool) -> StudyRow:
    folder = out / job.folder
    record, used = read_record(folder), read_labels_used(folder)
    return StudyRow(
        part=job.part,
        label=job.label,
        student=job.student,
        teacher=", ".join(job.teachers.values()),
        seed=job.seed,
        ap_percent={overlap: _by_range(evaluation, overlap) for overlap in OVERLAPS},
        parameters=record.parameters,
        gmacs=record.gmacs,
        labels=0 if label_free else record.frames if used is None else used.frames,
        steps=record.steps,
        cpu_s=_cpu_s(record, job, out),
        wall_s=record.wall_s,
        precision=record.precision,
        device=record.device,
        taught_by=record.teacher,
    )


def _cpu_s(record: RunRecord, job: Planned, out: Path) -> float | None:
    """Processor time of the training, unless only a part of it is known."""
    cost = cost_of(job, out)
    return None if record.device != "cpu" or (cost is not None and cost.resumed) else record.cpu_s


def _by_range(evaluation: Evaluation, overlap: Overlap) -> dict[str, dict[str, float | None]]:
    found = {}
    for range_m in evaluation.settings.metric.ranges_m:
        by_class = {name: evaluation.entry(name, overlap, range_m).ap_percent for name in evaluation.class_names}
        found[range_name(range_m)] = by_class | {ALL_CLASSES: evaluation.mean_ap_percent(overlap, range_m)}
    return found
