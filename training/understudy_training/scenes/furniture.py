"""What stands still along a street: houses, poles, bins, hedges, trees; much of it easily taken for an actor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from understudy_training.scenes import shapes
from understudy_training.scenes.actors import Occupancy, stand
from understudy_training.scenes.config import BUILDING, OTHER, POLE, VEGETATION
from understudy_training.scenes.ray_casting import ON_TERRAIN, ground_code
from understudy_training.scenes.roads import Road
from understudy_training.scenes.traffic import clear_of

Array = NDArray[np.float64]
Choice = tuple[int, Callable[[np.random.Generator], shapes.Shape], float]
"""Point class, builder and weight."""

_AT_CURB: tuple[Choice, ...] = (
    (POLE, shapes.lamp, 0.22),
    (POLE, shapes.sign, 0.16),
    (POLE, shapes.bollard, 0.18),
    (VEGETATION, shapes.trunk, 0.20),
    (OTHER, shapes.litter_bin, 0.10),
    (OTHER, shapes.parked_bicycle, 0.10),
    (OTHER, shapes.advertising_column, 0.04),
)
_AT_FRONT: tuple[Choice, ...] = (
    (VEGETATION, shapes.bush, 0.26),
    (VEGETATION, shapes.tall_grass, 0.06),
    (VEGETATION, shapes.hedge, 0.15),
    (VEGETATION, shapes.trunk, 0.10),
    (OTHER, shapes.fence, 0.12),
    (OTHER, shapes.litter_bin, 0.09),
    (OTHER, shapes.cabinet, 0.09),
    (OTHER, shapes.bench, 0.05),
    (OTHER, shapes.container, 0.06),
    (OTHER, shapes.shelter, 0.02),
    (OTHER, shapes.advertising_column, 0.02),
)
_IN_PARKING: tuple[Choice, ...] = ((OTHER, shapes.container, 1.0),)
_IN_THE_OPEN: tuple[Choice, ...] = (
    (VEGETATION, shapes.bush, 0.40),
    (VEGETATION, shapes.trunk, 0.25),
    (VEGETATION, shapes.tall_grass, 0.15),
    (VEGETATION, shapes.hedge, 0.06),
    (OTHER, shapes.bank, 0.08),
    (OTHER, shapes.fence, 0.06),
)
_OPEN_ROWS_M = (2.5, 5.5, 9.0, 14.0)
"""Rows of the open country, from the line before the houses outwards."""


@dataclass(frozen=True, eq=False)
class Fixture:
    """Something that stands still and has no box: its point class, shape and pose (x, y, yaw) in the world."""

    point_class: int
    shape: shapes.Shape
    pose: Array


@dataclass
class Furnishing:
    """Fixtures of one drive while they are being placed.

    Attributes:
        rng: the drive's generator.
        pieces: `(K, 10)` rows of all roads, in the world.
        occupancy: what is taken already.
        num_frames: frames of the drive.
        fixtures: those placed.
    """

    rng: np.random.Generator
    pieces: Array
    occupancy: Occupancy
    num_frames: int
    fixtures: list[Fixture] = field(default_factory=list)

    def place(self, point_class: int, shape: shapes.Shape, pose: Array) -> bool:
        """Adds a fixture unless its place is taken; says whether it did."""
        fits = self.occupancy.admit(stand(pose, self.num_frames), shape, (0.1, 0.1))
        if fits:
            self.fixtures.append(Fixture(point_class, shape, pose))
        return fits

    def furnish(self, road: Road, reach: tuple[float, float], others: Array) -> None:
        """Both sides of a road between two arc lengths; `others` are the pieces of the other roads."""
        section = road.section
        front_m = section.half_width_m + section.sidewalk_m + 1.2
        for side in (-1, 1):
            built = self.rng.random() < 0.55
            if built:
                self.build_houses(road, reach, side)
            self.line(road, reach, side * (section.half_width_m + 0.45), _AT_CURB, (1.5, 9.0), self.pieces, 0.0)
            self.line(road, reach, side * front_m, _AT_FRONT, (1.5, 8.0), self.pieces, 0.0)
            for row_m in _OPEN_ROWS_M if not built else _OPEN_ROWS_M[:1]:
                self.line(road, reach, side * (front_m + row_m), _IN_THE_OPEN, (0.5, 9.0), self.pieces, 1.5)
            if section.parking_m:
                self.line(road, reach, side * section.parking_offset_m, _IN_PARKING, (15.0, 60.0), others, 3.0)

    def line(
        self,
        road: Road,
        reach: tuple[float, float],
        left_m: float,
        choices: tuple[Choice, ...],
        gaps_m: tuple[float, float],
        keep_off: Array,
        margin_m: float,
    ) -> None:
        """Fixtures drawn from `choices` along a road at one offset, off the road pieces `keep_off` by a margin."""
        weights = np.array([weight for _, _, weight in choices])
        at = reach[0]
        while (at := at + float(self.rng.uniform(*gaps_m))) < reach[1]:
            point_class, build, _ = choices[self.rng.choice(len(choices), p=weights / weights.sum())]
            shape = build(self.rng)
            pose = road.locate(np.array([at]), left_m + float(self.rng.normal(0, 0.1)))[0]
            if not clear_of(keep_off, pose, margin_m) or abs(at - road.zebra_m) < 4:
                continue
            if self.place(point_class, shape, pose) and build is shapes.trunk:
                lowest_m = 0.5 if choices is _IN_THE_OPEN and self.rng.random() < 0.5 else 2.1
                self.fixtures.append(Fixture(VEGETATION, shapes.crown(self.rng, lowest_m), pose))

    def build_houses(self, road: Road, reach: tuple[float, float], side: int) -> None:
        """A row of houses with gaps, wherever no street is."""
        rng, section = self.rng, road.section
        setback_m = float(rng.choice([rng.uniform(2.4, 4.0), rng.uniform(6.5, 14.0)]))
        at = reach[0]
        while at < reach[1]:
            length, depth, height = (float(rng.uniform(*limits)) for limits in ((7, 26), (7, 13), (4, 18)))
            left = side * (section.half_width_m + section.sidewalk_m + setback_m + depth / 2)
            pose = road.locate(np.array([at + length / 2]), left)[0]
            at += length + float(rng.choice([0.0, rng.uniform(1, 18)]))
            if _off_street(self.pieces, pose, length, depth):
                red, green, blue = (float(value) for value in rng.uniform([0.4, 0.35, 0.28], [0.8, 0.72, 0.65]))
                self.place(BUILDING, shapes.building(rng, (length, depth, height), (red, green, blue)), pose)


def _off_street(pieces: Array, pose: Array, length_m: float, depth_m: float) -> bool:
    along, across = np.meshgrid(np.linspace(-0.5, 0.5, 9) * length_m, np.linspace(-0.5, 0.5, 5) * depth_m)
    x = pose[0] + np.cos(pose[2]) * along - np.sin(pose[2]) * across
    y = pose[1] + np.sin(pose[2]) * along + np.cos(pose[2]) * across
    return all(ground_code(pieces, u, v) == ON_TERRAIN for u, v in zip(x.ravel(), y.ravel(), strict=True))
