"""A label-free training, described completely: how seeds are found, how rounds go on, and the student itself."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from pydantic import Field, model_validator

from understudy.configuration import Config, read_config
from understudy.errors import RecipeError
from understudy_training.label_free.classes import OBJECT, ClassRules
from understudy_training.label_free.clustering import ClusterSettings
from understudy_training.label_free.ground import GroundRules
from understudy_training.label_free.lidar_boxes import ClusterRules
from understudy_training.label_free.merging import LIDAR_WINS_M, SAME_IOU
from understudy_training.label_free.persistency import PersistencyRules
from understudy_training.label_free.picture_boxes import GrowingRules
from understudy_training.recipe import Recipe


class MergeRules(Config):
    """How LiDAR boxes and picture boxes become one set."""

    min_range_m: float = Field(10.0, ge=0)
    """Picture boxes nearer than this are left out."""
    same_iou: float = Field(SAME_IOU, gt=0, le=1)
    lidar_wins_m: float = Field(LIDAR_WINS_M, ge=0)
    """Nearer than this, of two boxes of one object the LiDAR's stays; farther, the picture's."""


class AveragingRules(Config):
    """The running average of the last rounds' weights."""

    start_round: int = Field(ge=0)
    """The first round, counted from 0, whose steps are averaged."""
    decay: float = Field(0.999, ge=0, le=1)


class RoundRules(Config):
    """Self-training: a round trains a student from scratch on the boxes that the one before found."""

    rounds: int = Field(3, ge=1)
    min_score: float = Field(0.3, ge=0, le=1)
    """Score that a box of a student must have to be trained on in the next round."""
    same_iou: float = Field(0.1, gt=0, le=1)
    """Of two boxes of a student that overlap by more from above, the one of lower score goes."""
    min_points: int = Field(5, ge=1)
    """Returns that must lie in a box of a student."""
    resample: bool = True
    """Whether groups by distance and size that grow are shown less, and those that shrink more."""
    averaging: AveragingRules | None = None


class LabelFreeRecipe(Config):
    """One label-free training."""

    schema_version: int = Field(1, ge=1, le=1)
    name: str
    reach_m: float = Field(60.0, gt=0)
    """Points farther from ego, from above, make no seeds."""
    grow_m: float = Field(0.0, ge=0, lt=1)
    """Seeds are made larger by so much on each side: labels have a margin around the returns, rectangles have none."""
    persistency: PersistencyRules = PersistencyRules()
    ground: GroundRules = GroundRules()
    clusters: ClusterSettings = ClusterSettings()
    cluster_rules: ClusterRules = ClusterRules()
    growing: GrowingRules = GrowingRules()
    merging: MergeRules = MergeRules()
    classes: ClassRules = ClassRules()
    self_training: RoundRules = RoundRules()
    student: Recipe
    """Detector and schedule of every round. Its only class is "object", or its classes are among the 2D cues'."""

    @model_validator(mode="after")
    def _fits_together(self) -> LabelFreeRecipe:
        if OBJECT in self.student.detector.class_names and len(self.student.detector.class_names) > 1:
            raise ValueError(f'student.detector.class_names: "{OBJECT}" alone, or the classes of the 2D cues')
        if self.student.data.min_points < 1:
            raise ValueError("student.data.min_points: at least 1, as dropped boxes are marked by holding no points")
        if self.student.data.sweeps > 1 or self.student.distillation is not None:
            raise ValueError("student: one sweep in a cloud, and no distillation")
        if self.self_training.resample and self.student.detector_config().pictures is not None:
            raise ValueError(
                "self_training.resample: false for a student that sees pictures, into which nothing is put"
            )
        averaging = self.self_training.averaging
        if averaging is not None and averaging.start_round >= self.self_training.rounds:
            raise ValueError(f"self_training.averaging.start_round: below {self.self_training.rounds}, the rounds")
        return self

    @property
    def is_class_agnostic(self) -> bool:
        """Whether the student finds objects, whatever they are."""
        return tuple(self.student.detector.class_names) == (OBJECT,)


def shipped_label_free_recipes() -> dict[str, Path]:
    """The label-free recipes that come with the package, by name."""
    folder = Path(str(files("understudy_training") / "label_free" / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_label_free_recipe(name_or_path: str | Path) -> LabelFreeRecipe:
    """A recipe from a file, or one that comes with the package by its name.

    Raises:
        RecipeError: when there is no such recipe, a key is unknown or a value cannot be right.
        InputError: when the file is not YAML.
    """
    path, shipped = Path(name_or_path), shipped_label_free_recipes()
    if not path.exists() and str(name_or_path) in shipped:
        path = shipped[str(name_or_path)]
    if not path.is_file():
        wanted = f"a file, or one of: {', '.join(shipped)}"
        raise RecipeError(f"label-free recipe {name_or_path}", found="no such recipe", wanted=wanted)
    return read_config(path, LabelFreeRecipe, RecipeError)
