"""Carrying out a study's jobs: resumable, in several processes, each job by itself."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from understudy.configuration import Config, read_config, read_yaml, write_json, write_yaml
from understudy.datasets.opening import open_dataset
from understudy.errors import InputError, UnderstudyError
from understudy.progress import Track, silent
from understudy_training.checkpoint import WEIGHTS, RunRecord, save_run
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.study import (
    EVALUATION,
    Job,
    StudyOptions,
    StudyPaths,
    carry_out,
)
from understudy_training.distillation.teacher_cache import CachedTeacher
from understudy_training.distillation.teaching import make_teachings
from understudy_training.distillation.terms.term import TEACHER
from understudy_training.fitting import InterruptionError, build_detector, use_threads
from understudy_training.models.counting import detector_cost
from understudy_training.processes import results_of
from understudy_training.resuming import was_begun
from understudy_training.studies.planning import Planned, StudyPlan
from understudy_training.studies.study_file import MAIN

State = Literal["done", "begun", "failed", "open"]
FAILURE, COST = "failure.json", "cost.json"
STUDY = "study.yaml"
_OTHERS = {
    "dataset.yaml": "a data set",
    "recipe.yaml": "a training run",
    "contract.yaml": "an export",
    "manifest.yaml": "a bundle",
}
"""What a folder is that holds such a file: no place for a study."""


@dataclass(frozen=True)
class StudyJob(Job):
    """A job of a study over methods: its folder is named by its address."""

    within: Path
    label: str

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return self.label

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return self.paths.out / self.within


class JobCost(Config):
    """What a job took from its first to its last line: training and evaluation."""

    cpu_s: float
    wall_s: float
    resumed: bool = False
    """It went on with an interrupted training: the times are those of the last part."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended: what went wrong, or nothing."""

    error: str = ""
    wall_s: float = 0.0


def state_of(planned: Planned, out: Path) -> State:
    """How far a network is."""
    folder = out / planned.folder
    needed = (WEIGHTS,) if planned.untrained else (WEIGHTS, EVALUATION)
    if planned.run is not None or all((folder / name).is_file() for name in needed):
        return "done"
    if (folder / FAILURE).is_file():
        return "failed"
    return "begun" if was_begun(folder) else "open"


def cost_of(planned: Planned, out: Path) -> JobCost | None:
    """What a network that is done took; None where it was not measured."""
    file = out / planned.folder / COST
    return None if planned.run is not None or not file.is_file() else read_config(file, JobCost)


def run_study(
    plan: StudyPlan,
    jobs: tuple[Planned, ...],
    out: Path,
    *,
    at_a_time: int = 1,
    threads: int | None = None,
    track: Track = silent,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
    """Trains and evaluates what is not done yet: teachers, then their answers, then the jobs.

    Args:
        plan: the whole study.
        jobs: those to carry out, a part of the plan's; their teachers must be there or among them.
        out: folder of the study.
        at_a_time: processes.
        threads: of each; None shares the cores.
        track: progress of what is done in between.
        say: takes one line for what was done.

    Returns:
        What went wrong, by name of the job; the others are done all the same.

    Raises:
        InputError: when the folder is something else's.
    """
    _refuse_others(out, plan.study.name)
    out.mkdir(parents=True, exist_ok=True)
    write_yaml(out / STUDY, plan.study)
    each = threads or max(1, len(os.sched_getaffinity(0)) // at_a_time)
    use_threads(each)
    pending = [job for job in jobs if state_of(job, out) != "done"]
    for job in pending:
        if job.untrained:
            _keep_untrained(job, out)
    teachers = [job for job in pending if job.part == "teacher" and not job.untrained]
    students = [job for job in pending if job.part != "teacher"]
    failures = dict(_carried_out([_job(plan, job, out, each) for job in teachers], at_a_time, say))
    lost = {job.label for job in teachers if job.name in failures}
    students = [job for job in students if not lost & {*job.teachers.values()}]
    _ask(plan, students, out, each, track, say)
    return failures | dict(_carried_out([_job(plan, job, out, each) for job in students], at_a_time, say))


def _refuse_others(out: Path, name: str) -> None:
    found = next((what for name, what in _OTHERS.items() if (out / name).exists()), None)
    if found is not None:
        raise InputError(f"{out}", found=found, wanted="a new folder, or a study's", remedy="choose another --out")
    there = read_yaml(out / STUDY).get("name") if (out / STUDY).is_file() else name
    if there != name:
        remedy = "choose another --out; its ledger would be replaced"
        raise InputError(f"{out}", found=f"study {there}", wanted=f"study {name}", remedy=remedy)


def refuse_missing_teachers(plan: StudyPlan, jobs: tuple[Planned, ...], out: Path) -> None:
    """Raises InputError unless every teacher of these is there: machines that share a study must share its teachers."""
    missing = [teacher.label for teacher in plan.teachers_of(jobs) if state_of(teacher, out) != "done"]
    if missing:
        remedy = f"run with --only teachers once, and copy {out / 'teachers'} to every machine"
        raise InputError("--share", found=f"no teacher {', '.join(missing)} in {out}", remedy=remedy)


def _carried_out(jobs: list[StudyJob], at_a_time: int, say: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Names of the jobs that failed, with what went wrong."""
    for number, (job, outcome) in enumerate(results_of(_caught, jobs, at_a_time), 1):
        say(f"  {number}/{len(jobs)}  {job.name}: {outcome.error or f'{outcome.wall_s:.0f} s'}"[:400])
        if outcome.error:
            yield job.name, outcome.error


def _caught(job: StudyJob) -> Outcome:
    """Carries a job out; what is wrong with it stays in its folder, for whoever asks how far the study is."""
    began_s, cpu_s = time.monotonic(), time.process_time()
    resumed = was_begun(job.folder) and not (job.folder / WEIGHTS).is_file()
    try:
        carry_out(job)
    except InterruptionError as stop:
        found, remedy = "an interruption", "the same command goes on with it"
        raise InterruptionError(f"study, {job.name}", found=found, remedy=remedy) from stop
    except UnderstudyError as error:
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / FAILURE).write_text(json.dumps({"error": str(error)}) + "\n")
        return Outcome(str(error))
    (job.folder / FAILURE).unlink(missing_ok=True)
    cost = JobCost(cpu_s=time.process_time() - cpu_s, wall_s=time.monotonic() - began_s, resumed=resumed)
    write_json(job.folder / COST, cost)
    return Outcome(wall_s=cost.wall_s)


def _job(plan: StudyPlan, planned: Planned, out: Path, threads: int) -> StudyJob:
    options = StudyOptions(teacher_shuffle=planned.part == "shuffled", resume=True, metric=plan.study.metric)
    role: Literal["student", "control"] = "student" if planned.teachers else "control"
    paths = paths_of(plan, planned, out)
    return StudyJob(role, planned.seed, planned.recipe, paths, options, threads, planned.folder, planned.name)


def paths_of(plan: StudyPlan, planned: Planned, out: Path) -> StudyPaths:
    """Where a job's teacher, data and results are."""
    runs = {name: out / plan.teachers[label].folder for name, label in planned.teachers.items()}
    first = runs.pop(TEACHER, out)
    splits = plan.study.split, plan.study.eval_split
    return StudyPaths(first, plan.data[planned.data], out, *splits, runs, eval_data=plan.data[MAIN])


def _ask(
    plan: StudyPlan, students: list[Planned], out: Path, threads: int, track: Track, say: Callable[[str], None]
) -> None:
    """Fills the teachers' answers before several processes want them at once."""
    use_threads(threads)
    asked: set[str] = set()
    for job in [job for job in students if job.teachers]:
        assert job.recipe.distillation is not None
        wanted = [f"{label}: {job.recipe.distillation.asked_of(name)}" for name, label in job.teachers.items()]
        key = f"{wanted} {job.data} {job.recipe.data.model_dump_json()}"
        if key in asked:
            continue
        asked.add(key)
        paths = paths_of(plan, job, out)
        frames = load_frames(job.recipe, open_dataset(paths.data, paths.split, job.recipe.data.classes))
        for name, teaching in make_teachings(job.recipe, paths.teachers, frames, out, track=track).items():
            if isinstance(teaching.teacher, CachedTeacher):
                say(f"  {job.teachers[name]} for {job.label}: {teaching.teacher.summary()}")


def _keep_untrained(teacher: Planned, out: Path) -> None:
    """Writes the run folder of a network with its initial weights, as if it had been trained for no step."""
    folder = out / teacher.folder
    if (folder / WEIGHTS).is_file():
        return
    detector = build_detector(teacher.recipe, teacher.seed).eval()
    cost = detector_cost(detector)
    record = RunRecord(
        seed=teacher.seed,
        epochs=0,
        steps=0,
        frames=0,
        precision="32-true",
        device="cpu",
        threads=torch.get_num_threads(),
        wall_s=0.0,
        cpu_s=0.0,
        parameters=cost.parameters,
        gmacs=cost.gmacs,
    )
    save_run(folder, detector, teacher.recipe, record)
