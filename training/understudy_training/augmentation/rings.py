"""Which beam of the LiDAR each point came from: from the order of the file, or from elevations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.pose import Pose

_FAR_M = 8.0
"""Nearer returns are left out where elevations are read: lasers sit some centimeters apart, which turns near beams."""
_MAX_BEAMS = 256
_MIN_POINTS_PER_BEAM = 32


def ring_of(points: NDArray[np.float32], ego_from_lidar: Pose) -> NDArray[np.int16] | None:
    """`(N,)` beam of each point, read off the order of a file that holds one beam after the other; None where not.

    KITTI's files do: a beam begins where the azimuth passes straight ahead.
    """
    if len(points) < 2:
        return None
    _, azimuth = elevations_of(points, ego_from_lidar)
    # in turns from straight ahead, where KITTI's beams begin and end
    turns = np.mod(azimuth / np.float32(2 * np.pi), np.float32(1.0))
    jumps = np.abs(np.diff(turns)) > 0.5
    numbers = np.concatenate([[0], np.cumsum(jumps)])
    steady = np.abs(np.diff(turns))[~jumps] < 0.25
    num_beams = int(numbers[-1]) + 1
    enough = _MIN_POINTS_PER_BEAM * num_beams <= len(points)
    if not (8 <= num_beams <= _MAX_BEAMS and enough and steady.mean() > 0.999):
        return None
    return numbers.astype(np.int16)


def elevations_of(points: NDArray[np.float32], ego_from_lidar: Pose) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`(N,)` elevation above the LiDAR's own x-y plane (radians) and `(N,)` azimuth in it."""
    rotation = ego_from_lidar.rotation.astype(np.float32)
    x, y, z = ((points[:, :3] - ego_from_lidar.translation_m.astype(np.float32)) @ rotation).T
    return np.arctan2(z, np.sqrt(x * x + y * y)), np.arctan2(y, x)


@dataclass(frozen=True, eq=False)
class Beams:
    """The beams of one cloud.

    Attributes:
        number: `(N,)` int32 beam of each point, in order of elevation; -1 for points of no beam.
        elevation_rad: `(B,)` elevation of each beam, ascending.
    """

    number: NDArray[np.int32]
    elevation_rad: NDArray[np.float32]


def beams_by_ring(ring: NDArray[np.int16], elevation_rad: NDArray[np.float32], range_m: NDArray[np.float32]) -> Beams:
    """Beams from rings: each at the median elevation of its far returns; points without a ring take the nearest."""
    order = np.argsort(ring, kind="stable")
    values, starts = np.unique(ring[order], return_index=True)
    groups = dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True))
    stray = groups.pop(-1, np.zeros(0, np.intp))
    medians = np.array([_median(elevation_rad[rows], range_m[rows]) for rows in groups.values()], np.float32)
    rank = np.argsort(np.argsort(medians, kind="stable"), kind="stable")
    number = np.full(len(ring), -1, np.int32)
    for place, rows in zip(rank, groups.values(), strict=True):
        number[rows] = place
    ascending = np.sort(medians)
    if len(ascending):
        number[stray] = nearest(ascending, elevation_rad[stray])
    return Beams(number, ascending)


def beams_by_elevation(elevation_rad: NDArray[np.float32], range_m: NDArray[np.float32], num_beams: int) -> Beams:
    """Beams by clustering elevations into `num_beams`: Lloyd's k-means on a histogram, begun at equal shares.

    For clouds whose beams are smeared (motion-compensated, or with offset lasers) a cluster is a band of elevations as
    wide as the beams are apart, no exact beam.
    """
    far = elevation_rad[range_m > _FAR_M] if (range_m > _FAR_M).any() else elevation_rad
    low, high = np.percentile(far, [0.1, 99.9])
    counts, edges = np.histogram(far, bins=4096, range=(float(low), float(max(high, low + 1e-3))))
    middles, mass = (edges[:-1] + edges[1:]) / 2, np.cumsum(counts) / max(counts.sum(), 1)
    centers = np.interp((np.arange(num_beams) + 0.5) / num_beams, mass, middles)
    for _ in range(30):
        mine = nearest(centers, middles)
        weight = np.bincount(mine, counts, num_beams)
        sums = np.bincount(mine, counts * middles, num_beams)
        centers = np.sort(np.where(weight > 0, sums / np.maximum(weight, 1), centers))
    number = nearest(centers, elevation_rad)
    return Beams(number.astype(np.int32), centers.astype(np.float32))


def nearest(ascending: NDArray[np.floating], values: NDArray[np.floating]) -> NDArray[np.intp]:
    """For each value the row of the nearest in an ascending table."""
    return np.searchsorted((ascending[1:] + ascending[:-1]) / 2, values)


def _median(elevation_rad: NDArray[np.float32], range_m: NDArray[np.float32]) -> float:
    far = elevation_rad[range_m > _FAR_M]
    return float(np.median(far if len(far) >= _MIN_POINTS_PER_BEAM else elevation_rad))
