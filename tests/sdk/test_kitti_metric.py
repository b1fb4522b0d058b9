from __future__ import annotations

import math

import numpy as np
import pytest

from tests.sdk import kitti_by_the_book as book
from tests.sdk.kitti_by_the_book import Line
from tests.sdk.kitti_cases import NO_SIZE, near, objects_of, random_frame, random_truth
from understudy.metrics.kitti import is_oriented, kitti_curves, kitti_values, recall_thresholds
from understudy.metrics.kitti_rules import LOOSE, STRICT

CAR = Line("Car", 0.0, 0, -1.5, 300.0, 150.0, 400.0, 230.0, 1.5, 2.0, 4.0, 2.0, 1.5, 15.0, 0.0)
DONT_CARE = Line("DontCare", -1.0, -1, -10.0, 500.0, 100.0, 700.0, 300.0, *NO_SIZE)


def found(line, score=0.9, **changes):
    return line._replace(truncated=-1.0, occluded=-1, score=score, **changes)


def moved(line, x_m=0.0, x_px=0.0):
    return line._replace(x=line.x + x_m, x1=line.x1 + x_px, x2=line.x2 + x_px)


def curves_of(truths, detections, min_overlaps=STRICT):
    ours = [objects_of(lines, scored=False) for lines in truths]
    return kitti_curves(ours, [objects_of(lines, scored=True) for lines in detections], min_overlaps)


def values_of(truths, detections):
    results = [objects_of(lines, scored=True) for lines in detections]
    return kitti_values(curves_of(truths, detections), oriented=is_oriented(results))


def assert_by_the_book(truths, detections, min_overlaps=STRICT, note=""):
    """Every curve to 1e-6; where the book divides nothing by nothing ours is what lies to the right. How many did."""
    undefined = 0
    for curve in curves_of(truths, detections, min_overlaps):
        threshold = min_overlaps[curve.overlap][curve.class_name]
        which = (curve.class_name, curve.overlap, curve.difficulty)
        *expected, count = book.eval_class(*which, truths, detections, threshold)
        assert count == curve.num_truths, (note, which)
        for wanted, ours in zip(expected, (curve.precisions, curve.similarities), strict=True):
            open_at = np.isnan(wanted)
            undefined += int(open_at.sum())
            np.testing.assert_allclose(ours[~open_at], np.array(wanted)[~open_at], atol=1e-6, err_msg=f"{note} {which}")
            np.testing.assert_array_equal(ours[open_at], np.append(ours, 0.0)[1:][open_at])
    return undefined


def random_scene(seed, **crowd):
    random = np.random.default_rng(seed)
    frames = [random_frame(random, **crowd) for _ in range(random.integers(1, 6))]
    return [frame[0] for frame in frames], [frame[1] for frame in frames]


def test_equals_the_book_on_random_frames():
    for seed in range(250):
        assert_by_the_book(*random_scene(seed), note=f"seed {seed}")


def test_equals_the_book_with_loose_overlaps():
    for seed in range(40):
        assert_by_the_book(*random_scene(1000 + seed), min_overlaps=LOOSE, note=f"seed {seed}")


def test_equals_the_book_in_crowds_that_fill_all_recalls():
    for seed in range(4):
        random = np.random.default_rng(seed)
        frames = [random_frame(random, max_truths=14, max_copies=6) for _ in range(25)]
        truths, detections = [frame[0] for frame in frames], [frame[1] for frame in frames]
        assert_by_the_book(truths, detections, note=f"seed {seed}")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_equals_the_book_on_thousands_of_scenes():
    undefined = sum(assert_by_the_book(*random_scene(10_000 + seed), note=f"seed {seed}") for seed in range(2000))
    assert undefined > 0, "no case divided nothing by nothing: the cases have lost their edge"


TALL = CAR._replace(y2=CAR.y1 + 40.0)
CASES = {
    "no frames with anything": ([[], []], [[], []]),
    "no labels": ([[]], [[found(CAR)]]),
    "no detections": ([[CAR]], [[]]),
    "only ignored labels": ([[CAR._replace(occluded=3), CAR._replace(truncated=0.6)]], [[found(CAR)]]),
    "only a neighbor": ([[CAR._replace(type="Van")]], [[found(CAR), found(CAR, 0.2)]]),
    "a neighbor beside": ([[CAR, moved(CAR, 1, 20)._replace(type="Van")]], [[found(CAR), found(moved(CAR, 1, 20))]]),
    "person sitting": (
        [[CAR._replace(type="Person_sitting"), CAR._replace(type="Pedestrian")]],
        [[found(CAR, type="Pedestrian"), found(CAR, 0.3, type="Pedestrian")]],
    ),
    "only regions": ([[DONT_CARE]], [[found(CAR), found(CAR, x1=550.0, x2=600.0)]]),
    "in a region, and half in it": (
        [[CAR, DONT_CARE]],
        [[found(CAR), found(CAR, 0.95, x1=550.0, x2=600.0), found(CAR, 0.96, x1=450.0, x2=550.0)]],
    ),
    "two regions over one detection": ([[CAR, DONT_CARE, DONT_CARE]], [[found(CAR, x1=550.0, x2=600.0), found(CAR)]]),
    "a detection without a 3D box, with a region": ([[CAR, DONT_CARE]], [[found(DONT_CARE, type="Car"), found(CAR)]]),
    "a detection without a 3D box": ([[CAR]], [[found(CAR, **dict(zip(Line._fields[8:15], NO_SIZE, strict=True)))]]),
    "all the same score": ([[CAR, moved(CAR, 9, 200)]], [[found(CAR, 0.5), found(moved(CAR, 9, 200), 0.5)] * 3]),
    "all scores 0": ([[CAR]] * 3, [[found(CAR, 0.0), found(moved(CAR, 3, 50), 0.0)]] * 3),
    "scores below 0": ([[CAR]] * 3, [[found(CAR, -2.5), found(CAR, -7.0)]] * 3),
    "a score below every other": ([[CAR]], [[found(CAR, -20_000_000.0)]]),
    "duplicates": ([[CAR]] * 5, [[found(CAR, 0.9), found(CAR, 0.9), found(CAR, 0.8)]] * 5),
    "label as tall as the limit": ([[TALL]], [[found(TALL)]]),
    "detection as tall as the limit": ([[TALL._replace(y2=TALL.y2 + 2)]], [[found(TALL)]]),
    "detection a little less tall": ([[TALL._replace(y2=TALL.y2 + 2)]], [[found(TALL._replace(y2=TALL.y2 - 0.5))]]),
    "flat image box": ([[CAR._replace(y2=CAR.y1)]], [[found(CAR._replace(y2=CAR.y1))]]),
    "flat 3D box": ([[CAR._replace(h=0.0)]], [[found(CAR, h=0.0), found(CAR, w=0.0), found(CAR, w=0.0, l=0.0)]]),
    "truncation at the limit": ([[CAR._replace(truncated=0.15), CAR._replace(truncated=0.3)]], [[found(CAR)] * 2]),
    "names in other case": ([[CAR._replace(type="CAR")]], [[found(CAR, type="car")]]),
    "another class, too small": (
        [[CAR._replace(y2=CAR.y1 + 45)]],
        [[found(CAR, 0.3, y2=CAR.y1 + 45), found(CAR, 0.9, type="Cyclist", y2=CAR.y1 + 35)]],
    ),
    "small detections, the one that overlaps less first": (
        [[TALL._replace(y2=TALL.y2 + 1), moved(TALL, 0.4, 12)._replace(y2=TALL.y2 + 1)]],
        [[found(moved(TALL, 0.2, 6), 0.8)._replace(y2=TALL.y2 - 1), found(TALL, 0.7)._replace(y2=TALL.y2 - 1)]],
    ),
    "no orientation": ([[CAR]], [[found(CAR, alpha=-10.0)]]),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_book_at_the_edges(name):
    assert_by_the_book(*CASES[name], note=name)


def test_recall_thresholds_equal_the_books_for_every_number_of_labels():
    random = np.random.default_rng(0)
    for count in [*range(1, 260), 400, 600, 799, 800, 1000, 4000]:
        for num_found in {1, count, int(random.integers(1, count + 1))}:
            scores = random.permutation(num_found) / num_found
            expected = book.get_thresholds(scores.tolist(), count)
            assert recall_thresholds(scores, count).tolist() == expected, (count, num_found)


def test_an_overlap_exactly_at_the_threshold_is_no_match():
    """Boxes 3 m by 1 m moved by 1 m share exactly half of their union; so do image boxes moved by a third."""
    person = CAR._replace(type="Pedestrian", h=1.0, w=1.0, l=3.0, x1=300.0, x2=390.0)
    at_the_limit = found(moved(person, 1.0, 30.0))
    assert_by_the_book([[person]], [[at_the_limit]])
    values = values_of([[person]], [[at_the_limit]])
    assert [values[f"Pedestrian/{kind}/R11/easy"] for kind in ("2d", "bev", "3d")] == [0.0, 0.0, 0.0]
    beyond = values_of([[person]], [[found(moved(person, 0.999, 29.9))]])
    assert [beyond[f"Pedestrian/{kind}/R11/easy"] for kind in ("2d", "bev", "3d")] == pytest.approx([100 / 11] * 3)


def test_one_hit_is_worth_a_ninth_of_ten_with_11_recalls_and_nothing_with_40():
    """The artifact that R40 was made for (Simonelli et al., ICCV 2019): recall 0 counts as a recall."""
    values = values_of([[CAR]] * 50, [[found(CAR)], *[[]] * 49])
    assert values["Car/3d/R11/moderate"] == pytest.approx(100 / 11)
    assert values["Car/3d/R40/moderate"] == 0.0


@pytest.mark.parametrize("count", [41, 60, 200])
def test_perfect_results_reach_100_from_41_labels_on(count):
    values = values_of([[CAR]] * count, [[found(CAR, 1 - row / 1000)] for row in range(count)])
    assert {values[f"Car/{kind}/{rule}/easy"] for kind in ("2d", "bev", "3d", "aos") for rule in ("R11", "R40")} == {
        100
    }
    assert values["Cyclist/3d/R40/easy"] is None


def test_orientation_is_scored_by_its_cosine():
    turned = [[found(CAR, 1 - row / 1000, alpha=CAR.alpha + math.pi / 3)] for row in range(50)]
    assert values_of([[CAR]] * 50, turned)["Car/aos/R40/easy"] == pytest.approx(75.0)
    turned[7] = [found(CAR, alpha=-10.0)]
    values = values_of([[CAR]] * 50, turned)
    assert values["Car/aos/R40/easy"] is None
    assert values["Car/2d/R40/easy"] == pytest.approx(100.0)


def test_the_order_of_frames_changes_nothing():
    truths, detections = random_scene(7, max_truths=12)
    ahead, back = values_of(truths, detections), values_of(truths[::-1], detections[::-1])
    assert ahead == pytest.approx(back, nan_ok=False)


def test_a_far_stray_can_only_lower_the_score():
    random = np.random.default_rng(3)
    truths = [[random_truth(random)._replace(type="Car", occluded=0, truncated=0.0)] for _ in range(60)]
    detections = [[near(lines[0], random, 0.05, float(random.random()))] for lines in truths]
    strays = [[*lines, found(CAR, float(random.random()), x=60.0, x1=900.0, x2=999.0)] for lines in detections]
    clean, stray = values_of(truths, detections), values_of(truths, strays)
    assert all(stray[name] <= clean[name] + 1e-9 for name in clean if clean[name] is not None)
    assert stray["Car/3d/R40/hard"] < clean["Car/3d/R40/hard"]
