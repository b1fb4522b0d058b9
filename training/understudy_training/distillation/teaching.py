"""Who teaches a study's students: the networks, asked anew or once, and whether they fit the student."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from understudy import __version__
from understudy.bundle.manifest import Pictures
from understudy.errors import InputError
from understudy.progress import Track, silent
from understudy_training.batches import Collate, Shown, TrainingFrames, Views
from understudy_training.distillation.answers import Asked
from understudy_training.distillation.foreign import ForeignConfig
from understudy_training.distillation.opened_teacher import OpenedTeacher, open_teacher
from understudy_training.distillation.teacher_cache import CachedTeacher, LiveTeacher, Teacher, cache_key
from understudy_training.distillation.terms.term import TEACHER
from understudy_training.fitting import Teaching, usable_precision
from understudy_training.loop.options import Teachings
from understudy_training.models.config import DetectorConfig, Encoder, LearnedPillarEncoder
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import Recipe
from understudy_training.xray.complete_objects import with_complete_objects

CACHE_FOLDER = "teacher-answers"
_ANSWERS_FORM = 4
"""To be raised when what is asked or kept changes, so that no older answer is taken for a new one."""
_TAKEN = ("num_cameras", "cameras", "width_px", "height_px")
"""What of `Pictures` decides which pictures are taken, and at what size."""


def make_teachings(
    recipe: Recipe,
    teachers: Mapping[str, Path],
    frames: TrainingFrames,
    cache: Path,
    *,
    shuffle: bool = False,
    track: Track = silent,
) -> Teachings:
    """The teachers that a recipe's terms listen to, each asked about every frame where that is possible.

    Args:
        recipe: of the student.
        teachers: where each is, by name: whatever `open_teacher` opens.
        frames: what the student is shown.
        cache: where answers are kept.
        shuffle: answer with what was said about another frame.
        track: progress.

    Raises:
        InputError: when a teacher that is called is not there, or one does not fit the student.
    """
    assert recipe.distillation is not None
    made = {}
    if not set(recipe.distillation.teachers) <= set(teachers):
        found, remedy = ", ".join(teachers) or "none", "give --teacher NAME=PATH for each"
        wanted = ", ".join(recipe.distillation.teachers)
        raise InputError(f"recipe {recipe.name}: teachers", found=found, wanted=wanted, remedy=remedy)
    for name in recipe.distillation.teachers:
        opened = open_teacher(teachers[name], recipe.detector.class_names)
        refuse_unless_comparable(recipe, opened, name=name)
        shown = _shown_to(recipe, opened, frames)
        teacher = make_teacher(recipe, opened, shown, cache, name=name, shuffle=shuffle, track=track)
        own = None if teacher.encode is None or shown is frames else shown
        made[name] = Teaching(teacher, opened.widths, weights=opened.weights, shuffled=shuffle, frames=own)
    return made


def _shown_to(recipe: Recipe, teacher: OpenedTeacher, frames: TrainingFrames) -> TrainingFrames:
    """The student's frames, or the same ones with the pictures that the teacher looks at, and its objects whole."""
    pictures = pictures_for(recipe, teacher)
    if pictures == frames.pictures and teacher.complete_objects is None:
        return frames
    dataset = with_complete_objects(frames.dataset, teacher.complete_objects, frames.lidar)
    return TrainingFrames(dataset, frames.lidar, frames.reach_m, frames.num_frames, pictures)


def pictures_for(recipe: Recipe, teacher: OpenedTeacher) -> Pictures | None:
    """The pictures that a teacher is shown: its own, or the student's where they are alike or it looks at none."""
    own, its = recipe.detector_config().pictures, teacher.network.config.pictures
    if own is None or its is None:
        return own or its
    alike = own.model_copy(update={name: getattr(its, name) for name in _TAKEN}) == own
    return own if alike else its


def make_teacher(
    recipe: Recipe,
    teacher: BevDetector | OpenedTeacher,
    frames: TrainingFrames,
    cache: Path,
    *,
    name: str = TEACHER,
    shuffle: bool = False,
    track: Track = silent,
) -> Teacher:
    """The live teacher, or one that answers from disk when every frame has a fixed number of versions."""
    assert recipe.distillation is not None
    opened = _opened(teacher)
    bf16 = opened.is_ours and usable_precision(recipe.precision) == "bf16-mixed"
    live = LiveTeacher(opened.network, recipe.distillation.asked_of(name), bf16=bf16, name=name)
    versions = _num_versions(recipe)
    shift = len(frames) // 2 if shuffle else 0
    if versions is None:
        if shuffle:
            remedy = "give data.augmentation.variants a number"
            raise InputError(
                "a shuffled teacher", found="an endless augmentation", wanted="kept answers", remedy=remedy
            )
        return live
    key = cache_key(opened.network, _facts(recipe, frames, name) | {"teacher": opened.settings})
    cached = CachedTeacher(live, cache / CACHE_FOLDER / key, num_frames=len(frames), shift=shift)
    ask_about_everything(cached, recipe, frames, min(versions, recipe.schedule.epochs), track)
    return cached


def ask_about_everything(
    cached: CachedTeacher, recipe: Recipe, frames: TrainingFrames, versions: int, track: Track = silent
) -> None:
    """Fills the teacher's answers, so that no later epoch waits for the teacher."""
    views, live, config = Views(frames, recipe.data.augmentation, seed=0), cached.live, recipe.detector_config()
    collate = Collate(
        lambda seen: None,
        config.class_names,
        config.grid,
        recipe.data.min_points,
        {live.name: live.encode},
        in_pictures=config.lidar_encoder is None,
    )
    everything = [(epoch, index) for epoch in range(versions) for index in range(len(frames))]
    places = [(epoch, index) for epoch, index in everything if not cached.knows(Shown(index, epoch))]
    batches = [places[start : start + 8] for start in range(0, len(places), 8)]
    for batch in track(batches, "asking the teacher", len(batches)):
        cached.remember(collate([views[place] for place in batch]))


def refuse_unless_comparable(
    recipe: Recipe, teacher: BevDetector | OpenedTeacher, sweeps: int | None = None, *, name: str = TEACHER
) -> None:
    """Raises InputError unless the teacher's output maps lie on the student's, class by class, and it saw such clouds.

    Args:
        recipe: of the student.
        teacher: its detector, or what was opened.
        sweeps: in a cloud when it was trained, where its own record does not say; it is shown the student's clouds.
        name: what terms call it.
    """
    opened = _opened(teacher)
    student, taught = recipe.detector_config(), opened.network.config
    if recipe.distillation is None:
        raise InputError(
            f"recipe {recipe.name}", found="no distillation", wanted="distillation.terms", remedy="or use train"
        )
    whose = f"{name}'s" if name == TEACHER else f"teacher {name}:"
    for what, wanted in _compared(student).items():
        found = _compared(taught)[what]
        if wanted != found:
            remedy = "train a teacher with the student's"
            raise InputError(f"{whose} {what}", found=found, wanted=wanted, remedy=remedy)
    asked = recipe.distillation.asked_of(name)
    unanswered = opened.unanswered(asked)
    if unanswered:
        described = unanswered[0].split("_")[0] in ("low", "high")
        own = "name the output in its description (low, high)" if described else "teach with a run of understudy train"
        found, remedy = "no such map", f"{own}, or leave the term out"
        raise InputError(f"{whose} {unanswered[0]}", found=found, wanted="what a term looks at", remedy=remedy)
    if isinstance(taught, DetectorConfig):
        refuse_unlike_pillars(asked, student.encoder, taught.encoder)
    seen = sweeps or opened.sweeps
    if seen != recipe.data.sweeps:
        remedy = "the teacher is shown the student's clouds: train one with as many"
        raise InputError(f"{whose} sweeps in a cloud", found=seen, wanted=recipe.data.sweeps, remedy=remedy)


def _opened(teacher: BevDetector | OpenedTeacher) -> OpenedTeacher:
    return OpenedTeacher(teacher) if isinstance(teacher, BevDetector) else teacher


def _compared(config: DetectorConfig | ForeignConfig) -> dict[str, object]:
    """What must agree for two detectors' output maps to lie on each other."""
    return {
        "class_names": config.class_names,
        "x_range_m": config.grid.x_range_m,
        "y_range_m": config.grid.y_range_m,
        "cells of the output": f"{config.output_cell_m:g} m",
    }


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


def _num_versions(recipe: Recipe) -> int | None:
    return recipe.data.augmentation.variants if recipe.data.augmentation is not None else 1


def _facts(recipe: Recipe, frames: TrainingFrames, name: str) -> dict[str, str]:
    """Everything besides the weights that decides what the teacher is asked."""
    augmentation = recipe.data.augmentation
    objects = augmentation.sources() if augmentation is not None else {}
    return {
        **({"objects": ",".join(sorted(objects.values()))} if objects else {}),
        "form": f"{_ANSWERS_FORM}, understudy {__version__}",
        "data": frames.dataset.fingerprint,
        "settings": recipe.data.model_dump_json(include={"lidar", "classes", "augmentation", "min_points"}),
        "classes": ",".join(recipe.detector.class_names),
        "grid": recipe.detector.grid.model_dump_json(),
        "labels": "in pictures" if recipe.detector_config().lidar_encoder is None else "all",
        "pictures": "" if frames.pictures is None else frames.pictures.model_dump_json(),
        "precision": usable_precision(recipe.precision),
    }
