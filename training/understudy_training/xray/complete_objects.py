"""A data set whose clouds show objects whole: what the teacher of X-Ray Distillation is trained on and asked about."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.boxes import Boxes, Segments
from understudy.configuration import Config
from understudy.converters.class_maps import TABLES
from understudy.datasets.dataset import Dataset, PartlyLabeled, Place, Sample, Sequential, sweeps_held
from understudy.datasets.sweeps import original_of
from understudy.errors import InputError
from understudy.frame import PointCloud
from understudy.pose import Pose
from understudy.rig import Lidar
from understudy_training.xray.gathering import Gathered, Pasted, SeenFrame, SeenObjects, cut, gather, paste

_LIVING = {"pedestrian", "cyclist"}
DEFORMABLE = frozenset(
    {*_LIVING, "rider", "animal", "dog", "stroller", "wheelchair", "wheeled_device", "wheeled_rider", "bicyclist"}
    | {"motorcyclist", "personal_mobility", "wheeled_pedestrian"}
    | {
        name.lower()
        for maps in TABLES.values()
        for own in maps.values()
        for name, ours in own.of.items()
        if ours in _LIVING
    }
)
"""Classes, whatever a data set calls them, whose shape changes as they move; lower case."""


class CompleteObjects(Config):
    """How objects are gathered over a drive."""

    deformable_s: float = Field(0.5, ge=0)
    """How far from a frame, in seconds, people, riders and animals are gathered: they change shape as they move."""
    rigid_s: float | None = Field(None, ge=0)
    """The same for all other classes; None is the whole drive."""
    windows_s: dict[str, float] = Field(default_factory=dict)
    """The same for single classes, before the two above."""
    cap: float | None = Field(4.0, ge=1)
    """Points of an object at most, in multiples of the frame that shows most of it; None keeps all. Pillar encoders
    with a limit of points per pillar would be saturated."""
    seed: int = Field(0, ge=0)
    """Chooses which points stay where there are more."""

    def window(self, class_name: str) -> float | None:
        """How far from a frame an object of a class is gathered; None is the whole drive."""
        if class_name in self.windows_s:
            return self.windows_s[class_name]
        return self.deformable_s if class_name.lower() in DEFORMABLE else self.rigid_s


class ObjectComplete:
    """A data set whose frames show each labeled object as all frames of its window together saw it.

    The frame's own points stay as they are, bit for bit and in their order; the others follow, with the intensity and
    the beam of their own frame and with age 0. Their class in `segments` is -1. `num_points` of the boxes grows by what
    was pasted. A drive is read once, when one of its frames is first asked for, and what its objects look like is kept
    in memory for the drives asked for last.

    Args:
        dataset: a data set of drives with poses and identities. Where its clouds hold several sweeps, what is pasted
            comes from the single ones.
        settings: how far and how much.
        lidar: the LiDAR whose clouds are completed; needed only where there are several.
        recount: whether `num_points` tells what the boxes hold now; no for evaluating on labels that stay the same.
        kept_mb: memory for the objects of drives, in megabytes; the drive being read is always kept.

    Raises:
        InputError: when the data set does not tell which samples follow each other; at access, when it does not tell
            where the ego was or which boxes are the same object.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: CompleteObjects,
        lidar: str | None = None,
        *,
        recount: bool = True,
        kept_mb: float = 512.0,
    ) -> None:
        if not isinstance(dataset, Sequential):
            found = f"{type(dataset).__name__}, which does not tell which samples follow each other"
            remedy = "leave complete_objects out"
            raise InputError("complete objects", found=found, wanted="a data set of drives", remedy=remedy)
        self._dataset, self._drives, self._single = dataset, dataset, original_of(dataset)
        self._settings, self._lidar, self._recount, self._kept_bytes = settings, lidar, recount, kept_mb * 1e6
        self._kept: OrderedDict[int, Gathered] = OrderedDict()
        self._firsts: dict[int, int] = {}

    @property
    def original(self) -> Dataset:
        """The data set within."""
        return self._dataset

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the data set within."""
        return self._dataset.class_names

    @property
    def num_sweeps(self) -> int:
        """As the data set within."""
        return sweeps_held(self._dataset)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over that of the data set within and how objects are gathered."""
        settings = f"{self._dataset.fingerprint} {self._settings.model_dump_json()} {self._lidar} {self._recount}"
        return hashlib.sha256(settings.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """The sample with whole objects; a negative number counts from the end."""
        index = range(len(self))[index]
        sample = self._dataset[index]
        name, sensor = sample.rig.lidar(self._lidar)
        if name not in sample.frame.clouds or sample.boxes is None:
            return sample
        frame = seen_frame(sample, name, sensor, with_points=False)
        rng = np.random.default_rng([self._settings.seed, index])
        pasted = paste(frame, self._objects(index), self._settings.window, self._settings.cap, rng)
        return with_pasted(sample, name, sensor, pasted, recount=self._recount)

    def place(self, index: int) -> Place:
        """That of the data set within."""
        return self._drives.place(index)

    def labeled(self, sample: Sample, boxes: Boxes) -> NDArray[np.bool_]:
        """As the data set within says; everything where that is labeled all around."""
        if isinstance(self._dataset, PartlyLabeled):
            return self._dataset.labeled(sample, boxes)
        return np.ones(len(boxes), bool)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict()}

    def _objects(self, index: int) -> Gathered:
        """What the sample's drive shows of each object."""
        if index not in self._firsts:
            drive = self._drive(index)
            self._firsts |= dict.fromkeys(drive, drive.start)
            self._kept[drive.start] = self._gathered(drive)
        first = self._firsts[index]
        if first not in self._kept:
            self._kept[first] = self._gathered(self._drive(index))
        self._kept.move_to_end(first)
        while len(self._kept) > 1 and sum(kept.size_bytes for kept in self._kept.values()) > self._kept_bytes:
            self._kept.popitem(last=False)
        return self._kept[first]

    def _drive(self, index: int) -> range:
        """The samples of the same drive around this one."""
        drive, first, last = self.place(index).drive, index, index
        while first > 0 and self.place(first - 1).drive == drive:
            first -= 1
        while last + 1 < len(self) and self.place(last + 1).drive == drive:
            last += 1
        return range(first, last + 1)

    def _gathered(self, drive: range) -> Gathered:
        seen: list[SeenObjects] = []
        for index in drive:
            sample = self._single[index]
            name, sensor = sample.rig.lidar(self._lidar)
            if name in sample.frame.clouds and sample.boxes is not None:
                seen.append(cut(seen_frame(sample, name, sensor)))
        return gather(seen)


def with_complete_objects(dataset: Dataset, settings: CompleteObjects | None, lidar: str | None = None) -> Dataset:
    """The data set with whole objects; as it is without settings.

    Raises:
        InputError: as `ObjectComplete`.
    """
    return dataset if settings is None else ObjectComplete(dataset, settings, lidar)


def seen_frame(sample: Sample, lidar: str, sensor: Lidar, *, with_points: bool = True) -> SeenFrame:
    """A labeled sample as gathering takes it; points that are not finite are left out, and all where none is wanted.

    Raises:
        InputError: when the sample does not tell where the ego was.
    """
    assert sample.boxes is not None
    if sample.frame.world_from_ego is None:
        remedy = "take a recording with poses, or leave complete_objects out"
        found = "nothing of where the ego was"
        raise InputError(f"sample {sample.key}", found=found, wanted="a pose to gather objects", remedy=remedy)
    cloud = sample.frame.clouds[lidar]
    finite = np.flatnonzero(np.isfinite(cloud.points[:, :3]).all(axis=1)) if with_points else np.zeros(0, np.int64)
    points = cloud.points.take(finite, axis=0)
    points[:, :3] = sensor.ego_from_sensor.pose().apply(points[:, :3])
    ring = None if cloud.ring is None else cloud.ring[finite]
    pose, name = sample.frame.world_from_ego, f"sample {sample.key}"
    return SeenFrame(sample.frame.stamp_ns, points, sample.boxes, pose, ring, name)


def with_pasted(sample: Sample, lidar: str, sensor: Lidar, pasted: Pasted, *, recount: bool = True) -> Sample:
    """The sample with further points at the end of a cloud.

    Args:
        sample: with boxes.
        lidar: name of the cloud.
        sensor: that LiDAR; the points are carried into its frame.
        pasted: the points, in ego.
        recount: whether the boxes' numbers of points grow.
    """
    cloud, count, boxes = sample.frame.clouds[lidar], len(pasted.points), sample.boxes
    assert boxes is not None
    points = pasted.points.copy()
    sensor_from_ego: Pose = sensor.ego_from_sensor.pose().inverse()
    points[:, :3] = sensor_from_ego.apply(points[:, :3])
    whole = PointCloud(
        np.concatenate([cloud.points, points]),
        cloud.stamp_ns,
        cloud.frame_id,
        time_offset_s=_appended(cloud.time_offset_s, np.zeros(count, np.float32)),
        ring=_appended(cloud.ring, pasted.ring),
    )
    if recount and boxes.num_points is not None:
        added = np.bincount(pasted.rows, minlength=len(boxes)).astype(np.int32)
        boxes = replace(boxes, num_points=boxes.num_points + added)
    frame = replace(sample.frame, clouds={**sample.frame.clouds, lidar: whole})
    return replace(sample, frame=frame, boxes=boxes, segments=_longer(sample.segments, lidar, count))


def _appended(column: NDArray[Any] | None, more: NDArray[Any]) -> NDArray[Any] | None:
    return None if column is None else np.concatenate([column, more.astype(column.dtype)])


def _longer(segments: Mapping[str, Segments], lidar: str, count: int) -> dict[str, Segments]:
    """Nothing is said of the class of what was pasted."""
    unknown = np.full(count, -1, np.int16)
    return {
        name: Segments(np.concatenate([of.labels, unknown]), of.class_names) if name == lidar else of
        for name, of in segments.items()
    }
