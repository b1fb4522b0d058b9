"""Elevation tables of real spinning LiDARs.

Sources: VLP-16 User Manual 63-9243, table 9-1 (-15 to +15 deg in steps of 2); VLP-32C User Manual 63-9325, table 9-1
(non-uniform, -25 to +15 deg, densest about the horizon); HDL-64E S3 User's Manual 63-HDL64ES3, specifications
(two blocks of 32 lasers: the upper from +2 to -8.33 deg by 1/3 deg, the lower from -8.83 to -24.33 deg by 1/2 deg).
Azimuth offsets between the lasers of one firing are taken as compensated, as drivers do in organized clouds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_VLP_32C_DEG = (
    *(-25.0, -15.639, -11.31, -8.843, -7.254, -6.148, -5.333, -4.667, -4.0, -3.667, -3.333, -3.0, -2.667, -2.333, -2.0),
    *(-1.667, -1.333, -1.0, -0.667, -0.333, 0.0, 0.333, 0.667, 1.0, 1.333, 1.667, 2.333, 3.333, 4.667, 7.0, 10.333),
    15.0,
)

ELEVATIONS_DEG: dict[int, tuple[float, ...]] = {
    16: tuple(range(-15, 16, 2)),
    32: _VLP_32C_DEG,
    64: (*np.linspace(-24.333, -8.833, 32).tolist(), *np.linspace(-8.333, 2.0, 32).tolist()),
}
"""Elevation of each ring in degrees, ascending, by number of beams."""


def elevations_rad(num_beams: int) -> NDArray[np.float64]:
    """`(num_beams,)` elevations above the sensor's x-y plane, ascending: ring 0 looks down the most."""
    return np.radians(ELEVATIONS_DEG[num_beams])


def azimuths_rad(num_steps: int) -> NDArray[np.float64]:
    """`(num_steps,)` azimuths in firing order: clockwise seen from above, beginning straight behind."""
    return np.pi - 2 * np.pi * np.arange(num_steps) / num_steps


def directions(num_beams: int, num_steps: int) -> NDArray[np.float64]:
    """`(num_steps, num_beams, 3)` unit rays in the LiDAR's frame, in firing order."""
    elevation, azimuth = elevations_rad(num_beams)[None, :], azimuths_rad(num_steps)[:, None]
    flat = np.cos(elevation)
    z = np.broadcast_to(np.sin(elevation), (num_steps, num_beams))
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), z], axis=-1)
