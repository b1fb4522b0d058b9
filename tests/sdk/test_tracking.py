"""Tracking: identities over time, gaps, sizes and speeds, on objects whose course is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.boxes import Boxes
from understudy.errors import InputError
from understudy.pose import Pose
from understudy.tracking import NO_TRACK, Tracker, TrackingSettings, greedy_assignment
from understudy.tracking_drive import Seen, smoothed_velocities, track_drive

NAMES = ("car", "pedestrian")
PERIOD_NS = 100_000_000
CAR_M, PEDESTRIAN_M = (4.5, 1.9, 1.6), (0.6, 0.6, 1.7)


def _boxes(rows: list[tuple[float, float, float, int]], rng: np.random.Generator | None = None) -> Boxes:
    """From x, y, yaw and label."""
    sizes = [CAR_M if label == 0 else PEDESTRIAN_M for *_, label in rows]
    geometry = [(x, y, 0.8, *size, yaw) for (x, y, yaw, _), size in zip(rows, sizes, strict=True)]
    values = np.array(geometry, np.float32).reshape(-1, 7)
    if rng is not None:
        values[:, :2] += rng.normal(0, 0.1, (len(rows), 2)).astype(np.float32)
        values[:, 3:6] *= rng.uniform(0.9, 1.1, (len(rows), 3)).astype(np.float32)
    labels = np.array([label for *_, label in rows], np.int32)
    return Boxes(values, labels, NAMES, scores=np.full(len(rows), 0.8, np.float32))


def _course(time_s: float) -> list[tuple[float, float, float, int]]:
    """World: a fast car, an oncoming one, a parked one, two pedestrians whose ways cross a meter apart."""
    return [
        (20.0 * time_s, 0.0, 0.0, 0),
        (60.0 - 15.0 * time_s, 3.5, np.pi, 0),
        (30.0, -6.0, 0.0, 0),
        (10.0 + 1.2 * time_s, 8.0, 0.0, 1),
        (13.6 - 1.2 * time_s, 9.2, np.pi, 1),
    ]


def _drive(num: int, rng: np.random.Generator) -> list[Seen]:
    """The ego turns while it drives, far from the world's origin."""
    sweeps = []
    for number in range(num):
        time_s = number / 10
        world_from_ego = Pose.from_yaw(0.3 * time_s, (1e6 + 5 * time_s, 2e6, 0.0))
        away = Pose(np.eye(3), np.array([1e6, 2e6, 0.0]))
        boxes = _boxes(_course(time_s), rng).transformed(world_from_ego.inverse() @ away)
        sweeps.append(Seen(1_700_000_000 * 10**9 + number * PERIOD_NS, boxes, world_from_ego))
    return sweeps


def test_objects_keep_their_identity_and_get_their_speed() -> None:
    tracked = track_drive(_drive(20, np.random.default_rng(0)))
    for entry in tracked:
        assert entry.boxes.track_ids is not None
        assert entry.boxes.track_ids.tolist() == [0, 1, 2, 3, 4]
        assert not entry.filled.any()
        assert (entry.num_seen == 20).all()
    velocities = [entry.boxes.transformed(Pose.from_yaw(0.03 * n)).velocities_mps for n, entry in enumerate(tracked)]
    wanted = np.array([[20, 0], [-15, 0], [0, 0], [1.2, 0], [-1.2, 0]])
    assert np.abs(np.array(velocities) - wanted).max() < 1.2
    assert np.abs(np.array(velocities)[5:15] - wanted).mean() < 0.2


def test_sizes_are_the_median_of_the_track() -> None:
    sweeps = _drive(9, np.random.default_rng(1))
    sizes = np.array([sweep.boxes.geometry[:, 3:6] for sweep in sweeps])
    tracked = track_drive(sweeps)
    for entry in tracked:
        np.testing.assert_allclose(entry.boxes.geometry[:, 3:6], np.median(sizes, axis=0), rtol=1e-6)


def test_short_gaps_are_filled_and_long_ones_end_the_track() -> None:
    sweeps = _drive(20, np.random.default_rng(2))
    hidden = {3: {6, 7}, 2: set(range(6, 14))}
    for object_row, numbers in hidden.items():
        for number in numbers:
            labels = sweeps[number].boxes.labels
            kept = np.arange(len(labels)) < len(labels)
            kept[object_row] = False
            sweeps[number] = Seen(sweeps[number].stamp_ns, sweeps[number].boxes[kept], sweeps[number].world_from_ego)
    tracked = track_drive(sweeps)
    assert [int(entry.filled.sum()) for entry in tracked] == [int(n in {6, 7}) for n in range(20)]
    for number in (6, 7):
        box = tracked[number].boxes[tracked[number].filled]
        assert (box.track_ids, box.labels) == ([3], [1])
        truth = _boxes([_course(number / 10)[3]]).transformed(
            sweeps[number].world_from_ego.inverse() @ Pose(np.eye(3), np.array([1e6, 2e6, 0.0]))
        )
        assert np.abs(box.geometry[:, :2] - truth.geometry[:, :2]).max() < 0.4
    parked = [entry.boxes.track_ids.tolist() for entry in tracked if entry.boxes.track_ids is not None]
    assert 2 in parked[5]
    assert 2 not in parked[15]
    assert len(parked[15]) == 5


def test_classes_are_never_mixed() -> None:
    tracker = Tracker()
    first = tracker.update(0, _boxes([(0, 0, 0, 0)]))
    second = tracker.update(PERIOD_NS, _boxes([(0, 0, 0, 1)]))
    assert first.tolist() != second.tolist()


def test_stamps_have_to_rise() -> None:
    tracker = Tracker()
    tracker.update(5, _boxes([]))
    with pytest.raises(InputError, match="stamps that rise"):
        tracker.update(5, _boxes([]))
    assert track_drive([]) == ()


@given(st.integers(0, 10**6))
@settings(max_examples=25)
def test_identities_do_not_depend_on_the_order_of_boxes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = Tracker(), Tracker()
    names: dict[int, int] = {}
    for number in range(6):
        boxes = _boxes(_course(number / 10), rng)
        order = rng.permutation(len(boxes))
        ids = one.update(number * PERIOD_NS, boxes)[order]
        for mine, its in zip(ids.tolist(), other.update(number * PERIOD_NS, boxes[order]).tolist(), strict=True):
            assert names.setdefault(mine, its) == its


@given(st.integers(0, 10**6), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=60)
def test_greedy_assignment_is_a_matching_none_of_whose_pairs_would_rather_change(seed: int, n: int, m: int) -> None:
    costs = np.random.default_rng(seed).random((n, m))
    costs[costs > 0.8] = np.inf
    columns = greedy_assignment(costs)
    taken = columns[columns != NO_TRACK]
    assert len(set(taken.tolist())) == len(taken)
    for row, column in product(range(n), range(m)):
        if np.isfinite(costs[row, column]) and columns[row] != column:
            mine = costs[row, columns[row]] if columns[row] != NO_TRACK else np.inf
            owner = np.flatnonzero(columns == column)
            theirs = costs[owner[0], column] if len(owner) else np.inf
            assert costs[row, column] >= min(mine, theirs)


def test_velocities_of_a_straight_course_are_exact_in_the_limit() -> None:
    times_s = np.arange(30) / 10
    centers_m = np.stack([3.0 * times_s, -1.0 * times_s], axis=1)
    velocities = smoothed_velocities(times_s, centers_m, 10.0, TrackingSettings())
    np.testing.assert_allclose(velocities, np.broadcast_to([3.0, -1.0], velocities.shape), atol=0.05)
    alone = smoothed_velocities(times_s[:1], centers_m[:1], 10.0, TrackingSettings())
    np.testing.assert_array_equal(alone, np.zeros((1, 2)))
