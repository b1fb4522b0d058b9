"""Random labels and detections for the nuScenes metrics, made to hit their edges: ties, gaps, NaN, borders."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from understudy.metrics.nuscenes_objects import ATTRIBUTE_NAMES, NuscenesObjects, NuscenesTruths

Generator = np.random.Generator


@dataclass(frozen=True)
class Recipe:
    """What a case is made of; all are drawn, so that combinations come up that nobody thinks of."""

    num_samples: int
    num_truths: int
    num_detections: int
    labels: tuple[int, ...]
    spread_m: float
    on_grid: bool
    score_levels: int
    near_truths: float
    """Share of detections that start from a label."""
    noise_m: float
    unknown: float
    """Share of velocities and attributes that are not told."""


def random_recipe(rng: Generator) -> Recipe:
    num_labels = int(rng.integers(1, 5))
    return Recipe(
        num_samples=int(rng.integers(1, 6)),
        num_truths=int(rng.choice([0, 1, 5, 20, 40])),
        num_detections=int(rng.choice([0, 1, 8, 40, 90])),
        labels=tuple(int(label) for label in rng.choice(10, num_labels, replace=False)),
        spread_m=float(rng.choice([2.0, 10.0, 60.0])),
        on_grid=bool(rng.random() < 0.5),
        score_levels=int(rng.choice([1, 3, 10, 10**9])),
        near_truths=float(rng.choice([0.0, 0.5, 1.0])),
        noise_m=float(rng.choice([0.0, 0.3, 1.0, 3.0])),
        unknown=float(rng.choice([0.0, 0.3, 1.0])),
    )


def random_case(rng: Generator, recipe: Recipe) -> tuple[NuscenesTruths, NuscenesObjects]:
    ego_positions_m = _placed(rng.normal(0, 50, (recipe.num_samples, 3)), recipe)
    truths = _objects(rng, recipe, recipe.num_truths, ego_positions_m)
    detections = _objects(rng, recipe, recipe.num_detections, ego_positions_m)
    if len(truths):
        detections = _drawn_to(rng, recipe, detections, truths)
    num_racks = int(rng.integers(0, 3))
    rack_samples = rng.integers(0, recipe.num_samples, num_racks)
    on_truth = rng.integers(0, max(len(truths), 1), num_racks)
    centers = truths.centers_m[on_truth] if len(truths) else ego_positions_m[rack_samples]
    return (
        NuscenesTruths(
            tokens=tuple(str(number) for number in range(recipe.num_samples)),
            ego_positions_m=ego_positions_m,
            objects=truths,
            rack_samples=rack_samples,
            rack_centers_m=centers + rng.normal(0, 1, (num_racks, 3)),
            rack_sizes_m=rng.uniform(0.5, 6, (num_racks, 3)),
            rack_rotations_wxyz=rng.normal(0, 1, (num_racks, 4)),
        ),
        detections,
    )


def _objects(rng: Generator, recipe: Recipe, count: int, ego_positions_m: NDArray[np.float64]) -> NuscenesObjects:
    samples = np.sort(rng.integers(0, recipe.num_samples, count))
    scores = np.round(rng.random(count) * recipe.score_levels) / recipe.score_levels
    velocities = rng.normal(0, 3, (count, 2))
    velocities[rng.random(count) < recipe.unknown] = np.nan
    attributes = rng.integers(0, len(ATTRIBUTE_NAMES), count)
    attributes[rng.random(count) < recipe.unknown] = -1
    return NuscenesObjects(
        samples=samples,
        labels=rng.choice(np.array(recipe.labels), count),
        centers_m=ego_positions_m[samples] + _placed(rng.uniform(-1, 1, (count, 3)) * recipe.spread_m, recipe),
        sizes_m=rng.uniform(0.3, 5, (count, 3)),
        rotations_wxyz=_rotations(rng, count),
        velocities_mps=velocities,
        attributes=attributes,
        scores=scores,
        num_points=rng.choice([-1, 0, 1, 5, 100], count, p=[0.1, 0.1, 0.2, 0.3, 0.3]),
    )


def _rotations(rng: Generator, count: int) -> NDArray[np.float64]:
    """Turns about z, some of them exactly half or whole, some tilted, some not of length one."""
    yaw_rad = rng.choice([0.0, np.pi / 2, np.pi, -np.pi, 3.0, -3.0, 1.3], count) + rng.normal(0, 0.1, count).round(1)
    wxyz = np.stack([np.cos(yaw_rad / 2), np.zeros(count), np.zeros(count), np.sin(yaw_rad / 2)], axis=1)
    tilted = rng.random(count) < 0.2
    wxyz[tilted] += rng.normal(0, 0.1, (int(tilted.sum()), 4))
    return wxyz * np.where(rng.random(count) < 0.2, -2.0, 1.0)[:, None]


def _drawn_to(rng: Generator, recipe: Recipe, detections: NuscenesObjects, truths: NuscenesObjects) -> NuscenesObjects:
    """Detections of which some stand where labels stand, give or take."""
    chosen = np.sort(rng.integers(0, len(truths), len(detections)))
    moved = rng.random(len(detections)) < recipe.near_truths
    columns = {column.name: getattr(detections, column.name).copy() for column in fields(detections)}
    for name in ("samples", "labels", "centers_m", "sizes_m", "rotations_wxyz", "velocities_mps", "attributes"):
        columns[name][moved] = getattr(truths, name)[chosen][moved]
    noise_m = _placed(rng.normal(0, recipe.noise_m, (len(detections), 3)), recipe)
    columns["centers_m"] = columns["centers_m"] + noise_m * moved[:, None]
    order = np.argsort(columns["samples"], kind="stable")
    return NuscenesObjects(**{name: column[order] for name, column in columns.items()})


def _placed(positions_m: NDArray[np.float64], recipe: Recipe) -> NDArray[np.float64]:
    """On a grid of half meters, distances tie and meet thresholds exactly; both sides then round alike."""
    return np.round(positions_m * 2) / 2 if recipe.on_grid else positions_m


def columns_of(truths: NuscenesTruths, detections: NuscenesObjects) -> dict[str, NDArray]:
    """A case as the oracle's script reads it."""
    racks = ("samples", "centers_m", "sizes_m", "rotations_wxyz")
    sides = {"truths": truths.objects, "detections": detections}
    named = {
        f"{side}/{column.name}": getattr(objects, column.name)
        for side, objects in sides.items()
        for column in fields(objects)
    }
    return {
        "ego_positions_m": truths.ego_positions_m,
        **{f"racks/{name}": getattr(truths, f"rack_{name}") for name in racks},
        **named,
    }
