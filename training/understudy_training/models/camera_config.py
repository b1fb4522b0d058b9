"""What a camera encoder, and one that joins cameras and a LiDAR, is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from understudy.bundle.inputs import Pictures
from understudy.configuration import Config

Three = tuple[int, int, int]
_DEEPEST_STRIDE = 16
FEATURE_STRIDE = 8


class ImageBackbone(Config):
    """Plain 3x3 convolutions: a strided stem, then stages at strides 4, 8 and 16; the last two are joined at 8."""

    stem: int = Field(gt=0)
    widths: Three
    layers: Three
    """Convolutions of each stage after its strided one."""


class CameraEncoder(Config):
    """Pictures to a bird's-eye map: features, a distribution over depth, and the rig's look-up table between them."""

    kind: Literal["camera"] = "camera"
    pictures: Pictures
    image: ImageBackbone
    feature_channels: int = Field(gt=0)
    """Of what is looked up at each height."""
    channels: int = Field(gt=0)
    """Of the bird's-eye map."""
    depth: Literal["predicted", "assistant", "expert"] = "predicted"
    """`predicted` is what a vehicle can run. `assistant` sees the true depth alone (MonoTAKD's teaching assistant),
    `expert` the true depth where the LiDAR hit and its own elsewhere (VCD): teachers, never exported."""
    kept_hits: float = Field(1.0, gt=0, le=1)
    """Share of the LiDAR's hits that training shows to an `expert`, so that it does not lean on them alone."""

    @model_validator(mode="after")
    def _fits(self) -> CameraEncoder:
        pictures = self.pictures
        if pictures.feature_stride != FEATURE_STRIDE:
            raise ValueError(f"pictures.feature_stride: {pictures.feature_stride}; this backbone's is {FEATURE_STRIDE}")
        if pictures.width_px % _DEEPEST_STRIDE or pictures.height_px % _DEEPEST_STRIDE:
            size = f"{pictures.width_px} x {pictures.height_px} px"
            raise ValueError(f"pictures: {size} is not a whole multiple of {_DEEPEST_STRIDE}")
        return self


class ModalityDropout(Config):
    """How often training hides a sensor, so that the network can do without it."""

    camera: float = Field(0.1, ge=0, le=1)
    """Share of the pictures that are masked, each for itself."""
    all_cameras: float = Field(0.15, ge=0, le=1)
    """Share of the frames whose pictures are all masked."""
    lidar: float = Field(0.0, ge=0, lt=1)
    """Share of the frames whose cloud is hidden."""
