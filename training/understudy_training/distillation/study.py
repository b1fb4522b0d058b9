"""Whether a teacher helps: the same student with and without it, seed by seed, on the same frames in the same order."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from understudy import __version__
from understudy.datasets.dataset import Dataset
from understudy.datasets.opening import open_dataset
from understudy.datasets.sweeps import with_sweeps
from understudy.errors import InputError
from understudy.evaluation import Evaluation, evaluate_model, read_evaluation
from understudy.progress import Track, silent
from understudy_training.batches import Collate, TrainingFrames, Views, reach_of
from understudy_training.checkpoint import WEIGHTS, load_detector, read_record, refuse_to_replace
from understudy_training.distillation.answers import Asked
from understudy_training.distillation.teacher_cache import CachedTeacher, LiveTeacher, Teacher, cache_key
from understudy_training.fitting import FitOptions, Teaching, fit, usable_precision, use_threads, widths_of
from understudy_training.ledger import Ledger, Role, facts_of_run
from understudy_training.loop.launch import agreed, launch_of
from understudy_training.loop.options import Interval
from understudy_training.loop.order import shards_of
from understudy_training.models.config import Encoder, LearnedPillarEncoder
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import Recipe
from understudy_training.resuming import identity_of, refuse_another, was_begun
from understudy_training.torch_engine import open_torch_engine

CACHE_FOLDER, EVALUATION, TEACHER_EVALUATION = "teacher-answers", "evaluation.json", "teacher-evaluation.json"
_ANSWERS_FORM = 2
"""To be raised when what is asked or kept changes, so that no older answer is taken for a new one."""


@dataclass(frozen=True)
class StudyPaths:
    """Where things are: the teacher's run, the data with the splits to train and to evaluate on, and the results."""

    teacher: Path
    data: Path
    out: Path
    split: str | None = "train"
    eval_split: str | None = "val"


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
    """

    seeds: tuple[int, ...] = (0,)
    control: bool = True
    teacher_shuffle: bool = False
    jobs: int = 1
    bars: bool = False
    checkpoint_every: Interval | None = None
    resume: bool = False


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
    detector, contract = load_detector(paths.teacher)
    refuse_unless_comparable(recipe, detector, contract.sweeps)
    threads = max(1, torch.get_num_threads() // options.jobs)
    roles: tuple[Literal["student", "control"], ...] = ("control", "student") if options.control else ("student",)
    jobs = [Job(role, seed, recipe, paths, options, threads) for seed in options.seeds for role in roles]
    dataset = open_dataset(paths.data, paths.split, recipe.data.classes)
    swept = with_sweeps(dataset, recipe.data.sweeps, recipe.data.lidar)
    refuse_unless_new_or_resumed(jobs, swept.fingerprint)
    teacher = make_teacher(recipe, detector, load_frames(recipe, dataset), paths, options, track)
    if isinstance(teacher, CachedTeacher):
        say(teacher.summary())
    evaluation = evaluate_run(paths.teacher, recipe, paths, track)
    evaluation.write(paths.out / TEACHER_EVALUATION)
    ledger = _entered(Ledger(), "teacher", paths.teacher, evaluation)
    for job in _carried_out(jobs, options.jobs, say):
        ledger = _entered(ledger, job.role, job.folder, read_evaluation(job.folder / EVALUATION), job.seed)
    return ledger


def carry_out(job: Job, say: Callable[[str], None] = lambda line: None) -> Job:
    """Trains and evaluates one network; returns the job, for whoever waits for it."""
    if job.is_finished:
        say(f"  {job.folder}: finished before")
        return job
    use_threads(job.threads)
    clouds = load_frames(job.recipe, open_dataset(job.paths.data, job.paths.split, job.recipe.data.classes))
    teaching = _teaching(job, clouds) if job.role == "student" else None
    resume = job.options.resume and was_begun(job.folder)
    options = FitOptions(job.seed, resume=resume, bars=job.options.bars, checkpoint_every=job.options.checkpoint_every)
    fit(job.recipe, clouds, job.folder, options, teaching=teaching, say=say)
    unfinished = job.folder / f"unfinished-{EVALUATION}"
    evaluate_run(job.folder, job.recipe, job.paths).write(unfinished)
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
            teacher = read_record(job.paths.teacher).weights if job.role == "student" else ""
            refuse_another(job.folder, identity_of(job.recipe, data, job.seed, teacher))
        else:
            refuse_to_replace(job.folder)


def evaluate_run(run: Path, recipe: Recipe, paths: StudyPaths, track: Track = silent) -> Evaluation:
    """A run's network through the pipeline, on the split that was held out."""
    opened = open_torch_engine(run, threads=torch.get_num_threads())
    dataset = open_dataset(paths.data, paths.eval_split, recipe.data.classes)
    with opened.engine:
        return evaluate_model(opened, dataset, subject=run.name, lidar=recipe.data.lidar, track=track)


def load_frames(recipe: Recipe, dataset: Dataset, track: Track = silent) -> TrainingFrames:
    """The frames a recipe trains on, in memory when it says so.

    Raises:
        InputError: when the detector has a class that the data set, with the recipe's class map, does not.
    """
    refuse_strange_classes(recipe, dataset)
    reach_m = reach_of(recipe.detector_config().grid, recipe.data.augmentation)
    swept = with_sweeps(dataset, recipe.data.sweeps, recipe.data.lidar)
    clouds = TrainingFrames(swept, recipe.data.lidar, reach_m, recipe.data.max_frames)
    clouds.shards = shards_of(dataset, len(clouds))
    if recipe.data.preload:
        clouds.preload(track)
    return clouds


def _carried_out(jobs: list[Job], at_a_time: int, say: Callable[[str], None]) -> Iterator[Job]:
    """The jobs in their order, each once it is done."""
    if at_a_time == 1:
        for job in jobs:
            say(job.name)
            yield carry_out(job, say)
        return
    # spawned, because threads of this process would be lost in a fork
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_a_time, spawn, initializer=_end_with_parent, initargs=(os.getpid(),)) as pool:
        pending = [pool.submit(carry_out, job) for job in jobs]
        for number, done in enumerate(as_completed(pending), 1):
            job = done.result()
            record = read_record(job.folder)
            say(f"  {number}/{len(jobs)}  {job.name}: {record.steps} steps in {record.wall_s:.0f} s")
    yield from jobs


def _end_with_parent(parent: int) -> None:
    """Lets this process end soon after the one that started it, however that one ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _entered(ledger: Ledger, role: Role, run: Path, evaluation: Evaluation, seed: int | None = None) -> Ledger:
    name = role if seed is None else f"{role}, seed {seed}"
    return ledger.add(name, role, evaluation, facts_of_run(read_record(run), run), seed)


def _teaching(job: Job, clouds: TrainingFrames) -> Teaching:
    detector, _ = load_detector(job.paths.teacher)
    teacher = make_teacher(job.recipe, detector, clouds, job.paths, job.options)
    weights = read_record(job.paths.teacher).weights
    return Teaching(teacher, widths_of(detector), weights=weights, shuffled=job.options.teacher_shuffle)


def make_teacher(
    recipe: Recipe,
    detector: BevDetector,
    clouds: TrainingFrames,
    paths: StudyPaths,
    options: StudyOptions,
    track: Track = silent,
) -> Teacher:
    """The live teacher, or one that answers from disk when every frame has a fixed number of versions."""
    assert recipe.distillation is not None
    bf16 = usable_precision(recipe.precision) == "bf16-mixed"
    live = LiveTeacher(detector, recipe.distillation.asked, bf16=bf16)
    versions = _num_versions(recipe)
    shift = len(clouds) // 2 if options.teacher_shuffle else 0
    if versions is None:
        if options.teacher_shuffle:
            remedy = "give data.augmentation.variants a number"
            raise InputError(
                "a shuffled teacher", found="an endless augmentation", wanted="kept answers", remedy=remedy
            )
        return live
    key = cache_key(detector, _facts(recipe, clouds))
    cached = CachedTeacher(live, paths.out / CACHE_FOLDER / key, num_frames=len(clouds), shift=shift)
    ask_about_everything(cached, recipe, clouds, min(versions, recipe.schedule.epochs), track)
    return cached


def ask_about_everything(
    cached: CachedTeacher, recipe: Recipe, clouds: TrainingFrames, versions: int, track: Track = silent
) -> None:
    """Fills the teacher's answers, so that no later epoch waits for the teacher."""
    views = Views(clouds, recipe.data.augmentation, seed=0)
    detector = recipe.detector
    collate = Collate(lambda clouds: None, detector.class_names, detector.grid, recipe.data.min_points)
    places = [(epoch, index) for epoch in range(versions) for index in range(len(clouds))]
    batches = [places[start : start + 8] for start in range(0, len(places), 8)]
    for batch in track(batches, "asking the teacher", len(batches)):
        cached.remember(collate([views[place] for place in batch]))


def refuse_unless_comparable(recipe: Recipe, teacher: BevDetector, sweeps: int = 1) -> None:
    """Raises InputError unless the teacher's output maps lie on the student's, class by class, and it saw such clouds.

    Args:
        recipe: of the student.
        teacher: its detector.
        sweeps: in a cloud when it was trained; it is shown the student's clouds.
    """
    student, taught = recipe.detector_config(), teacher.config
    if recipe.distillation is None:
        raise InputError(
            f"recipe {recipe.name}", found="no distillation", wanted="distillation.terms", remedy="or use train"
        )
    for name in ("class_names", "grid", "output_stride"):
        wanted, found = getattr(student, name), getattr(taught, name)
        if wanted != found:
            remedy = "train a teacher with the student's"
            raise InputError(f"teacher's {name}", found=found, wanted=wanted, remedy=remedy)
    refuse_unlike_pillars(recipe.distillation.asked, student.encoder, taught.encoder)
    if sweeps != recipe.data.sweeps:
        remedy = "the teacher is shown the student's clouds: train one with as many"
        raise InputError("teacher's sweeps in a cloud", found=sweeps, wanted=recipe.data.sweeps, remedy=remedy)


def refuse_unlike_pillars(asked: Collection[Asked], student: Encoder, teacher: Encoder) -> None:
    """Raises InputError when a term compares pillars and the two would not group the points alike.

    Args:
        asked: what the terms look at.
        student: configuration of its encoder.
        teacher: configuration of its encoder.
    """
    if "pillars" not in asked:
        return
    wanted, found = (_grouping(encoder) for encoder in (student, teacher))
    if found != wanted or not wanted:
        remedy = "compare a map instead (level: low), or give both a learned encoder that groups alike"
        raise InputError(
            "teacher's pillars", found=found or "none", wanted=wanted or "a student that has any", remedy=remedy
        )


def _grouping(encoder: Encoder) -> str:
    if not isinstance(encoder, LearnedPillarEncoder):
        return ""
    return f"{encoder.max_pillars} pillars of {encoder.max_points_per_pillar} points"


def refuse_strange_classes(recipe: Recipe, dataset: Dataset) -> None:
    """Raises InputError when the detector is to find a class that the data set does not know."""
    strangers = [name for name in recipe.detector.class_names if name not in dataset.class_names]
    if strangers:
        found, wanted = ", ".join(strangers), f"among {', '.join(dataset.class_names)}"
        remedy = "name the detector's classes after the data set's, or map those with data.classes"
        raise InputError(f"recipe {recipe.name}: detector.class_names", found=found, wanted=wanted, remedy=remedy)


def _num_versions(recipe: Recipe) -> int | None:
    return recipe.data.augmentation.variants if recipe.data.augmentation is not None else 1


def _facts(recipe: Recipe, clouds: TrainingFrames) -> dict[str, str]:
    """Everything besides the weights that decides what the teacher is asked."""
    augmentation = recipe.data.augmentation
    objects = augmentation.sources() if augmentation is not None else {}
    return {
        **({"objects": ",".join(sorted(objects.values()))} if objects else {}),
        "form": f"{_ANSWERS_FORM}, understudy {__version__}",
        "data": clouds.dataset.fingerprint,
        "settings": recipe.data.model_dump_json(include={"lidar", "classes", "augmentation", "min_points"}),
        "classes": ",".join(recipe.detector.class_names),
        "precision": usable_precision(recipe.precision),
        "asked": ",".join(recipe.distillation.asked) if recipe.distillation else "",
    }
