"""What was seen: point clouds, images, and everything seen at one instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from understudy.errors import FrameError
from understudy.pose import Pose


@dataclass(frozen=True, eq=False)
class PointCloud:
    """One LiDAR sweep as the sensor gave it.

    Attributes:
        points: `(N, 4)` float32, C-contiguous: x, y, z in meters in the *sensor's* frame and the raw intensity in the
            sensor's own scale (the rig's `intensity_scale` is the raw value that means 1). May hold NaN points.
        stamp_ns: time of the sweep's reference, integer nanoseconds.
        frame_id: name of the sensor's frame, as in the message header; empty when unknown.
        time_offset_s: `(N,)` float32 seconds from `stamp_ns` to each point's firing, or None.
        ring: `(N,)` int16 laser index, or None.

    Raises:
        FrameError: when shape or dtype is wrong or the arrays' lengths differ.
    """

    points: NDArray[np.float32]
    stamp_ns: int
    frame_id: str = ""
    time_offset_s: NDArray[np.float32] | None = None
    ring: NDArray[np.int16] | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 4 or self.points.dtype != np.float32:
            raise FrameError(
                "point cloud",
                found=f"{self.points.dtype} {self.points.shape}",
                wanted="float32 (N, 4): x, y, z, intensity",
            )
        for name, values in (("time_offset_s", self.time_offset_s), ("ring", self.ring)):
            if values is not None and values.shape != (len(self.points),):
                raise FrameError(f"point cloud {name}", found=f"shape {values.shape}", wanted=f"({len(self.points)},)")

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, eq=False)
class Image:
    """One camera picture.

    Attributes:
        pixels: `(H, W, 3)` uint8, RGB.
        stamp_ns: time of exposure, integer nanoseconds.
        frame_id: name of the camera's optical frame (z forward, x right, y down); empty when unknown.
    """

    pixels: NDArray[np.uint8]
    stamp_ns: int
    frame_id: str = ""

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise FrameError("image", found=f"{self.pixels.dtype} {self.pixels.shape}", wanted="uint8 (H, W, 3), RGB")


@dataclass(frozen=True, eq=False)
class Frame:
    """Everything seen at one instant, by sensor name as in the rig, each with its own stamp.

    Attributes:
        stamp_ns: reference time of the frame: the pivot LiDAR's stamp where there is one.
        clouds: point clouds by sensor name.
        images: images by sensor name; a camera that did not deliver is absent.
        world_from_ego: where the ego was, or None when unknown.
    """

    stamp_ns: int
    clouds: Mapping[str, PointCloud] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    world_from_ego: Pose | None = None
