"""Fewer returns: another sensor's beams and firing rate, or returns lost by chance."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from understudy.configuration import Config
from understudy_training.augmentation.rings import (
    Beams,
    beams_by_elevation,
    beams_by_ring,
    elevations_of,
    nearest,
)
from understudy_training.augmentation.scene import Scene
from understudy_training.augmentation.step import Range, Step, new_seed, ordered, uniform
from understudy_training.scenes.beams import ELEVATIONS_DEG

_TOLERANCE_RAD = float(np.radians(0.25))
"""How far from a target beam a beam may be, where beams are nearer than half of this to each other."""


class DrawnBeamDrop(Config):
    """Only the beams nearest to the target's stay, and of them one return per step of azimuth."""

    kind: Literal["beam_drop"] = "beam_drop"
    elevations_deg: tuple[float, ...]
    source_beams: int
    azimuth_step_deg: float | None
    phase: float
    """Where the first step of azimuth begins, as part of a step."""

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`."""
        if len(scene.points) == 0:
            return scene
        elevation_rad, azimuth_rad = elevations_of(scene.points, scene.ego_from_lidar)
        range_m = np.linalg.norm(scene.from_lidar(), axis=1)
        if scene.ring is not None and (scene.ring >= 0).any():
            beams = beams_by_ring(scene.ring, elevation_rad, range_m)
        else:
            beams = beams_by_elevation(elevation_rad, range_m, self.source_beams)
        chosen = target_beams(beams.elevation_rad, np.radians(self.elevations_deg))
        keep = np.isin(np.arange(len(beams.elevation_rad)), chosen)[beams.number] & (beams.number >= 0)
        if self.azimuth_step_deg is not None:
            keep = self._first_of_each_step(keep, beams, azimuth_rad, np.radians(self.azimuth_step_deg))
        return scene.kept(keep)

    def _first_of_each_step(
        self, keep: NDArray[np.bool_], beams: Beams, azimuth_rad: NDArray[np.float32], step_rad: float
    ) -> NDArray[np.bool_]:
        rows = np.flatnonzero(keep)[::-1]
        steps = np.floor((azimuth_rad[rows] + np.pi) / step_rad + self.phase).astype(np.int64)
        place = beams.number[rows] * (int(2 * np.pi / step_rad) + 3) + steps
        first = np.full(int(place.max(initial=0)) + 1, -1, np.int64)
        first[place] = rows  # from last to first, so that the first of a step is the one that stays
        chosen = np.zeros_like(keep)
        chosen[first[first >= 0]] = True
        return chosen


class BeamDrop(Step):
    """Thins a cloud out to the beams of another LiDAR, for students that will run on one with fewer."""

    kind: Literal["beam_drop"] = "beam_drop"
    beams: Literal[16, 32, 64] | None = None
    """The target by its number of beams: 16 (VLP-16), 32 (VLP-32C) or 64 (HDL-64E)."""
    elevations_deg: tuple[float, ...] | None = None
    """The target's own table, degrees above its x-y plane."""
    source_beams: int = Field(64, gt=1, le=256)
    """Beams of the LiDAR that recorded; used only where neither the sensor nor the firing order tells them."""
    azimuth_step_deg: float | None = Field(None, gt=0, le=10)
    """Also keep only one return per beam and step of azimuth: 0.2 is a VLP-16 at 10 Hz."""

    @model_validator(mode="after")
    def _one_target(self) -> BeamDrop:
        if (self.beams is None) == (self.elevations_deg is None):
            raise ValueError("either beams or elevations_deg")
        if self.elevations_deg is not None and not self.elevations_deg:
            raise ValueError("elevations_deg: at least one")
        return self

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnBeamDrop:
        """The target, and where its steps of azimuth begin."""
        table = self.elevations_deg or ELEVATIONS_DEG[self.beams or 64]
        return DrawnBeamDrop(
            elevations_deg=tuple(sorted(float(value) for value in table)),
            source_beams=self.source_beams,
            azimuth_step_deg=self.azimuth_step_deg,
            phase=float(generator.random()),
        )


class DrawnPointDropout(Config):
    """A share of the returns is lost."""

    kind: Literal["point_dropout"] = "point_dropout"
    share: float
    seed: int

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`."""
        chances = np.random.default_rng(self.seed).random(len(scene.points), np.float32)
        return scene.kept(chances >= np.float32(self.share))


class PointDropout(Step):
    """Loses returns by chance, each alike."""

    kind: Literal["point_dropout"] = "point_dropout"
    share_range: Range = (0.0, 0.1)
    """Share of the returns that is lost, from and to."""

    @model_validator(mode="after")
    def _shares(self) -> PointDropout:
        low, high = ordered(self.share_range, "share_range")
        if not 0 <= low <= high < 1:
            raise ValueError("share_range: within 0 and 1")
        return self

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnPointDropout:
        """A share."""
        return DrawnPointDropout(share=uniform(generator, self.share_range), seed=new_seed(generator))


def target_beams(source_rad: NDArray[np.floating], target_rad: NDArray[np.floating]) -> NDArray[np.intp]:
    """Rows of the `(B,)` ascending source beams that stand for the target's: the nearest of each, where one is near.

    Near is half the distance to the neighboring source beam, or a quarter of a degree where they are closer.
    """
    if len(source_rad) == 0:
        return np.zeros(0, np.intp)
    rows = nearest(source_rad, target_rad)
    gaps = np.diff(source_rad, prepend=source_rad[0] - 0.01, append=source_rad[-1] + 0.01)
    gap_rad = np.maximum(gaps[rows], gaps[rows + 1])
    near = np.abs(source_rad[rows] - target_rad) <= np.maximum(gap_rad / 2, _TOLERANCE_RAD)
    return np.unique(rows[near])
