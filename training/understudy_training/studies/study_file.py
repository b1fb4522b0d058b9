"""A study over methods, described completely: teachers, students, seeds, and one entry for each method."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from understudy.configuration import Config, check_config, read_yaml
from understudy.errors import InputError, RecipeError
from understudy.metrics.average_precision import MetricSettings
from understudy_training.distillation.distiller import DistillationConfig
from understudy_training.distillation.terms.term import TEACHER
from understudy_training.recipe import Recipe, read_recipe, shipped_recipes

CONTROL, MAIN = "control", "main"
NAME = r"^[a-z0-9][a-z0-9_.+-]*$"


class StudyTeacher(Config):
    """A teacher: trained in the study, taken from a run, or never trained at all."""

    recipe: str | None = None
    """Recipe it is trained by: a file beside the study, or one that comes with the package."""
    run: str | None = None
    """Instead: a finished run, or anything else that `distill --teacher` takes; beside the study's file."""
    seed: int = Field(0, ge=0)
    untrained: bool = False
    """Keep the initial weights: a teacher that knows nothing, and must not help."""
    data: str = MAIN
    """Data set it is trained on."""

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> StudyTeacher:
        if (self.recipe is None) == (self.run is None):
            raise ValueError("either recipe or run")
        if self.untrained and self.recipe is None:
            raise ValueError("untrained: needs a recipe")
        return self


class StudyStudent(Config):
    """A student; trained by its recipe alone it is the control of every method."""

    recipe: str
    """A file beside the study, or one that comes with the package. Its own distillation does not count."""


class Method(Config):
    """One way of teaching: what differs from the control, and nothing else."""

    label: str = Field(pattern=NAME)
    distillation: DistillationConfig | None = None
    """Terms and warm-up, as in a recipe; None for a method that only changes the data or has its own recipes."""
    teacher: str | None = None
    """Who teaches; None is the first teacher."""
    others: dict[str, str] = Field(default_factory=dict)
    """Further teachers, by the names that the terms call them; left out, the study's teachers of those names."""
    data: str = MAIN
    """Data set the student is trained on, in as many whole epochs as come nearest to the control's steps on the main
    one (refused when they are more than 5 % apart); it is evaluated on the main one all the same."""
    recipes: dict[str, str] = Field(default_factory=dict)
    """Recipe instead of the student's own, by student. Detector, schedule, loss, precision and number of frames of a
    step must agree; its distillation counts where the method has none."""
    students: tuple[str, ...] | None = None
    """Only these; None is every student."""
    uses_labels: bool = True
    """No where the student never sees a label that a person made."""
    source: str = ""
    """Where the method was published, for the page."""

    @model_validator(mode="after")
    def _differs_from_the_control(self) -> Method:
        if self.label == CONTROL:
            raise ValueError(f"label: {CONTROL} is what every method is compared with")
        if self.distillation is None and self.data == MAIN and not self.recipes:
            raise ValueError(f"{self.label}: neither distillation nor other data nor other recipes")
        return self


class Preset(Config):
    """The same study, smaller or larger; None leaves what the study and its recipes say."""

    seeds: tuple[int, ...] | None = None
    epochs: int | None = Field(None, gt=0)
    teacher_epochs: int | None = Field(None, gt=0)
    max_frames: int | None = Field(None, gt=0)
    """Use only the first so many training frames, of students and teachers."""
    batch_size: int | None = Field(None, gt=0)
    peak_learning_rate: float | None = Field(None, gt=0)


class Study(Config):
    """Methods tried on the same students; each against a control that is trained once per seed."""

    schema_version: int = Field(1, ge=1, le=1)
    name: str = Field(pattern=NAME)
    split: str = "train"
    eval_split: str = "val"
    metric: MetricSettings = MetricSettings()
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    teachers: dict[str, StudyTeacher] = Field(default_factory=dict)
    """By name; the first teaches unless a method says otherwise. None where all methods differ by their data."""
    students: dict[str, StudyStudent] = Field(min_length=1)
    methods: tuple[Method, ...] = Field(min_length=1)
    reference: str | None = None
    """Method that is also tried with its teacher's answers shuffled and with a teacher that was never trained; neither
    may show a gain. None tries none."""
    presets: dict[str, Preset] = Field(default_factory=dict)

    @field_validator("seeds")
    @classmethod
    def _are_different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("every seed once")
        if not all(0 <= seed < 2**32 for seed in seeds):
            raise ValueError("seeds from 0 to 4294967295")
        return seeds

    @field_validator("students", "teachers")
    @classmethod
    def _name_files(cls, named: dict[str, Any]) -> dict[str, Any]:
        wrong = [name for name in named if not re.fullmatch(NAME, name)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: names of files too, so small letters, digits, '_', '.', '+' and '-'")
        return named

    @model_validator(mode="after")
    def _names_are_known(self) -> Study:
        labels = [method.label for method in self.methods]
        _refuse_twice(labels)
        _refuse_strangers("reference", [self.reference or labels[0]], labels)
        for method in self.methods:
            chosen = [name for name in (method.teacher, *method.others.values()) if name is not None]
            _refuse_strangers(f"{method.label}: teachers", chosen, self.teachers)
            named = {*(method.students or ()), *method.recipes}
            _refuse_strangers(f"{method.label}: students", named, self.students)
        return self

    @property
    def first_teacher(self) -> str:
        """Who teaches unless a method says otherwise; a name of nobody in a study without teachers."""
        return next(iter(self.teachers), TEACHER)

    def teachers_of(self, method: Method, distillation: DistillationConfig | None) -> dict[str, str]:
        """The study's teachers that a method's terms listen to, by the names that the terms call them.

        Raises:
            RecipeError: when a term calls one that the study does not have.
        """
        called = distillation.teachers if distillation is not None else ()
        known = {TEACHER: method.teacher or self.first_teacher, **method.others}
        found = {name: known.get(name, name) for name in called}
        strangers = sorted(set(found.values()) - set(self.teachers))
        if strangers:
            wanted = f"among {', '.join(self.teachers)}" if self.teachers else "a study with teachers"
            raise RecipeError(f"method {method.label}: teachers", found=", ".join(strangers), wanted=wanted)
        return found

    def with_preset(self, name: str | None) -> tuple[Study, Preset]:
        """The study with a preset's seeds, and the preset for its recipes.

        Raises:
            InputError: when there is no such preset.
        """
        if name is None:
            return self, Preset()
        if name not in self.presets:
            wanted = ", ".join(self.presets) or "none: the study has no presets"
            raise InputError("--preset", found=name, wanted=wanted)
        preset = self.presets[name]
        return self.model_copy(update={"seeds": preset.seeds or self.seeds}), preset


def _refuse_twice(labels: list[str]) -> None:
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"methods: {', '.join(twice)} is there twice")


def _refuse_strangers(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    strangers = sorted(set(names) - set(known))
    if strangers:
        among = ", ".join(known)
        raise ValueError(f"{what}: {', '.join(strangers)} is not among {among or 'them: there are none'}")


def shipped_studies() -> dict[str, Path]:
    """The studies that come with the package, by name."""
    folder = Path(str(files("understudy_training") / "studies"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_study(name_or_path: str | Path) -> tuple[Study, Path]:
    """A study from a file, or one that comes with the package by its name; and the folder its recipes are beside.

    Raises:
        RecipeError: when there is no such study, a key is unknown or a value cannot be right.
        InputError: when the file is not YAML.
    """
    path = Path(name_or_path)
    shipped = shipped_studies()
    if not path.is_file() and str(name_or_path) in shipped:
        path = shipped[str(name_or_path)]
    if not path.is_file():
        wanted = f"a file, or one of: {', '.join(shipped)}"
        raise RecipeError(f"study {name_or_path}", found="no such study", wanted=wanted)
    return check_config(read_yaml(path), Study, str(path), RecipeError), path.parent


def recipe_beside(name_or_path: str, folder: Path) -> Recipe:
    """A recipe that a study names: beside the study's file, else as `read_recipe` finds it."""
    beside = folder / name_or_path
    return read_recipe(beside if name_or_path not in shipped_recipes() and beside.is_file() else name_or_path)
