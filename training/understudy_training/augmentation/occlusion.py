"""Who hides whom from the LiDAR: nearest ranges in bins of azimuth and elevation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AZIMUTH_BIN_RAD = float(np.radians(0.4))
"""Two to four firings of a spinning LiDAR at 10 Hz."""
ELEVATION_BIN_RAD = float(np.radians(0.8))
"""Two beams of an HDL-64E's lower block: wide enough that a bin of a sampled surface is not empty by chance."""
MARGIN_M = 0.3
_NUM_AZIMUTHS = int(np.ceil(2 * np.pi / AZIMUTH_BIN_RAD))
_NUM_ELEVATIONS = int(np.ceil(np.pi / ELEVATION_BIN_RAD))


@dataclass(frozen=True, eq=False)
class Rays:
    """Points as the LiDAR sees them.

    Attributes:
        bins: `(N,)` int32 number of the azimuth-elevation bin.
        range_m: `(N,)` float32 distance from the LiDAR.
    """

    bins: NDArray[np.int32]
    range_m: NDArray[np.float32]

    def __getitem__(self, index: NDArray[np.bool_]) -> Rays:
        """The rays chosen by a mask."""
        return Rays(self.bins[index], self.range_m[index])


def rays_of(offsets_m: NDArray[np.float32]) -> Rays:
    """The rays of `(N, 3)` offsets from the LiDAR, along axes whose z is up."""
    x, y, z = (np.ascontiguousarray(offsets_m[:, axis], np.float32) for axis in range(3))
    flat_m = np.sqrt(x * x + y * y)
    azimuth = ((np.arctan2(y, x) + np.float32(np.pi)) / np.float32(AZIMUTH_BIN_RAD)).astype(np.int32)
    elevation = ((np.arctan2(z, flat_m) + np.float32(np.pi / 2)) / np.float32(ELEVATION_BIN_RAD)).astype(np.int32)
    bins = np.clip(azimuth, 0, _NUM_AZIMUTHS - 1) * _NUM_ELEVATIONS + np.clip(elevation, 0, _NUM_ELEVATIONS - 1)
    return Rays(bins, np.sqrt(flat_m * flat_m + z * z))


class Horizon:
    """The nearest thing in each bin."""

    def __init__(self) -> None:
        self.nearest_m = np.full(_NUM_AZIMUTHS * _NUM_ELEVATIONS, np.inf, np.float32)

    def add(self, rays: Rays) -> None:
        """Puts points there."""
        # assigned from far to near, so that the nearest of a bin is the one that stays
        order = np.argsort(-rays.range_m, kind="stable")
        bins, range_m = rays.bins[order], rays.range_m[order]
        self.nearest_m[bins] = np.minimum(self.nearest_m[bins], range_m)

    def hides(self, rays: Rays, margin_m: float = MARGIN_M) -> NDArray[np.bool_]:
        """`(N,)`: whether something in the same bin is nearer by more than a margin."""
        hidden: NDArray[np.bool_] = rays.range_m > self.nearest_m[rays.bins] + np.float32(margin_m)
        return hidden


def in_sectors(
    offsets_m: NDArray[np.float32], centers_m: NDArray[np.float64], radii_m: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Rows of the `(N, 3)` offsets from the LiDAR in whose direction, seen from above, one of the circles lies.

    Args:
        offsets_m: points.
        centers_m: `(K, 2)` from the LiDAR to the circles' centers.
        radii_m: `(K,)`.
    """
    x, y = np.ascontiguousarray(offsets_m[:, 0]), np.ascontiguousarray(offsets_m[:, 1])
    inside = np.zeros(len(x), bool)
    for center, radius_m in zip(centers_m, radii_m, strict=True):
        distance_m = float(np.hypot(*center))
        if distance_m <= radius_m:
            return np.arange(len(x))
        along, across = (center / distance_m).astype(np.float32)
        slope = np.float32(np.tan(min(np.arcsin(radius_m / distance_m) + 2 * AZIMUTH_BIN_RAD, 1.5)))
        forward_m = x * along + y * across
        inside |= np.abs(y * along - x * across) < slope * forward_m
    return np.flatnonzero(inside)
