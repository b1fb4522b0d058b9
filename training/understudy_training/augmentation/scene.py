"""What is augmented: a labeled cloud in ego with its LiDAR's place, and pictures with their cameras where wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import NOT_ASKED, Boxes
from understudy.errors import FrameError, InputError
from understudy.pose import Pose
from understudy.rig import Camera
from understudy_training.augmentation.membership import counts_inside

POINT_COLUMNS = ("ring", "time_offset_s")


@dataclass(frozen=True, eq=False)
class Scene:
    """One labeled frame, everything in ego.

    Attributes:
        points: `(N, 4)` float32: x, y, z in ego (meters), intensity in [0, 1]; no NaN.
        boxes: the labels, in ego.
        ego_from_lidar: where the LiDAR sits; ranges, beams, shadows and weather are about it.
        ring: `(N,)` int16 beam of each point, -1 where unknown, or None.
        time_offset_s: `(N,)` float32 seconds from the frame's stamp, or None.
        images: `(H, W, 3)` uint8 RGB by camera; empty when only the cloud is wanted.
        cameras: the cameras that took them, by the same names.

    Raises:
        FrameError: when a column's length is not that of the points, or a picture has no camera of its size.
    """

    points: NDArray[np.float32]
    boxes: Boxes
    ego_from_lidar: Pose = field(default_factory=Pose.identity)
    ring: NDArray[np.int16] | None = None
    time_offset_s: NDArray[np.float32] | None = None
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    cameras: Mapping[str, Camera] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in POINT_COLUMNS:
            column = getattr(self, name)
            if column is not None and len(column) != len(self.points):
                raise FrameError(f"scene {name}", found=f"{len(column)} entries", wanted=f"{len(self.points)}")
        for name, pixels in self.images.items():
            camera = self.cameras.get(name)
            if camera is None or pixels.shape[:2] != (camera.height_px, camera.width_px):
                wanted = "a camera of that name" if camera is None else f"{camera.width_px} x {camera.height_px} px"
                raise FrameError(f"picture {name}", found=f"{pixels.shape[1]} x {pixels.shape[0]} px", wanted=wanted)

    def kept(self, keep: NDArray[np.bool_], *, recount: bool = True) -> Scene:
        """Only the points where `keep`; the boxes' counts lose those that go, unless told not to `recount`."""
        if keep.all():
            return self
        counted = recount and self.boxes.num_points is not None
        lost = counts_inside(self.boxes, self.points[~keep]) if counted else None
        columns = {name: column[keep] for name, column in self._columns().items()}
        return replace(self, points=self.points[keep], boxes=_counted(self.boxes, lost, -1), **columns)

    def joined(self, points: NDArray[np.float32], ring: NDArray[np.int16] | None = None) -> Scene:
        """With `(M, 4)` more points at the end; the counts of the boxes there gain them."""
        if len(points) == 0:
            return self
        gained = counts_inside(self.boxes, points) if self.boxes.num_points is not None else None
        new: dict[str, NDArray[Any]] = {
            "ring": np.full(len(points), -1, np.int16) if ring is None else ring,
            "time_offset_s": np.zeros(len(points), np.float32),
        }
        columns = {name: np.concatenate([column, new[name]]) for name, column in self._columns().items()}
        together = np.concatenate([self.points, points.astype(np.float32, copy=False)])
        return replace(self, points=together, boxes=_counted(self.boxes, gained, 1), **columns)

    def moved(self, rows: NDArray[np.integer], points: NDArray[np.float32]) -> Scene:
        """With other `(M, 4)` points in some rows; the counts of the boxes follow."""
        if len(rows) == 0:
            return self
        boxes = self.boxes
        if boxes.num_points is not None:
            boxes = _counted(boxes, counts_inside(boxes, points) - counts_inside(boxes, self.points[rows]), 1)
        changed = self.points.copy()
        changed[rows] = points
        return replace(self, points=changed, boxes=boxes)

    def from_lidar(self) -> NDArray[np.float32]:
        """`(N, 3)` float32 from the LiDAR to each point, along ego's axes."""
        offsets: NDArray[np.float32] = self.points[:, :3] - self.ego_from_lidar.translation_m.astype(np.float32)
        return offsets

    def refuse_pictures(self, step: str) -> None:
        """For steps that change objects in the cloud alone.

        Raises:
            InputError: when there are pictures, which would go on showing the scene as it was.
        """
        if self.images:
            remedy = "leave the step out, or train on the LiDAR alone"
            found = f"pictures of {', '.join(self.images)}, which it cannot change"
            raise InputError(f"augmentation step {step}", found=found, wanted="clouds only", remedy=remedy)

    def _columns(self) -> dict[str, NDArray[Any]]:
        return {name: column for name in POINT_COLUMNS if (column := getattr(self, name)) is not None}


def _counted(boxes: Boxes, change: NDArray[np.int32] | None, sign: int) -> Boxes:
    if change is None or boxes.num_points is None or not change.any():
        return boxes
    counts = np.maximum(boxes.num_points + sign * change, 0)
    return replace(boxes, num_points=np.where(boxes.num_points == NOT_ASKED, NOT_ASKED, counts).astype(np.int32))
