"""Sweeps and camera frames: which belong together, when a set closes, and counters that always add up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.synchronizer import MatchedSet, Synchronizer, SyncPolicy

MS = 1_000_000


def run(events: list[tuple[str, int]], synchronizer: Synchronizer[str], latency_ms: int = 0) -> list[MatchedSet[str]]:
    """Pushes (sensor, stamp in ms), each received when it is stamped."""
    sets = []
    for sensor, stamp_ms in events:
        now_ns = (stamp_ms + latency_ms) * MS
        sets += synchronizer.push(sensor, stamp_ms * MS, f"{sensor}{stamp_ms}", now_ns)
    return sets


def named(sets: list[MatchedSet[str]]) -> list[tuple[str, ...]]:
    return [(entry.pivot.item, *(p.item if p else "-" for p in entry.cameras.values())) for entry in sets]


def outcomes(synchronizer: Synchronizer[str], sensor: str) -> dict[str, int]:
    return {name: num for name, num in synchronizer.counts[sensor].outcomes.items() if num}


def test_without_cameras_every_sweep_passes_at_once() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L")
    sets = run([("L", 0), ("L", 100), ("L", 100), ("L", 50), ("L", 200)], synchronizer)
    assert named(sets) == [("L0",), ("L100",), ("L200",)]
    assert outcomes(synchronizer, "L") == {"used": 3, "duplicate": 1, "stale": 1}


def test_the_nearest_frame_of_each_camera_is_taken_once_all_have_passed_the_sweep() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A", "B"))
    early = run([("A", 90), ("B", 60), ("L", 100), ("A", 130)], synchronizer)
    assert early == []
    assert named(run([("B", 110)], synchronizer)) == [("L100", "A90", "B110")]
    assert outcomes(synchronizer, "B") == {"used": 1, "unmatched": 1}


def test_offsets_move_reference_times() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",), offsets_ns={"L": 50 * MS, "A": -5 * MS})
    sets = run([("A", 110), ("L", 100), ("A", 160)], synchronizer)
    assert named(sets) == [("L100", "A160")]
    assert sets[0].pivot.time_ns == 150 * MS


def test_a_dropped_camera_costs_its_frame_and_not_the_sweep() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A", "B"), SyncPolicy(max_wait_ns=80 * MS))
    sets = run([("L", 0), ("A", 1), ("B", 2), ("L", 100), ("A", 101), ("L", 200), ("A", 201), ("B", 202)], synchronizer)
    assert named(sets) == [("L0", "A1", "B2"), ("L100", "A101", "-"), ("L200", "A201", "B202")]
    assert sets[1].mask == (True, False)
    assert not sets[1].is_complete


@pytest.mark.parametrize(
    ("require", "min_cameras", "used"), [("all", 1, 1), ("min_n", 1, 2), ("min_n", 2, 1), ("any", 1, 3)]
)
def test_policy_says_which_sweeps_are_used(require: str, min_cameras: int, used: int) -> None:
    policy = SyncPolicy.model_validate({"require": require, "min_cameras": min_cameras, "max_wait_ns": 50 * MS})
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A", "B"), policy)
    sets = run([("L", 0), ("A", 1), ("B", 2), ("L", 100), ("A", 101), ("L", 200)], synchronizer) + synchronizer.flush()
    assert len(sets) == used
    assert outcomes(synchronizer, "L").get("unmatched", 0) == 3 - used


def test_time_alone_closes_a_sweep() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",), SyncPolicy(max_wait_ns=30 * MS))
    run([("L", 0)], synchronizer)
    assert synchronizer.advance(29 * MS) == []
    assert named(synchronizer.advance(30 * MS)) == [("L0", "-")]


@pytest.mark.parametrize("stamp_ms", [5, 500])
def test_a_frame_that_arrives_after_the_wait_is_too_late(stamp_ms: int) -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",), SyncPolicy(max_wait_ns=30 * MS))
    run([("L", 0)], synchronizer)
    assert named(synchronizer.push("A", stamp_ms * MS, "late", 500 * MS)) == [("L0", "-")]
    assert synchronizer.flush() == []
    assert outcomes(synchronizer, "A") == {"unmatched": 1}
    assert all(counts.adds_up for counts in synchronizer.counts.values())


def test_late_and_disordered_frames() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",))
    run([("A", 10), ("A", 20), ("A", 15), ("A", 20), ("L", 20), ("A", 5), ("A", 20)], synchronizer)
    assert outcomes(synchronizer, "A") == {"out_of_order": 1, "duplicate": 2, "unmatched": 1, "used": 1, "stale": 1}


def test_queues_are_bounded() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",), SyncPolicy(queue_size=4, max_wait_ns=10**12))
    run([("A", t) for t in range(10)], synchronizer)
    assert synchronizer.counts["A"].waiting == 4
    sets = run([("L", 1000 + t) for t in range(6)], synchronizer)
    assert named(sets) == [("L1000", "-"), ("L1001", "-")]
    assert synchronizer.counts["L"].waiting == 4


@settings(max_examples=300, deadline=None)
@given(
    events=st.lists(st.tuples(st.sampled_from("LABC"), st.integers(0, 300), st.integers(0, 60)), max_size=80),
    tolerance=st.integers(0, 60),
    wait=st.integers(0, 150),
    require=st.sampled_from(["all", "min_n", "any"]),
    min_cameras=st.integers(0, 3),
    queue_size=st.integers(1, 6),
    num_cameras=st.integers(0, 3),
)
def test_counters_always_add_up_and_sets_keep_their_promises(
    events: list[tuple[str, int, int]],
    tolerance: int,
    wait: int,
    require: str,
    min_cameras: int,
    queue_size: int,
    num_cameras: int,
) -> None:
    cameras = tuple("ABC"[:num_cameras])
    values = {"tolerance_ns": tolerance, "max_wait_ns": wait, "require": require}
    policy = SyncPolicy.model_validate(values | {"min_cameras": min_cameras, "queue_size": queue_size})
    synchronizer: Synchronizer[int] = Synchronizer("L", cameras, policy)
    sets: list[MatchedSet[int]] = []
    pushed = 0
    for number, (sensor, stamp, latency) in enumerate(events):
        if sensor == "L" or sensor in cameras:
            sets += synchronizer.push(sensor, stamp, number, stamp + latency)
            pushed += 1
        elif cameras:
            synchronizer.reject(cameras[0])
            pushed += 1
        assert all(counts.adds_up for counts in synchronizer.counts.values())
        assert all(0 <= counts.waiting <= queue_size for counts in synchronizer.counts.values())
    sets += synchronizer.flush()
    counts = synchronizer.counts
    assert all(entry.adds_up and entry.waiting == 0 for entry in counts.values())
    assert sum(entry.pushed for entry in counts.values()) == pushed
    times = [entry.pivot.time_ns for entry in sets]
    assert times == sorted(set(times))
    items = [p.item for entry in sets for p in (entry.pivot, *entry.cameras.values()) if p is not None]
    assert len(items) == len(set(items)) == sum(entry.outcomes["used"] for entry in counts.values())
    for entry in sets:
        assert sum(entry.mask) >= policy.cameras_needed(num_cameras)
        partners = [p for p in entry.cameras.values() if p is not None]
        assert all(abs(p.time_ns - entry.pivot.time_ns) <= tolerance for p in partners)
