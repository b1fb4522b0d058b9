"""A training run, described completely: what is trained, on what, for how long, and how a teacher is listened to."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from understudy.bundle.manifest import Contract, DetectedClass, Grid, ImagesInput, Pictures
from understudy.configuration import Config, check_config, read_yaml
from understudy.converters.class_maps import ClassChoice
from understudy.errors import RecipeError
from understudy_training.augmentation import Augmentation
from understudy_training.distillation.distiller import DistillationConfig
from understudy_training.models.config import DetectorConfig, Three
from understudy_training.models.sizes import Sensors, Size, detector_config
from understudy_training.xray.complete_objects import CompleteObjects

Precision = Literal["32-true", "bf16-mixed", "fp16-mixed"]


class SizedDetector(Config):
    """A detector by its size class."""

    kind: Literal["sized"] = "sized"
    size: Size
    sensors: Sensors = "lidar"
    grid: Grid
    class_names: tuple[str, ...] = Field(min_length=1)
    strides: Three = (2, 2, 2)
    output_stride: int | None = None
    pictures: Pictures | None = None
    """What is taken of the cameras, where `sensors` has any."""
    depth: Literal["predicted", "assistant", "expert"] = "predicted"
    """Of a teacher that sees the LiDAR's depth in its pictures; see `CameraEncoder.depth`."""

    @model_validator(mode="after")
    def _depth_is_of_pictures(self) -> SizedDetector:
        if self.depth != "predicted" and self.sensors == "lidar":
            raise ValueError(f"depth: {self.depth} is of pictures, and sensors: lidar sees none")
        return self

    def build(self) -> DetectorConfig:
        """The detector written out."""
        config = detector_config(
            self.size,
            self.grid,
            self.class_names,
            strides=self.strides,
            output_stride=self.output_stride,
            sensors=self.sensors,
            pictures=self.pictures,
        )
        return config if self.depth == "predicted" else config.with_depth(self.depth)


class DataConfig(Config):
    """What is shown, how often and how varied."""

    lidar: str | None = None
    """LiDAR of the rig; needed only where there are several."""
    classes: ClassChoice | None = None
    """Which of the data set's classes count and as what: "understudy" (as when left out), "official", or a map written
    out with `class_names` and `of`. Evaluations of a study count alike."""
    sweeps: int = Field(1, ge=1)
    """Sweeps in a cloud: its own and those before it, carried along by the ego's motion. Needs a data set with poses,
    and a vehicle that accumulates alike: the contract carries the number; replay refuses such a bundle until it can.
    Points keep their age, but no encoder looks at it yet."""
    complete_objects: CompleteObjects | None = None
    """Show objects whole, gathered over their drive: for a teacher, for a vehicle cannot. Whoever it teaches sees raw
    frames, while it is shown the same ones complete."""
    max_frames: int | None = Field(None, gt=0)
    """Use only the first so many frames of the split."""
    min_points: int = Field(3, ge=0)
    """Boxes hit by fewer points are neither asked for nor treated as background."""
    batch_size: int = Field(4, gt=0)
    """Frames of one optimizer step, on all devices and in all parts together."""
    augmentation: Augmentation | None = Augmentation()
    preload: bool = True
    """Keep the clouds in memory. Say no for data that do not fit; then frames are read when they are shown."""
    workers: int = Field(0, ge=0)
    """Processes that read and augment beside the training, for each device; 0 does it in between."""
    prefetch: int = Field(2, gt=0)
    """Batches that each of them reads ahead."""


class AverageConfig(Config):
    """An exponential moving average of the weights; it is what a run saves."""

    decay: float = Field(0.999, gt=0, lt=1)
    """How much of the average stays after a step; less in the first ones."""


class ScheduleConfig(Config):
    """AdamW with one cycle of the learning rate."""

    epochs: int = Field(gt=0)
    peak_learning_rate: float = Field(3e-3, gt=0)
    warmup: float = Field(0.3, gt=0, lt=1)
    """Part of the training over which the learning rate rises."""
    weight_decay: float = Field(0.01, ge=0)
    gradient_clip: float = Field(10.0, gt=0)
    batch_norm_momentum: float = Field(0.1, gt=0, le=1)
    accumulate: int = Field(1, gt=0)
    """Parts in which each device takes its share of a batch: less memory, the same loss and gradient, except that
    batch normalization sees a part at a time."""
    ema: AverageConfig | None = None


class LossConfig(Config):
    """The detection loss."""

    regression_weight: float = Field(0.25, gt=0)
    gaussian_overlap: float = Field(0.1, gt=0, lt=1)
    min_radius: int = Field(2, ge=0)
    """Least radius of a centre's Gaussian, in output cells."""
    depth_weight: float = Field(0.0, ge=0)
    """Of the cross entropy between the predicted depth and the LiDAR's, where a point falls into a feature's cell
    (BEVDepth, Li et al. 2022); for detectors that see pictures."""


class Recipe(Config):
    """One run. Complete in itself: no inheritance between files, no overrides beyond what commands offer."""

    schema_version: Literal[1] = 1
    name: str
    detector: Annotated[SizedDetector | DetectorConfig, Field(discriminator="kind")]
    score_threshold: float | dict[str, float] = 0.1
    """Score from which a detection counts, for all classes or by class."""
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig
    loss: LossConfig = LossConfig()
    precision: Precision = "bf16-mixed"
    """bf16-mixed falls back to 32-true where the device computes it slowly; `run.json` says which it was.
    fp16-mixed scales the loss and is for GPUs only."""
    distillation: DistillationConfig | None = None

    @model_validator(mode="after")
    def _thresholds_fit(self) -> Recipe:
        thresholds = self.score_threshold if isinstance(self.score_threshold, dict) else {}
        strangers = sorted(set(thresholds) - set(self.detector.class_names))
        if strangers:
            raise ValueError(f"score_threshold: {', '.join(strangers)} not among class_names")
        return self

    @model_validator(mode="after")
    def _depth_is_learned_from_pictures(self) -> Recipe:
        if self.loss.depth_weight > 0 and self.detector_config().camera_encoder is None:
            given = f"loss.depth_weight: {self.loss.depth_weight:g}"
            raise ValueError(f"{given}, but the detector sees no pictures; leave it out, or give sensors that do")
        return self

    @model_validator(mode="after")
    def _every_term_is_heard(self) -> Recipe:
        late = self._never_heard(self.schedule.epochs)
        if late:
            raise ValueError(f"distillation.terms: {late} would start after the last of {self.schedule.epochs} epochs")
        return self

    def _never_heard(self, epochs: int) -> str:
        terms = self.distillation.terms if self.distillation is not None else ()
        return ", ".join(term.label for term in terms if term.schedule.start_epoch >= epochs)

    def resolved(self) -> Recipe:
        """The same recipe with the detector written out: what is saved with a run."""
        return self.model_copy(update={"detector": self.detector_config()})

    def with_epochs(self, epochs: int | None) -> Recipe:
        """The same recipe for another number of epochs; None changes nothing.

        Raises:
            RecipeError: when a distillation term would start only after the last one.
        """
        if epochs is None:
            return self
        late = self._never_heard(epochs)
        if late:
            found = f"{epochs}, before the start of {late}"
            raise RecipeError("epochs", found=found, wanted="more, or a smaller schedule.start_epoch")
        return self.model_copy(update={"schedule": self.schedule.model_copy(update={"epochs": epochs})})

    def detector_config(self) -> DetectorConfig:
        """The detector written out."""
        return self.detector.build() if isinstance(self.detector, SizedDetector) else self.detector

    def contract(self) -> Contract:
        """What a pipeline must know about the detector."""
        detector, sweeps = self.detector_config(), self.data.sweeps
        takes = detector.graph_input()
        if not isinstance(takes, ImagesInput):
            takes = takes.model_copy(update={"max_points": sweeps * takes.max_points})
        classes = tuple(
            DetectedClass(name=name, score_threshold=self._threshold(name)) for name in detector.class_names
        )
        return Contract(
            name=self.name,
            classes=classes,
            grid=detector.grid,
            input=takes,
            pictures=detector.pictures,
            sweeps=sweeps,
        )

    def _threshold(self, class_name: str) -> float:
        if isinstance(self.score_threshold, dict):
            return self.score_threshold.get(class_name, 0.1)
        return self.score_threshold


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = Path(str(files("understudy_training") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe from a file, or one that comes with the package by its name.

    Raises:
        RecipeError: when there is no such recipe, a key is unknown or a value cannot be right.
        InputError: when the file is not YAML.
    """
    path = Path(name_or_path)
    shipped = shipped_recipes()
    if not path.is_file() and str(name_or_path) in shipped:
        path = shipped[str(name_or_path)]
    if not path.is_file():
        wanted = f"a file, or one of: {_nearest(str(name_or_path), list(shipped))}"
        raise RecipeError(f"recipe {name_or_path}", found="no such recipe", wanted=wanted)
    return check_recipe(read_yaml(path), str(path))


def _nearest(name: str, known: list[str], count: int = 8) -> str:
    """The names that look most like one, and how many others there are."""
    nearest = get_close_matches(name, known, count, cutoff=0.0)
    others = len(known) - len(nearest)
    return ", ".join(nearest) + (f" and {others} others" if others else "")


def check_recipe(values: dict[str, object], source: str) -> Recipe:
    """Checks parsed values; an unknown key is answered with the known ones at that place."""
    return check_config(values, Recipe, source, RecipeError)
