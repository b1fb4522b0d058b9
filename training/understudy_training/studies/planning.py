"""From a study to its jobs: what each is trained on and taught by, under an address made of just that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from understudy.configuration import content_hash
from understudy.datasets.dataset import Dataset
from understudy.datasets.opening import open_dataset
from understudy.datasets.sweeps import with_sweeps
from understudy.errors import InputError, RecipeError
from understudy_training.checkpoint import RECIPE
from understudy_training.distillation.distiller import Distiller
from understudy_training.distillation.opened_teacher import OpenedTeacher, open_teacher, weights_of_teacher
from understudy_training.distillation.teaching import refuse_unless_comparable
from understudy_training.fitting import build_detector, widths_of
from understudy_training.loop.order import steps_of_epoch
from understudy_training.models.counting import detector_cost
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import Recipe
from understudy_training.studies.study_file import (
    CONTROL,
    MAIN,
    Method,
    Preset,
    Study,
    StudyTeacher,
    recipe_beside,
)

Part = Literal["teacher", "control", "method", "shuffled", "random"]
RANDOM = "random"
_FORM = 1
"""To be raised when the same address would no longer mean the same training."""
_STEPS_APART = 0.05
"""So much more or less than its control a method on other data may be trained."""


@dataclass(frozen=True, eq=False)
class Planned:
    """One network of a study.

    Attributes:
        part: what it is for.
        label: of its method, "control", or the teacher's name.
        student: name of the student; "" for a teacher.
        teachers: who teaches it, by the names that its terms call them; nobody for controls and teachers.
        seed: of its initial weights and the order of its frames.
        recipe: what it is trained by; of a teacher that is no run, the first student's.
        data: name of the data set it is trained on.
        address: of everything that decides its weights.
        frames: how many it is shown in an epoch.
        gmacs: estimate of its whole training, in thousand millions of multiply-accumulates.
        run: a teacher's that is there already.
        untrained: it keeps its initial weights.
    """

    part: Part
    label: str
    student: str
    teachers: Mapping[str, str]
    seed: int
    recipe: Recipe
    data: str
    address: str
    frames: int
    gmacs: float
    run: Path | None = None
    untrained: bool = False

    @property
    def name(self) -> str:
        """How it is called in lists."""
        if self.part == "teacher":
            return f"teacher {self.label}"
        return f"{self.student} {self.label}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Its run folder, within the study's."""
        if self.part == "teacher":
            return self.run or Path("teachers") / f"{self.label}-{self.address[:12]}"
        return Path("runs") / f"{self.student}-{self.label}-seed{self.seed}-{self.address[:12]}"


@dataclass(frozen=True, eq=False)
class StudyPlan:
    """All networks of a study, and the data sets they come from by name."""

    study: Study
    data: Mapping[str, Path]
    teachers: dict[str, Planned]
    jobs: tuple[Planned, ...]

    @property
    def all(self) -> tuple[Planned, ...]:
        """Teachers first."""
        return (*self.teachers.values(), *self.jobs)

    def only(self, labels: tuple[str, ...]) -> tuple[Planned, ...]:
        """The jobs of these methods; all without any. Teachers are no jobs of a method.

        Raises:
            InputError: when there is no such method.
        """
        known = list(dict.fromkeys(job.label for job in self.jobs))
        strangers = sorted(set(labels) - set(known))
        if strangers:
            wanted = f"among {', '.join(known)}, or teachers"
            raise InputError("--only", found=", ".join(strangers), wanted=wanted)
        return tuple(job for job in self.jobs if not labels or job.label in labels)

    def teachers_of(self, jobs: tuple[Planned, ...]) -> tuple[Planned, ...]:
        """Who teaches these."""
        names = {name for job in jobs for name in job.teachers.values()}
        return tuple(teacher for name, teacher in self.teachers.items() if name in names)


def make_plan(study: Study, beside: Path, data: Mapping[str, Path], preset: Preset | None = None) -> StudyPlan:
    """Every network of a study; nothing is trained, but everything is checked that a training would stumble over.

    Args:
        study: the study.
        beside: folder of its file.
        data: folders of the data sets by name, the main one under "main".
        preset: changes to its recipes.

    Raises:
        InputError: when data sets are missing, or a teacher's grid, stride or classes are not the students'.
        RecipeError: when a recipe is wrong or a method's recipe is not the control's but for how it is taught.
    """
    planner = _Planner(study, beside, data, preset or Preset())
    teachers = {name: planner.teacher(name, teacher) for name, teacher in study.teachers.items()}
    jobs = tuple(job for student in study.students for job in planner.jobs_of(student, teachers))
    return StudyPlan(study, data, teachers | planner.untrained, jobs)


def share_of(jobs: tuple[Planned, ...], number: int, shares: int) -> tuple[Planned, ...]:
    """The jobs of share `number` (from 1) of `shares`: each job is in exactly one, and costs are spread evenly.

    The longest job goes to whoever has least so far; what is done already does not matter, so that all machines agree.
    """
    costs, owner = [0.0] * shares, {}
    for job in sorted(jobs, key=lambda job: (-job.gmacs, job.address)):
        least = costs.index(min(costs))
        costs[least] += job.gmacs
        owner[job.address] = least
    return tuple(job for job in jobs if owner[job.address] == number - 1)


@dataclass(frozen=True, eq=False)
class _Planner:
    study: Study
    beside: Path
    data: Mapping[str, Path]
    preset: Preset

    def teacher(self, name: str, teacher: StudyTeacher) -> Planned:
        if teacher.run is not None:
            run = Path(teacher.run) if Path(teacher.run).is_absolute() else self.beside / teacher.run
            first = next(iter(self.study.students.values())).recipe
            recipe = recipe_beside(str(run / RECIPE) if (run / RECIPE).is_file() else first, self.beside)
            address = weights_of_teacher(run)
            return Planned("teacher", name, "", {}, teacher.seed, recipe, teacher.data, address, 0, 0.0, run)
        recipe = self._recipe(str(teacher.recipe), self.preset.teacher_epochs)
        planned = self._planned("teacher", name, "", {}, teacher.seed, recipe, teacher.data)
        if not teacher.untrained:
            return planned
        return replace(planned, address=_address({"untrained": planned.address}), gmacs=0.0, frames=0, untrained=True)

    def _untrained(self, teacher: Planned) -> Planned:
        """The same teacher as it was before its training."""
        if teacher.run is not None and not (teacher.run / RECIPE).is_file():
            remedy = "leave reference out, or let the study train a teacher for it"
            raise InputError(f"reference: teacher {teacher.label}", found="one without a recipe", remedy=remedy)
        label, address = f"{teacher.label}-{RANDOM}", _address({"untrained": teacher.address})
        changes = {"label": label, "address": address, "gmacs": 0.0, "frames": 0, "run": None, "untrained": True}
        return self.untrained.setdefault(label, replace(teacher, **changes))

    def jobs_of(self, student: str, teachers: dict[str, Planned]) -> Iterator[Planned]:
        control = self._recipe(self.study.students[student].recipe, self.preset.epochs)
        control = control.model_copy(update={"distillation": None})
        for seed in self.study.seeds:
            yield self._planned("control", CONTROL, student, {}, seed, control, MAIN)
        for method in self.study.methods:
            if method.students is None or student in method.students:
                yield from self._jobs_of_method(method, student, control, teachers)

    def _jobs_of_method(
        self, method: Method, student: str, control: Recipe, teachers: dict[str, Planned]
    ) -> Iterator[Planned]:
        recipe = self._as_many_steps(method, self._taught(method, student, control), control)
        listens_to = self.study.teachers_of(method, recipe.distillation)
        taught_by = {name: teachers[label] for name, label in listens_to.items()}
        for seed in self.study.seeds:
            yield self._planned("method", method.label, student, taught_by, seed, recipe, method.data)
        if method.label != self.study.reference:
            return
        if not taught_by:
            found, remedy = "a method without a teacher", "leave reference out, or name a method that has one"
            raise InputError(f"reference: {method.label}", found=found, wanted="one that is taught", remedy=remedy)
        untrained = {name: self._untrained(each) for name, each in taught_by.items()}
        for seed in self.study.seeds:
            yield self._planned("shuffled", f"{method.label}-shuffled", student, taught_by, seed, recipe, method.data)
            yield self._planned("random", f"{method.label}-{RANDOM}", student, untrained, seed, recipe, method.data)

    def _taught(self, method: Method, student: str, control: Recipe) -> Recipe:
        """The control's recipe with the method's terms, or the method's own, which may show other data otherwise."""
        own = method.recipes.get(student)
        recipe = control if own is None else self._recipe(own, self.preset.epochs)
        for part, found in _compared(recipe).items():
            if found != _compared(control)[part]:
                remedy = "give both the same: only the teaching may differ"
                raise RecipeError(f"method {method.label}: {part} of {own}", found="not the control's", remedy=remedy)
        if method.distillation is None:
            return recipe
        return recipe.model_copy(update={"distillation": method.distillation}).with_epochs(recipe.schedule.epochs)

    def _as_many_steps(self, method: Method, recipe: Recipe, control: Recipe) -> Recipe:
        """The recipe with as many epochs of the method's data set as come nearest to the control's steps on its own."""
        if method.data == MAIN:
            return recipe
        wanted = self._steps_of_epoch(control, MAIN) * control.schedule.epochs
        each = self._steps_of_epoch(recipe, method.data)
        epochs = max(round(wanted / each), 1)
        if abs(epochs * each - wanted) > _STEPS_APART * wanted:
            found = f"{epochs * each} steps in {epochs} epochs, {wanted} of the control"
            remedy = f"give the student a number of epochs whose steps {each} divides, about"
            wanted_steps = f"as many within {_STEPS_APART:.0%}"
            raise InputError(
                f"method {method.label}: data {method.data}", found=found, wanted=wanted_steps, remedy=remedy
            )
        return recipe.with_epochs(epochs)

    def _steps_of_epoch(self, recipe: Recipe, data: str) -> int:
        return steps_of_epoch(_num_shown(self._opened(data, recipe), recipe), recipe.data.batch_size)

    def _recipe(self, name: str, epochs: int | None) -> Recipe:
        preset, recipe = self.preset, recipe_beside(name, self.beside).with_epochs(epochs)
        most = [frames for frames in (preset.max_frames, recipe.data.max_frames) if frames]
        data = {"max_frames": min(most, default=None), "batch_size": preset.batch_size}
        schedule = {"peak_learning_rate": preset.peak_learning_rate}
        changed = {
            "data": recipe.data.model_copy(update={key: value for key, value in data.items() if value}),
            "schedule": recipe.schedule.model_copy(update={key: value for key, value in schedule.items() if value}),
        }
        return recipe.model_copy(update=changed)

    def _planned(
        self,
        part: Part,
        label: str,
        student: str,
        teachers: Mapping[str, Planned],
        seed: int,
        recipe: Recipe,
        data: str,
    ) -> Planned:
        dataset = self._opened(data, recipe)
        facts = {
            "form": str(_FORM),
            "recipe": content_hash(recipe.resolved()),
            "data": dataset.fingerprint,
            "seed": str(seed),
            "teachers": json.dumps({name: teacher.address for name, teacher in teachers.items()}, sort_keys=True),
            "shuffled": str(part == "shuffled"),
        }
        frames = _num_shown(dataset, recipe)
        gmacs = (3 * frames * recipe.schedule.epochs + self._num_evaluated(recipe)) * self._gmacs(recipe)
        names = {name: teacher.label for name, teacher in teachers.items()}
        return Planned(part, label, student, names, seed, recipe, data, _address(facts), frames, gmacs)

    def _folder(self, data: str) -> Path:
        if data not in self.data:
            option = "--data DIR" if data == MAIN else f"--data {data}=DIR"
            raise InputError(f"data set {data}", found="no folder", wanted=option)
        return self.data[data]

    def _opened(self, data: str, recipe: Recipe) -> Dataset:
        key = (data, recipe.data.model_dump_json(include={"classes", "sweeps", "lidar"}))
        if key not in self._datasets:
            dataset = open_dataset(self._folder(data), self.study.split, recipe.data.classes)
            self._datasets[key] = with_sweeps(dataset, recipe.data.sweeps, recipe.data.lidar)
        return self._datasets[key]

    def _num_evaluated(self, recipe: Recipe) -> int:
        key = "" if recipe.data.classes is None else str(recipe.data.classes)
        if key not in self._evaluated:
            self._evaluated[key] = len(open_dataset(self._folder(MAIN), self.study.eval_split, recipe.data.classes))
        return self._evaluated[key]

    def _gmacs(self, recipe: Recipe) -> float:
        key = recipe.detector_config().model_dump_json()
        if key not in self._costs:
            self._costs[key] = detector_cost(BevDetector(recipe.detector_config())).gmacs
        return self._costs[key]

    @cached_property
    def untrained(self) -> dict[str, Planned]:
        """Those that were wanted by now, by name."""
        return {}

    @cached_property
    def _datasets(self) -> dict[tuple[str, str], Dataset]:
        return {}

    @cached_property
    def _evaluated(self) -> dict[str, int]:
        return {}

    @cached_property
    def _costs(self) -> dict[str, float]:
        return {}


def check_plan(plan: StudyPlan) -> None:
    """Builds what every method would need once, so that no job fails for it hours later.

    Raises:
        UnderstudyError: when a teacher does not fit its student, a term cannot compare them, or a teacher whose
            answers are to be shuffled would answer about endless versions.
    """
    taught = {(job.student, job.label): job for job in plan.jobs if job.teachers}
    names = {name for job in taught.values() for name in job.teachers.values()}
    classes = next(iter(taught.values())).recipe.detector.class_names if taught else ()
    opened = {name: _opened_teacher(plan.teachers[name], classes) for name in names}
    for job in taught.values():
        for name, label in job.teachers.items():
            refuse_unless_comparable(job.recipe, opened[label], name=name)
        assert job.recipe.distillation is not None
        widths = {name: opened[label].widths for name, label in job.teachers.items()}
        student = widths_of(BevDetector(job.recipe.detector_config()))
        Distiller(job.recipe.distillation, widths, student, job.recipe.schedule.epochs)
        if job.part == "shuffled":
            _refuse_endless(job.recipe)


def _opened_teacher(teacher: Planned, class_names: Sequence[str]) -> OpenedTeacher:
    if teacher.run is not None:
        return open_teacher(teacher.run, class_names)
    return OpenedTeacher(build_detector(teacher.recipe, 0), sweeps=teacher.recipe.data.sweeps)


def _refuse_endless(recipe: Recipe) -> None:
    augmentation = recipe.data.augmentation
    if augmentation is not None and augmentation.variants is None:
        remedy = "give data.augmentation.variants a number, or the study no reference"
        raise InputError(f"recipe {recipe.name}: a shuffled teacher", found="an endless augmentation", remedy=remedy)


def _num_shown(dataset: Dataset, recipe: Recipe) -> int:
    return min(len(dataset), recipe.data.max_frames or len(dataset))


def _compared(recipe: Recipe) -> dict[str, object]:
    """What a method must leave as the control has it, or a gain would be that of something else."""
    return {
        "detector": recipe.detector_config(),
        "schedule": recipe.schedule,
        "data.batch_size": recipe.data.batch_size,
        "loss": recipe.loss,
        "precision": recipe.precision,
    }


def _address(facts: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
