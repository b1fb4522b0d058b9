"""Real and generated frames side by side: what of the scenes is unlike what real LiDARs see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from reality_data import only_labeled

from understudy.configuration import Config
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.selection import spread_evenly

Array = NDArray[np.float64]
Numbers = tuple[float | None, ...]
"""None where there is nothing to count."""
RANGES_M = ((0.0, 10.0), (10.0, 20.0), (20.0, 30.0), (30.0, 50.0))
LAYERS_M = (0.15, 0.5, 2.0)
"""Heights above the lowest return of a square meter: ground, low things, things of a car's height, the rest."""
_SEEN = 5


class Figures(Config):
    """Of one data set; `by range` is 0-10, 10-20, 20-30 and 30-50 m from ego.

    Attributes:
        points: returns a frame.
        points_by_range: returns a frame.
        layers_percent: share of the returns within 50 m at each of the four heights above the local ground.
        ground_spread_m: standard deviation of the local ground's height, by range: slope, banks and what hides it.
        cars: with 5 returns or more, a frame, by range.
        car_points: median of the returns of a labeled car, by range.
        car_bottom_spread_m: standard deviation of the height that cars stand at.
        car_size_m: mean length, width and height.
        car_size_spread_m: their standard deviations.
        intensity_percentiles: 10, 50, 90 percent of the returns of cars, in percent of the scale.
    """

    name: str
    frames: int
    points: float
    points_by_range: Numbers
    layers_percent: Numbers
    ground_spread_m: Numbers
    cars: Numbers
    car_points: Numbers
    car_bottom_spread_m: float
    car_size_m: Numbers
    car_size_spread_m: Numbers
    intensity_percentiles: Numbers


def figures(name: str, dataset: Dataset, most: int = 40) -> Figures:
    """Counts over at most so many frames, spread over the data set."""
    samples = [only_labeled(dataset, dataset[index]) for index in spread_evenly(len(dataset), min(most, len(dataset)))]
    clouds = [_in_ego(sample) for sample in samples]
    cars = np.concatenate([_cars(sample, points) for sample, points in zip(samples, clouds, strict=True)])
    layers, spreads = zip(*(_layers(points) for points in clouds), strict=True)
    shining = np.concatenate([_car_intensity(sample, points) for sample, points in zip(samples, clouds, strict=True)])
    seen = cars[cars[:, 1] >= _SEEN]
    bins = [(seen[:, 0] >= low) & (seen[:, 0] < high) for low, high in RANGES_M]
    return Figures(
        name=name,
        frames=len(samples),
        points=float(np.mean([len(points) for points in clouds])),
        points_by_range=_rounded(np.mean([_by_range(points) for points in clouds], axis=0), 0),
        layers_percent=_rounded(100 * np.mean(layers, axis=0), 1),
        ground_spread_m=_rounded(np.nanmedian(spreads, axis=0), 2),
        cars=_rounded(np.array([own.sum() / len(samples) for own in bins]), 1),
        car_points=_rounded(np.array([np.median(seen[own, 1]) if own.any() else np.nan for own in bins]), 0),
        car_bottom_spread_m=round(float(seen[:, 5].std()), 2),
        car_size_m=_rounded(seen[:, 2:5].mean(axis=0), 2),
        car_size_spread_m=_rounded(seen[:, 2:5].std(axis=0), 2),
        intensity_percentiles=_rounded(100 * np.percentile(shining, [10, 50, 90]), 1),
    )


def _in_ego(sample: Sample) -> Array:
    name, lidar = sample.rig.lidar()
    points: Array = lidar.ego_from_sensor.pose().apply(sample.frame.clouds[name].points[:, :3]).astype(np.float64)
    return points


def _by_range(points: Array) -> list[int]:
    distance = np.hypot(points[:, 0], points[:, 1])
    return [int(((distance >= low) & (distance < high)).sum()) for low, high in RANGES_M]


def _cars(sample: Sample, points: Array) -> Array:
    """`(N, 6)` distance, returns, length, width, height and bottom of the labeled cars."""
    assert sample.boxes is not None
    boxes = sample.boxes[sample.boxes.labels == sample.boxes.class_names.index("car")]
    inside = boxes.contains(points).sum(axis=1) if len(boxes) else np.zeros(0)
    geometry = boxes.geometry.astype(np.float64)
    bottom = geometry[:, 2] - geometry[:, 5] / 2
    return np.column_stack([np.hypot(geometry[:, 0], geometry[:, 1]), inside, geometry[:, 3:6], bottom])


def _car_intensity(sample: Sample, points: Array) -> Array:
    assert sample.boxes is not None
    name, lidar = sample.rig.lidar()
    boxes = sample.boxes[sample.boxes.labels == sample.boxes.class_names.index("car")]
    inside = boxes.contains(points).any(axis=0) if len(boxes) else np.zeros(len(points), bool)
    shining: Array = sample.frame.clouds[name].points[inside, 3].astype(np.float64) / lidar.intensity_scale
    return shining


def _layers(points: Array) -> tuple[Array, Array]:
    """`(4,)` shares by height above the lowest return of each square meter; `(R,)` spread of those lowest, by range."""
    distance = np.hypot(points[:, 0], points[:, 1])
    near = (distance < RANGES_M[-1][1]) & (np.abs(points[:, 2]) < 6) & (distance > 3)
    points, distance = points[near], distance[near]
    _, cell = np.unique(np.floor(points[:, :2]).astype(np.int64), axis=0, return_inverse=True)
    lowest = np.full(int(cell.max(initial=0)) + 1, np.inf)
    np.minimum.at(lowest, cell.ravel(), points[:, 2])
    above = points[:, 2] - lowest[cell.ravel()]
    shares = np.bincount(np.searchsorted(LAYERS_M, above), minlength=len(LAYERS_M) + 1) / max(len(points), 1)
    ground = above < LAYERS_M[0]
    spread = [_spread(points[ground & (distance >= low) & (distance < high), 2]) for low, high in RANGES_M]
    return shares, np.array(spread)


def _spread(heights: Array) -> float:
    """Standard deviation of the lower half of what may be ground: roofs and crowns left out."""
    if len(heights) < 20:
        return float("nan")
    return float(np.sort(heights)[: 1 + 3 * len(heights) // 4].std())


def _rounded(values: Array, digits: int) -> Numbers:
    return tuple(None if np.isnan(value) else round(float(value), digits) for value in values)


def markdown(rows: Sequence[Figures]) -> str:
    """The figures as a table, a column for each data set."""
    table: list[tuple[str, list[str]]] = [
        ("frames", [str(row.frames) for row in rows]),
        ("returns a frame", [f"{row.points:,.0f}" for row in rows]),
        ("0-10, 10-20, 20-30, 30-50 m", [_listed(row.points_by_range) for row in rows]),
        ("% at < 0.15, < 0.5, < 2, > 2 m above local ground", [_listed(row.layers_percent) for row in rows]),
        ("spread of ground height by range, m", [_listed(row.ground_spread_m) for row in rows]),
        ("spread of the height cars stand at, m", [f"{row.car_bottom_spread_m}" for row in rows]),
        ("cars with 5 returns a frame, by range", [_listed(row.cars) for row in rows]),
        ("median returns of a car, by range", [_listed(row.car_points) for row in rows]),
        ("car length, width, height, m", [_listed(row.car_size_m) for row in rows]),
        ("their spread, m", [_listed(row.car_size_spread_m) for row in rows]),
        ("intensity of cars, 10, 50, 90 %", [_listed(row.intensity_percentiles) for row in rows]),
    ]
    head = f"| | {' | '.join(row.name for row in rows)} |"
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in table]
    return "\n".join([head, "|---" * (len(rows) + 1) + "|", *lines])


def _listed(values: Numbers) -> str:
    return " / ".join("-" if value is None else f"{value:g}" for value in values)
