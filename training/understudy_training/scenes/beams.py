"""Elevation tables of real spinning LiDARs.

Sources: VLP-16 User Manual 63-9243, table 9-1 (-15 to +15 deg in steps of 2); VLP-32C User Manual 63-9325, table 9-1
(non-uniform, -25 to +15 deg, densest about the horizon); HDL-64E S3 User's Manual 63-HDL64ES3, specifications
(two blocks of 32 lasers: the upper from +2 to -8.33 deg by 1/3 deg, the lower from -8.83 to -24.33 deg by 1/2 deg);
HDL-32E User's Manual 63-9113 (-30.67 to +10.67 deg in steps of 4/3; nuScenes' cloud shows the same within 0.13 deg);
Pandar64 User Manual, appendix channel distribution (1/6 deg from -6 to +2 deg, 1 deg and more outside).
"vlp-32c-pair" is Argoverse 2's roof: a VLP-32C upright and one upside down 0.11 m below it, here as one origin with the
beams of both, the lower one's turned down by 0.17 deg: what its place below is worth at 40 m.
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

_PANDAR64_DEG = (
    *(-24.897, -18.889, -13.93, -12.974, -12.006, -11.032, -9.885, -9.06, -8.059, -7.063),
    *(-6.061, -5.898, -5.726, -5.565, -5.391, -5.229, -5.057, -4.892, -4.72, -4.558, -4.385, -4.221, -4.05, -3.884),
    *(-3.712, -3.548, -3.375, -3.21, -3.04, -2.873, -2.7, -2.536, -2.365, -2.198, -2.028, -1.86, -1.688, -1.522),
    *(-1.351, -1.184, -1.013, -0.845, -0.675, -0.508, -0.337, -0.169, 0.0, 0.169, 0.337, 0.508, 0.675, 0.846, 1.013),
    *(1.184, 1.351, 1.522, 1.688, 1.86, 2.028, 3.04, 5.057, 8.059, 11.032, 14.882),
)

ELEVATIONS_DEG: dict[int | str, tuple[float, ...]] = {
    16: tuple(range(-15, 16, 2)),
    32: _VLP_32C_DEG,
    64: (*np.linspace(-24.333, -8.833, 32).tolist(), *np.linspace(-8.333, 2.0, 32).tolist()),
    "hdl-32e": tuple(np.linspace(-30.667, 10.667, 32).tolist()),
    "pandar64": _PANDAR64_DEG,
    "vlp-32c-pair": tuple(sorted([*_VLP_32C_DEG, *(-value - 0.17 for value in _VLP_32C_DEG)])),
}
"""Elevation of each ring in degrees, ascending, by number of beams or name."""


def elevations_rad(lidar: int | str) -> NDArray[np.float64]:
    """`(beams,)` elevations above the sensor's x-y plane, ascending: ring 0 looks down the most."""
    return np.radians(ELEVATIONS_DEG[lidar])


def azimuths_rad(num_steps: int) -> NDArray[np.float64]:
    """`(num_steps,)` azimuths in firing order: clockwise seen from above, beginning straight behind."""
    return np.pi - 2 * np.pi * np.arange(num_steps) / num_steps


def directions(lidar: int | str, num_steps: int) -> NDArray[np.float64]:
    """`(num_steps, beams, 3)` unit rays in the LiDAR's frame, in firing order."""
    elevation, azimuth = elevations_rad(lidar)[None, :], azimuths_rad(num_steps)[:, None]
    flat = np.cos(elevation)
    z = np.broadcast_to(np.sin(elevation), (num_steps, elevation.shape[1]))
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), z], axis=-1)
