"""Random labels and detections for the Argoverse 2 metrics, made to hit their edges: ties, borders, empty sweeps."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from understudy.metrics.argoverse2 import Argoverse2Objects

Generator = np.random.Generator
NUM_CATEGORIES = 26


@dataclass(frozen=True)
class Recipe:
    """What a case is made of; all are drawn, so that combinations come up that nobody thinks of."""

    num_sweeps: int
    num_truths: int
    num_detections: int
    categories: tuple[int, ...]
    spread_m: float
    on_grid: bool
    score_levels: int
    near_truths: float
    """Share of detections that start from a label."""
    noise_m: float


def random_recipe(rng: Generator) -> Recipe:
    return Recipe(
        num_sweeps=int(rng.integers(1, 25)),
        num_truths=int(rng.choice([0, 1, 5, 30, 60])),
        num_detections=int(rng.choice([1, 8, 40, 90])),
        categories=tuple(int(number) for number in rng.choice(NUM_CATEGORIES, int(rng.integers(1, 5)), replace=False)),
        spread_m=float(rng.choice([2.0, 10.0, 130.0])),
        on_grid=bool(rng.random() < 0.5),
        score_levels=int(rng.choice([1, 3, 10, 10**9])),
        near_truths=float(rng.choice([0.0, 0.5, 1.0])),
        noise_m=float(rng.choice([0.0, 0.3, 1.0, 3.0])),
    )


def random_case(rng: Generator, recipe: Recipe) -> tuple[Argoverse2Objects, Argoverse2Objects]:
    truths, detections = _objects(rng, recipe, recipe.num_truths), _objects(rng, recipe, recipe.num_detections)
    return truths, _drawn_to(rng, recipe, detections, truths) if len(truths) else detections


def _objects(rng: Generator, recipe: Recipe, count: int) -> Argoverse2Objects:
    return Argoverse2Objects(
        sweeps=rng.integers(0, recipe.num_sweeps, count),
        categories=rng.choice(np.array(recipe.categories), count),
        centers_m=_placed(rng.uniform(-1, 1, (count, 3)) * recipe.spread_m, recipe),
        sizes_m=rng.uniform(0.3, 5, (count, 3)),
        rotations_wxyz=_rotations(rng, count),
        scores=np.round(rng.random(count) * recipe.score_levels) / recipe.score_levels,
        num_points=rng.choice([0, 1, 5, 100], count, p=[0.2, 0.2, 0.3, 0.3]),
    )


def _rotations(rng: Generator, count: int) -> NDArray[np.float64]:
    """Turns about z, some tilted, some not of length one.

    None is half a turn to the last bit: of two such headings the devkit makes 2 pi apart, and of that an error of pi.
    """
    yaw_rad = rng.choice([0.0, np.pi / 2, 3.14, -3.14, 3.0, -3.0, 1.3], count) + rng.normal(0, 0.1, count).round(1)
    wxyz = np.stack([np.cos(yaw_rad / 2), np.zeros(count), np.zeros(count), np.sin(yaw_rad / 2)], axis=1)
    tilted = rng.random(count) < 0.2
    wxyz[tilted] += rng.normal(0, 0.1, (int(tilted.sum()), 4))
    return wxyz * np.where(rng.random(count) < 0.2, -2.0, 1.0)[:, None]


def _drawn_to(
    rng: Generator, recipe: Recipe, detections: Argoverse2Objects, truths: Argoverse2Objects
) -> Argoverse2Objects:
    """Detections of which some stand where labels stand, give or take."""
    chosen = rng.integers(0, len(truths), len(detections))
    moved = rng.random(len(detections)) < recipe.near_truths
    columns = {column.name: getattr(detections, column.name).copy() for column in fields(detections)}
    for name in ("sweeps", "categories", "centers_m", "sizes_m", "rotations_wxyz"):
        columns[name][moved] = getattr(truths, name)[chosen][moved]
    noise_m = _placed(rng.normal(0, recipe.noise_m, (len(detections), 3)), recipe)
    columns["centers_m"] = columns["centers_m"] + noise_m * moved[:, None]
    return Argoverse2Objects(**columns)


def _placed(positions_m: NDArray[np.float64], recipe: Recipe) -> NDArray[np.float64]:
    """On a grid of half meters, distances tie and meet thresholds exactly; both sides then round alike."""
    return np.round(positions_m * 2) / 2 if recipe.on_grid else positions_m


def columns_of(truths: Argoverse2Objects, detections: Argoverse2Objects) -> dict[str, NDArray]:
    """A case as the oracle's script reads it."""
    sides = {"truths": truths, "detections": detections}
    return {f"{side}/{c.name}": getattr(objects, c.name) for side, objects in sides.items() for c in fields(objects)}
