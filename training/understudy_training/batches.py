"""From a data set to batches: the cloud in ego, augmented with its boxes, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from understudy.boxes import Boxes
from understudy.bundle.manifest import Grid
from understudy.datasets.dataset import Dataset, Sample
from understudy.errors import InputError
from understudy.pose import Pose
from understudy.progress import Track, silent
from understudy_training.augmentation import Augmentation, Scene, see, variant_of
from understudy_training.targets import BoxBatch, batch_boxes


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """`(N, 4)` float32 points in ego with intensity in [0, 1], no NaN, and the boxes labeled in it.

    `ego_from_lidar` is where the LiDAR sat; `ring` is the beam of each point where the sensor tells it.
    """

    points: NDArray[np.float32]
    boxes: Boxes
    ego_from_lidar: Pose = field(default_factory=Pose.identity)
    ring: NDArray[np.int16] | None = None


@dataclass(frozen=True)
class Shown:
    """Which version of which sample was shown: what a teacher's answer is kept under."""

    index: int
    version: int


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step sees.

    Attributes:
        inputs: what the student's encoder takes.
        clouds: the augmented clouds themselves, `(N, 4)` in ego, for a teacher whose encoder takes something else; none
            without a teacher. Tensors, because those come from a worker through shared memory, arrays through a pipe.
        boxes: the labels, augmented alike.
        shown: which version of which sample each is.
    """

    inputs: Any
    clouds: list[Tensor]
    boxes: BoxBatch
    shown: tuple[Shown, ...]

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on another device."""
        return Batch(self.inputs.to(device), self.clouds, self.boxes.to(device), self.shown)

    def pin_memory(self) -> Batch:
        """The same batch in memory that a GPU reads from without a copy in between; the loader calls it."""
        return Batch(self.inputs.pin_memory(), self.clouds, self.boxes.pin_memory(), self.shown)


def labelled_frame(sample: Sample, lidar: str | None, reach_m: float) -> LabelledFrame:
    """A sample as training takes it: points in ego nearer than `reach_m`, intensity in [0, 1].

    Raises:
        InputError: when the sample has no labels or no such cloud.
        GeometryError: when the rig has several LiDARs and none was named.
    """
    name, sensor = sample.rig.lidar(lidar)
    if sample.boxes is None or name not in sample.frame.clouds:
        found = "no labeled boxes" if sample.boxes is None else f"no cloud of {name}"
        raise InputError(f"sample {sample.key}", found=found, wanted="a labeled cloud", remedy="choose another split")
    cloud = sample.frame.clouds[name]
    known = np.isfinite(cloud.points)
    finite = np.flatnonzero(known[:, 0] & known[:, 1] & known[:, 2])
    raw = cloud.points.take(finite, axis=0)  # rows by number: many times faster than by mask
    points = np.empty_like(raw)
    ego_from_lidar = sensor.ego_from_sensor.pose()
    points[:, :3] = ego_from_lidar.apply(raw[:, :3])
    points[:, 3] = np.clip(raw[:, 3] / np.float32(sensor.intensity_scale), 0.0, 1.0)
    np.nan_to_num(points[:, 3], copy=False, nan=0.0)  # as the pipeline takes it
    near = np.flatnonzero(np.hypot(points[:, 0], points[:, 1]) < reach_m)
    ring = None if cloud.ring is None else cloud.ring[finite][near]
    return LabelledFrame(points.take(near, axis=0), sample.boxes, ego_from_lidar, ring)


def reach_of(grid: Grid, augmentation: Augmentation | None) -> float:
    """The farthest point from ego that an augmentation may bring onto the grid, in meters."""
    corner = np.hypot(np.abs(grid.x_range_m).max(), np.abs(grid.y_range_m).max())
    return augmentation.reach_m(float(corner)) if augmentation else float(corner)


class TrainingFrames:
    """The samples of a data set as labeled clouds: kept in memory when told to, else read each time."""

    def __init__(self, dataset: Dataset, lidar: str | None, reach_m: float, max_frames: int | None) -> None:
        if len(dataset) == 0:
            raise InputError("training data", found="no samples", wanted="at least one", remedy="check the split")
        self.dataset, self.lidar, self.reach_m = dataset, lidar, reach_m
        self.num_frames = min(len(dataset), max_frames or len(dataset))
        self.kept: list[LabelledFrame] | None = None
        self.shards: NDArray[np.int64] | None = None
        """`(num_frames,)`: file that holds each frame, for an order that reads file after file; None without."""

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> LabelledFrame:
        if self.kept is not None:
            return self.kept[index]
        return labelled_frame(self.dataset[index], self.lidar, self.reach_m)

    def preload(self, track: Track = silent) -> None:
        """Reads everything once."""
        indices = range(len(self))
        self.kept = [self[index] for index in track(indices, "reading training frames", len(indices))]


class Views(TorchDataset[tuple[LabelledFrame, Shown]]):
    """The clouds as one run sees them, by (epoch, index)."""

    def __init__(self, clouds: TrainingFrames, augmentation: Augmentation | None, seed: int) -> None:
        if augmentation is not None:
            augmentation.refuse_unless_ready(clouds.dataset.class_names)
        self.clouds, self.augmentation, self.seed = clouds, augmentation, seed

    def __len__(self) -> int:
        return len(self.clouds)

    def __getitem__(self, place: tuple[int, int]) -> tuple[LabelledFrame, Shown]:
        epoch, index = place
        cloud = self.clouds[index]
        scene = Scene(cloud.points, cloud.boxes, cloud.ego_from_lidar, cloud.ring)
        _, seen = see(self.augmentation, scene, seed=self.seed, epoch=epoch, index=index)
        shown = Shown(index, variant_of(self.augmentation, epoch))
        return LabelledFrame(seen.points, seen.boxes, seen.ego_from_lidar, seen.ring), shown


@dataclass(frozen=True, eq=False)
class Collate:
    """Makes a batch of views with the student's own collation; the clouds too when a teacher will ask for them."""

    encode: Callable[[list[NDArray[np.float32]]], Any]
    class_names: tuple[str, ...]
    grid: Grid
    min_points: int
    with_clouds: bool = True

    def __call__(self, views: Sequence[tuple[LabelledFrame, Shown]]) -> Batch:
        """One batch; labels of classes the student does not know are left out."""
        clouds = [view.points for view, _ in views]
        boxes = batch_boxes([view.boxes for view, _ in views], self.class_names, self.grid, self.min_points)
        kept = [torch.from_numpy(cloud) for cloud in clouds] if self.with_clouds else []
        return Batch(self.encode(clouds), kept, boxes, tuple(shown for _, shown in views))
