"""nuScenes' labels as the official tables hold them: global boxes with velocity, attribute and instance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from understudy.converters.nuscenes import NuscenesBoxes
from understudy.datasets.nuscenes_index import read_rows, texts
from understudy.errors import InputError

MAX_TIME_BETWEEN_S = 1.5
"""Longest time to a neighboring label over which a velocity is told, as in the development kit."""
_FARTHEST_M = 1e7
_MOST_POINTS = 10**9


@dataclass(frozen=True, eq=False)
class NuscenesAnnotations:
    """Labels in the global frame, nothing dropped; columns of equal length.

    Attributes:
        names: N category names, such as vehicle.car.
        translations_m: `(N, 3)` centers.
        sizes_m: `(N, 3)` width, length, height.
        rotations_wxyz: `(N, 4)`.
        velocities_mps: `(N, 3)` by the official rule; NaN where it tells none.
        attributes: N names, empty where there is none; several joined by commas.
        num_lidar_points: `(N,)` as stored.
        num_radar_points: `(N,)` as stored.
        instances: N tokens of the object seen, the same in each key frame.
    """

    names: NDArray[np.object_]
    translations_m: NDArray[np.float64]
    sizes_m: NDArray[np.float64]
    rotations_wxyz: NDArray[np.float64]
    velocities_mps: NDArray[np.float64]
    attributes: NDArray[np.object_]
    num_lidar_points: NDArray[np.int32]
    num_radar_points: NDArray[np.int32]
    instances: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.integer] | slice) -> NuscenesAnnotations:
        """Those chosen by a mask, an index array or a slice."""
        return NuscenesAnnotations(**{column.name: getattr(self, column.name)[index] for column in fields(self)})

    def boxes(self) -> NuscenesBoxes:
        """Their geometry, with category names."""
        names = tuple(str(name) for name in self.names)
        return NuscenesBoxes(names, self.translations_m, self.sizes_m, self.rotations_wxyz)

    def track_ids(self) -> NDArray[np.int64]:
        """`(N,)`: the first 63 bits of each instance's token."""
        return np.array([int(token[:16], 16) >> 1 for token in self.instances], np.int64)


class _Row(NamedTuple):
    token: str
    sample: str
    instance: str
    attribute: str
    numbers: tuple[float, ...]
    prev: str
    next: str


class AnnotationTable:
    """All labels of a version folder by sample token, read at once.

    Args:
        folder: the version folder.
        stamps_ns: time of each sample's key frame by token, as `sample.json` has it.

    Raises:
        InputError: naming table and record, as `NuscenesIndex` does.
    """

    def __init__(self, folder: Path, stamps_ns: dict[str, int]) -> None:
        self._folder = folder
        rows = self._read()
        numbers = np.array([row.numbers for row in rows], np.float64).reshape(len(rows), 12)
        self._refuse_senseless(rows, numbers)
        instances = np.array([row.instance for row in rows], np.object_)
        self._all = NuscenesAnnotations(
            names=self._categories(rows),
            translations_m=numbers[:, :3],
            sizes_m=numbers[:, 3:6],
            rotations_wxyz=numbers[:, 6:10],
            velocities_mps=self._velocities(rows, numbers[:, :3], stamps_ns),
            attributes=np.array([row.attribute for row in rows], np.object_),
            num_lidar_points=numbers[:, 10].astype(np.int32),
            num_radar_points=numbers[:, 11].astype(np.int32),
            instances=instances,
        )
        self._rows_of_sample: dict[str, list[int]] = {}
        for number, row in enumerate(rows):
            self._rows_of_sample.setdefault(row.sample, []).append(number)

    def of(self, sample_token: str) -> NuscenesAnnotations:
        """The labels of a sample, in the table's order."""
        return self._all[np.array(self._rows_of_sample.get(sample_token, []), np.int64)]

    def _read(self) -> list[_Row]:
        attributes = dict(read_rows(self._folder / "attribute.json", lambda row: texts(row, "token", "name")))

        def annotation(row: dict[str, Any]) -> _Row:
            numbers = (*row["translation"], *row["size"], *row["rotation"], row["num_lidar_pts"], row["num_radar_pts"])
            if len(numbers) != 12 or not math.isfinite(sum(numbers)):
                raise ValueError("a box that is not 3 + 3 + 4 finite numbers")
            if min(numbers[3:6]) < 0:
                raise ValueError(f"size {row['size']}")
            if not all(type(count) is int and 0 <= count <= _MOST_POINTS for count in numbers[10:]):
                raise ValueError(f"points {numbers[10]} and {numbers[11]}, wanted whole numbers, 0 or more")
            named = ",".join(attributes[token] for token in row["attribute_tokens"])
            own, sample, instance, before, after = texts(row, "token", "sample_token", "instance_token", "prev", "next")
            int(instance[:16], 16)
            return _Row(own, sample, instance, named, numbers, before, after)

        return read_rows(self._folder / "sample_annotation.json", annotation)

    def _refuse_senseless(self, rows: Sequence[_Row], numbers: NDArray[np.float64]) -> None:
        lengths = np.linalg.norm(numbers[:, 6:10], axis=1)
        wrong = np.flatnonzero((np.abs(numbers[:, :6]) > _FARTHEST_M).any(axis=1) | ~(np.abs(lengths - 1) < 1e-3))
        if len(wrong):
            row = int(wrong[0])
            found = f"center and size {numbers[row, :6].tolist()}, rotation of length {lengths[row]:.4g}"
            where = f"{self._folder / 'sample_annotation.json'}: token {rows[row].token}"
            raise InputError(where, found=found, wanted="meters, and a quaternion of length 1")

    def _categories(self, rows: Sequence[_Row]) -> NDArray[np.object_]:
        names = dict(read_rows(self._folder / "category.json", lambda row: texts(row, "token", "name")))
        category_of = dict(
            read_rows(self._folder / "instance.json", lambda row: (*texts(row, "token"), names[row["category_token"]]))
        )
        for row in rows:
            if row.instance not in category_of:
                found, wanted = f"no record {row.instance}", f"that of sample_annotation {row.token}"
                raise InputError(f"{self._folder / 'instance.json'}", found=found, wanted=wanted)
        return np.array([category_of[row.instance] for row in rows], np.object_)

    def _velocities(
        self, rows: Sequence[_Row], translations_m: NDArray[np.float64], stamps_ns: dict[str, int]
    ) -> NDArray[np.float64]:
        """Centered where there is a label before and after, else one-sided; NaN alone or over too long a time."""
        number_of = {row.token: number for number, row in enumerate(rows)}
        first, last = np.arange(len(rows)), np.arange(len(rows))
        for number, row in enumerate(rows):
            first[number] = self._linked(number_of, row.prev, number, row.token)
            last[number] = self._linked(number_of, row.next, number, row.token)
        stamps_s = np.array([self._stamp_s(row, stamps_ns) for row in rows])
        apart_s = (stamps_s[last] - stamps_s[first])[:, None]
        centered = (first != np.arange(len(rows))) & (last != np.arange(len(rows)))
        told = (apart_s[:, 0] <= MAX_TIME_BETWEEN_S * np.where(centered, 2, 1)) & (first != last)
        moved_m = translations_m[last] - translations_m[first]
        velocities = np.full_like(moved_m, np.nan)
        np.divide(moved_m, apart_s, out=velocities, where=told[:, None] & (apart_s != 0))
        return velocities

    def _linked(self, number_of: dict[str, int], token: str, own: int, wanted_by: str) -> int:
        if token and token not in number_of:
            what = f"{self._folder / 'sample_annotation.json'}"
            raise InputError(what, found=f"no record {token}", wanted=f"the neighbor of {wanted_by}")
        return number_of[token] if token else own

    def _stamp_s(self, row: _Row, stamps_ns: dict[str, int]) -> float:
        if row.sample not in stamps_ns:
            found, wanted = f"no record {row.sample}", f"that of sample_annotation {row.token}"
            raise InputError(f"{self._folder / 'sample.json'}", found=found, wanted=wanted)
        return 1e-6 * (stamps_ns[row.sample] // 1000)
