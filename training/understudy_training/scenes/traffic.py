"""Fills a street with actors: traffic in lanes, parked rows, people on sidewalks and crossings, cyclists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from understudy_training.scenes import shapes
from understudy_training.scenes.actors import Actor, Occupancy, Track, cross, follow, stand
from understudy_training.scenes.config import CAR, CYCLIST, PEDESTRIAN, TRUCK
from understudy_training.scenes.ray_casting import ON_MARKING, ON_ROAD, ground_code
from understudy_training.scenes.roads import NO_ZEBRA_M, Road

Array = NDArray[np.float64]

_BUILDERS: dict[int, Callable[[np.random.Generator], shapes.Shape]] = {
    CAR: shapes.car,
    TRUCK: shapes.truck,
    PEDESTRIAN: shapes.pedestrian,
    CYCLIST: shapes.cyclist,
}


@dataclass
class Traffic:
    """Actors of one drive while they are being placed.

    Attributes:
        rng: the drive's generator.
        times_s: `(F,)` times of the frames.
        occupancy: what is taken; the ego first.
        actors: those placed.
    """

    rng: np.random.Generator
    times_s: Array
    occupancy: Occupancy
    actors: list[Actor] = field(default_factory=list)

    def place(self, label: int, track: Track, along_m: float, across_m: float) -> bool:
        """Adds an actor of a class on a track unless it would come closer than that to another; says whether it did."""
        shape = _BUILDERS[label](self.rng)
        admitted = self.occupancy.admit(track, shape, (along_m, across_m))
        if admitted:
            self.actors.append(Actor(label, shape, track))
        return admitted

    def along(self, first_m: float, last_m: float, low_m: float, high_m: float) -> list[float]:
        """Places between two arc lengths with gaps drawn from a range."""
        places, at = [], first_m + float(self.rng.uniform(0, high_m))
        while at < last_m:
            places.append(at)
            at += float(self.rng.uniform(low_m, high_m))
        return places


def fill_lanes(traffic: Traffic, road: Road, span: tuple[float, float], ego_speed_mps: float | None) -> None:
    """Vehicles in every traffic lane, each lane at its own pace; the ego's lane keeps the ego's."""
    rng, busy = traffic.rng, float(traffic.rng.uniform(0.5, 1.5))
    for side in (-1, 1):
        for lane in range(road.section.lanes):
            speed = float(rng.uniform(3, 14)) if rng.random() < 0.8 else 0.0
            if side < 0 and lane == 0 and ego_speed_mps is not None:
                speed = ego_speed_mps
            for at in traffic.along(*span, 8 / busy + 4, 50 / busy):
                label = int(rng.choice([CAR, TRUCK, CYCLIST], p=[0.68, 0.26, 0.06]))
                left = side * road.section.lane_offset_m(lane) + float(rng.normal(0, 0.15))
                track = follow(road, at, left, -side * speed, traffic.times_s)
                traffic.place(label, track, 1.0 + 0.2 * speed, 0.3)


def fill_bike_lanes(traffic: Traffic, road: Road, span: tuple[float, float]) -> None:
    """Cyclists beside the traffic."""
    for side in (-1, 1):
        speed, sparse_m = float(traffic.rng.uniform(3, 6.5)), float(traffic.rng.uniform(40, 200))
        for at in traffic.along(*span, 4, sparse_m):
            left = side * (road.section.bike_offset_m + float(traffic.rng.normal(0, 0.1)))
            traffic.place(CYCLIST, follow(road, at, left, -side * speed, traffic.times_s), 1.0, 0.2)


def fill_parking(traffic: Traffic, road: Road, span: tuple[float, float], others: Array) -> None:
    """Cars, vans and trucks parked at the curb, clear of the `others` roads' pieces."""
    if road.section.parking_m == 0.0:
        return
    rng = traffic.rng
    for side in (-1, 1):
        taken = float(rng.uniform(0.15, 0.9))
        for at in np.arange(*span, 6.1):
            if rng.random() > taken or abs(at - road.zebra_m) < 6:
                continue
            pose = road.locate(np.array([at + rng.normal(0, 0.25)]), side * road.section.parking_offset_m)[0]
            if not clear_of(others, pose, 4.0):
                continue
            facing = 0.0 if (side < 0) == (rng.random() < 0.93) else np.pi
            pose[2] += facing + float(rng.normal(0, 0.02))
            label = TRUCK if rng.random() < 0.2 else CAR
            traffic.place(label, stand(pose, len(traffic.times_s)), 0.35, 0.2)


def fill_parked_row(traffic: Traffic, road: Road, span: tuple[float, float], side: int, others: Array) -> None:
    """Cars side by side, noses to the sidewalk or away from it."""
    left = side * (road.section.half_width_m + road.section.sidewalk_m + 2.9)
    slant = float(traffic.rng.choice([0.0, traffic.rng.uniform(-0.6, 0.6)]))
    for at in np.arange(*span, 2.7 / np.cos(slant) + abs(np.sin(slant))):
        pose = road.locate(np.array([at]), left)[0]
        if traffic.rng.random() < 0.25 or not clear_of(others, pose, 3.0):
            continue
        pose[2] += float(traffic.rng.choice([-1, 1])) * np.pi / 2 + slant + float(traffic.rng.normal(0, 0.03))
        traffic.place(CAR, stand(pose, len(traffic.times_s)), 0.2, 0.2)


def fill_sidewalks(traffic: Traffic, road: Road, span: tuple[float, float]) -> None:
    """People walking both ways on both sides, and some who stand, alone or in twos and threes."""
    for side in (-1, 1):
        for place, direction in ((0.42, 1), (0.75, -1)):
            _walk(traffic, road, span, side * _sidewalk_m(road, place), direction)
        for at in traffic.along(*span, 20, 180):
            for _ in range(int(traffic.rng.integers(1, 4))):
                _stand_about(traffic, road, at, side * _sidewalk_m(road, 0.6))


def _sidewalk_m(road: Road, place: float) -> float:
    """From the center line to a place across the sidewalk: 0 at the curb, 1 at the houses."""
    return road.section.half_width_m + place * road.section.sidewalk_m


def _walk(traffic: Traffic, road: Road, span: tuple[float, float], left_m: float, direction: int) -> None:
    speed, sparse_m = direction * float(traffic.rng.uniform(0.9, 1.7)), float(traffic.rng.uniform(50, 260))
    for at in traffic.along(*span, 1.2, sparse_m):
        track = follow(road, at, left_m + float(traffic.rng.normal(0, 0.12)), speed, traffic.times_s)
        traffic.place(PEDESTRIAN, track, 0.15, 0.1)


def _stand_about(traffic: Traffic, road: Road, along_m: float, left_m: float) -> None:
    pose = road.locate(np.array([along_m + traffic.rng.normal(0, 0.6)]), left_m + float(traffic.rng.normal(0, 0.4)))[0]
    pose[2] = float(traffic.rng.uniform(-np.pi, np.pi))
    traffic.place(PEDESTRIAN, stand(pose, len(traffic.times_s)), 0.1, 0.1)


def fill_crossing(traffic: Traffic, road: Road, nearby_m: tuple[float, float]) -> None:
    """People who cross: on the zebra where there is one, and a few elsewhere."""
    rng, half = traffic.rng, road.section.half_width_m
    zebra = [road.zebra_m + float(x) for x in rng.uniform(-1.2, 1.2, 4)] if road.zebra_m != NO_ZEBRA_M else []
    for at in [*zebra, *rng.uniform(*nearby_m, 2)]:
        speed = float(rng.choice([-1, 1])) * float(rng.uniform(0.8, 1.6))
        begin = -np.sign(speed) * float(rng.uniform(-half, half + 1.5))
        traffic.place(PEDESTRIAN, cross(road, float(at), begin, speed, traffic.times_s), 0.5, 0.3)


def clear_of(pieces: Array, pose: Array, reach_m: float) -> bool:
    """Whether no road of `pieces` lies at a pose or within `reach_m` before and behind it."""
    for step in (-reach_m, 0.0, reach_m):
        x, y = pose[0] + step * np.cos(pose[2]), pose[1] + step * np.sin(pose[2])
        if len(pieces) and ground_code(pieces, x, y) in (ON_ROAD, ON_MARKING):
            return False
    return True
