"""What a generated data set is made of: everything that, with the code, decides its bytes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from understudy.configuration import Config

ACTOR_CLASSES = ("car", "truck", "pedestrian", "cyclist")
CAR, TRUCK, PEDESTRIAN, CYCLIST = range(4)
POINT_CLASSES = ("road", "sidewalk", "building", "pole", "vegetation", "other", *ACTOR_CLASSES)
ROAD, SIDEWALK, BUILDING, POLE, VEGETATION, OTHER = range(6)
FIRST_ACTOR_CLASS = 6
"""Point class of an actor is this plus its label."""
SKY = 255
"""Pixel class where no surface was hit."""
FRAME_PERIOD_S = 0.1
"""All scenes run at 10 Hz, one LiDAR turn per frame."""


class PictureConfig(Config):
    """What any camera makes of its pixels."""

    noise: float = Field(3.0, ge=0)
    """Standard deviation of the pixel noise, in gray levels."""
    jpeg_quality: int = Field(90, ge=1, le=100)
    ground_truth: bool = False
    """Also write depth and class of each pixel as PNG."""


class CameraConfig(PictureConfig):
    """The front camera: a pinhole without distortion."""

    width_px: int = Field(320, ge=32, le=4096)
    height_px: int = Field(192, ge=32, le=4096)
    fov_deg: float = Field(80.0, gt=20, lt=140)
    """Horizontal field of view."""


class SurroundConfig(PictureConfig):
    """Six cameras that see all around, placed as on nuScenes' vehicle; small pictures keep a training set small."""

    width_px: int = Field(192, ge=32, le=4096)
    height_px: int = Field(112, ge=32, le=4096)


class LidarConfig(Config):
    """The roof LiDAR."""

    beams: Literal[16, 32, 64, "hdl-32e", "pandar64", "vlp-32c-pair"] = 32
    """A LiDAR by its number of beams (VLP-16, VLP-32C, HDL-64E) or by name; the pair is stacked, one upside down."""
    azimuth_steps: int = Field(1080, ge=90, le=4096)
    range_m: float = Field(70.0, ge=10, le=200)
    """Farthest return; actors are labeled as far."""
    range_noise_m: float = Field(0.02, ge=0, le=0.1)
    """Standard deviation of the measured range."""


class SceneConfig(Config):
    """A whole data set."""

    seed: int = Field(0, ge=0)
    num_drives: int = Field(8, ge=1, le=10000)
    num_val_drives: int = Field(2, ge=0)
    """The last drives are held out for validation."""
    val_seed: int | None = Field(None, ge=0)
    """Seed of the validation drives, counted from 0 again: they stay the same however many drives are trained on.
    None: they go on from the training drives, with their seed."""
    num_frames: int = Field(20, ge=1, le=300)
    turns_per_frame: int = Field(1, ge=1, le=20)
    """Turns of the LiDAR from one frame to the next; 5 gives the 2 Hz of nuScenes' key frames."""
    lidar: LidarConfig = LidarConfig()
    camera: CameraConfig | None = CameraConfig()
    """The front camera."""
    surround: SurroundConfig | None = None
    """Six more cameras, all around."""

    @field_validator("num_val_drives")
    @classmethod
    def _leaves_training_drives(cls, value: int, info: ValidationInfo) -> int:
        drives = info.data.get("num_drives", value + 1)
        if value >= drives:
            raise ValueError(f"fewer validation drives than drives ({drives})")
        return value

    @field_validator("val_seed")
    @classmethod
    def _is_another_seed(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value == info.data.get("seed"):
            raise ValueError("another seed than that of the training drives, which they would repeat")
        return value

    @property
    def num_turns(self) -> int:
        """Turns of the LiDAR from a drive's first frame to its last, both counted."""
        return (self.num_frames - 1) * self.turns_per_frame + 1

    def origin(self, drive: int) -> tuple[int, int]:
        """The seed of a drive and its number among those of that seed: all that chance needs to know of it."""
        if self.val_seed is None or drive < self._first_val_drive:
            return self.seed, drive
        return self.val_seed, drive - self._first_val_drive

    def split(self, drive: int) -> Literal["train", "val"]:
        """The split that a drive belongs to."""
        return "val" if drive >= self._first_val_drive else "train"

    @property
    def _first_val_drive(self) -> int:
        return self.num_drives - self.num_val_drives
