from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError
from shapely import affinity
from shapely.geometry import box as rectangle

from understudy.boxes import Boxes
from understudy.errors import InputError, UnderstudyError
from understudy.metrics.average_precision import MetricSettings, average_precision, mean_ap_percent
from understudy.metrics.matching import ScoredFrame

NAMES = ("car", "truck", "pedestrian", "cyclist")


def boxes(rows, labels, scores=None, num_points=None):
    return Boxes(
        np.array(rows, np.float32).reshape(-1, 7),
        np.array(labels, np.int32),
        NAMES,
        scores=None if scores is None else np.array(scores, np.float32),
        num_points=None if num_points is None else np.array(num_points, np.int32),
    )


def car(x, y=0.0, z=1.0):
    return [x, y, z, 4.0, 2.0, 1.5, 0.0]


def frame(detections, truths, num_points=None):
    """A frame of cars only: detections as (row, score), truths as rows."""
    rows, scores = zip(*detections, strict=True) if detections else ([], [])
    return ScoredFrame(boxes(rows, [0] * len(rows), scores), boxes(truths, [0] * len(truths), None, num_points))


def entry(entries, class_name="car", overlap="3d", range_m=(0.0, 50.0)):
    return next(e for e in entries if (e.class_name, e.overlap, e.range_m) == (class_name, overlap, range_m))


def test_a_case_done_by_hand():
    """Four cars in two frames, five detections.

    By score: 0.9 hit, 0.8 false alarm (a second one on the first car), 0.7 hit, 0.6 false alarm, 0.5 hit; the fourth
    car is missed. Precision and recall: (1, 1/4), (1/2, 1/4), (2/3, 2/4), (2/4, 2/4), (3/5, 3/4). Best precision at or
    beyond a recall: 1 up to 1/4 (10 of the 40 recalls), 2/3 up to 2/4 (10), 3/5 up to 3/4 (10), 0 beyond (10).
    AP = (10 * 1 + 10 * 2/3 + 10 * 3/5) / 40 = 17/30.
    """
    frames = [
        frame([(car(10), 0.9), (car(10.2), 0.8), (car(-20), 0.6)], [car(10), car(20, 5)]),
        frame([(car(12), 0.7), (car(-8, 1), 0.5)], [car(12), car(-8, 1)]),
    ]
    found = entry(average_precision(frames))
    assert (found.num_truths, found.num_detections, found.num_correct) == (4, 5, 3)
    assert found.ap_percent == pytest.approx(100 * 17 / 30, abs=1e-12)
    np.testing.assert_allclose(found.curve.precisions, [1, 1 / 2, 2 / 3, 2 / 4, 3 / 5])
    np.testing.assert_allclose(found.curve.recalls, [1 / 4, 1 / 4, 2 / 4, 2 / 4, 3 / 4])


def test_perfect_missing_and_useless_detections():
    truths = [car(10), car(20), car(-30)]
    perfect = average_precision([frame([(row, 0.5) for row in truths], truths)])
    assert entry(perfect).ap_percent == 100.0
    assert mean_ap_percent(perfect, "3d") == 100.0
    assert mean_ap_percent(perfect, "bev", (15.0, 30.0)) == 100.0
    assert entry(average_precision([frame([], truths)])).ap_percent == 0.0
    assert entry(average_precision([frame([(car(0, 9), 1.0)], truths)])).ap_percent == 0.0


def test_a_class_without_truths_has_no_precision_and_does_not_enter_the_mean():
    entries = average_precision([frame([(car(10), 0.5)], [car(10)])])
    assert entry(entries, "truck").ap_percent is None
    assert mean_ap_percent(entries, "3d") == 100.0
    assert mean_ap_percent(average_precision([frame([(car(10), 0.5)], [])]), "3d") is None


def test_height_separates_3d_from_the_view_from_above():
    entries = average_precision([frame([(car(10, z=2.4), 0.5)], [car(10)])])
    assert entry(entries, overlap="bev").ap_percent == 100.0
    assert entry(entries, overlap="3d").ap_percent == 0.0


def test_truths_with_few_returns_are_neither_missed_nor_false_alarms():
    truths, points = [car(10), car(20)], [5, 4]
    unseen_missed = entry(average_precision([frame([(car(10), 0.5)], truths, points)]))
    assert (unseen_missed.num_truths, unseen_missed.ap_percent) == (1, 100.0)
    twice_hit = [(car(20), 0.9), (car(20.1), 0.8), (car(10), 0.5)]
    unseen_hit = entry(average_precision([frame(twice_hit, truths, points)]))
    assert (unseen_hit.num_detections, unseen_hit.num_correct, unseen_hit.ap_percent) == (1, 1, 100.0)
    counted = entry(average_precision([frame(twice_hit, truths, points)], MetricSettings(min_points=4)))
    assert (counted.num_truths, counted.num_detections, counted.num_correct) == (2, 3, 2)


def test_masked_truths_are_ignored_too():
    pair = frame([(car(20), 0.9), (car(10), 0.5)], [car(10), car(20)])
    masked = ScoredFrame(pair.detections, pair.truths, np.array([False, True]))
    assert entry(average_precision([masked])).ap_percent == 100.0
    assert entry(average_precision([masked])).num_detections == 1


def test_excused_detections_are_no_false_alarms_but_may_be_correct():
    pair = frame([(car(20), 0.9), (car(10), 0.5), (car(30), 0.4)], [car(10)])
    excused = ScoredFrame(pair.detections, pair.truths, excused=np.array([True, True, False]))
    found = entry(average_precision([excused]))
    assert (found.num_detections, found.num_correct, found.ap_percent) == (2, 1, 100.0)
    with pytest.raises(UnderstudyError, match=r"excused detections: found \(1,\), wanted \(3,\)"):
        ScoredFrame(pair.detections, pair.truths, excused=np.array([True]))


def test_a_counted_truth_is_preferred_to_an_ignored_one_that_overlaps_more():
    found = entry(average_precision([frame([(car(10), 0.9)], [car(10), car(10.4)], [0, 9])]))
    assert (found.num_correct, found.ap_percent) == (1, 100.0)


def test_a_match_across_a_bin_boundary_belongs_to_the_truths_bin():
    entries = average_precision([frame([(car(15.1), 0.9), (car(15.2, 8), 0.8)], [car(14.9)])])
    near, middle = entry(entries, range_m=(0.0, 15.0)), entry(entries, range_m=(15.0, 30.0))
    assert (near.num_truths, near.num_detections, near.num_correct, near.ap_percent) == (1, 1, 1, 100.0)
    assert (middle.num_truths, middle.num_detections, middle.ap_percent) == (0, 1, None)


def test_beyond_the_range_nothing_counts():
    entries = average_precision([frame([(car(50.2), 0.9), (car(60), 0.8), (car(10), 0.1)], [car(50.1), car(10)])])
    found = entry(entries)
    assert (found.num_truths, found.num_detections, found.ap_percent) == (1, 1, 100.0)


def test_equal_scores_stand_or_fall_together():
    hit_first = frame([(car(10), 0.5), (car(20), 0.5)], [car(10)])
    miss_first = frame([(car(20), 0.5), (car(10), 0.5)], [car(10)])
    for pair in (hit_first, miss_first):
        found = entry(average_precision([pair]))
        assert len(found.curve.scores) == 1
        assert found.ap_percent == pytest.approx(50.0)


def test_wrong_inputs_are_refused():
    with pytest.raises(InputError, match="average precision: found no frames"):
        average_precision([])
    with pytest.raises(InputError, match="class bus"):
        average_precision([ScoredFrame(Boxes.empty(("bus",), scored=True), Boxes.empty(("bus",)))])
    with pytest.raises(UnderstudyError, match="map them by name"):
        ScoredFrame(Boxes.empty(("car",), scored=True), Boxes.empty(("truck",)))
    with pytest.raises(UnderstudyError, match="found no scores"):
        ScoredFrame(Boxes.empty(("car",)), Boxes.empty(("car",)))
    with pytest.raises(ValidationError, match="no range"):
        MetricSettings(range_bins_m=((5.0, 5.0),))
    with pytest.raises(ValidationError, match="is not in"):
        MetricSettings(iou_thresholds={"car": 0.0})


# An independent implementation of the written rule: plain loops, polygons by shapely, nothing shared with the code.


def footprint(row):
    x, y, _, length, width, _, yaw = (float(value) for value in row)
    upright = rectangle(-length / 2, -width / 2, length / 2, width / 2)
    return affinity.translate(affinity.rotate(upright, yaw, origin=(0, 0), use_radians=True), x, y)


def slow_overlap(a, b, kind):
    shared = footprint(a).intersection(footprint(b)).area
    sizes = [float(a[3]) * float(a[4]), float(b[3]) * float(b[4])]
    if kind == "3d":
        top = min(float(a[2]) + float(a[5]) / 2, float(b[2]) + float(b[5]) / 2)
        bottom = max(float(a[2]) - float(a[5]) / 2, float(b[2]) - float(b[5]) / 2)
        shared *= max(0.0, top - bottom)
        sizes = [sizes[0] * float(a[5]), sizes[1] * float(b[5])]
    return shared / (sum(sizes) - shared) if sum(sizes) - shared > 0 else 0.0


def slow_outcomes(pair, label, kind, threshold, min_points):
    """(score, "hit" or "alarm", range) of detections, and ranges of counted truths, in one frame."""
    distance = lambda row: math.hypot(float(row[0]), float(row[1]))  # noqa: E731
    rows = [i for i in range(len(pair.detections)) if pair.detections.labels[i] == label]
    truths = [i for i in range(len(pair.truths)) if pair.truths.labels[i] == label]
    ignored = {i for i in truths if pair.truths.num_points[i] < min_points}
    outcomes, used = [], set()
    for i in sorted(rows, key=lambda row: -float(pair.detections.scores[row])):
        here = pair.detections.geometry[i]
        overlaps = {j: slow_overlap(here, pair.truths.geometry[j], kind) for j in truths}
        best = None
        for j in truths:
            if j in ignored or j in used or overlaps[j] < threshold:
                continue
            if best is None or overlaps[j] > overlaps[best]:
                best = j
        if best is not None:
            used.add(best)
            outcomes.append((float(pair.detections.scores[i]), "hit", distance(pair.truths.geometry[best])))
        elif not any(overlaps[j] >= threshold for j in ignored):
            outcomes.append((float(pair.detections.scores[i]), "alarm", distance(here)))
    return outcomes, [distance(pair.truths.geometry[j]) for j in truths if j not in ignored]


def slow_ap(frames, label, kind, threshold, range_m, min_points=5):
    outcomes, truths = [], []
    for pair in frames:
        found, ranges = slow_outcomes(pair, label, kind, threshold, min_points)
        outcomes += [(score, what) for score, what, far in found if range_m[0] <= far < range_m[1]]
        truths += [far for far in ranges if range_m[0] <= far < range_m[1]]
    if not truths:
        return None
    points = []
    for cut in {score for score, _ in outcomes}:
        kept = [what for score, what in outcomes if score >= cut]
        points.append((kept.count("hit"), kept.count("hit") / len(kept)))
    total = 0.0
    for k in range(1, 41):
        total += max((precision for hits, precision in points if 40 * hits >= k * len(truths)), default=0.0)
    return 100.0 * total / 40


def random_frames(generator, *, num_frames, num_truths, spread, rounding, ignored_share):
    frames = []
    for _ in range(num_frames):
        count = int(generator.integers(0, num_truths + 1))
        truths = np.column_stack(
            [
                generator.uniform(-spread, spread, (count, 2)),
                generator.normal(1, 0.2, count),
                generator.uniform([3, 1.5, 1.4], [6, 2.3, 2.0], (count, 3)),
                generator.uniform(-4, 4, count),
            ]
        )
        noise = generator.normal(0, [0.3, 0.3, 0.1, 0.2, 0.1, 0.1, 0.1], (3 * count, 7))
        near = np.tile(truths, (3, 1)) + noise
        near[:count] = truths  # identical boxes
        stray = np.column_stack([generator.uniform(-55, 55, (4, 2)), np.tile([1, 4, 2, 1.6, 0.3], (4, 1))])
        rows = np.concatenate([near, stray])
        rows = rows[generator.random(len(rows)) < 0.7]
        labels = generator.integers(0, 2, count)
        frames.append(
            ScoredFrame(
                boxes(rows, generator.integers(0, 2, len(rows)), np.round(generator.random(len(rows)), rounding)),
                boxes(truths, labels, None, np.where(generator.random(count) < ignored_share, 0, 9)),
            )
        )
    return frames


@pytest.mark.parametrize("spread", [8, 52], ids=["crowded", "spread out"])
@pytest.mark.parametrize("rounding", [1, 6], ids=["ties", "no ties"])
@pytest.mark.parametrize("ignored_share", [0.0, 0.3, 1.0])
def test_equals_an_independent_implementation_of_the_written_rule(spread, rounding, ignored_share):
    generator = np.random.default_rng([spread, rounding, int(10 * ignored_share)])
    checked = 0
    for _ in range(12):
        options = {"spread": spread, "rounding": rounding, "ignored_share": ignored_share}
        frames = random_frames(generator, num_frames=3, num_truths=6, **options)
        for found in average_precision(frames):
            label = NAMES.index(found.class_name)
            wanted = slow_ap(frames, label, found.overlap, found.iou_threshold, found.range_m)
            assert found.ap_percent == (None if wanted is None else pytest.approx(wanted, abs=1e-9))
            checked += wanted is not None
    assert checked > 40 or ignored_share == 1.0


@pytest.mark.parametrize("case", ["no truths", "no detections", "nothing", "all ignored", "all the same box"])
def test_equals_the_independent_implementation_at_the_edges(case):
    generator = np.random.default_rng(3)
    options = {"num_frames": 4, "num_truths": 5, "spread": 10, "rounding": 1, "ignored_share": 0.2}
    frames = random_frames(generator, **options)
    nothing = boxes([], [], [], None), boxes([], [], None, [])
    same = boxes([car(9)] * 5, [0] * 5, [0.5, 0.5, 0.9, 0.1, 0.5]), boxes([car(9)] * 3, [0] * 3, None, [9, 0, 9])
    changed = {
        "no truths": [ScoredFrame(pair.detections, nothing[1]) for pair in frames],
        "no detections": [ScoredFrame(nothing[0], pair.truths) for pair in frames],
        "nothing": [ScoredFrame(*nothing)],
        "all ignored": random_frames(generator, **{**options, "ignored_share": 1.0}),
        "all the same box": [ScoredFrame(*same)],
    }[case]
    for found in average_precision(changed):
        label = NAMES.index(found.class_name)
        wanted = slow_ap(changed, label, found.overlap, found.iou_threshold, found.range_m)
        assert found.ap_percent == (None if wanted is None else pytest.approx(wanted, abs=1e-9))


def test_bins_add_up_to_the_whole():
    options = {"num_frames": 6, "num_truths": 8, "spread": 40, "rounding": 3, "ignored_share": 0.2}
    settings = MetricSettings(max_range_m=80, range_bins_m=((0, 20), (20, 40), (40, 80)))
    entries = average_precision(random_frames(np.random.default_rng(5), **options), settings)
    for name in NAMES:
        whole = entry(entries, name, "bev", (0.0, 80.0))
        parts = [entry(entries, name, "bev", range_m) for range_m in settings.range_bins_m]
        for count in ("num_truths", "num_detections", "num_correct"):
            assert getattr(whole, count) == sum(getattr(part, count) for part in parts)
