from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sdk.parity_cases import CAR, THRESHOLDS, TOLERANCE, boxes_of
from understudy.boxes import Boxes
from understudy.parity.agreement import compare_boxes
from understudy.parity.verdict import RANGES_M, FrameAgreement, judge
from understudy.testing import CLASS_NAMES


@pytest.mark.parametrize(("score", "is_excused"), [(0.35, True), (0.39, True), (0.41, False), (0.9, False)])
def test_box_near_its_threshold_may_be_missing_on_either_side(score: float, is_excused: bool) -> None:
    one, none = boxes_of([CAR], [score], [0]), Boxes.empty(CLASS_NAMES, scored=True)
    missing = compare_boxes(one, none, THRESHOLDS, TOLERANCE)
    extra = compare_boxes(none, one, THRESHOLDS, TOLERANCE)
    assert len(missing.missing) == len(extra.extra) == (not is_excused)
    assert len(missing.excused) == len(extra.excused) == is_excused


def test_box_far_below_the_threshold_is_not_excused() -> None:
    agreement = compare_boxes(
        Boxes.empty(CLASS_NAMES, scored=True), boxes_of([CAR], [0.05], [0]), THRESHOLDS, TOLERANCE
    )
    assert agreement.extra.tolist() == [0]


def test_boxes_of_other_classes_are_no_partners() -> None:
    agreement = compare_boxes(boxes_of([CAR], [0.9], [0]), boxes_of([CAR], [0.9], [1]), THRESHOLDS, TOLERANCE)
    assert agreement.missing.tolist() == [0]
    assert agreement.extra.tolist() == [1]
    assert not len(agreement.labels)


def test_nearest_pairs_come_first() -> None:
    reference = boxes_of([CAR, (11.5, *CAR[1:])], [0.9, 0.8], [0, 0])
    candidate = boxes_of([(11.4, *CAR[1:]), (9.9, *CAR[1:])], [0.9, 0.8], [0, 0])
    agreement = compare_boxes(reference, candidate, THRESHOLDS, TOLERANCE)
    np.testing.assert_allclose(agreement.deviations[:, 0], [0.1, 0.1], atol=1e-5)


def test_yaw_is_compared_across_the_seam() -> None:
    reference, candidate = boxes_of([(*CAR[:6], 3.1)], [0.9], [0]), boxes_of([(*CAR[:6], -3.1)], [0.9], [0])
    agreement = compare_boxes(reference, candidate, THRESHOLDS, TOLERANCE)
    assert agreement.deviations[0, 2] == pytest.approx(2 * np.pi - 6.2, abs=1e-5)


@st.composite
def detections(draw: st.DrawFn) -> Boxes:
    count = draw(st.integers(0, 12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = generator.uniform(-6, 6, (count, 7)).astype(np.float32)
    rows[:, 3:6] = np.abs(rows[:, 3:6])
    scores, labels = generator.uniform(0.3, 1, count), generator.integers(0, len(CLASS_NAMES), count)
    return Boxes(rows, labels.astype(np.int32), CLASS_NAMES, scores=scores.astype(np.float32))


@given(detections())
def test_boxes_agree_with_themselves(boxes: Boxes) -> None:
    agreement = compare_boxes(boxes, boxes, THRESHOLDS, TOLERANCE)
    assert len(agreement.labels) == len(boxes)
    assert not agreement.deviations.any()


@given(detections(), detections(), st.randoms(use_true_random=False))
def test_sides_and_order_do_not_matter(first: Boxes, second: Boxes, random: Any) -> None:
    order = list(range(len(second)))
    random.shuffle(order)
    forth = compare_boxes(first, second[np.array(order, np.intp)], THRESHOLDS, TOLERANCE)
    back = compare_boxes(second, first, THRESHOLDS, TOLERANCE)
    assert sorted(forth.missing) == sorted(back.extra)
    assert sorted(forth.extra) == sorted(back.missing)
    assert sorted(forth.excused) == sorted(back.excused)
    np.testing.assert_allclose(np.sort(forth.deviations[:, 0]), np.sort(back.deviations[:, 0]))
    num_lonely = len(forth.missing) + len(forth.extra) + len(forth.excused)
    assert 2 * len(forth.labels) + num_lonely == len(first) + len(second)


def test_every_box_counts_in_one_class_and_one_range() -> None:
    places = [(5.0, 0.0), (0.0, 19.9), (0.0, -20.0), (30.0, 26.0), (30.0, 27.0), (60.0, 1.0)]
    reference = boxes_of([(x, y, *CAR[2:]) for x, y in places], [0.9] * 6, [0, 0, 0, 1, 1, 0])
    moved = reference.geometry.copy()
    moved[2, 0] += 0.5
    candidate = boxes_of(moved[[0, 1, 2, 3, 4]].tolist(), [0.9] * 5, [0, 0, 0, 1, 1])
    agreement = compare_boxes(reference, candidate, THRESHOLDS, TOLERANCE)
    report = judge("x", "e", CLASS_NAMES, [FrameAgreement("f", agreement)], TOLERANCE)
    assert [report.ranges[name].num_compared for name in RANGES_M] == [2, 2, 2]
    assert report.cells["car"]["20-40 m"].num_pairs == 1
    assert report.cells["car"]["20-40 m"].num_within == 0
    assert report.cells["car"]["40+ m"].num_missing == 1
    assert report.cells["truck"]["20-40 m"].num_within == report.cells["truck"]["40+ m"].num_within == 1
    for name in CLASS_NAMES:
        assert sum(entry.num_compared for entry in report.cells[name].values()) == report.classes[name].num_compared


def test_ranges_leave_no_gap() -> None:
    spans = list(RANGES_M.values())
    assert spans[0][0] == 0.0
    assert spans[-1][1] == np.inf
    assert all(end == begin for (_, end), (begin, _) in pairwise(spans))
