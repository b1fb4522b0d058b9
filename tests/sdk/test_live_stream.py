"""The stream, stepped by hand: the newest set first, no result twice or out of its time, nobody's error stops it."""

from __future__ import annotations

import gc
import logging
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sdk.live_cases import MS, PERIOD, SECOND, T0, Bench, HandClock, cloud, jpeg
from understudy.boxes import Boxes
from understudy.errors import EngineError, FrameError, GeometryError, InputError
from understudy.frame import Frame
from understudy.live.options import StreamOptions
from understudy.live.stream import SensorStream
from understudy.live.tally import judge
from understudy.pipeline import open_pipeline
from understudy.synchronization.matcher import SyncPolicy
from understudy.testing import frame_of, road_cloud, simple_rig, tiny_bundle

LIDAR = StreamOptions("lidar")
BOTH = StreamOptions("lidar", ("front", "rear"))
STRICT = StreamOptions("lidar", deadline_ns=100 * MS)


def test_a_pushed_message_becomes_what_the_pipeline_says(tmp_path: Path) -> None:
    published: list[tuple[Boxes, int]] = []
    with open_pipeline(tiny_bundle(tmp_path / "bundle").folder, simple_rig()) as pipeline:
        stream = SensorStream(
            simple_rig(), LIDAR, pipeline, lambda boxes, frame: published.append((boxes, frame.stamp_ns)), HandClock()
        )
        stream.push("lidar", cloud(T0, seed=7, num_points=2000))
        assert stream.work()
        wanted = pipeline(frame_of(road_cloud(np.random.default_rng(7), 2000)))
    assert len(wanted)
    [(boxes, stamp_ns)] = published
    np.testing.assert_array_equal(boxes.geometry, wanted.geometry)
    assert stamp_ns == T0


class TestQueue:
    def test_a_slow_student_sees_the_newest_sweep_and_the_rest_is_counted(self) -> None:
        bench = Bench(LIDAR)

        def arrive(frame: Frame) -> None:
            bench.during = lambda frame: None
            for _ in range(5):
                bench.clock.pass_ns(PERIOD)
                bench.stream.push("lidar", cloud(bench.clock.stamps_ns))
            assert not bench.stream.work(), "one student"
            status = bench.stream.status()
            assert (status.of("lidar").waiting, status.busy_ns, status.adds_up) == (2, 5 * PERIOD, True)

        bench.during = arrive
        bench.drive(1)
        assert bench.stamps_ms == [0, 500]
        lidar = bench.stream.status().of("lidar")
        assert (lidar.received, lidar.outcomes["published"], lidar.outcomes["superseded"]) == (6, 2, 4)

    def test_pictures_share_the_end_of_their_sweep(self) -> None:
        bench = Bench(BOTH)
        bench.drive(4, work=False)
        bench.step()
        for name in ("lidar", "front", "rear"):
            outcomes = bench.stream.status().of(name).outcomes
            assert (outcomes["published"], outcomes["superseded"]) == (2, 2), "two wait for a student that is idle"

    def test_the_lidars_rate_goes_on_while_a_camera_is_silent(self) -> None:
        bench = Bench(BOTH)
        bench.drive(5)
        bench.drive(20, without=("rear",))
        status = bench.stream.status()
        assert status.results == 25, "the newest does not wait for a camera that has long been silent"
        assert status.of("rear").missing == 20
        assert status.missing == ("rear",)
        bench.drive(5)
        assert bench.stream.status().missing == ()
        assert bench.stamps_ms == [number * 100 for number in range(30)], "two that close at once are both run"

    def test_nothing_is_published_while_a_required_camera_is_silent(self) -> None:
        bench = Bench(StreamOptions("lidar", ("front", "rear"), SyncPolicy(require="all")))
        bench.drive(5)
        before = bench.stream.status()
        bench.drive(15, without=("rear",))
        verdict = judge(before, bench.stream.status(), SECOND)
        assert len(bench.published) == 5
        assert verdict.level == "error"
        assert verdict.at_fault == ("lidar", "rear")
        assert "lidar: 15 without a set" in verdict.message
        assert "rear: no message for 1.6 s" in verdict.message

    def test_time_alone_closes_a_set_by_ticks(self) -> None:
        bench = Bench(BOTH)
        bench.stream.push("lidar", cloud(T0))
        assert bench.stream.next_deadline_ns == T0 + 100 * MS
        assert not bench.stream.work()
        bench.clock.pass_ns(100 * MS)
        bench.step()
        assert bench.stamps_ms == [0]
        assert bench.stream.next_deadline_ns is None


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "end"),
        [
            (FrameError("cloud", found="odd"), "rejected"),
            (GeometryError("cloud", found="odd"), "rejected"),
            (EngineError("engine", found="gone"), "failed"),
            (ZeroDivisionError("bug"), "failed"),
            (MemoryError(), "failed"),
        ],
    )
    def test_an_error_of_the_student_ends_one_set_only(self, error: Exception, end: Any) -> None:
        errors = [error]

        def perhaps(frame: Frame) -> None:
            if errors:
                raise errors.pop()

        bench = Bench(BOTH, during=perhaps)
        bench.drive(3)
        assert bench.stamps_ms == [100, 200]
        status = bench.stream.status()
        assert status.of("lidar").outcomes[end] == 1
        assert status.of("front").outcomes["unmatched" if end == "rejected" else "failed"] == 1
        verdict = judge(Bench(BOTH).stream.status(), status, SECOND)
        assert (verdict.level, verdict.at_fault) == ("warn", ("lidar" if end == "rejected" else "student",))

    @pytest.mark.parametrize(
        ("error", "end", "who"),
        [(GeometryError("rig", found="moved"), "rejected", "lidar"), (ZeroDivisionError("bug"), "failed", "student")],
    )
    def test_an_error_of_the_publisher_ends_one_set_only(
        self, error: Exception, end: Any, who: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench, errors = Bench(LIDAR), [error]

        def publish(result: Any, frame: Frame) -> None:
            if errors:
                raise errors.pop()
            bench.published.append(frame)

        bench.stream = SensorStream(bench.rig, LIDAR, lambda frame: None, publish, bench.clock)
        with caplog.at_level(logging.WARNING, logger="understudy.live"):
            bench.drive(3)
        assert bench.stamps_ms == [100, 200]
        assert bench.stream.status().of("lidar").outcomes[end] == 1
        assert f"{who}: not used" in caplog.text

    @pytest.mark.parametrize("kind", [FrameError, ZeroDivisionError])
    def test_an_error_kept_by_whoever_raised_it_keeps_no_sweep(self, kind: type[Exception]) -> None:
        """Without the garbage collector: a sweep has megabytes."""
        seen: list[weakref.ref[Frame]] = []

        def refusing(frame: Frame) -> None:
            seen.append(weakref.ref(frame))
            error = kind("broken")
            raise error

        bench = Bench(LIDAR, during=refusing)
        gc.disable()
        try:
            bench.drive(5)
            assert [reference() for reference in seen[:-1]] == [None] * 4
        finally:
            gc.enable()

    def test_an_interrupt_passes_and_leaves_no_message_behind(self) -> None:
        def interrupted(frame: Frame) -> None:
            raise KeyboardInterrupt

        bench = Bench(BOTH, during=interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.drive(1)
        assert bench.stream.status().of("lidar").waiting == 0
        bench.during = lambda frame: None
        bench.clock.pass_ns(PERIOD)
        bench.drive(1)
        assert bench.stamps_ms == [100]

    def test_who_is_told_of_times_may_break(self) -> None:
        bench, told = Bench(LIDAR), []

        def tell(times: Any, frame: Frame) -> None:
            told.append((times.age_ns, frame.stamp_ns))
            raise ZeroDivisionError

        bench.stream = SensorStream(bench.rig, LIDAR, lambda frame: None, bench.take, bench.clock, tell)
        bench.drive(2)
        assert bench.stamps_ms == [0, 100]
        assert told == [(0, T0), (0, T0 + PERIOD)]
        assert bench.stream.status().adds_up

    def test_an_unknown_sensor_is_the_callers_mistake(self) -> None:
        with pytest.raises(InputError, match="left"):
            Bench(LIDAR).stream.push("left", cloud(T0))


class TestTime:
    def test_what_is_older_than_the_deadline_is_not_run_and_what_becomes_so_is_late(self) -> None:
        bench = Bench(STRICT)
        bench.during = lambda frame: bench.clock.pass_ns(120 * MS if frame.stamp_ns > T0 + SECOND else 0)
        for age_ms in (200, 10, 5, 0):
            bench.clock.pass_ns(SECOND)
            bench.stream.push("lidar", cloud(bench.clock.stamps_ns - age_ms * MS))
            bench.step()
        status = bench.stream.status()
        assert (status.of("lidar").outcomes["stale"], status.results, status.late) == (1, 3, 3)
        assert status.of("lidar").trouble == "set older than the deadline of 100 ms"
        assert status.stages_ms["age"][1] == pytest.approx(130.0)
        assert status.stages_ms["run"] == pytest.approx((120.0, 120.0))
        assert status.age_ns == 120 * MS

    def test_stages_add_up_to_the_way_from_arrival_to_output(self) -> None:
        bench = Bench(StreamOptions("lidar", ("front",)))
        bench.during = lambda frame: bench.clock.pass_ns(30 * MS)
        bench.stream.push("lidar", cloud(T0))
        bench.clock.pass_ns(20 * MS)
        bench.stream.push("front", jpeg(T0))
        bench.clock.pass_ns(5 * MS)
        bench.step()
        last = bench.stream.status().last
        assert last is not None
        assert (last.convert_ns, last.match_ns, last.wait_ns) == (0, 20 * MS, 5 * MS)
        assert (last.frame_ns, last.run_ns, last.publish_ns, last.age_ns) == (0, 30 * MS, 0, 55 * MS)

    def test_a_result_of_a_time_before_the_clock_went_back_is_not_published(self) -> None:
        bench = Bench(LIDAR)

        def set_back(frame: Frame) -> None:
            bench.clock.stamps_ns -= 3600 * SECOND
            bench.during = lambda frame: None

        bench.during = set_back
        bench.drive(1)
        assert bench.published == []
        bench.drive(5)
        assert len(bench.published) == 5
        status = bench.stream.status()
        assert (status.clock_jumps, status.of("lidar").outcomes["stale"]) == (1, 1)
        assert "clock: jumped back" in judge(Bench(LIDAR).stream.status(), status, SECOND).message

    def test_a_clock_that_is_set_back_a_little_makes_no_sweep_young(self) -> None:
        bench = Bench(BOTH)
        bench.drive(3, without=("rear",))
        assert bench.stamps_ms == [0, 100], "the third waits for its camera"
        bench.clock.stamps_ns -= 700 * MS
        for _ in range(10):
            bench.step()
            bench.clock.pass_ns(PERIOD)
        assert bench.stamps_ms == [0, 100]
        assert bench.stream.status().of("lidar").outcomes["stale"] == 1

    def test_a_sweep_is_no_younger_than_the_time_since_it_came(self) -> None:
        bench = Bench(StreamOptions("lidar", ("front", "rear"), deadline_ns=200 * MS))
        bench.stream.push("lidar", cloud(bench.clock.stamps_ns + 900 * MS))
        bench.clock.pass_ns(300 * MS)
        bench.step()
        assert bench.published == []
        assert bench.stream.status().of("lidar").outcomes["stale"] == 1

    def test_a_set_that_waits_when_the_clock_goes_back_is_not_run(self) -> None:
        bench = Bench(LIDAR)
        bench.drive(1, work=False)
        bench.clock.stamps_ns -= 3600 * SECOND
        bench.step()
        bench.drive(2)
        assert bench.stamps_ms == [-3_599_900, -3_599_800]

    @pytest.mark.parametrize("rule", ["nearest", "approximate_time"])
    def test_one_sweep_from_the_far_future_stops_the_output_for_two_sweeps(self, rule: Any) -> None:
        bench = Bench(StreamOptions("lidar", rule=rule))
        bench.drive(2)
        bench.stream.push("lidar", cloud(T0 + 3600 * SECOND))
        bench.step()
        bench.drive(6)
        assert bench.stamps_ms == [0, 100, 3_600_000, 400, 500, 600, 700]
        assert bench.stream.status().of("lidar").jumps == 1

    def test_results_never_go_back_by_a_rule_that_takes_stamps_in_any_order(self) -> None:
        bench = Bench(StreamOptions("lidar", rule="approximate_time"))
        for stamp_ms in (0, 200, 100, 300, 250, 400):
            bench.stream.push("lidar", cloud(T0 + stamp_ms * MS))
            bench.step()
        assert bench.stamps_ms == [0, 200, 300, 400]
        assert bench.stream.status().of("lidar").outcomes["stale"] == 2

    def test_a_clock_that_leaps_ahead_or_stands_still_is_named(self) -> None:
        bench = Bench(LIDAR)
        bench.drive(3)
        before = bench.stream.status()
        bench.clock.stamps_ns += 60 * SECOND
        bench.drive(3)
        after = bench.stream.status()
        assert judge(before, after, SECOND).message == "clock: jumped ahead"
        bench.clock.steady += 3 * SECOND
        verdict = judge(after, bench.stream.status(), SECOND)
        assert verdict.at_fault == ("lidar", "clock")
        assert "clock: has stood still for 3.0 s" in verdict.message

    def test_a_simulated_clock_that_begins_to_run_has_not_leaped(self) -> None:
        bench = Bench(LIDAR, clock=HandClock(0, 5))
        bench.clock.stamps_ns = T0
        bench.drive(3)
        assert bench.stream.status().clock_leaps == 0


class TestStop:
    def test_what_waits_is_discarded_and_nothing_more_is_taken(self) -> None:
        bench = Bench(BOTH)
        bench.drive(3, without=("rear",), work=False)
        assert bench.stream.stop()
        bench.drive(2)
        assert bench.stream.stop()
        status = bench.stream.status()
        assert bench.published == []
        assert status.adds_up
        lidar = status.of("lidar")
        assert (lidar.waiting, lidar.received, lidar.outcomes["discarded"], lidar.outcomes["superseded"]) == (
            0,
            5,
            4,
            1,
        )

    def test_a_result_that_comes_after_the_stop_is_discarded(self) -> None:
        bench, idle = Bench(LIDAR), []
        bench.during = lambda frame: idle.append(bench.stream.stop())
        bench.drive(1)
        assert idle == [False]
        assert bench.stream.stop()
        assert bench.published == []
        assert bench.stream.status().of("lidar").outcomes["discarded"] == 1
