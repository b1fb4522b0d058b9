"""Streets as center lines of straight and circular pieces, with lanes, parking strips, curbs and sidewalks beside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDEWALK_HEIGHT_M = 0.12
NO_ZEBRA_M = -1e6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CrossSection:
    """What lies beside a center line; the same on both sides. Traffic keeps to the right.

    Attributes:
        lanes: traffic lanes per direction.
        lane_m: width of a traffic lane.
        bike_m: width of the bicycle lane beside them.
        parking_m: width of the parking strip beside that; 0 where there is none.
        sidewalk_m: width of the sidewalk behind the curb.
    """

    lanes: int
    lane_m: float
    bike_m: float
    parking_m: float
    sidewalk_m: float

    @property
    def half_width_m(self) -> float:
        """From the center line to the curb."""
        return self.lanes * self.lane_m + self.bike_m + self.parking_m

    def lane_offset_m(self, lane: int) -> float:
        """Distance of a lane's middle from the center line, counted outwards."""
        return (lane + 0.5) * self.lane_m

    @property
    def bike_offset_m(self) -> float:
        """Distance of the bicycle lane's middle from the center line."""
        return self.lanes * self.lane_m + self.bike_m / 2

    @property
    def parking_offset_m(self) -> float:
        """Distance of the parking strip's middle from the center line."""
        return self.half_width_m - self.parking_m / 2


@dataclass(frozen=True, eq=False)
class Road:
    """A center line of `K` pieces of constant curvature, in the world, and what lies beside it.

    Attributes:
        start: `(K, 3)` x, y, heading where each piece begins.
        length_m: `(K,)` lengths.
        curvature: `(K,)` 1/m, positive to the left.
        section: the cross-section.
        zebra_m: arc length of a pedestrian crossing's middle, or `NO_ZEBRA_M`.
    """

    start: Array
    length_m: Array
    curvature: Array
    section: CrossSection
    zebra_m: float = NO_ZEBRA_M

    @property
    def total_m(self) -> float:
        """Length of the whole center line."""
        return float(self.length_m.sum())

    def locate(self, along_m: Array, left_m: Array | float) -> Array:
        """`(N, 3)` x, y and heading of the road at `(N,)` arc lengths and offsets to the left."""
        begins = np.concatenate([[0.0], np.cumsum(self.length_m)[:-1]])
        piece = np.clip(np.searchsorted(begins, along_m, side="right") - 1, 0, len(begins) - 1)
        step, bend, (x, y, heading) = along_m - begins[piece], self.curvature[piece], self.start[piece].T
        chord, middle = step * np.sinc(bend * step / (2 * np.pi)), heading + bend * step / 2
        heading = heading + bend * step
        x = x + chord * np.cos(middle) - np.sin(heading) * left_m
        y = y + chord * np.sin(middle) + np.cos(heading) * left_m
        return np.stack([x, y, heading], axis=-1)

    def bend_at(self, along_m: Array) -> Array:
        """`(N,)` curvature at arc lengths."""
        begins = np.concatenate([[0.0], np.cumsum(self.length_m)[:-1]])
        return self.curvature[np.clip(np.searchsorted(begins, along_m, side="right") - 1, 0, len(begins) - 1)]

    def pieces(self) -> Array:
        """`(K, 10)` rows: x, y, heading, length, curvature, half width, sidewalk, lanes, lane width, zebra."""
        begins = np.concatenate([[0.0], np.cumsum(self.length_m)[:-1]])
        section, count = self.section, len(begins)
        sides = [section.half_width_m, section.sidewalk_m, section.lanes, section.lane_m]
        zebra = (self.zebra_m - begins)[:, None]
        return np.hstack(
            [self.start, self.length_m[:, None], self.curvature[:, None], np.tile(sides, (count, 1)), zebra]
        )


def build_road(
    start: Array, parts: list[tuple[float, float]], section: CrossSection, zebra_m: float = NO_ZEBRA_M
) -> Road:
    """A road from its first pose (x, y, heading) and (length, curvature) of its parts."""
    starts, pose = [], np.asarray(start, float)
    for length, bend in parts:
        starts.append(pose)
        chord, middle = length * np.sinc(bend * length / (2 * np.pi)), pose[2] + bend * length / 2
        pose = pose + np.array([chord * np.cos(middle), chord * np.sin(middle), bend * length])
    lengths, bends = np.array(parts, float).T
    return Road(np.array(starts), lengths, bends, section, zebra_m)


def draw_section(rng: np.random.Generator) -> CrossSection:
    """A plausible street."""
    return CrossSection(
        lanes=int(rng.choice([1, 1, 1, 2])),
        lane_m=float(rng.uniform(3.1, 3.6)),
        bike_m=float(rng.uniform(1.3, 1.8)),
        parking_m=float(rng.choice([0.0, 2.2, 2.3, 2.4])),
        sidewalk_m=float(rng.uniform(2.4, 4.0)),
    )


def draw_main_road(rng: np.random.Generator, before_m: float, travel_m: float, after_m: float) -> Road:
    """The road that the ego drives `travel_m` of, beginning `before_m` from its start, with a bend about there."""
    total_m = before_m + travel_m + after_m
    parts, used_m = [], 0.0
    for _ in range(int(rng.integers(0, 3))):
        radius_m = float(rng.choice([rng.uniform(22, 35), rng.uniform(50, 200)]))
        turn_rad = min(float(rng.uniform(0.3, 1.5)), 45 / radius_m)
        straight_m = float(rng.uniform(5, travel_m + 30)) + (before_m - 15 if not parts else 0.0)
        parts += [(straight_m, 0.0), (turn_rad * radius_m, float(rng.choice([-1, 1])) / radius_m)]
        used_m += straight_m + turn_rad * radius_m
    parts.append((max(total_m - used_m, 10.0), 0.0))
    zebra_m = before_m + float(rng.uniform(6, travel_m + 25)) if rng.random() < 0.7 else NO_ZEBRA_M
    heading = float(rng.uniform(-np.pi, np.pi))
    return build_road(np.array([0.0, 0.0, heading]), parts, draw_section(rng), zebra_m)


def draw_side_road(rng: np.random.Generator, main: Road, along_m: float, reach_m: float) -> Road:
    """A straight road through the main road at `along_m`, roughly across it."""
    x, y, heading = main.locate(np.array([along_m]), 0.0)[0]
    heading = heading + np.pi / 2 + rng.uniform(-0.2, 0.2)
    start = np.array([x - reach_m * np.cos(heading), y - reach_m * np.sin(heading), heading])
    section = draw_section(rng)
    narrow = CrossSection(1, section.lane_m, section.bike_m, section.parking_m, section.sidewalk_m)
    return build_road(start, [(2 * reach_m, 0.0)], narrow)
