"""Builds one drive's world: roads, ego, actors and what stands along the street."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy_training.scenes import shapes
from understudy_training.scenes.actors import Actor, Occupancy, Track, follow
from understudy_training.scenes.config import FRAME_PERIOD_S
from understudy_training.scenes.furniture import Fixture, Furnishing
from understudy_training.scenes.ray_casting import BOX
from understudy_training.scenes.relief import draw_relief, height_at, relief_columns
from understudy_training.scenes.roads import Road, draw_main_road, draw_side_road
from understudy_training.scenes.traffic import (
    Traffic,
    fill_bike_lanes,
    fill_crossing,
    fill_lanes,
    fill_parked_row,
    fill_parking,
    fill_sidewalks,
)

Array = NDArray[np.float64]
_VISIBLE_M = 75.0
_END_M = 5.0
_EGO_SHAPE: shapes.Shape = (shapes.Part(BOX, (0.0, 0.0, 0.8), (4.8, 2.0, 1.6), (0.5, 0.5, 0.5), 0.5),)


@dataclass(frozen=True, eq=False)
class Street:
    """The world of one drive; the main road first. `relief` is as `draw_relief` makes it, `roof_rack` on the ego."""

    roads: tuple[Road, ...]
    ego: Track
    actors: tuple[Actor, ...]
    fixtures: tuple[Fixture, ...]
    relief: Array
    roof_rack: shapes.Shape

    @property
    def pieces(self) -> Array:
        """`(K, 10 + R)` rows of all roads and the relief, in the world."""
        return relief_columns(np.concatenate([road.pieces() for road in self.roads]), self.relief)

    @property
    def ego_poses(self) -> Array:
        """`(F, 4)` x, y, yaw and the road's height where the ego is at each frame, in the world."""
        pieces, poses = self.pieces, self.ego.pose
        return np.column_stack([poses, [height_at(pieces, x, y) for x, y in poses[:, :2]]])


def draw_street(rng: np.random.Generator, num_frames: int) -> Street:
    """A street of its own for one drive of `num_frames` frames."""
    times_s = np.arange(num_frames) * FRAME_PERIOD_S
    speed_mps = float(rng.uniform(4, 13))
    travel_m = speed_mps * float(times_s[-1])
    before_m = _VISIBLE_M + 10
    main = draw_main_road(rng, before_m, travel_m, before_m)
    roads = [main]
    if rng.random() < 0.65:
        roads.append(draw_side_road(rng, main, before_m + float(rng.uniform(8, travel_m + 30)), _VISIBLE_M))
    span = (before_m - _VISIBLE_M, before_m + travel_m + _VISIBLE_M)
    ego = follow(main, before_m, -main.section.lane_offset_m(0), speed_mps, times_s)
    traffic = Traffic(rng, times_s, Occupancy(num_frames))
    traffic.occupancy.admit(ego, _EGO_SHAPE, (0.0, 0.0))
    _fill(traffic, roads, span, speed_mps)
    pieces = np.concatenate([road.pieces() for road in roads])
    furnishing = Furnishing(rng, pieces, traffic.occupancy, num_frames)
    for road in roads:
        furnishing.furnish(road, _reach(road, roads, span), _others(road, roads))
    relief, rack = draw_relief(rng), shapes.roof_rack(rng)
    return Street(tuple(roads), ego, tuple(traffic.actors), tuple(furnishing.fixtures), relief, rack)


def _reach(road: Road, roads: list[Road], span: tuple[float, float]) -> tuple[float, float]:
    return span if road is roads[0] else (_END_M, road.total_m - _END_M)


def _others(road: Road, roads: list[Road]) -> Array:
    return np.concatenate([np.zeros((0, 10)), *(other.pieces() for other in roads if other is not road)])


def _fill(traffic: Traffic, roads: list[Road], span: tuple[float, float], ego_speed_mps: float) -> None:
    for road in roads:
        main, reach = road is roads[0], _reach(road, roads, span)
        others = _others(road, roads)
        fill_crossing(traffic, road, (reach[0] + 35, reach[1] - 35))
        fill_lanes(traffic, road, reach, ego_speed_mps if main else None)
        fill_bike_lanes(traffic, road, reach)
        fill_parking(traffic, road, reach, others)
        fill_sidewalks(traffic, road, reach)
        for side in (-1, 1):
            if traffic.rng.random() < 0.3:
                first = float(traffic.rng.uniform(reach[0] + 30, reach[1] - 60))
                fill_parked_row(traffic, road, (first, first + 30), side, others)
