"""What a student's graph takes of the sensors: points, grouped points, pictures, or points with pictures."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from understudy.configuration import Config


class PointsInput(Config):
    """The graph takes raw points: `points (N, 4)`, `ego_from_sensor (3, 4)`, `intensity_factor (1,)`, all float32."""

    kind: Literal["points"] = "points"
    point_fields: tuple[str, ...] = ("x", "y", "z", "intensity")
    uses_intensity: bool = False
    max_points: int = Field(200_000, gt=0)


class PillarsInput(Config):
    """The graph takes grouped points: `pillars (V, P, 4)` float32 in ego, `num_points (V,)` and `cells (V,)` int32."""

    kind: Literal["pillars"] = "pillars"
    point_fields: tuple[str, ...] = ("x", "y", "z", "intensity")
    uses_intensity: bool = True
    max_points: int = Field(200_000, gt=0)
    max_points_per_pillar: int = Field(20, gt=0)
    max_pillars: int = Field(12_000, gt=0)


class ImagesInput(Config):
    """The graph takes no points, only what `Pictures` says."""

    kind: Literal["images"] = "images"

    @property
    def point_fields(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def uses_intensity(self) -> bool:
        """No."""
        return False

    @property
    def max_points(self) -> int:
        """None."""
        return 0


class DepthBins(Config):
    """Bins of depth whose width grows linearly with the distance (LID: CaDDN, Reading et al. 2021, eq. 3)."""

    near_m: float = Field(2.0, ge=0)
    far_m: float = Field(58.0, gt=0)
    count: int = Field(40, gt=1, le=1024)

    @model_validator(mode="after")
    def _is_a_range(self) -> DepthBins:
        if self.far_m <= self.near_m:
            raise ValueError(f"depth: far_m {self.far_m} is not beyond near_m {self.near_m}")
        return self

    def bin_of(self, depth_m: NDArray[np.floating]) -> NDArray[np.int64]:
        """Bin of each depth, -1 outside."""
        step_m = 2 * (self.far_m - self.near_m) / (self.count * (self.count + 1))
        beyond = np.maximum((np.asarray(depth_m, np.float64) - self.near_m) / step_m, 0.0)
        number = np.floor(-0.5 + 0.5 * np.sqrt(1 + 8 * beyond))
        inside = (depth_m >= self.near_m) & (depth_m < self.far_m) & (number < self.count)
        bins: NDArray[np.int64] = np.where(inside, number, -1).astype(np.int64)
        return bins

    def middles_m(self) -> NDArray[np.float64]:
        """`(count,)` middle of each bin."""
        step_m = 2 * (self.far_m - self.near_m) / (self.count * (self.count + 1))
        edges = self.near_m + step_m * np.arange(self.count + 1) * (np.arange(self.count + 1) + 1) / 2
        middles: NDArray[np.float64] = (edges[:-1] + edges[1:]) / 2
        return middles


class Pictures(Config):
    """The pictures a graph takes, and how their features are carried to the bird's-eye map.

    The graph takes `images (N, H, W, 3)` uint8 RGB as `understudy.network_pictures` makes them, `camera_mask (N,)`
    float32 (0 for a camera that did not deliver), and `lift_pixels (S, V)` and `lift_depths (S, V)` int32 as
    `understudy.lifting` makes them from the rig: one graph for all rigs with so many cameras.
    """

    num_cameras: int = Field(gt=0, le=64)
    cameras: tuple[str, ...] = ()
    """Their names in the rigs the student was trained with. A rig that has them gives these, another one of exactly so
    many cameras gives all of its own, in its file's order."""
    width_px: int = Field(gt=0, le=8192)
    height_px: int = Field(gt=0, le=8192)
    feature_stride: int = Field(8, gt=0)
    """Pixels per cell of the features."""
    focal_px: float = Field(gt=0)
    """Depth is predicted as of a camera of this focal length (at the network's resolution); see `lifting`."""
    depth: DepthBins = DepthBins()
    heights_m: tuple[float, ...] = Field((0.2, 0.9, 1.6, 2.6), min_length=1)
    """Heights above the ground at which features are looked up over each cell; each becomes channels of its own."""
    cell_stride: int = Field(1, gt=0)
    """Grid cells per cell of the lifted map, along each axis."""
    hits: int = Field(2, gt=0, le=16)
    """Cameras that may show one place."""

    @model_validator(mode="after")
    def _fits(self) -> Pictures:
        if self.width_px % self.feature_stride or self.height_px % self.feature_stride:
            size = f"{self.width_px} x {self.height_px} px"
            raise ValueError(f"pictures: {size} is not a whole multiple of feature_stride {self.feature_stride}")
        if self.cameras and len(set(self.cameras)) != self.num_cameras:
            raise ValueError(f"cameras: {len(set(self.cameras))} different names, num_cameras is {self.num_cameras}")
        return self

    @property
    def feature_size(self) -> tuple[int, int]:
        """Rows and columns of the features of one picture."""
        return self.height_px // self.feature_stride, self.width_px // self.feature_stride
