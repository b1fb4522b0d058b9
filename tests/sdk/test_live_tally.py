"""Who is at fault, from two looks at a stream; and the clock that is watched."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sdk.live_cases import MS, SECOND, T0, HandClock
from understudy.live.clock import ClockWatch, StampClock, SystemClock
from understudy.live.tally import MOTION, OUTCOMES, SensorStatus, Status, judge


def sensor(name: str, *, outcomes: dict[Any, int] | None = None, **changed: Any) -> SensorStatus:
    return SensorStatus(name, outcomes={**dict.fromkeys(OUTCOMES, 0), **(outcomes or {})}, **changed)


def status(roof: dict[str, Any] | None = None, front: dict[str, Any] | None = None, **changed: Any) -> Status:
    sensors = {"roof": sensor("roof", **(roof or {})), "front": sensor("front", **(front or {}))}
    return Status("roof", sensors, **changed)


@pytest.mark.parametrize(
    ("now", "level", "message"),
    [
        (status(results=10), "ok", "roof: 10 published"),
        (status({"silent_ns": 2 * SECOND}, results=9), "error", "roof: no message for 2.0 s"),
        (
            status({"outcomes": {"rejected": 3}, "trouble": "x is missing"}),
            "error",
            "roof: 3 not used; the last: x is missing",
        ),
        (status({"outcomes": {"rejected": 1}, "trouble": "cut"}, results=9), "warn", "roof: 1 not used; the last: cut"),
        (status({"outcomes": {"stale": 4}}), "error", "roof: 4 too old"),
        (status({"outcomes": {"duplicate": 4}}), "error", "roof: 4 with a stamp seen before"),
        (status({"outcomes": {"out_of_order": 1}}, results=9), "warn", "roof: 1 out of order"),
        (status({"jumps": 1}, results=9), "warn", "roof: its stamps went back"),
        (status(front={"silent_ns": 2 * SECOND}, results=9), "warn", "front: no message for 2.0 s"),
        (status(front={"missing": 4}, results=9), "warn", "front: missing in 4 of 9 results"),
        (
            status({"outcomes": {"unmatched": 9}}, {"outcomes": {"unmatched": 8}}),
            "error",
            "roof: 9 without a set | front: none of 8 matched",
        ),
        (status(front={"outcomes": {"unmatched": 8, "published": 1}}, results=1), "ok", "roof: 1 published"),
        (
            status({"outcomes": {"unmatched": 2}}, {"outcomes": {"unmatched": 1, "published": 7}}, results=7),
            "warn",
            "roof: 2 without a set",
        ),
        (status(busy_ns=3200 * MS), "error", "student: busy for 3.2 s"),
        (
            status({"outcomes": {"failed": 1}}, {"outcomes": {"failed": 1}}, results=9, student_trouble="gone"),
            "warn",
            "student: 1 failed; the last: gone",
        ),
        (status(results=9, late=2), "warn", "student: 2 published after the deadline"),
        (status(results=9, clock_jumps=1), "warn", "clock: jumped back"),
        (status(results=9, clock_leaps=1), "warn", "clock: jumped ahead"),
        (status(results=9, clock_still_ns=2 * SECOND), "warn", "clock: has stood still for 2.0 s"),
        (status(results=9, motion=sensor(MOTION, silent_ns=2 * SECOND)), "warn", "ego motion: no message for 2.0 s"),
        (
            status(results=9, motion=sensor(MOTION, outcomes={"rejected": 2}, trouble="child")),
            "warn",
            "ego motion: 2 not used; the last: child",
        ),
    ],
)
def test_each_at_fault_is_named_with_the_reason(now: Status, level: str, message: str) -> None:
    verdict = judge(status(), now, SECOND)
    assert (verdict.level, verdict.message) == (level, message)
    at_fault = tuple(part.split(":")[0] for part in message.split(" | ")) if level != "ok" else ()
    assert verdict.at_fault == at_fault


def test_all_that_happened_is_said_by_sensor() -> None:
    roof = {"outcomes": {"rejected": 1, "stale": 2}, "trouble": "no points", "silent_ns": SECOND + 1}
    verdict = judge(status(), status(roof, {"missing": 3, "outcomes": {"rejected": 3}}, results=4), SECOND)
    wanted = (
        "roof: no message for 1.0 s; 1 not used; the last: no points; 2 too old"
        " | front: 3 not used; the last: ; missing in 3 of 4 results"
    )
    assert (verdict.level, verdict.message) == ("error", wanted)


def test_what_was_seen_before_is_not_said_again() -> None:
    roof = {"outcomes": {"rejected": 5, "published": 1}, "trouble": "old"}
    before = status(roof, {"missing": 2}, results=10, late=2, clock_jumps=3)
    now = status(
        {**roof, "outcomes": {"rejected": 5, "published": 11}}, {"missing": 2}, results=20, late=2, clock_jumps=3
    )
    assert judge(before, now, SECOND).level == "ok"


def test_a_look_at_another_stream_counts_for_none() -> None:
    """A node that is deactivated and activated again has counters that begin at 0."""
    roof = {"outcomes": {"rejected": 5, "published": 90}, "trouble": "old"}
    before = status(roof, results=90, late=2, clock_jumps=3, started_ns=T0)
    verdict = judge(before, status(results=4, started_ns=T0 + SECOND), SECOND)
    assert (verdict.level, verdict.message) == ("ok", "roof: 4 published")


def test_a_look_at_nothing_judges_nothing() -> None:
    assert judge(Status("roof"), Status("roof"), SECOND).level == "ok"
    assert judge(Status(""), status(results=1), SECOND).level == "ok"
    assert Status("roof").adds_up


class TestClockWatch:
    def test_a_simulation_ten_times_as_fast_has_not_leaped(self) -> None:
        clock = HandClock()
        watch = ClockWatch(clock)
        for _ in range(20):
            clock.steady += 100 * MS
            clock.stamps_ns += SECOND
            assert watch.now_ns() == clock.stamps_ns
        assert watch.leaps == 0
        clock.stamps_ns += 10 * SECOND
        watch.now_ns()
        assert watch.leaps == 1

    def test_standing_still_is_counted_from_the_last_move(self) -> None:
        clock = HandClock()
        watch = ClockWatch(clock)
        clock.pass_ns(SECOND)
        watch.now_ns()
        clock.steady += 3 * SECOND
        assert watch.still_ns() == 3 * SECOND
        clock.stamps_ns += 1
        assert watch.still_ns() == 0

    def test_a_clock_that_is_set_back_is_noticed_and_one_that_is_uneven_is_not(self) -> None:
        clock = HandClock()
        watch = ClockWatch(clock)
        clock.pass_ns(SECOND)
        clock.stamps_ns -= SECOND + 5 * MS
        watch.now_ns()
        assert watch.set_back_ns is None
        clock.pass_ns(SECOND)
        watch.now_ns()
        clock.stamps_ns -= 500 * MS
        watch.now_ns()
        assert watch.set_back_ns == clock.steady

    def test_real_clocks(self) -> None:
        clock = SystemClock()
        assert clock.now_ns() > T0 - 10 * 365 * 86_400 * SECOND
        assert clock.steady_ns() <= clock.steady_ns()
        assert StampClock(lambda: 5).now_ns() == 5
