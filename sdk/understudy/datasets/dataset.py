"""The interface every data set keeps: lazy, indexed, picklable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, Segments
from understudy.frame import Frame, PointCloud
from understudy.pose import Pose
from understudy.rig import Rig


@dataclass(frozen=True, eq=False)
class Sample:
    """One frame with what is known about it.

    Attributes:
        key: name of the frame within its data set, stable over runs.
        frame: what the sensors saw.
        rig: the rig it was seen with (KITTI's differs from frame to frame).
        boxes: labeled boxes in ego, or None when the frame has no labels.
        segments: class of each point, by LiDAR name; empty when there are none.
        doubtful: boxes that whoever made the labels was not sure of, or None: no labels, and in training no background.
    """

    key: str
    frame: Frame
    rig: Rig
    boxes: Boxes | None
    segments: dict[str, Segments]
    doubtful: Boxes | None = None

    def relabeled(self, boxes: Boxes | None, doubtful: Boxes | None = None) -> Sample:
        """The sample with other labels; what was doubtful about those before goes with them."""
        return replace(self, boxes=boxes, doubtful=doubtful)


class Dataset(Protocol):
    """Samples by number. `fingerprint` changes when any file that matters changes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that the boxes' labels count in."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names and sizes of the files, and over the descriptions' contents."""

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, index: int) -> Sample:
        """The sample, read from disk now."""


@runtime_checkable
class PartlyLabeled(Protocol):
    """A data set that labels only a part of what its sensors see, such as what lies in a camera's picture."""

    def labeled(self, sample: Sample, boxes: Boxes) -> NDArray[np.bool_]:
        """`(N,)`: whether an object at each box would have been labeled."""


@dataclass(frozen=True)
class Place:
    """Where a sample stands in the recording, told without reading its clouds.

    Attributes:
        drive: name of the drive, sequence, log or scene it belongs to; samples of one drive are neighbors in time.
        stamp_ns: its reference time, integer nanoseconds.
    """

    drive: str
    stamp_ns: int


@dataclass(frozen=True, eq=False)
class Sweep:
    """A cloud with where its sensor was.

    Attributes:
        cloud: the sweep, in the sensor's frame at the sweep's stamp.
        world_from_sensor: where the sensor was at that stamp.
    """

    cloud: PointCloud
    world_from_sensor: Pose


@runtime_checkable
class Sequential(Protocol):
    """A data set of drives: it knows which samples follow each other."""

    def place(self, index: int) -> Place:
        """Drive and stamp of a sample, cheaply."""


@runtime_checkable
class WithSweeps(Protocol):
    """A data set that holds sweeps between its samples (nuScenes: 10 unlabeled ones between key frames)."""

    def sweeps_before(self, index: int, count: int, lidar: str) -> tuple[Sweep, ...]:
        """At most `count` sweeps of a LiDAR before the sample's own, latest first, of the same drive."""


@runtime_checkable
class Accumulated(Protocol):
    """A data set that says how many sweeps a cloud of it holds: more than one where they were accumulated already."""

    @property
    def num_sweeps(self) -> int:
        """How many sweeps a cloud holds at most."""


@runtime_checkable
class Thinned(Protocol):
    """A copy of a data set that may have left out what a sample does not hold."""

    @property
    def left_out_sweeps(self) -> bool:
        """Whether the original holds sweeps between samples that the copy does not."""

    @property
    def left_out_regions(self) -> bool:
        """Whether the original labels only a part of what is seen, and the copy does not know which."""


def sweeps_held(dataset: Dataset) -> int:
    """How many sweeps a cloud of a data set holds: one, unless it says otherwise.

    Raises:
        InputError: when its drives hold different numbers.
    """
    return dataset.num_sweeps if isinstance(dataset, Accumulated) else 1
