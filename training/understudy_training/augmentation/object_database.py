"""Objects cut out of a data set: a folder with a card, an index, and the points in npz shards, one class each."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from understudy.configuration import Config, content_hash, file_sha256, read_config
from understudy.errors import InputError

CARD = "objects.yaml"
_REMEDY = "make one with `understudy dataset objects DATA --out FOLDER`"


class ShardCard(Config):
    """One file of points."""

    class_name: str
    num_objects: int
    sha256: str


class DatabaseCard(Config):
    """What a database holds; its hash is the database's fingerprint."""

    schema_version: Literal[1] = 1
    data_fingerprint: str
    """Of the data set that the objects were cut from."""
    min_points: int
    shards: dict[str, ShardCard]
    """By file name."""

    @property
    def counts(self) -> dict[str, int]:
        """Objects by class."""
        names = sorted({shard.class_name for shard in self.shards.values()})
        return {name: sum(s.num_objects for s in self.shards.values() if s.class_name == name) for name in names}


@dataclass(frozen=True, eq=False)
class Shard:
    """Objects of one class.

    Attributes:
        geometry: `(K, 7)` float32 boxes in ego, as labeled.
        lidar_m: `(K, 3)` float64 place of the LiDAR in ego that saw each.
        velocities_mps: `(K, 2)` float32 over ground in ego; 0 where unknown.
        ends: `(K,)` int64 end of each object's points in `points`.
        points: `(M, 4)` float32 in ego, intensity in [0, 1].
        ring: `(M,)` int16 beam, -1 where unknown.
    """

    geometry: NDArray[np.float32]
    lidar_m: NDArray[np.float64]
    velocities_mps: NDArray[np.float32]
    ends: NDArray[np.int64]
    points: NDArray[np.float32]
    ring: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.geometry)

    def rows(self, number: int) -> slice:
        """Where the points of an object stand."""
        return slice(int(self.ends[number - 1]) if number else 0, int(self.ends[number]))


@dataclass(frozen=True, eq=False)
class Crop:
    """One object.

    Attributes:
        geometry: `(7,)` its box in ego, as labeled.
        lidar_m: `(3,)` place of the LiDAR that saw it.
        velocity_mps: `(2,)` over ground.
        points: `(M, 4)` the returns inside, in ego.
        ring: `(M,)` beam of each, -1 where unknown.
    """

    geometry: NDArray[np.float32]
    lidar_m: NDArray[np.float64]
    velocity_mps: NDArray[np.float32]
    points: NDArray[np.float32]
    ring: NDArray[np.int16]


class ObjectDatabase:
    """The objects of a folder; shards are read when they are first asked for.

    Raises:
        InputError: when the folder is no database, or at access when a shard is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        if not (path / CARD).is_file():
            raise InputError(f"{path}", found=f"no {CARD}", wanted="a database of objects", remedy=_REMEDY)
        self.path, self.card = path, read_config(path / CARD, DatabaseCard)
        self._places = {name: self._places_of(name) for name in self.card.counts}
        self._shards: dict[str, Shard] = {}

    @property
    def fingerprint(self) -> str:
        """Of everything in it."""
        return content_hash(self.card)

    def count(self, class_name: str) -> int:
        """How many objects of a class there are."""
        return self.card.counts.get(class_name, 0)

    def crop(self, class_name: str, number: int) -> Crop:
        """One object of a class by its number."""
        name, row = self._places[class_name][number]
        shard = self._shard(name)
        rows = shard.rows(row)
        return Crop(
            shard.geometry[row], shard.lidar_m[row], shard.velocities_mps[row], shard.points[rows], shard.ring[rows]
        )

    def _places_of(self, class_name: str) -> list[tuple[str, int]]:
        shards = {name: shard for name, shard in sorted(self.card.shards.items()) if shard.class_name == class_name}
        return [(name, row) for name, shard in shards.items() for row in range(shard.num_objects)]

    def _shard(self, name: str) -> Shard:
        if name not in self._shards:
            self._shards[name] = read_shard(self.path / name, self.card.shards[name])
        return self._shards[name]


def read_shard(path: Path, card: ShardCard) -> Shard:
    """A file of objects.

    Raises:
        InputError: when it is missing, or not the file that the card describes.
    """
    if not path.is_file():
        raise InputError(f"{path}", found="no such file", wanted="a shard of objects", remedy=_REMEDY)
    if (found := file_sha256(path)) != card.sha256:
        wanted = f"sha256 {card.sha256[:12]}"
        raise InputError(f"{path}", found=f"sha256 {found[:12]}", wanted=wanted, remedy=_REMEDY)
    with np.load(path, allow_pickle=False) as arrays:
        return Shard(**{name: arrays[name] for name in Shard.__dataclass_fields__})


@functools.lru_cache(maxsize=8)
def open_database(path: Path) -> ObjectDatabase:
    """The database in a folder, opened once per process.

    Raises:
        InputError: when the folder is no database.
    """
    return ObjectDatabase(path)
