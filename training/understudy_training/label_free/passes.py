"""Other passes of the street that a drive went along, and how persistent its points are against them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.spatial import cKDTree

from understudy.configuration import Config, content_hash, read_config
from understudy.datasets.dataset import Dataset, Sample, Sequential
from understudy.errors import InputError
from understudy.pose import Pose
from understudy_training.label_free.persistency import PersistencyRules, neighbors_in, persistency, thinned

PASSES_FILE = "passes.yaml"
_MOST_TREES = 12


class Passes(Config):
    """Which drives went along the same street, with poses in one world frame."""

    groups: tuple[tuple[str, ...], ...] = Field(min_length=1)
    """Names of drives; a drive stands in one group only."""

    @model_validator(mode="after")
    def _once(self) -> Passes:
        names = [name for group in self.groups for name in group]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"groups: {', '.join(twice)} twice")
        return self

    def beside(self, drive: str) -> tuple[str, ...]:
        """The other drives of a drive's group."""
        group = next((group for group in self.groups if drive in group), ())
        return tuple(name for name in group if name != drive)


def read_passes(path: Path) -> Passes:
    """The groups in a file, or in the folder of a data set of passes.

    Raises:
        InputError: when there is no such file, or it is not one.
    """
    return read_config(path / PASSES_FILE if path.is_dir() else path, Passes)


class OtherPasses:
    """The clouds of other passes, in the world, drive by drive as they are asked for.

    Args:
        dataset: frames whose points are asked about; a data set of drives with poses.
        others: a data set of drives with poses that holds the other passes; may be the same.
        passes: which drives go together.
        rules: how passes are gathered and compared.
        lidar: LiDAR of the rig; needed only where there are several.

    Raises:
        InputError: when a data set does not tell its drives, a drive has too few other passes, or poses are missing.
    """

    def __init__(
        self, dataset: Dataset, others: Dataset, passes: Passes, rules: PersistencyRules, lidar: str | None = None
    ) -> None:
        self._rules, self._lidar, self._passes, self._others = rules, lidar, passes, others
        self._drives = _drive_of_each(dataset)
        self._frames: dict[str, list[int]] = {}
        for index, drive in enumerate(_drive_of_each(others)):
            self._frames.setdefault(drive, []).append(index)
        self._trees: dict[str, cKDTree] = {}
        for drive in sorted(set(self._drives)):
            self._refuse_too_few(drive)

    @property
    def fingerprint(self) -> str:
        """Of the passes and of how they are compared."""
        parts = (self._others.fingerprint, content_hash(self._passes), content_hash(self._rules))
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def persistency(self, index: int, world_from_ego: Pose, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """`(N,)` of the `(N, 3)` points in ego of the data set's frame `index`."""
        trees = [self._tree(drive) for drive in self._beside(self._drives[index])]
        counts = neighbors_in(world_from_ego.apply(points[:, :3]), trees, self._rules.radius_m)
        return persistency(counts)

    def _beside(self, drive: str) -> Sequence[str]:
        return [name for name in self._passes.beside(drive) if name in self._frames]

    def _refuse_too_few(self, drive: str) -> None:
        found = self._beside(drive)
        if len(found) < self._rules.min_passes:
            remedy = "name drives of the same street in its group; for scenes: understudy label-free passes"
            text = f"{len(found)} other passes" + (f" ({', '.join(found)})" if found else "")
            raise InputError(f"drive {drive}", found=text, wanted=f"at least {self._rules.min_passes}", remedy=remedy)

    def _tree(self, drive: str) -> cKDTree:
        if drive not in self._trees:
            while len(self._trees) >= _MOST_TREES:
                self._trees.pop(next(iter(self._trees)))
            self._trees[drive] = cKDTree(self._cloud(drive))
        return self._trees[drive]

    def _cloud(self, drive: str) -> NDArray[np.float64]:
        """`(M, 3)` a drive's points in the world, of frames `spacing_m` apart."""
        clouds, last = [], None
        for index in self._frames[drive]:
            sample = self._others[index]
            world_from_ego = pose_of(sample)
            place = world_from_ego.translation_m[:2]
            if last is None or np.hypot(*(place - last)) >= self._rules.spacing_m:
                clouds.append(world_from_ego.apply(points_in_ego(sample, self._lidar)[:, :3]))
                last = place
        return np.asarray(thinned(np.concatenate(clouds), self._rules.thin_m), np.float64)


def points_in_ego(sample: Sample, lidar: str | None) -> NDArray[np.float32]:
    """`(N, 4)` the finite points of a sample's cloud in ego, with raw intensity.

    Raises:
        InputError: when the sample has no such cloud.
        GeometryError: when the rig has several LiDARs and none was named.
    """
    name, sensor = sample.rig.lidar(lidar)
    if name not in sample.frame.clouds:
        raise InputError(f"sample {sample.key}", found=f"no cloud of {name}", wanted="a cloud in every frame")
    raw = sample.frame.clouds[name].points
    points = raw[np.isfinite(raw[:, :3]).all(axis=1)]
    in_ego: NDArray[np.float64] = sensor.ego_from_sensor.pose().apply(points[:, :3])
    return np.column_stack([in_ego, points[:, 3]]).astype(np.float32)


def pose_of(sample: Sample) -> Pose:
    """Where the ego was.

    Raises:
        InputError: when the sample does not tell.
    """
    if sample.frame.world_from_ego is None:
        wanted = "a pose in a world that all passes share"
        raise InputError(f"sample {sample.key}", found="nothing of where the ego was", wanted=wanted)
    return sample.frame.world_from_ego


def _drive_of_each(dataset: Dataset) -> list[str]:
    if not isinstance(dataset, Sequential):
        found = f"{type(dataset).__name__}, which does not tell its drives"
        raise InputError("passes", found=found, wanted="a data set of drives with poses")
    return [dataset.place(index).drive for index in range(len(dataset))]
