"""Sweeps and camera frames: which belong together, when a set closes, and counters that always add up."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import InputError
from understudy.synchronization.matcher import MatchedSet, SyncPolicy
from understudy.synchronization.nearest import Synchronizer

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


@settings(max_examples=300)
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


def test_a_set_names_the_cameras_that_are_missing() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A", "B"))
    sets = run([("A", 0), ("L", 0)], synchronizer) + synchronizer.flush()
    assert sets[0].missing == ("B",)


def test_the_next_deadline_is_told() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",), SyncPolicy(max_wait_ns=30 * MS))
    assert synchronizer.next_deadline_ns is None
    run([("L", 10)], synchronizer)
    assert synchronizer.next_deadline_ns == 40 * MS
    synchronizer.advance(40 * MS)
    assert synchronizer.next_deadline_ns is None


def waits_ms(events: list[tuple[str, int]], **policy: int | None) -> list[int]:
    """How long each sweep waited, where time passes in steps of a millisecond; every message comes when stamped."""
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A", "B"), SyncPolicy.model_validate(policy))
    waits = []
    for now_ms in range(events[-1][1] + 200):
        sets = synchronizer.advance(now_ms * MS)
        sets += run([event for event in events if event[1] == now_ms], synchronizer)
        waits += [now_ms - int(entry.pivot.time_ns / MS) for entry in sets]
    assert synchronizer.counts["L"].adds_up
    return waits


def silent_for(sweeps: range) -> list[tuple[str, int]]:
    """Twenty sweeps, pictures 5 ms later; B sends none with some of them."""
    numbers = range(20)
    events = [(name, 100 * number + late) for number in numbers for name, late in (("L", 0), ("A", 5), ("B", 5))]
    return [(name, stamp) for name, stamp in events if name != "B" or stamp // 100 not in sweeps]


def test_a_camera_that_is_silent_is_waited_for_no_more_until_it_is_back() -> None:
    waits = waits_ms(silent_for(range(3, 14)), silent_after_ns=400 * MS, max_wait_ns=80 * MS)
    # Nothing since the sweep of 300 ms: that of 800 ms is the first more than 400 ms later. B is back at 1405 ms.
    assert waits == [5] * 3 + [80] * 5 + [5] * 6 + [5] * 6


def test_the_first_picture_after_a_silence_is_lost_and_the_next_one_is_not() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A", "B"), SyncPolicy(silent_after_ns=400 * MS))
    there = {entry[0]: entry[2] for entry in named(run(silent_for(range(3, 14)), synchronizer))}
    assert (there["L1300"], there["L1400"], there["L1500"]) == ("-", "-", "B1505")


@pytest.mark.parametrize("silent_after_ns", [None, 5000 * MS])
def test_a_camera_that_may_be_silent_is_always_waited_for(silent_after_ns: int | None) -> None:
    waits = waits_ms(silent_for(range(3, 14)), silent_after_ns=silent_after_ns, max_wait_ns=80 * MS)
    assert waits == [5] * 3 + [80] * 11 + [5] * 6


def test_a_camera_that_never_sent_is_waited_for_at_first_and_again_after_the_clock_jumped_back() -> None:
    policy = SyncPolicy(silent_after_ns=250 * MS, max_wait_ns=80 * MS)
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",), policy)
    assert synchronizer.advance(1000 * MS) == [], "a node that waits for its sensors"
    sweeps = [("L", 10_000 + 100 * number) for number in range(4)]
    assert named(run(sweeps[:-1], synchronizer)) == [("L10000", "-"), ("L10100", "-")]
    assert named(run(sweeps[-1:], synchronizer)) == [("L10200", "-"), ("L10300", "-")]
    assert named(run([("L", 100)], synchronizer)) == []
    assert synchronizer.clock_jumps == 1


def test_where_all_sensors_paused_nobody_is_silent() -> None:
    events = [("L", 0), ("A", 5), ("A", 105), ("L", 100), ("L", 9000), ("A", 9005)]
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",), SyncPolicy(silent_after_ns=250 * MS))
    assert named(run(events, synchronizer)) == [("L0", "A5"), ("L100", "A105"), ("L9000", "A9005")]


def test_a_camera_that_repeats_one_stamp_is_as_good_as_silent() -> None:
    events = [(name, 100 * number) for number in range(1, 10) for name in ("L", "A")]
    policy = SyncPolicy(silent_after_ns=250 * MS, max_wait_ns=80 * MS)
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",), policy)
    closed = []
    for name, now_ms in events:
        stamp_ms = now_ms if name == "L" else 7
        closed.append(len(synchronizer.push(name, stamp_ms * MS, name, now_ms * MS)))
    assert closed[:2] == [0, 0]
    assert closed[-2:] == [1, 0], "each sweep is given when it comes"
    assert synchronizer.next_deadline_ns is None


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(InputError, match="each name once"):
        Synchronizer("L", ("A", "A"))


def test_a_clock_that_starts_over_gives_sets_at_once() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",))
    run([("L", 50_000), ("A", 50_000), ("L", 50_100)], synchronizer)
    sets = run([("L", 0), ("A", 5), ("A", 95), ("L", 100), ("A", 105)], synchronizer)
    assert named(sets) == [("L0", "A5"), ("L100", "A95")]
    assert synchronizer.clock_jumps == 1
    assert outcomes(synchronizer, "L") == {"used": 3, "unmatched": 1}


def test_a_clock_that_goes_back_a_little_stands_still() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",), SyncPolicy(max_wait_ns=30 * MS))
    run([("L", 100)], synchronizer)
    assert synchronizer.advance(-500 * MS) == []
    assert synchronizer.clock_jumps == 0
    assert named(synchronizer.advance(130 * MS)) == [("L100", "-")]


@pytest.mark.parametrize("jumping", ["L", "A"])
def test_a_sensor_set_back_is_followed_from_its_third_message_on(jumping: str) -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",))
    times_ms = range(10_000, 11_000, 100)
    run([(sensor, t) for t in times_ms for sensor in "AL"], synchronizer)
    sets = []
    for step in range(10):
        for sensor in "AL":
            stamp_ms = step * 100 + (0 if sensor == jumping else 11_000)
            sets += synchronizer.push(sensor, stamp_ms * MS, f"{sensor}{stamp_ms}", (11_000 + step * 100) * MS)
    assert synchronizer.jumps[jumping] == 1
    assert sum(synchronizer.jumps.values()) == 1
    assert outcomes(synchronizer, jumping)["stale"] == 2
    assert len(sets + synchronizer.flush()) == (8 if jumping == "L" else 10)


@pytest.mark.parametrize("sensor", ["L", "A"])
def test_one_stamp_from_the_far_future_costs_a_few_messages(sensor: str) -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",))
    synchronizer.push(sensor, 10**18, "wild", 0)
    sets = run([(name, t) for t in range(0, 1000, 100) for name in "AL"], synchronizer)
    assert len([one for one in sets if one.is_complete]) >= 7
    assert synchronizer.jumps[sensor] == 1


@pytest.mark.parametrize(
    "stamps_ms", [[0, 0, 100, 100, 200, 200, 300, 300], [100, 0, 300, 200, 500, 400], [0, 100, 50, 200, 150]]
)
def test_a_sensor_set_back_is_followed_though_its_messages_come_twice_or_swapped(stamps_ms: list[int]) -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L")
    run([("L", 50_000)], synchronizer)
    for stamp_ms in stamps_ms:
        synchronizer.push("L", stamp_ms * MS, "L", 50_000 * MS)
    assert synchronizer.jumps == {"L": 1}
    assert outcomes(synchronizer, "L")["used"] > 1
    assert synchronizer.counts["L"].adds_up


def test_late_messages_among_good_ones_and_a_frozen_stamp_are_no_jump() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L")
    run([("L", 10_000)], synchronizer)
    for step in range(20):
        synchronizer.push("L", step * MS, "late", 10_000 * MS)
        synchronizer.push("L", (10_001 + step) * MS, "good", 10_000 * MS)
    for _ in range(20):
        synchronizer.push("L", 0, "frozen", 10_000 * MS)
    assert synchronizer.jumps == {"L": 0}
    assert outcomes(synchronizer, "L") == {"used": 21, "stale": 40}


def test_without_a_jump_to_follow_everything_after_it_is_stale() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", (), SyncPolicy(jump_back_ns=None))
    run([("L", 50_000), *(("L", t) for t in range(0, 1000, 100))], synchronizer)
    assert outcomes(synchronizer, "L") == {"used": 1, "stale": 10}
    assert synchronizer.clock_jumps == 0


def test_a_wrong_message_leaves_the_counters_as_they_were() -> None:
    synchronizer: Synchronizer[str] = Synchronizer("L", ("A",))
    with pytest.raises(KeyError):
        synchronizer.push("X", 0, "x", 0)
    with pytest.raises(TypeError):
        synchronizer.push("A", None, "x", 0)  # type: ignore[arg-type]
    run([("A", 0)], synchronizer)
    with pytest.raises(TypeError):
        synchronizer.push("A", 1, "x", None)  # type: ignore[arg-type]
    assert synchronizer.counts["A"].pushed == 1
    assert all(counts.adds_up for counts in synchronizer.counts.values())


class Item:
    """A message that can be counted while it lives."""


class Faults:
    """A 10 Hz LiDAR and three cameras with floods, frozen topics, clock jumps, pauses, duplicates and disorder."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.now_ms = 0

    def messages(self, num: int) -> Iterator[tuple[str, int, int]]:
        """(sensor, stamp in ns, clock in ns)."""
        for _ in range(num):
            fault = self.rng.choice(["none", "flood", "frozen", "back", "forward", "paused", "reordered"])
            sensors = [str(self.rng.choice(list("LABC")))] if fault in ("flood", "frozen") else list("LABC")
            self.now_ms += {"back": -int(self.rng.integers(0, 60_000)), "forward": 3_600_000}.get(str(fault), 0)
            start_ms = self.now_ms
            for step in range(300 if fault == "flood" else 20):
                self.now_ms += 0 if fault in ("paused", "flood") else 100
                for sensor in sensors:
                    stamp_ms = start_ms if fault == "frozen" else start_ms + step * 100
                    stamp_ms -= int(self.rng.integers(0, 3000)) if fault == "reordered" else 0
                    yield sensor, stamp_ms * MS, self.now_ms * MS


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("require", ["all", "min_n", "any"])
def test_memory_stays_bounded_and_sums_hold_under_faults(seed: int, require: str) -> None:
    policy = SyncPolicy.model_validate({"require": require, "queue_size": 5})
    synchronizer: Synchronizer[Item] = Synchronizer("L", tuple("ABC"), policy)
    alive: weakref.WeakSet[Item] = weakref.WeakSet()
    for sensor, stamp_ns, now_ns in Faults(seed).messages(20):
        item = Item()
        alive.add(item)
        synchronizer.push(sensor, stamp_ns, item, now_ns)
        del item
        assert len(alive) <= 4 * 5
        assert all(counts.adds_up and 0 <= counts.waiting <= 5 for counts in synchronizer.counts.values())
        assert len(alive) == sum(counts.waiting for counts in synchronizer.counts.values())
    synchronizer.flush()
    assert not alive


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happened_it_works_again_within_two_seconds(seed: int) -> None:
    synchronizer: Synchronizer[Item] = Synchronizer("L", tuple("ABC"))
    faults = Faults(seed)
    for round_ in range(10):
        for sensor, stamp_ns, now_ns in faults.messages(3):
            synchronizer.push(sensor, stamp_ns, Item(), now_ns)
        sets = []
        for _ in range(40):  # four good seconds
            faults.now_ms += 100
            for sensor in "ABCL":
                sets += synchronizer.push(sensor, faults.now_ms * MS, Item(), faults.now_ms * MS)
        good = [one for one in sets if one.is_complete and one.pivot.time_ns > (faults.now_ms - 2000) * MS]
        assert len(good) == 20, round_


def nearest_offline(
    stamps: dict[str, list[int]], offsets: dict[str, int], tolerance: int
) -> list[tuple[int | None, ...]]:
    """The rule with the whole recording at hand: for each sweep the nearest picture later than the last one used."""
    last_used = dict.fromkeys(stamps, -(10**9))
    sets = []
    for sweep in stamps["L"]:
        row: list[int | None] = [sweep]
        for camera in sorted(set(stamps) - {"L"}):
            times = [stamp for stamp in stamps[camera] if stamp > last_used[camera]]
            gaps = [(abs(stamp + offsets[camera] - sweep - offsets["L"]), stamp) for stamp in times]
            gap, stamp = min(gaps, default=(tolerance + 1, 0))
            row.append(stamp if gap <= tolerance else None)
            last_used[camera] = stamp if gap <= tolerance else last_used[camera]
        sets.append(tuple(row))
    return sets


STAMPS = st.sets(st.integers(0, 240), max_size=25).map(sorted)
SWEEPS = st.sets(st.integers(0, 6), max_size=6).map(lambda numbers: [40 * number for number in sorted(numbers)])


@settings(max_examples=200)
@given(
    stamps=st.fixed_dictionaries({"L": SWEEPS, "A": STAMPS, "B": STAMPS}),
    offsets=st.fixed_dictionaries({name: st.integers(-20, 20) for name in "LAB"}),
    tolerance=st.integers(0, 39),  # below the sweeps' period: no picture of one sweep lies beyond the next
    data=st.data(),
)
def test_sets_are_those_of_the_whole_recording_however_sensors_interleave(
    stamps: dict[str, list[int]], offsets: dict[str, int], tolerance: int, data: st.DataObject
) -> None:
    policy = SyncPolicy(tolerance_ns=tolerance, max_wait_ns=10**9, queue_size=1000)
    synchronizer: Synchronizer[int] = Synchronizer("L", ("A", "B"), policy, offsets)
    order = data.draw(st.permutations([name for name, times in stamps.items() for _ in times]))
    streams = {name: iter(times) for name, times in stamps.items()}
    sets: list[MatchedSet[int]] = []
    for sensor in order:
        stamp = next(streams[sensor])
        sets += synchronizer.push(sensor, stamp, stamp, 0)
    sets += synchronizer.flush()
    found = [(one.pivot.item, *(p.item if p else None for p in one.cameras.values())) for one in sets]
    assert found == nearest_offline(stamps, offsets, tolerance)
