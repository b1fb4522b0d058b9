"""Several sweeps as one cloud: earlier ones carried into the current sensor frame by the vehicle's motion.

The rule is that of nuScenes' development kit: every point goes through the world frame to where the sensor is now; what
moved on its own leaves a trail, and each point keeps its age in `time_offset_s`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, Segments
from understudy.datasets.dataset import (
    Dataset,
    PartlyLabeled,
    Place,
    Sample,
    Sequential,
    Sweep,
    Thinned,
    WithSweeps,
    sweeps_held,
)
from understudy.errors import InputError
from understudy.frame import PointCloud
from understudy.pose import Pose


def accumulate(
    cloud: PointCloud, world_from_sensor: Pose, earlier: Sequence[Sweep], *, min_distance_m: float = 0.0
) -> PointCloud:
    """One cloud of the current sweep's points, then each earlier one's, all in the current sensor frame.

    Args:
        cloud: the current sweep, in its sensor's frame.
        world_from_sensor: where that sensor is.
        earlier: sweeps before it, in the order in which they are appended.
        min_distance_m: points within so much of their own sensor in x and in y are left out of every sweep: returns
            from the vehicle itself. The development kit takes 1 m.

    Returns:
        The cloud with the current stamp; `time_offset_s` counts from it, negative for earlier sweeps; `ring` where all
        have it.
    """
    sensor_from_world = world_from_sensor.inverse()
    parts = [_without_near(_timed(cloud, cloud.stamp_ns), min_distance_m)]
    for sweep in earlier:
        part = _without_near(_timed(sweep.cloud, cloud.stamp_ns), min_distance_m)
        points = part.points.copy()
        points[:, :3] = (sensor_from_world @ sweep.world_from_sensor).apply(part.points[:, :3])
        parts.append(replace(part, points=points))
    rings = [part.ring for part in parts if part.ring is not None]
    return PointCloud(
        np.concatenate([part.points for part in parts]),
        cloud.stamp_ns,
        cloud.frame_id,
        time_offset_s=np.concatenate([_offsets(part) for part in parts]),
        ring=np.concatenate(rings) if len(rings) == len(parts) else None,
    )


class MultiSweep:
    """A data set whose clouds hold several sweeps: its own, and those before it in the same drive.

    Args:
        dataset: the data set; sweeps between its samples are taken where it holds them (`WithSweeps`), else its earlier
            samples of the same drive (`Sequential`).
        num_sweeps: how many sweeps a cloud holds at most, its own counted; fewer at the start of a drive.
        lidar: the LiDAR to accumulate; needed only where there are several. The others stay single sweeps.
        min_distance_m: as in `accumulate`.

    Points of earlier sweeps have the class -1; boxes, with their numbers of points, stay those of the sample.

    Raises:
        InputError: when `num_sweeps` is below 1, the clouds hold several sweeps already, or the data set left sweeps
            out or does not tell which samples follow each other; at access, when it does not tell where the ego was.
    """

    def __init__(
        self, dataset: Dataset, num_sweeps: int, lidar: str | None = None, *, min_distance_m: float = 0.0
    ) -> None:
        if num_sweeps < 1:
            raise InputError("sweeps of a cloud", found=num_sweeps, wanted="at least 1")
        if sweeps_held(dataset) > 1:
            found = f"a data set whose clouds hold {sweeps_held(dataset)} already"
            raise InputError("sweeps of a cloud", found=found, wanted="one with single sweeps")
        if num_sweeps > 1 and isinstance(dataset, Thinned) and dataset.left_out_sweeps:
            found, remedy = "a copy that left out the sweeps between its samples", "make it anew with --sweeps"
            raise InputError("sweeps of a cloud", found=found, wanted="the data set it was made of", remedy=remedy)
        if not isinstance(dataset, Sequential):
            found = f"{type(dataset).__name__}, which does not tell which samples follow each other"
            raise InputError("sweeps of a cloud", found=found, wanted="a data set of drives", remedy="take one sweep")
        self._dataset, self._drives = dataset, dataset
        self._num_sweeps, self._lidar, self._min_distance_m = num_sweeps, lidar, min_distance_m

    @property
    def num_sweeps(self) -> int:
        """How many sweeps a cloud holds at most."""
        return self._num_sweeps

    @property
    def original(self) -> Dataset:
        """The data set within."""
        return self._dataset

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the data set within."""
        return self._dataset.class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over that of the data set within and what is accumulated."""
        settings = f"{self._dataset.fingerprint} {self._num_sweeps} {self._lidar} {self._min_distance_m}"
        return hashlib.sha256(settings.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """The sample with its accumulated cloud; a negative number counts from the end."""
        index = range(len(self))[index]
        sample = self._dataset[index]
        name, sensor = sample.rig.lidar(self._lidar)
        if name not in sample.frame.clouds:
            return sample
        cloud = sample.frame.clouds[name]
        world_from_sensor = _ego(sample) @ sensor.ego_from_sensor.pose()
        earlier = self._sweeps_before(index, name)
        whole = accumulate(cloud, world_from_sensor, earlier, min_distance_m=self._min_distance_m)
        segments = {
            key: _stretched(value, cloud, len(whole), self._min_distance_m) if key == name else value
            for key, value in sample.segments.items()
        }
        frame = replace(sample.frame, clouds={**sample.frame.clouds, name: whole})
        return replace(sample, frame=frame, segments=segments)

    def place(self, index: int) -> Place:
        """That of the data set within."""
        return self._drives.place(index)

    def labeled(self, sample: Sample, boxes: Boxes) -> NDArray[np.bool_]:
        """As the data set within says; everything where that is labeled all around."""
        if isinstance(self._dataset, PartlyLabeled):
            return self._dataset.labeled(sample, boxes)
        return np.ones(len(boxes), bool)

    def _sweeps_before(self, index: int, lidar: str) -> tuple[Sweep, ...]:
        if isinstance(self._dataset, WithSweeps):
            return self._dataset.sweeps_before(index, self._num_sweeps - 1, lidar)
        return self._samples_before(index, lidar)

    def _samples_before(self, index: int, lidar: str) -> tuple[Sweep, ...]:
        """Earlier samples of the same drive as sweeps, latest first."""
        sweeps: list[Sweep] = []
        place = self.place(index)
        for earlier in range(index - 1, max(index - self._num_sweeps, -1), -1):
            before = self.place(earlier)
            if before.drive != place.drive or before.stamp_ns >= place.stamp_ns:
                break
            sample = self._dataset[earlier]
            if lidar in sample.frame.clouds:
                ego_from_sensor = sample.rig.lidars[lidar].ego_from_sensor.pose()
                sweeps.append(Sweep(sample.frame.clouds[lidar], _ego(sample) @ ego_from_sensor))
        return tuple(sweeps)


def original_of(dataset: Dataset) -> Dataset:
    """The data set itself, or the one whose sweeps it accumulates."""
    return dataset.original if isinstance(dataset, MultiSweep) else dataset


def with_sweeps(dataset: Dataset, num_sweeps: int, lidar: str | None = None) -> Dataset:
    """The data set with so many sweeps in a cloud; as it is where it holds as many already.

    Raises:
        InputError: as `MultiSweep`, or when the clouds hold another number already: they cannot be taken apart.
    """
    held = sweeps_held(dataset)
    if held not in {1, num_sweeps}:
        found = f"a data set whose clouds hold {held} already"
        remedy = f"take it with {held} sweeps, or the data set that it was made of"
        raise InputError("sweeps of a cloud", found=found, wanted=f"{num_sweeps}", remedy=remedy)
    return dataset if held == num_sweeps else MultiSweep(dataset, num_sweeps, lidar)


def _ego(sample: Sample) -> Pose:
    if sample.frame.world_from_ego is None:
        remedy = "take one sweep, or a recording with poses"
        raise InputError(
            f"sample {sample.key}", found="nothing of where the ego was", wanted="a pose to accumulate", remedy=remedy
        )
    return sample.frame.world_from_ego


def _timed(cloud: PointCloud, reference_ns: int) -> PointCloud:
    """The cloud with every point's time from the reference."""
    age_s = (cloud.stamp_ns - reference_ns) / 1e9
    return replace(cloud, time_offset_s=(_offsets(cloud) + age_s).astype(np.float32))


def _offsets(cloud: PointCloud) -> NDArray[np.float32]:
    return np.zeros(len(cloud), np.float32) if cloud.time_offset_s is None else cloud.time_offset_s


def _without_near(cloud: PointCloud, min_distance_m: float) -> PointCloud:
    if min_distance_m <= 0:
        return cloud
    far = _is_far(cloud, min_distance_m)
    return replace(
        cloud,
        points=cloud.points[far],
        time_offset_s=None if cloud.time_offset_s is None else cloud.time_offset_s[far],
        ring=None if cloud.ring is None else cloud.ring[far],
    )


def _is_far(cloud: PointCloud, min_distance_m: float) -> NDArray[np.bool_]:
    """A square around the sensor, as in the development kit."""
    x, y = np.abs(cloud.points[:, 0]), np.abs(cloud.points[:, 1])
    far: NDArray[np.bool_] = (x >= min_distance_m) | (y >= min_distance_m)
    return far


def _stretched(segments: Segments, cloud: PointCloud, num_points: int, min_distance_m: float) -> Segments:
    """The current points' classes, then -1 for those of earlier sweeps."""
    own = segments.labels[_is_far(cloud, min_distance_m)] if min_distance_m > 0 else segments.labels
    labels = np.full(num_points, -1, np.int16)
    labels[: len(own)] = own
    return Segments(labels, segments.class_names)
