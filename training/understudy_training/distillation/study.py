"""Whether a teacher helps: the same student with and without it, seed by seed, on the same frames in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from understudy.datasets.opening import open_dataset
from understudy.datasets.sweeps import with_sweeps
from understudy.errors import InputError
from understudy.evaluation import Evaluation, EvaluationSettings, evaluate_model, read_evaluation
from understudy.metrics.average_precision import MetricSettings
from understudy.progress import Track, silent
from understudy_training.checkpoint import RECIPE, WEIGHTS, load_detector, read_record, refuse_to_replace
from understudy_training.distillation.distiller import Distiller
from understudy_training.distillation.foreign import ForeignTeacher
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.opened_teacher import OpenedTeacher, open_teacher, weights_of_teacher
from understudy_training.distillation.teacher_cache import CachedTeacher
from understudy_training.distillation.teacher_evaluation import evaluate_as_asked, needs_true_depth
from understudy_training.distillation.teaching import make_teachings, refuse_unless_comparable
from understudy_training.distillation.terms.term import TEACHER
from understudy_training.fitting import FitOptions, fit, use_threads, widths_of
from understudy_training.ledger import Ledger, Role, facts_of_run
from understudy_training.loop.launch import agreed, launch_of
from understudy_training.loop.options import Interval
from understudy_training.models.detector import BevDetector
from understudy_training.processes import results_of
from understudy_training.recipe import Recipe, read_recipe
from understudy_training.resuming import identity_of, refuse_another, was_begun
from understudy_training.torch_engine import open_torch_engine
from understudy_training.xray.complete_objects import with_complete_objects

EVALUATION, TEACHER_EVALUATION = "evaluation.json", "teacher-evaluation.json"


@dataclass(frozen=True)
class StudyPaths:
    """Where things are: the teacher's run, the data with the splits to train and to evaluate on, and the results.

    Attributes:
        teacher: the one that the terms listen to unless they name another; whatever `open_teacher` opens.
        data: data set.
        out: where the runs go.
        split: to train on.
        eval_split: to evaluate on.
        others: further teachers, by the names that terms call them.
        eval_data: another data set to evaluate on.
        called: what terms call the first.
    """

    teacher: Path
    data: Path
    out: Path
    split: str | None = "train"
    eval_split: str | None = "val"
    others: Mapping[str, Path] = field(default_factory=dict)
    eval_data: Path | None = None
    called: str = TEACHER

    @property
    def teachers(self) -> dict[str, Path]:
        """All of them by name."""
        return {self.called: self.teacher, **self.others}


@dataclass(frozen=True)
class StudyOptions:
    """What a study compares.

    Attributes:
        seeds: one student, and one control, for each.
        control: train the control too.
        teacher_shuffle: answer with what the teacher said about another frame; must not help.
        jobs: runs at a time, each in a process with its share of the threads.
        bars: draw progress bars of single runs.
        checkpoint_every: checkpoints within epochs, for each run.
        resume: leave finished runs as they are, and go on with interrupted ones.
        metric: ranges and overlaps of the evaluations; None is the usual.
    """

    seeds: tuple[int, ...] = (0,)
    control: bool = True
    teacher_shuffle: bool = False
    jobs: int = 1
    bars: bool = False
    checkpoint_every: Interval | None = None
    resume: bool = False
    metric: MetricSettings | None = None


@dataclass(frozen=True)
class Job:
    """One network to train and evaluate; everything a process of its own needs to know."""

    role: Literal["student", "control"]
    seed: int
    recipe: Recipe
    paths: StudyPaths
    options: StudyOptions
    threads: int

    @property
    def name(self) -> str:
        """Name of its row."""
        return f"{self.role}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return self.paths.out / f"{self.role}-seed{self.seed}"

    @property
    def is_finished(self) -> bool:
        """Whether it was trained and evaluated before; only of a study that is resumed."""
        return self.options.resume and all((self.folder / name).is_file() for name in (WEIGHTS, EVALUATION))


def study(
    recipe: Recipe,
    paths: StudyPaths,
    options: StudyOptions,
    *,
    track: Track = silent,
    say: Callable[[str], None] = lambda line: None,
) -> Ledger:
    """Trains and evaluates `student-seedN` and `control-seedN` for each seed, and enters them in a ledger.

    A pair differs in nothing but the teacher: same initial weights, frames, order, augmentation and number of steps.

    Raises:
        InputError: when the recipe has no distillation, the teacher's grid, stride or classes differ, or a run of
            the same name is there; when resuming, if there is nothing to resume or it was begun with something else.
    """
    refuse_several_processes()
    refuse_unheard(recipe, paths)
    teacher = open_teacher(paths.teacher, recipe.detector.class_names)
    refuse_unless_teachable(recipe, teacher, paths)
    threads = max(1, torch.get_num_threads() // options.jobs)
    roles: tuple[Literal["student", "control"], ...] = ("control", "student") if options.control else ("student",)
    jobs = [Job(role, seed, recipe, paths, options, threads) for seed in options.seeds for role in roles]
    dataset = open_dataset(paths.data, paths.split, recipe.data.classes)
    swept = with_sweeps(dataset, recipe.data.sweeps, recipe.data.lidar)
    shown = with_complete_objects(swept, recipe.data.complete_objects, recipe.data.lidar)
    refuse_unless_new_or_resumed(jobs, shown.fingerprint)
    frames = load_frames(recipe, dataset)
    for teaching in make_teachings(
        recipe, paths.teachers, frames, paths.out, shuffle=options.teacher_shuffle, track=track
    ).values():
        if isinstance(teaching.teacher, CachedTeacher):
            say(teaching.teacher.summary())
    evaluation = evaluate_teacher(teacher, recipe, paths, track)
    evaluation.write(paths.out / TEACHER_EVALUATION)
    facts = facts_of_run(read_record(paths.teacher), paths.teacher) if teacher.is_ours else None
    ledger = Ledger().add("teacher", "teacher", evaluation, facts)
    for job in _carried_out(jobs, options.jobs, say):
        ledger = _entered(ledger, job.role, job.folder, read_evaluation(job.folder / EVALUATION), job.seed)
    return ledger


def carry_out(job: Job, say: Callable[[str], None] = lambda line: None) -> Job:
    """Trains and evaluates one network; returns the job, for whoever waits for it."""
    if job.is_finished:
        say(f"  {job.folder}: finished before")
        return job
    use_threads(job.threads)
    frames = load_frames(job.recipe, open_dataset(job.paths.data, job.paths.split, job.recipe.data.classes))
    teaching = None
    if job.role == "student":
        shuffle = job.options.teacher_shuffle
        teaching = make_teachings(job.recipe, job.paths.teachers, frames, job.paths.out, shuffle=shuffle)
    resume = job.options.resume and was_begun(job.folder)
    options = FitOptions(job.seed, resume=resume, bars=job.options.bars, checkpoint_every=job.options.checkpoint_every)
    fit(job.recipe, frames, job.folder, options, teaching=teaching, say=say)
    unfinished = job.folder / f"unfinished-{EVALUATION}"
    evaluate_run(job.folder, job.recipe, job.paths, metric=job.options.metric).write(unfinished)
    unfinished.replace(job.folder / EVALUATION)
    return job


def refuse_several_processes() -> None:
    """Raises InputError under torchrun or Slurm with several processes, which would each do the whole study."""
    agreed(None, None)
    launch = launch_of()
    if (launch.devices or 1) * (launch.nodes or 1) > 1:
        found = f"{launch.by} with {launch.devices} processes on each of {launch.nodes} machines"
        raise InputError(
            "distill", found=found, wanted="one process", remedy="use --jobs to train several runs at a time"
        )


def refuse_unless_new_or_resumed(jobs: list[Job], data: str) -> None:
    """Raises InputError when a run would be written over another, or go on with something else than it was begun with.

    Args:
        jobs: all runs of the study.
        data: fingerprint of the training data.
    """
    resume = jobs[0].options.resume
    if resume and not jobs[0].paths.out.is_dir():
        raise InputError(f"study {jobs[0].paths.out}", found="nothing to resume", remedy="drop --resume")
    for job in jobs:
        if resume and was_begun(job.folder):
            weights = _weights_of(job) if job.role == "student" else ""
            refuse_another(job.folder, identity_of(job.recipe, data, job.seed, weights))
        else:
            refuse_to_replace(job.folder)


def refuse_unless_teachable(recipe: Recipe, teacher: OpenedTeacher, paths: StudyPaths) -> None:
    """Builds every term once, so that none is found to miss a map when the control has been trained.

    Raises:
        UnderstudyError: when a teacher does not fit the student, or a term cannot compare them.
    """
    opened = {
        name: teacher if path == paths.teacher else open_teacher(path, recipe.detector.class_names)
        for name, path in paths.teachers.items()
    }
    for name, each in opened.items():
        refuse_unless_comparable(recipe, each, name=name)
    if recipe.distillation is not None and set(recipe.distillation.teachers) <= set(opened):
        widths = {name: each.widths for name, each in opened.items()}
        Distiller(recipe.distillation, widths, widths_of(BevDetector(recipe.detector_config())))


def refuse_unheard(recipe: Recipe, paths: StudyPaths) -> None:
    """Raises InputError when a teacher was named that no term of the recipe listens to."""
    if recipe.distillation is None:
        return
    heard = recipe.distillation.teachers
    unheard = [name for name in paths.teachers if name not in heard]
    if unheard:
        remedy = "leave it out, or name it in a term's teacher"
        raise InputError(f"--teacher {unheard[0]}", found="no term", wanted=", ".join(heard), remedy=remedy)


def evaluate_teacher(teacher: OpenedTeacher, recipe: Recipe, paths: StudyPaths, track: Track = silent) -> Evaluation:
    """The teacher on the split that was held out: a run as a run is judged, a foreign network as it is asked."""
    if not isinstance(teacher.network, ForeignTeacher):
        return evaluate_run(paths.teacher, recipe, paths, track)
    dataset = open_dataset(paths.data, paths.eval_split, recipe.data.classes)
    swept, lidar = with_sweeps(dataset, recipe.data.sweeps, recipe.data.lidar), recipe.data.lidar
    return evaluate_as_asked(teacher.network, swept, subject=paths.teacher.name, lidar=lidar, track=track)


def evaluate_run(
    run: Path, recipe: Recipe, paths: StudyPaths, track: Track = silent, *, metric: MetricSettings | None = None
) -> Evaluation:
    """A run's network through the pipeline, on the split that was held out; with true depth, as it is asked."""
    dataset = open_dataset(paths.eval_data or paths.data, paths.eval_split, recipe.data.classes)
    if needs_true_depth(read_recipe(run / RECIPE).detector_config()):
        detector, _ = load_detector(run)
        swept, lidar = with_sweeps(dataset, recipe.data.sweeps, recipe.data.lidar), recipe.data.lidar
        return evaluate_as_asked(detector, swept, subject=run.name, lidar=lidar, track=track, metric=metric)
    opened = open_torch_engine(run, threads=torch.get_num_threads())
    settings = EvaluationSettings(metric=metric or MetricSettings())
    with opened.engine:
        return evaluate_model(opened, dataset, settings, subject=run.name, lidar=recipe.data.lidar, track=track)


def _carried_out(jobs: list[Job], at_a_time: int, say: Callable[[str], None]) -> Iterator[Job]:
    """The jobs in their order, each once it is done."""
    if at_a_time == 1:
        for job in jobs:
            say(job.name)
            yield carry_out(job, say)
        return
    for number, (job, _) in enumerate(results_of(carry_out, jobs, at_a_time), 1):
        record = read_record(job.folder)
        say(f"  {number}/{len(jobs)}  {job.name}: {record.steps} steps in {record.wall_s:.0f} s")
    yield from jobs


def _entered(ledger: Ledger, role: Role, run: Path, evaluation: Evaluation, seed: int) -> Ledger:
    name = f"{role}, seed {seed}"
    return ledger.add(name, role, evaluation, facts_of_run(read_record(run), run), seed)


def _weights_of(job: Job) -> str:
    """As `fitting.weights_of` writes them, without opening the teachers."""
    assert job.recipe.distillation is not None
    weights = {name: weights_of_teacher(job.paths.teachers[name]) for name in job.recipe.distillation.teachers}
    if len(weights) == 1:
        return next(iter(weights.values()))
    return ",".join(f"{name}={value}" for name, value in sorted(weights.items()))
