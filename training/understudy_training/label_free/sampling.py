"""Adaptive sampling: pseudo-boxes kept, dropped or doubled so that self-training does not drift in distance and size.

Source: R. Zhang et al., "Approaching outside: scaling unsupervised 3D object detection from 2D scene" (LiSe, ECCV
2024). How its rates act on samples is not told there; the rule here is ours (docs/label-free.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy_training.augmentation.object_database import ObjectDatabase
from understudy_training.augmentation.object_jitter import touches

FAR_M, LARGE_M3 = 30.0, 5.0
GROUPS = ("near small", "near large", "far small", "far large")
_TRIES = 4
_GAP_M = 0.2


@dataclass(frozen=True, eq=False)
class Copy:
    """An object of a bank: its class, its number there and its `(7,)` box where it was seen, in ego."""

    class_name: str
    number: int
    geometry: NDArray[np.float32]


class Bank(Protocol):
    """Objects to put in, by group."""

    def draw(self, group: int, generator: np.random.Generator) -> Copy | None:
        """One object of a group, or None where there is none."""


@dataclass(frozen=True, eq=False)
class Resampled:
    """A frame's boxes, those dropped with no points so that training ignores them, and the copies to put in."""

    boxes: Boxes
    copies: tuple[Copy, ...]


def groups_of(geometry: NDArray[np.floating]) -> NDArray[np.int64]:
    """`(N,)` index into `GROUPS` of `(N, 7)` boxes: 30 m and farther is far, 5 cubic meters and more is large."""
    ranges_m = np.hypot(geometry[:, 0].astype(np.float64), geometry[:, 1].astype(np.float64))
    volumes_m3 = np.prod(geometry[:, 3:6].astype(np.float64), axis=1)
    groups: NDArray[np.int64] = 2 * (ranges_m >= FAR_M).astype(np.int64) + (volumes_m3 >= LARGE_M3)
    return groups


def group_shares(boxes: Boxes) -> NDArray[np.float64]:
    """`(4,)` share of each group among the boxes of all frames together; zeros without boxes."""
    counts = np.bincount(groups_of(boxes.geometry), minlength=len(GROUPS))
    return counts / max(len(boxes), 1)


def rates(initial: NDArray[np.float64], now: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(4,)` how often a box of each group is to be shown: 1 + initial share - present one; ones without boxes."""
    if initial.sum() == 0 or now.sum() == 0:
        return np.ones(len(GROUPS))
    return 1.0 + (initial - now)


def resample(boxes: Boxes, rates: NDArray[np.float64], generator: np.random.Generator, bank: Bank | None) -> Resampled:
    """Drops boxes of groups with a rate below 1, and brings copies of groups with one above 1.

    A box of rate R < 1 stays with probability R; for one of rate R > 1, with probability R - 1 another object of its
    group comes where no box stands. Without a bank nothing comes.

    Args:
        boxes: of one frame, with the number of points in each.
        rates: `(4,)` by group.
        generator: decides.
        bank: where objects come from.
    """
    assert boxes.num_points is not None
    groups, draws = groups_of(boxes.geometry), generator.random(len(boxes))
    dropped = draws >= rates[groups]
    copies: list[Copy] = []
    standing = boxes.geometry
    for row in np.flatnonzero(draws < rates[groups] - 1.0) if bank is not None else ():
        copy = _with_room(bank, int(groups[row]), standing, generator)
        if copy is not None:
            copies.append(copy)
            standing = np.concatenate([standing, copy.geometry[None]])
    seen = np.where(dropped, 0, boxes.num_points).astype(np.int32)
    return Resampled(replace(boxes, num_points=seen), tuple(copies))


def _with_room(
    bank: Bank | None, group: int, standing: NDArray[np.float32], generator: np.random.Generator
) -> Copy | None:
    assert bank is not None
    for _ in range(_TRIES):
        copy = bank.draw(group, generator)
        if copy is None or not touches(copy.geometry, standing, _GAP_M):
            return copy
    return None


class DatabaseBank:
    """The objects of a database that was cut from pseudo-boxes, by group.

    Args:
        path: folder of the database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._groups: Sequence[list[Copy]] = [[] for _ in GROUPS]
        database = ObjectDatabase(path)
        for class_name, count in database.card.counts.items():
            for number in range(count):
                geometry = database.crop(class_name, number).geometry
                copy = Copy(class_name, number, geometry)
                self._groups[int(groups_of(geometry[None])[0])].append(copy)

    def draw(self, group: int, generator: np.random.Generator) -> Copy | None:
        """One object of a group, or None where there is none."""
        objects = self._groups[group]
        return objects[int(generator.integers(len(objects)))] if objects else None
