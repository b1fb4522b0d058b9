from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.oracles import Oracle
from tests.sdk.argoverse2_cases import NUM_CATEGORIES, columns_of, random_case, random_recipe
from understudy.converters.class_maps import ARGOVERSE2_CATEGORIES
from understudy.errors import InputError
from understudy.metrics.argoverse2 import Argoverse2Objects, evaluate

Case = tuple[Argoverse2Objects, Argoverse2Objects]
CAR = 15


def objects(xs_m: list[float] | NDArray, **columns: NDArray) -> Argoverse2Objects:
    """Cars in sweep 0, alike but for their x, unless given."""
    count = len(xs_m)
    base = Argoverse2Objects(
        sweeps=np.zeros(count, np.int64),
        categories=np.full(count, CAR),
        centers_m=np.column_stack([xs_m, np.zeros((count, 2))]),
        sizes_m=np.tile([4.2, 1.8, 1.5], (count, 1)),
        rotations_wxyz=np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        scores=np.linspace(1.0, 0.5, count),
        num_points=np.full(count, 5),
    )
    return replace(base, **columns)


def edge_cases() -> dict[str, Case]:
    places = np.arange(8) * 3.0
    truths, found = objects(places), objects(places)
    half_turn = np.tile([0.0, 0.0, 0.0, -1.0], (8, 1))
    many = np.linspace(0, 140, 130)
    rng = np.random.default_rng(0)
    return {
        "no predictions": (truths, objects([])),
        "predictions only": (objects([]), found),
        "perfect": (truths, found),
        "all scores equal": (truths, replace(found, scores=np.full(8, 0.5))),
        "negative scores": (truths, replace(found, scores=found.scores - 2)),
        "each predicted twice": (truths, objects(np.repeat(places, 2), scores=np.tile([0.9, 0.8], 8))),
        "equal distances": (objects([0.0, 2.0]), objects([1.0, 1.0])),
        "the nearest is taken, the next is near": (objects([0.0, 1.0]), objects([0.1, 0.2])),
        "on the thresholds": (truths, objects(places + np.tile([0.5, 1.0], 4))),
        "beyond the errors' threshold": (objects([0.0]), objects([2.0])),
        "at the end of the range": (objects([149.5, 150.0]), objects([149.5, 150.0])),
        "labels without points": (replace(truths, num_points=np.zeros(8, np.int64)), found),
        "some labels without points": (replace(truths, num_points=np.arange(8) % 2), found),
        "another sweep": (truths, replace(found, sweeps=np.ones(8, np.int64))),
        "another category": (truths, replace(found, categories=np.full(8, 3))),
        "turned half": (truths, replace(found, rotations_wxyz=half_turn)),
        "both turned half": (replace(truths, rotations_wxyz=-half_turn), replace(found, rotations_wxyz=half_turn)),
        "more than a hundred": (objects(many), objects(many, scores=rng.permutation(130) / 130)),
        "more than a hundred, some out of range": (
            objects(many),
            objects(many * 1.2, scores=rng.permutation(130) / 130),
        ),
        "higher and lower": (truths, replace(found, centers_m=found.centers_m + np.array([0.0, 0.0, 1.0]))),
    }


def assert_equal_to_devkit(oracle: Oracle, cases: dict[str, Case]) -> list[NDArray]:
    asked = {f"{name}/{key}": value for name, case in cases.items() for key, value in columns_of(*case).items()}
    said = oracle.ask("argoverse2_detection", asked)
    assert tuple(said["categories"]) == ARGOVERSE2_CATEGORIES
    tables = []
    for name, (truths, detections) in cases.items():
        table = evaluate(truths, detections, NUM_CATEGORIES).table()
        tables.append(np.vstack([table, table.mean(axis=0)]))
        np.testing.assert_allclose(tables[-1], said[name], rtol=0, atol=1e-6, err_msg=name)
    return tables


def random_cases(seed: int, count: int) -> dict[str, Case]:
    rng = np.random.default_rng(seed)
    return {f"{seed} {number}": random_case(rng, random_recipe(rng)) for number in range(count)}


def test_edge_cases_equal_the_devkit(oracle: Oracle) -> None:
    assert_equal_to_devkit(oracle, edge_cases())


def test_random_cases_equal_the_devkit(oracle: Oracle) -> None:
    tables = assert_equal_to_devkit(oracle, random_cases(seed=3, count=60))
    assert sum(table[-1, 0] > 0 for table in tables) > 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_random_cases_equal_the_devkit(oracle: Oracle, seed: int) -> None:
    assert_equal_to_devkit(oracle, random_cases(seed=100 + seed, count=400))


def test_perfect_detections_reach_one_and_leave_no_error() -> None:
    scores = evaluate(*edge_cases()["perfect"], NUM_CATEGORIES)
    np.testing.assert_allclose(scores.table()[CAR], [1.0, 0.0, 0.0, 0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize("wxyz", [(6.1e-17, 0.0, 0.0, 1.0), (-6.1e-17, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, -1.0)])
def test_headings_of_half_a_turn_either_way_are_the_same(wxyz: tuple[float, ...]) -> None:
    truths, found = edge_cases()["perfect"]
    half = np.tile([0.0, 0.0, 0.0, 1.0], (8, 1))
    truths, found = replace(truths, rotations_wxyz=half), replace(found, rotations_wxyz=np.tile(wxyz, (8, 1)))
    assert evaluate(truths, found, NUM_CATEGORIES).errors[CAR, 2] == pytest.approx(0.0, abs=1e-12)


def test_nothing_at_all_scores_nothing() -> None:
    scores = evaluate(objects([]), objects([]), NUM_CATEGORIES)
    np.testing.assert_allclose(scores.table(), np.tile([0.0, 2.0, 1.0, np.pi, 0.0], (NUM_CATEGORIES, 1)))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sizes_m", np.array([[0.0, 1.0, 1.0]])),
        ("scores", np.array([np.nan])),
        ("rotations_wxyz", np.zeros((1, 4))),
        ("centers_m", np.array([[np.inf, 0.0, 0.0]])),
    ],
)
def test_unusable_objects_are_refused(column: str, value: NDArray) -> None:
    with pytest.raises(InputError, match=f"{column} of row 0"):
        objects([0.0], **{column: value})
