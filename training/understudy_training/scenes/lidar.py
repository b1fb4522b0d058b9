"""What a LiDAR makes of its hits: noise on the range, lost returns, intensity, firing times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.pose import Pose
from understudy_training.scenes import beams
from understudy_training.scenes.config import FRAME_PERIOD_S, OTHER, ROAD, SIDEWALK, VEGETATION, LidarConfig
from understudy_training.scenes.geometry import Solids
from understudy_training.scenes.ray_casting import NOTHING, Hits, cast
from understudy_training.scenes.windows import corners, lidar_windows

GROUND_CLASS = np.array([OTHER, ROAD, ROAD, SIDEWALK, VEGETATION, SIDEWALK], np.uint8)
"""Point class of each ground code: row `-1 - code` (nothing, road, marking, sidewalk, terrain, curb)."""
_GROUND_REFLECTIVITY = np.array([0.0, 0.12, 0.55, 0.25, 0.22, 0.28], np.float32)
_GROUND_FUZZ_M = np.array([0.0, 0.01, 0.01, 0.02, 0.06, 0.02], np.float32)

_MIN_RANGE_M = 1.0
_HALF_SIGNAL = 0.006
"""Received signal at which half of the returns are lost."""
_RANDOM_LOSS = 0.01
_INTENSITY_NOISE = 3.0


@dataclass(frozen=True, eq=False)
class Sweep:
    """One turn of the LiDAR, in firing order.

    Attributes:
        points: `(N, 4)` float32 x, y, z in the LiDAR's frame and intensity in 0..255.
        time_offset_s: `(N,)` float32 from the sweep's begin, in [0, 0.1).
        ring: `(N,)` uint8, 0 looks down the most.
        point_class: `(N,)` uint8.
    """

    points: NDArray[np.float32]
    time_offset_s: NDArray[np.float32]
    ring: NDArray[np.uint8]
    point_class: NDArray[np.uint8]


class LidarModel:
    """A LiDAR on its mount; `sweep` looks at posed primitives."""

    def __init__(self, config: LidarConfig, ego_from_lidar: Pose) -> None:
        self.config = config
        self.ego_from_lidar = ego_from_lidar
        self.lidar_from_ego = ego_from_lidar.inverse()
        self.elevations_rad = beams.elevations_rad(config.beams)
        rays = beams.directions(config.beams, config.azimuth_steps)
        self.rays_lidar = rays.astype(np.float32)
        self.rays_ego = (rays @ ego_from_lidar.rotation.T).astype(np.float32)

    def sweep(
        self, solids: Solids, placed: NDArray[np.float64], pieces: NDArray[np.float64], rng: np.random.Generator
    ) -> Sweep:
        """One sweep, frozen at the frame's stamp: as if its points were already corrected for motion."""
        config = self.config
        windows = lidar_windows(
            corners(placed, self.lidar_from_ego), self.elevations_rad, config.azimuth_steps, config.range_m
        )
        origin = self.ego_from_lidar.translation_m
        hits = cast(origin, self.rays_ego, windows, solids.kinds, placed, pieces, config.range_m)
        return self._measure(solids, hits, rng)

    def _measure(self, solids: Solids, hits: Hits, rng: np.random.Generator) -> Sweep:
        kept = np.flatnonzero((hits.surface != NOTHING) & (hits.distance_m > _MIN_RANGE_M))
        distance, surface = hits.distance_m.ravel()[kept], hits.surface.ravel()[kept]
        facing = np.abs((hits.normal.reshape(-1, 3)[kept] * self.rays_ego.reshape(-1, 3)[kept]).sum(axis=1))
        reflectivity = _look_up(surface, solids.reflectivity, _GROUND_REFLECTIVITY)
        seen = rng.random(len(kept), np.float32) < detection_probability(distance, facing, reflectivity)
        kept, distance, surface = kept[seen], distance[seen], surface[seen]
        measured = distance + np.float32(self.config.range_noise_m) * rng.standard_normal(len(kept), np.float32)
        depth = _look_up(surface, solids.fuzz_m, _GROUND_FUZZ_M)
        measured += depth * np.abs(rng.standard_normal(len(kept), np.float32))
        echo = intensity(distance, facing[seen], reflectivity[seen])
        echo = np.clip(np.rint(echo + _INTENSITY_NOISE * rng.standard_normal(len(kept), np.float32)), 0, 255)
        points = np.empty((len(kept), 4), np.float32)
        points[:, :3] = self.rays_lidar.reshape(-1, 3)[kept] * measured[:, None]
        points[:, 3] = echo
        step, ring = np.divmod(kept, len(self.elevations_rad))
        return Sweep(
            points=points,
            time_offset_s=(step * (FRAME_PERIOD_S / self.config.azimuth_steps)).astype(np.float32),
            ring=ring.astype(np.uint8),
            point_class=_look_up(surface, solids.point_class, GROUND_CLASS),
        )


def detection_probability(
    distance_m: NDArray[np.float32], facing: NDArray[np.float32], reflectivity: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Chance that a pulse comes back, from the received signal: reflectivity, incidence (cosine) and 1/range^2."""
    signal = reflectivity * np.maximum(facing, 0.03) * (40.0 / np.maximum(distance_m, 4.0)) ** 2
    kept: NDArray[np.float32] = (1 - _RANDOM_LOSS) * signal / (signal + _HALF_SIGNAL)
    return kept


def intensity(
    distance_m: NDArray[np.float32], facing: NDArray[np.float32], reflectivity: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Mean intensity on the 0..255 scale: reflectivity, dimmed by incidence and, little, by range."""
    echo: NDArray[np.float32] = 255 * reflectivity * (0.25 + 0.75 * facing) * np.exp(-distance_m / 120)
    return echo


def _look_up(surface: NDArray[np.int32], of_solids: NDArray, of_ground: NDArray) -> NDArray:  # type: ignore[type-arg]
    """The value of each surface: a primitive's row or a ground code."""
    table = np.concatenate([of_solids, of_ground[::-1]])
    return table[surface]
