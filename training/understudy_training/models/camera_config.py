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


class ResidualBranch(Config):
    """A second branch behind the lifting (see `residual_branch`); what is left out is as wide as the paper's."""

    inner: int | None = Field(None, gt=0)
    """Channels within the spatial alignment; the map's own unless told."""
    hidden: int | None = Field(None, gt=0)
    """Channels within the fusion; twice the map's unless told."""


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
    kept_hits: float | tuple[float, float] = 1.0
    """Share of the LiDAR's hits that training shows to an `expert`, so that it does not lean on them alone; of two
    numbers, each frame draws one in between. VCD's expert gets 0.3 to 0.7: a made-up LiDAR is exact everywhere."""
    true_depth: Literal["nearest", "mean"] = "nearest"
    """Of the points that fall into a feature's cell: the nearest (VCD), or their mean (MonoTAKD), which lies where
    nothing is when a cell shows two things."""
    residual_branch: ResidualBranch | None = None
    """For a student of MonoTAKD: a branch for what its cameras alone do not show. It stays when the student is
    exported; without it, MonoTAKD teaches the one map by both targets."""

    @property
    def kept_range(self) -> tuple[float, float]:
        """`kept_hits` as two."""
        return self.kept_hits if isinstance(self.kept_hits, tuple) else (self.kept_hits, self.kept_hits)

    @model_validator(mode="after")
    def _keeps_a_share(self) -> CameraEncoder:
        low, high = self.kept_range
        if not 0 < low <= high <= 1:
            raise ValueError(f"kept_hits: {self.kept_hits} is no share above 0 and up to 1")
        return self

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
    """Share of the frames whose cloud is hidden, of those that keep a picture."""
