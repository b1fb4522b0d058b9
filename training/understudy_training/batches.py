"""From a data set to batches: cloud, pictures and boxes in ego, augmented alike, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from understudy.boxes import NOT_ASKED, Boxes
from understudy.bundle.manifest import Grid, Pictures
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.past_boxes import PastBoxes
from understudy.errors import InputError
from understudy.network_pictures import chosen_cameras, network_camera, picture_sampler, shown_in_pictures
from understudy.pose import Pose
from understudy.progress import Track, silent
from understudy.rig import Camera
from understudy_training.augmentation import Augmentation, Scene, see, variant_of
from understudy_training.augmentation.alike import moved_alike
from understudy_training.models.observed import Observed
from understudy_training.targets import BoxBatch, batch_boxes


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """What was seen in one frame, and the boxes labeled in it.

    Attributes:
        points: `(N, 4)` float32 in ego with intensity in [0, 1], no NaN.
        boxes: the labels, in ego.
        ego_from_lidar: where the LiDAR sat.
        ring: `(N,)` beam of each point where the sensor tells it.
        images: `(H, W, 3)` uint8 RGB by camera, as `network_camera` takes them; empty where nobody looks at pictures.
        cameras: the cameras that took them, in the network's order.
        past: boxes of earlier frames of the drive, in this frame's ego, where a term asks for them.
    """

    points: NDArray[np.float32]
    boxes: Boxes
    ego_from_lidar: Pose = field(default_factory=Pose.identity)
    ring: NDArray[np.int16] | None = None
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    cameras: Mapping[str, Camera] = field(default_factory=dict)
    past: Boxes | None = None

    @property
    def observed(self) -> Observed:
        """The frame without its labels."""
        return Observed(self.points, self.images, self.cameras)


@dataclass(frozen=True)
class Shown:
    """Which version of which sample was shown: what a teacher's answer is kept under."""

    index: int
    version: int


@dataclass(frozen=True, eq=False)
class View:
    """A frame as a run sees it, and as each teacher does whose own version differs from it."""

    frame: LabelledFrame
    shown: Shown
    teachers: Mapping[str, LabelledFrame] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step sees.

    Attributes:
        inputs: what the student's encoder takes.
        teachers: what the encoder of each teacher takes that is asked anew each step, of the same frames.
        boxes: the labels, augmented alike.
        shown: which version of which sample each is.
    """

    inputs: Any
    teachers: Mapping[str, Any]
    boxes: BoxBatch
    shown: tuple[Shown, ...]

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on another device."""
        teachers = {name: inputs.to(device) for name, inputs in self.teachers.items()}
        return Batch(self.inputs.to(device), teachers, self.boxes.to(device), self.shown)

    def pin_memory(self) -> Batch:
        """The same batch in memory that a GPU reads from without a copy in between; the loader calls it."""
        teachers = {name: inputs.pin_memory() for name, inputs in self.teachers.items()}
        return Batch(self.inputs.pin_memory(), teachers, self.boxes.pin_memory(), self.shown)


def labelled_frame(
    sample: Sample, lidar: str | None, reach_m: float, pictures: Pictures | None = None
) -> LabelledFrame:
    """A sample as training takes it: points in ego nearer than `reach_m`, intensity in [0, 1], pictures of a size.

    Args:
        sample: a labeled one.
        lidar: which LiDAR; None where there is one.
        reach_m: points farther from ego are left out.
        pictures: what is taken of the cameras; None takes no pictures.

    Raises:
        InputError: when the sample has no labels or no such cloud.
        GeometryError: when the rig has several LiDARs and none was named, or lacks the cameras.
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
    images, cameras = ({}, {}) if pictures is None else _pictured(sample, pictures)
    return LabelledFrame(points.take(near, axis=0), sample.boxes, ego_from_lidar, ring, images, cameras)


def _pictured(sample: Sample, pictures: Pictures) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Camera]]:
    """The sample's pictures at the network's size, and the cameras that would have taken them so."""
    cameras, size_px = sample.rig.cameras, (pictures.width_px, pictures.height_px)
    chosen = chosen_cameras(sample.rig, pictures)
    images = {
        name: picture_sampler(cameras[name], *size_px)(sample.frame.images[name].pixels)
        for name in chosen
        if name in sample.frame.images
    }
    return images, {name: network_camera(cameras[name], *size_px) for name in chosen}


def reach_of(grid: Grid, augmentation: Augmentation | None) -> float:
    """The farthest point from ego that an augmentation may bring onto the grid, in meters."""
    corner = np.hypot(np.abs(grid.x_range_m).max(), np.abs(grid.y_range_m).max())
    return augmentation.reach_m(float(corner)) if augmentation else float(corner)


class TrainingFrames:
    """The samples of a data set as labeled frames: kept in memory when told to, else read each time."""

    def __init__(
        self,
        dataset: Dataset,
        lidar: str | None,
        reach_m: float,
        max_frames: int | None,
        pictures: Pictures | None = None,
        past_frames: int = 0,
    ) -> None:
        if len(dataset) == 0:
            raise InputError("training data", found="no samples", wanted="at least one", remedy="check the split")
        self.dataset, self.lidar, self.reach_m, self.pictures = dataset, lidar, reach_m, pictures
        self.past = PastBoxes(dataset, past_frames) if past_frames else None
        self.num_frames = min(len(dataset), max_frames or len(dataset))
        self.kept: list[LabelledFrame] | None = None
        self.shards: NDArray[np.int64] | None = None
        """`(num_frames,)`: file that holds each frame, for an order that reads file after file; None without."""

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> LabelledFrame:
        if self.kept is not None:
            return self.kept[index]
        sample = self.dataset[index]
        frame = labelled_frame(sample, self.lidar, self.reach_m, self.pictures)
        if sample.doubtful is not None:
            frame = replace(frame, boxes=_with_doubtful(frame.boxes, sample.doubtful))
        return frame if self.past is None else replace(frame, past=_joined(self.past[index]))

    def preload(self, track: Track = silent) -> None:
        """Reads everything once."""
        indices = range(len(self))
        self.kept = [self[index] for index in track(indices, "reading training frames", len(indices))]


def _with_doubtful(boxes: Boxes, doubtful: Boxes) -> Boxes:
    """The labels, and behind them what is neither asked for nor background.

    Raises:
        InputError: when they count in other classes.
    """
    if boxes.class_names != doubtful.class_names:
        found, wanted = ", ".join(doubtful.class_names), ", ".join(boxes.class_names)
        raise InputError("doubtful boxes", found=f"of the classes {found}", wanted=wanted)
    boxes = replace(boxes, num_points=_counts_of(boxes))
    return Boxes.concatenate([boxes, replace(doubtful, num_points=np.full(len(doubtful), NOT_ASKED, np.int32))])


def _joined(instants: Sequence[Boxes]) -> Boxes:
    """Those of all instants but the first."""
    return Boxes.concatenate([instants[0][:0], *instants[1:]])


class Views(TorchDataset[View]):
    """The frames as one run sees them, by (epoch, index).

    Args:
        frames: what the student sees.
        augmentation: how they are changed.
        seed: of the run.
        teacher_frames: by teacher, what it sees instead, frame by frame, changed alike; left out, the same frames.
    """

    def __init__(
        self,
        frames: TrainingFrames,
        augmentation: Augmentation | None,
        seed: int,
        teacher_frames: Mapping[str, TrainingFrames] | None = None,
    ) -> None:
        if augmentation is not None:
            augmentation.refuse_unless_ready(frames.dataset.class_names)
        self.frames, self.augmentation, self.seed = frames, augmentation, seed
        self.teacher_frames = dict(teacher_frames or {})

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, place: tuple[int, int]) -> View:
        epoch, index = place
        shown = Shown(index, variant_of(self.augmentation, epoch))
        teachers = {name: self._seen(frames[index], place) for name, frames in self.teacher_frames.items()}
        return View(self._seen(self.frames[index], place), shown, teachers)

    def _seen(self, frame: LabelledFrame, place: tuple[int, int]) -> LabelledFrame:
        scene = Scene(
            frame.points, frame.boxes, frame.ego_from_lidar, frame.ring, images=frame.images, cameras=frame.cameras
        )
        epoch, index = place
        change, seen = see(self.augmentation, scene, seed=self.seed, epoch=epoch, index=index)
        past = None if frame.past is None else moved_alike(change, frame.past)
        return LabelledFrame(seen.points, seen.boxes, seen.ego_from_lidar, seen.ring, seen.images, seen.cameras, past)


Encode = Callable[[Sequence[Observed]], Any]


@dataclass(frozen=True, eq=False)
class Collate:
    """Makes a batch of views with the student's own collation, and with that of each teacher that will be asked.

    Attributes:
        encode: the student's collation.
        class_names: the student's.
        grid: its grid.
        min_points: boxes hit by fewer are ignored.
        teachers: the collation of each teacher that answers live.
        in_pictures: boxes that no camera shows are ignored too: for a student without a LiDAR.
    """

    encode: Encode
    class_names: tuple[str, ...]
    grid: Grid
    min_points: int
    teachers: Mapping[str, Encode] = field(default_factory=dict)
    in_pictures: bool = False

    def __call__(self, views: Sequence[View]) -> Batch:
        """One batch; labels of classes the student does not know are left out."""
        frames = [view.frame for view in views]
        labels = [self._labels(frame) for frame in frames]
        boxes = batch_boxes(labels, self.class_names, self.grid, self.min_points)
        earlier = [self._labels(replace(frame, boxes=frame.past)) for frame in frames if frame.past is not None]
        if earlier:
            boxes = replace(boxes, past=batch_boxes(earlier, self.class_names, self.grid, self.min_points))
        taught = {
            name: encode([view.teachers.get(name, view.frame).observed for view in views])
            for name, encode in self.teachers.items()
        }
        inputs = self.encode([frame.observed for frame in frames])
        return Batch(inputs, taught, boxes, tuple(view.shown for view in views))

    def _labels(self, frame: LabelledFrame) -> Boxes:
        return _only_in_pictures(frame) if self.in_pictures else frame.boxes


def _only_in_pictures(frame: LabelledFrame) -> Boxes:
    """The boxes, those whose center no picture shows neither asked for nor background."""
    shown = shown_in_pictures(frame.boxes, frame.cameras.values())
    return replace(frame.boxes, num_points=np.where(shown, _counts_of(frame.boxes), NOT_ASKED).astype(np.int32))


def _counts_of(boxes: Boxes) -> NDArray[np.int32]:
    """Returns in each box; where nobody counted all are asked for."""
    return np.full(len(boxes), np.iinfo(np.int32).max, np.int32) if boxes.num_points is None else boxes.num_points
