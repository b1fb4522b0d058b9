from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.oracles import Oracle
from tests.sdk.nuscenes_cases import columns_of, random_case, random_recipe
from understudy.converters.class_maps import NUSCENES_DETECTION_NAMES
from understudy.errors import InputError
from understudy.metrics.center_matching import match, near_pairs
from understudy.metrics.nuscenes import ERROR_NAMES, NuscenesScores, evaluate
from understudy.metrics.nuscenes_objects import NuscenesObjects, NuscenesTruths

Case = tuple[NuscenesTruths, NuscenesObjects]
CAR, BARRIER, CONE = (NUSCENES_DETECTION_NAMES.index(name) for name in ("car", "barrier", "traffic_cone"))


def objects(rows: Iterable[tuple[int, int, float, float]], **columns: NDArray) -> NuscenesObjects:
    """From (sample, label, x, score); everything else alike unless given."""
    table = np.array(list(rows), np.float64).reshape(-1, 4)
    count = len(table)
    base = NuscenesObjects(
        samples=table[:, 0].astype(np.int64),
        labels=table[:, 1].astype(np.int64),
        centers_m=np.column_stack([table[:, 2], np.zeros((count, 2))]),
        sizes_m=np.tile([1.8, 4.2, 1.5], (count, 1)),
        rotations_wxyz=np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        velocities_mps=np.zeros((count, 2)),
        attributes=np.full(count, 6),
        scores=table[:, 3],
        num_points=np.full(count, 5),
    )
    return replace(base, **columns)


def labeled(truths: NuscenesObjects, num_samples: int = 2) -> NuscenesTruths:
    nothing = np.zeros((0, 3))
    tokens = tuple(str(sample) for sample in range(num_samples))
    no_racks = (np.zeros(0, np.int64), nothing, nothing, np.zeros((0, 4)))
    return NuscenesTruths(tokens, np.zeros((num_samples, 3)), truths, *no_racks)


def edge_cases() -> dict[str, Case]:
    cars = [(0, CAR, 2.0 * place, 0.0) for place in range(8)]
    found = objects([(0, CAR, 2.0 * place, 1.0 - place / 10) for place in range(8)])
    unknown = np.full((8, 2), np.nan)
    half_unknown = np.where(np.arange(8)[:, None] < 4, np.nan, 1.0) * np.ones((1, 2))
    none = objects([])
    return {
        "nothing at all": (labeled(none), none),
        "no predictions": (labeled(objects(cars)), none),
        "predictions only": (labeled(none), found),
        "perfect": (labeled(objects(cars)), found),
        "all scores equal": (labeled(objects(cars)), replace(found, scores=np.full(8, 0.5))),
        "all scores zero": (labeled(objects(cars)), replace(found, scores=np.zeros(8))),
        "some scores zero": (labeled(objects(cars)), replace(found, scores=np.repeat([0.5, 0.0], 4))),
        "each predicted twice": (
            labeled(objects(cars)),
            NuscenesObjects.concatenate([found, replace(found, velocities_mps=np.ones((8, 2)))]),
        ),
        "equal distances": (labeled(objects(cars)), replace(found, centers_m=found.centers_m + np.array([1, 0, 0]))),
        "on the thresholds": (
            labeled(objects([(0, CAR, 10.0 * place - 40.0, 0.0) for place in range(8)])),
            objects([(0, CAR, 10.0 * place - 40.0 + [0.5, 1, 2, 4][place % 4], 0.5) for place in range(8)]),
        ),
        "recall below a tenth": (
            labeled(objects([(0, CAR, 2.0 * place, 0.0) for place in range(20)])),
            objects([(0, CAR, 0.0, 0.9)]),
        ),
        "recall of exactly a tenth": (
            labeled(objects([(0, CAR, 4.0 * place - 38, 0.0) for place in range(20)])),
            objects([(0, CAR, -38.0, 0.9), (0, CAR, -34.0, 0.8)]),
        ),
        "all labels out of range": (labeled(objects([(0, CAR, 60.0, 0.0)])), objects([(0, CAR, 60.0, 0.9)])),
        "on the edge of the range": (labeled(objects([(0, CAR, 50.0, 0.0)])), objects([(0, CAR, 49.75, 0.9)])),
        "all labels without points": (labeled(objects(cars, num_points=np.zeros(8, np.int64))), found),
        "label velocities unknown": (labeled(objects(cars, velocities_mps=unknown)), found),
        "first velocities unknown": (labeled(objects(cars, velocities_mps=half_unknown)), found),
        "predicted velocities unknown": (labeled(objects(cars)), replace(found, velocities_mps=unknown)),
        "no attributes labeled": (labeled(objects(cars, attributes=np.full(8, -1))), found),
        "no attributes predicted": (labeled(objects(cars)), replace(found, attributes=np.full(8, -1))),
        "another sample": (labeled(objects(cars)), replace(found, samples=np.ones(8, np.int64))),
        "another class": (labeled(objects(cars)), replace(found, labels=np.full(8, BARRIER))),
        "barriers turned half": (
            labeled(objects(cars, labels=np.full(8, BARRIER))),
            replace(found, labels=np.full(8, BARRIER), rotations_wxyz=np.tile([0.0, 0.0, 0.0, 1.0], (8, 1))),
        ),
        "cars turned half": (
            labeled(objects(cars)),
            replace(found, rotations_wxyz=np.tile([0.0, 0.0, 0.0, -1.0], (8, 1))),
        ),
        "cones": (labeled(objects(cars, labels=np.full(8, CONE))), replace(found, labels=np.full(8, CONE))),
    }


def assert_equal_to_devkit(oracle: Oracle, cases: dict[str, Case]) -> list[NuscenesScores]:
    asked = {f"{name}/{key}": value for name, case in cases.items() for key, value in columns_of(*case).items()}
    said = oracle.ask("nuscenes_detection", asked)
    ours = {name: evaluate(*case) for name, case in cases.items()}
    for name, scores in ours.items():
        for key in ("average_precisions", "errors", "mean_ap", "mean_errors", "nds"):
            np.testing.assert_allclose(
                getattr(scores, key), said[f"{name}/{key}"], rtol=0, atol=1e-6, err_msg=f"{name}: {key}"
            )
    return list(ours.values())


def random_cases(seed: int, count: int) -> dict[str, Case]:
    rng = np.random.default_rng(seed)
    return {f"{seed} {number}": random_case(rng, random_recipe(rng)) for number in range(count)}


def test_edge_cases_equal_the_devkit(oracle: Oracle) -> None:
    assert_equal_to_devkit(oracle, edge_cases())


def test_random_cases_equal_the_devkit(oracle: Oracle) -> None:
    scores = assert_equal_to_devkit(oracle, random_cases(seed=3, count=250))
    assert sum(entry.mean_ap > 0 for entry in scores) > 80


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_random_cases_equal_the_devkit(oracle: Oracle, seed: int) -> None:
    assert_equal_to_devkit(oracle, random_cases(seed=100 + seed, count=1000))


def test_perfect_detections_reach_one_and_leave_no_error() -> None:
    scores = evaluate(*edge_cases()["perfect"])
    np.testing.assert_allclose(scores.average_precisions[CAR], 1.0)
    np.testing.assert_allclose(scores.errors[CAR], 0.0)
    assert scores.mean_ap == pytest.approx(0.1)


def test_cones_and_barriers_lack_the_errors_that_mean_nothing_for_them() -> None:
    scores = evaluate(*edge_cases()["nothing at all"])
    assert [ERROR_NAMES[error] for error in np.flatnonzero(np.isnan(scores.errors[CONE]))] == ["AOE", "AVE", "AAE"]
    assert [ERROR_NAMES[error] for error in np.flatnonzero(np.isnan(scores.errors[BARRIER]))] == ["AVE", "AAE"]
    assert np.isnan(scores.errors).sum() == 5


def test_a_bicycle_in_a_rack_does_not_count() -> None:
    bicycle = NUSCENES_DETECTION_NAMES.index("bicycle")
    both = objects([(0, bicycle, 0.0, 0.5), (0, bicycle, 10.0, 0.5), (0, CAR, 0.0, 0.5)])
    rack = {
        "rack_samples": np.array([0]),
        "rack_centers_m": np.zeros((1, 3)),
        "rack_sizes_m": np.full((1, 3), 2.0),
        "rack_rotations_wxyz": np.array([[1.0, 0.0, 0.0, 0.0]]),
    }
    scores = evaluate(replace(labeled(both), **rack), both)
    assert scores.num_truths[bicycle] == 1
    assert scores.num_detections[bicycle] == 1
    assert scores.num_truths[CAR] == 1


def one_by_one(
    groups: NDArray, centers: NDArray, truth_groups: NDArray, truth_centers: NDArray, threshold_m: float
) -> list[int]:
    """The rule as one would say it."""
    taken: list[int] = []
    for group, center in zip(groups, centers, strict=True):
        free = [row for row in np.flatnonzero(truth_groups == group) if row not in taken]
        distances = {row: float(np.hypot(*(truth_centers[row] - center))) for row in free}
        nearest = min(free, key=lambda row: (distances[row], row), default=-1)
        taken.append(nearest if nearest >= 0 and distances[nearest] < threshold_m else -1)
    return taken


def test_matching_in_rounds_equals_matching_one_by_one() -> None:
    rng = np.random.default_rng(5)
    for _ in range(150):
        num, num_truths = rng.integers(0, 30, 2)
        groups, truth_groups = rng.integers(0, 3, num), rng.integers(0, 3, num_truths)
        spread = rng.choice([1.0, 4.0, 20.0])
        centers = np.round(rng.normal(0, spread, (num, 2)) * 4) / 4
        truth_centers = np.round(rng.normal(0, spread, (num_truths, 2)) * 4) / 4
        pairs = near_pairs(groups, centers, truth_groups, truth_centers, 4.0)
        for threshold_m in (0.5, 2.0, 4.0):
            expected = one_by_one(groups, centers, truth_groups, truth_centers, threshold_m)
            assert match(pairs, threshold_m).tolist() == expected


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("sizes_m", np.array([[0.0, 1.0, 1.0]]), "sizes_m of row 0"),
        ("scores", np.array([np.nan]), "scores of row 0"),
        ("scores", np.array([-0.1]), "scores of row 0"),
        ("rotations_wxyz", np.zeros((1, 4)), "rotations_wxyz of row 0"),
        ("centers_m", np.array([[np.inf, 0.0, 0.0]]), "centers_m of row 0"),
        ("labels", np.array([10]), "labels of row 0"),
        ("attributes", np.array([8]), "attributes of row 0"),
        ("velocities_mps", np.zeros((1, 3)), "velocities_mps"),
    ],
)
def test_unusable_objects_are_refused(column: str, value: NDArray, named: str) -> None:
    with pytest.raises(InputError, match=named):
        objects([(0, CAR, 0.0, 0.5)], **{column: value})
