"""Whether a teacher helps: the same student with and without it, seed by seed, on the same frames in the same order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from understudy.datasets.dataset import Dataset
from understudy.errors import InputError
from understudy.progress import Track, silent
from understudy_training.batches import Clouds, Collate, Views, reach_of
from understudy_training.checkpoint import read_record
from understudy_training.distillation.teacher_cache import CachedTeacher, LiveTeacher, Teacher, cache_key
from understudy_training.fitting import FitOptions, Teaching, fit, usable_precision, widths_of
from understudy_training.models.detector import PillarDetector
from understudy_training.recipe import Recipe

CACHE_FOLDER = "teacher-answers"


@dataclass(frozen=True)
class StudyOptions:
    """What a study compares.

    Attributes:
        seeds: one student, and one control, for each.
        control: train the control too.
        teacher_shuffle: answer with what the teacher said about another frame; must not help.
        bars: draw progress bars.
    """

    seeds: tuple[int, ...] = (0,)
    control: bool = True
    teacher_shuffle: bool = False
    bars: bool = False


@dataclass(frozen=True)
class StudyRun:
    """One trained network of a study."""

    role: str
    seed: int
    folder: Path


@dataclass(frozen=True, eq=False)
class TrainedTeacher:
    """The teacher and the SHA-256 of its weights file."""

    detector: PillarDetector
    weights: str


def load_clouds(recipe: Recipe, dataset: Dataset, track: Track = silent) -> Clouds:
    """The frames a recipe trains on, in memory when it says so."""
    reach_m = reach_of(recipe.detector_config().grid, recipe.data.augmentation)
    clouds = Clouds(dataset, recipe.data.lidar, reach_m, recipe.data.max_frames)
    if recipe.data.preload:
        clouds.preload(track)
    return clouds


def run_study(
    recipe: Recipe,
    teacher: TrainedTeacher,
    clouds: Clouds,
    folder: Path,
    options: StudyOptions,
    *,
    track: Track = silent,
    say: Callable[[str], None] = lambda line: None,
) -> list[StudyRun]:
    """Trains `student-seedN` and `control-seedN` under `folder` for each seed.

    A pair differs in nothing but the teacher: same initial weights, frames, order, augmentation and number of steps.

    Raises:
        InputError: when the recipe has no distillation, or the teacher's grid, stride or classes differ.
    """
    refuse_unless_comparable(recipe, teacher.detector)
    teaching = Teaching(
        make_teacher(recipe, teacher.detector, clouds, folder, options, track),
        widths_of(teacher.detector),
        weights=teacher.weights,
        shuffled=options.teacher_shuffle,
    )
    pupils: list[tuple[str, Teaching | None]] = [("student", teaching)]
    pupils += [("control", None)] if options.control else []
    runs = []
    for seed in options.seeds:
        for role, taught_by in pupils:
            run = StudyRun(role, seed, folder / f"{role}-seed{seed}")
            say(f"{role}, seed {seed}")
            fit(recipe, clouds, run.folder, FitOptions(seed, bars=options.bars), teaching=taught_by, say=say)
            record = read_record(run.folder)
            say(f"  {record.steps} steps in {record.wall_s:.1f} s (processor {record.cpu_s:.1f} s)")
            runs.append(run)
    return runs


def make_teacher(
    recipe: Recipe, detector: PillarDetector, clouds: Clouds, folder: Path, options: StudyOptions, track: Track
) -> Teacher:
    """The live teacher, or one that answers from disk when every frame has a fixed number of versions."""
    assert recipe.distillation is not None
    bf16 = usable_precision(recipe.precision) == "bf16-mixed"
    live = LiveTeacher(detector, recipe.distillation.levels, bf16=bf16)
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
    cached = CachedTeacher(live, folder / CACHE_FOLDER / key, num_frames=len(clouds), shift=shift)
    ask_about_everything(cached, recipe, clouds, min(versions, recipe.schedule.epochs), track)
    return cached


def ask_about_everything(
    cached: CachedTeacher, recipe: Recipe, clouds: Clouds, versions: int, track: Track = silent
) -> None:
    """Fills the teacher's answers, so that no later epoch waits for the teacher."""
    views = Views(clouds, recipe.data.augmentation, seed=0)
    detector = recipe.detector
    collate = Collate(lambda clouds: None, detector.class_names, detector.grid, recipe.data.min_points)
    places = [(epoch, index) for epoch in range(versions) for index in range(len(clouds))]
    batches = [places[start : start + 8] for start in range(0, len(places), 8)]
    for batch in track(batches, "asking the teacher", len(batches)):
        cached.remember(collate([views[place] for place in batch]))


def refuse_unless_comparable(recipe: Recipe, teacher: PillarDetector) -> None:
    """Raises InputError unless the teacher's output maps lie on the student's, class by class."""
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


def _num_versions(recipe: Recipe) -> int | None:
    return recipe.data.augmentation.variants if recipe.data.augmentation is not None else 1


def _facts(recipe: Recipe, clouds: Clouds) -> dict[str, str]:
    """Everything besides the weights that decides what the teacher is asked."""
    return {
        "data": clouds.dataset.fingerprint,
        "settings": recipe.data.model_dump_json(include={"lidar", "augmentation", "min_points"}),
        "classes": ",".join(recipe.detector.class_names),
        "precision": usable_precision(recipe.precision),
        "levels": ",".join(recipe.distillation.levels) if recipe.distillation else "",
    }
