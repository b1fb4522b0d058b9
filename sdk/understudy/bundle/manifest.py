"""`manifest.yaml`: what the student is, what it expects, what it must not depart from."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field, model_validator

from understudy.bundle.inputs import ImagesInput, Pictures, PillarsInput, PointsInput
from understudy.configuration import Config
from understudy.errors import InputError

__all__ = [
    "Contract",
    "DetectedClass",
    "Fingerprints",
    "Grid",
    "ImagesInput",
    "Manifest",
    "Model",
    "Pictures",
    "PillarsInput",
    "PointsInput",
    "Precision",
    "Sha256",
    "Tensor",
    "Tolerance",
    "precision_named",
]

SCHEMA_VERSION = 1

Precision = Literal["fp32", "fp16", "int8", "uint8"]
"""`int8` is the symmetric Q/DQ file that TensorRT takes; `uint8` its CPU twin, which must never reach TensorRT."""


def precision_named(name: str) -> Precision:
    """A precision from text a user typed.

    Raises:
        InputError: when there is none of that name.
    """
    if name not in get_args(Precision):
        raise InputError("precision", found=name, wanted=" or ".join(get_args(Precision)))
    return cast(Precision, name)


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Grid(Config):
    """The bird's-eye grid in ego: H along y, W along x, cells of `cell_m`, lower corner at the minima."""

    x_range_m: tuple[float, float]
    y_range_m: tuple[float, float]
    z_range_m: tuple[float, float]
    cell_m: float = Field(gt=0)

    @model_validator(mode="after")
    def _is_whole(self) -> Grid:
        for name, (low, high) in (("x", self.x_range_m), ("y", self.y_range_m), ("z", self.z_range_m)):
            if not low < high:
                raise ValueError(f"{name}_range_m: {low} is not below {high}")
        for name, (low, high) in (("x", self.x_range_m), ("y", self.y_range_m)):
            cells = (high - low) / self.cell_m
            if abs(cells - round(cells)) > 1e-3:
                raise ValueError(f"{name}_range_m spans {cells:.3f} cells of {self.cell_m} m; a whole number is needed")
        return self

    @property
    def width(self) -> int:
        """Cells along x."""
        return round((self.x_range_m[1] - self.x_range_m[0]) / self.cell_m)

    @property
    def height(self) -> int:
        """Cells along y."""
        return round((self.y_range_m[1] - self.y_range_m[0]) / self.cell_m)


class DetectedClass(Config):
    """A class of the student and the score from which a detection counts."""

    name: str
    score_threshold: float = Field(ge=0, le=1)


class Tensor(Config):
    """An input or output of the graph; a string in the shape names a dimension that may vary."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Model(Config):
    """One ONNX file of the bundle; its hash is in `files`."""

    file: str
    opset: int
    ir_version: int


class Tolerance(Config):
    """How far one rung of the parity ladder may depart from the reference rung, box against box.

    A box is matched to the nearest reference box of its class. Boxes whose score is within `score` of the class's
    threshold may be missing on either side.
    """

    min_matched: float = Field(ge=0, le=1)
    position_m: float = Field(gt=0)
    size_m: float = Field(gt=0)
    yaw_rad: float = Field(gt=0)
    score: float = Field(gt=0)


class Fingerprints(Config):
    """What the student was made from."""

    recipe: str = ""
    data: str = ""
    calibration: str = ""
    weights: str = ""


class Contract(Config):
    """What a network takes and says, whatever it runs in: enough to build a pipeline around an engine."""

    name: str
    task: Literal["detection"] = "detection"
    classes: tuple[DetectedClass, ...] = Field(min_length=1)
    grid: Grid
    input: Annotated[PointsInput | PillarsInput | ImagesInput, Field(discriminator="kind")]
    pictures: Pictures | None = None
    """Pictures it takes, too; all it takes where the input's kind is images."""
    sweeps: int = Field(1, ge=1)
    """Sweeps that a cloud must hold, its own and those before it carried along by the ego's motion."""

    @model_validator(mode="after")
    def _sees_something(self) -> Contract:
        if isinstance(self.input, ImagesInput) and self.pictures is None:
            raise ValueError("input of kind images: pictures is missing")
        stride = 1 if self.pictures is None else self.pictures.cell_stride
        if self.grid.width % stride or self.grid.height % stride:
            raise ValueError(f"pictures: cell_stride {stride} does not divide {self.grid.height} x {self.grid.width}")
        return self

    @property
    def sees_points(self) -> bool:
        """Whether a LiDAR is needed."""
        return not isinstance(self.input, ImagesInput)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in label order."""
        return tuple(entry.name for entry in self.classes)


class Manifest(Contract):
    """Everything a vehicle must know about a student; only the rig is its own."""

    schema_version: Literal[1] = 1
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    models: dict[Precision, Model]
    tolerances: dict[Precision, Tolerance]
    files: dict[str, Sha256]
    fingerprints: Fingerprints = Fingerprints()
    ledger: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _every_model_has_a_hash(self) -> Manifest:
        missing = [model.file for model in self.models.values() if model.file not in self.files]
        if missing or "fp32" not in self.models:
            raise ValueError(f"models without a hash in files: {missing}" if missing else "models has no fp32 entry")
        return self
