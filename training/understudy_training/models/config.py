"""What a pillar detector is made of: one configuration for teacher and students, so that only widths differ."""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from understudy.bundle.manifest import Grid, ImagesInput, Pictures, PillarsInput, PointsInput
from understudy.configuration import Config
from understudy_training.models.camera_config import CameraEncoder, ModalityDropout

Three = tuple[int, int, int]
_EXACT_FLOAT32_INTEGERS = 2**24
_EXACT_QUOTIENTS = 2**22
_LARGEST_TOP_K = 3840
"""Above this K the TensorRT-RTX builder refuses TopK."""


class OccupancyEncoder(Config):
    """Which voxels hold a point: one plain scatter of the constant 1, so duplicates are harmless and runs repeat."""

    kind: Literal["occupancy"] = "occupancy"
    height_slices: int = Field(10, gt=0)
    """Channels: equal slices of the grid's z range."""
    intensity_slices: int = Field(0, ge=0)
    """Further channels: the cell holds a point of this slice of intensity [0, 1]."""

    @property
    def channels(self) -> int:
        """Channels of the bird's-eye map."""
        return self.height_slices + self.intensity_slices


class LearnedPillarEncoder(Config):
    """PointPillars' feature net (Lang et al. 2019) over points that the host has grouped."""

    kind: Literal["learned"] = "learned"
    channels: int = Field(64, gt=0)
    max_points_per_pillar: int = Field(20, gt=0)
    max_pillars: int = Field(12_000, gt=0)


LidarEncoder = Annotated[OccupancyEncoder | LearnedPillarEncoder, Field(discriminator="kind")]


class FusionEncoder(Config):
    """The maps of a LiDAR and of cameras, one above the other."""

    kind: Literal["fusion"] = "fusion"
    lidar: LidarEncoder
    camera: CameraEncoder
    dropout: ModalityDropout = ModalityDropout()

    @property
    def channels(self) -> int:
        """Channels of both maps."""
        return self.lidar.channels + self.camera.channels


Encoder = Annotated[
    OccupancyEncoder | LearnedPillarEncoder | CameraEncoder | FusionEncoder, Field(discriminator="kind")
]


class Backbone(Config):
    """Three stages of 3x3 convolutions as in SECOND (Yan et al. 2018)."""

    widths: Three
    layers: Three
    """Convolutions of each stage after its strided one."""
    strides: Three = (2, 2, 2)

    @model_validator(mode="after")
    def _is_positive(self) -> Backbone:
        for name, values in (("widths", self.widths), ("strides", self.strides)):
            if min(values) < 1:
                raise ValueError(f"{name}: {values} holds a value below 1")
        if min(self.layers) < 0:
            raise ValueError(f"layers: {self.layers} holds a value below 0")
        return self

    @property
    def stage_strides(self) -> Three:
        """Grid cells per map cell after each stage."""
        first, second, third = self.strides
        return first, first * second, first * second * third


class Head(Config):
    """A shared convolution, then one branch for centers and one for boxes (CenterPoint, Yin et al. 2021)."""

    width: int = Field(gt=0)
    branch_width: int = Field(gt=0)


class DetectorConfig(Config):
    """A pillar detector: grid, classes, widths and strides."""

    kind: Literal["pillar"] = "pillar"
    grid: Grid
    class_names: tuple[str, ...] = Field(min_length=1)
    encoder: Encoder
    backbone: Backbone
    neck_width: int = Field(gt=0)
    """Channels of each of the neck's three levels."""
    output_stride: int = Field(gt=0)
    """Grid cells per cell of heatmap and regression."""
    head: Head
    max_detections: int = Field(100, gt=0, le=_LARGEST_TOP_K)
    suppression_overlap: float = Field(0.3, gt=0, lt=1)
    """ProbIoU from which the weaker of two boxes of a class is dropped; 0.3 is an IoU of about 0.2."""

    @model_validator(mode="after")
    def _fits_the_grid(self) -> DetectorConfig:
        deepest = self.backbone.stage_strides[-1]
        if self.grid.height % deepest or self.grid.width % deepest:
            raise ValueError(
                f"grid of {self.grid.height} x {self.grid.width} cells is not a whole multiple of the stride {deepest}"
            )
        if any(max(stride, self.output_stride) % min(stride, self.output_stride) for stride in self.stage_strides):
            raise ValueError(f"output_stride {self.output_stride} does not divide or multiply {self.stage_strides}")
        if self.output_stride > deepest:
            raise ValueError(f"output_stride {self.output_stride} is above the deepest stride {deepest}")
        stride = 1 if self.pictures is None else self.pictures.cell_stride
        if self.grid.height % stride or self.grid.width % stride:
            raise ValueError(f"pictures.cell_stride {stride} does not divide {self.grid.height} x {self.grid.width}")
        if isinstance(self.encoder, CameraEncoder) and stride != 1:
            raise ValueError(f"pictures.cell_stride {stride}: without a LiDAR choose a coarser grid instead")
        if prod((self.encoder.channels, self.grid.height, self.grid.width)) >= _EXACT_FLOAT32_INTEGERS:
            raise ValueError("the encoder's map has 2^24 cells or more: choose larger cells or fewer slices")
        entries = len(self.class_names) * self.grid.height * self.grid.width // self.output_stride**2
        if entries >= _EXACT_QUOTIENTS:
            raise ValueError(f"the heatmap has {entries} entries; {_EXACT_QUOTIENTS - 1} at most can be decoded")
        return self

    @property
    def stage_strides(self) -> Three:
        """Grid cells per map cell after each backbone stage."""
        return self.backbone.stage_strides

    @property
    def lidar_encoder(self) -> OccupancyEncoder | LearnedPillarEncoder | None:
        """The part that sees points."""
        encoder = self.encoder.lidar if isinstance(self.encoder, FusionEncoder) else self.encoder
        return None if isinstance(encoder, CameraEncoder) else encoder

    @property
    def camera_encoder(self) -> CameraEncoder | None:
        """The part that sees pictures."""
        encoder = self.encoder.camera if isinstance(self.encoder, FusionEncoder) else self.encoder
        return encoder if isinstance(encoder, CameraEncoder) else None

    @property
    def pictures(self) -> Pictures | None:
        """The pictures that are taken."""
        return None if self.camera_encoder is None else self.camera_encoder.pictures

    @property
    def output_cell_m(self) -> float:
        """Side of a cell of heatmap and regression."""
        return self.grid.cell_m * self.output_stride

    def with_depth(self, depth: Literal["predicted", "assistant", "expert"]) -> DetectorConfig:
        """The same detector with another source of depth; see `CameraEncoder.depth`."""
        camera = self.camera_encoder
        if camera is None:
            return self
        camera = camera.model_copy(update={"depth": depth})
        fused = isinstance(self.encoder, FusionEncoder)
        encoder = self.encoder.model_copy(update={"camera": camera}) if fused else camera
        return self.model_copy(update={"encoder": encoder})

    def graph_input(self) -> PointsInput | PillarsInput | ImagesInput:
        """What the exported graph takes of a LiDAR, for the contract."""
        encoder = self.lidar_encoder
        if encoder is None:
            return ImagesInput()
        if isinstance(encoder, OccupancyEncoder):
            return PointsInput(uses_intensity=encoder.intensity_slices > 0)
        return PillarsInput(max_points_per_pillar=encoder.max_points_per_pillar, max_pillars=encoder.max_pillars)
