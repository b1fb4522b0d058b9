"""The node core: newest first, every message at exactly one end, and nothing that a sensor sends stops it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.bags.types import make_message
from understudy.boxes import Boxes
from understudy.errors import EngineError
from understudy.frame import Frame
from understudy.live.latest import Latest
from understudy.live.lidar_stream import LidarStream, StreamOptions
from understudy.live.lidar_tally import OUTCOMES, Status, judge
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.pipeline import open_pipeline
from understudy.testing import frame_of, road_cloud, simple_rig, tiny_bundle

OPTIONS = StreamOptions("lidar")
SECOND = 1_000_000_000


def message_of(number: int = 0, num_points: int = 400) -> Any:
    cloud = road_cloud(np.random.default_rng(number), num_points, stamp_ns=1 + number)
    return cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0)


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s, "waited 20 s in vain"
        time.sleep(0.002)


def settled(stream: LidarStream[Any]) -> Status:
    until(lambda: stream.status().waiting == 0)
    return stream.status()


class Slow:
    """A student that waits to be let on, and tells the stamps of what it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.entered, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, frame: Frame) -> int:
        self.seen.append(frame.stamp_ns)
        self.entered.release()
        assert self.go.acquire(timeout=20)
        return frame.stamp_ns


def test_a_pushed_message_becomes_what_the_pipeline_says(tmp_path: Path) -> None:
    published: list[tuple[Boxes, int]] = []
    with open_pipeline(tiny_bundle(tmp_path / "bundle").folder, simple_rig()) as pipeline:
        stream = LidarStream(OPTIONS, pipeline, lambda boxes, stamp_ns: published.append((boxes, stamp_ns)))
        stream.start()
        stream.push(message_of(7, 2000))
        status = settled(stream)
        assert stream.stop()
        wanted = pipeline(frame_of(road_cloud(np.random.default_rng(7), 2000, stamp_ns=8)))
    assert len(wanted)
    [(boxes, stamp_ns)] = published
    np.testing.assert_array_equal(boxes.geometry, wanted.geometry)
    assert (stamp_ns, status.outcomes["published"]) == (8, 1)
    assert set(status.stages_ms) == {"convert", "wait", "run", "publish", "age"}
    assert all(median >= 0 for median, _ in status.stages_ms.values())


def test_a_slow_student_sees_the_newest_sweep_and_the_rest_is_counted() -> None:
    slow, published = Slow(), []
    stream = LidarStream(OPTIONS, slow, lambda result, stamp_ns: published.append((result, stamp_ns)))
    stream.start()
    stream.push(message_of(0))
    assert slow.entered.acquire(timeout=20)
    for number in range(1, 6):
        stream.push(message_of(number))
    assert stream.status().waiting == 2, "one in the student, one in the queue"
    slow.go.release(2)
    status = settled(stream)
    assert stream.stop()
    assert slow.seen == [1, 6]
    assert published == [(1, 1), (6, 6)]
    assert (status.received, status.outcomes["published"], status.outcomes["superseded"]) == (6, 2, 4)
    assert status.adds_up


def test_stopping_publishes_nothing_more_and_discards_what_waits() -> None:
    slow, published = Slow(), []
    stream = LidarStream(OPTIONS, slow, lambda result, stamp_ns: published.append(result))
    stream.start()
    stream.push(message_of(0))
    assert slow.entered.acquire(timeout=20)
    stream.push(message_of(1))
    assert not stream.stop(timeout_s=0.01), "the student is still busy"
    slow.go.release()
    assert stream.stop()
    stream.push(message_of(2))
    status = stream.status()
    assert published == []
    assert (status.outcomes["discarded"], status.adds_up) == (3, True)


def test_a_stream_that_never_started_can_be_stopped() -> None:
    stream = LidarStream(OPTIONS, Slow(), lambda result, stamp_ns: None)
    assert stream.stop()
    assert stream.stop()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda good: replace(good, data=good.data[:100]), "point cloud"),
        (lambda good: replace(good, width=0, row_step=0, data=good.data[:0]), "0"),
        (lambda good: replace(good, fields=good.fields[1:]), "x is missing"),
        (lambda good: object(), "sensor_msgs/PointCloud2"),
        (lambda good: None, "sensor_msgs/PointCloud2"),
    ],
)
def test_a_message_that_cannot_be_used_is_counted_with_its_reason(broken: Any, reason: str, tmp_path: Path) -> None:
    published: list[int] = []
    with open_pipeline(tiny_bundle(tmp_path / "bundle").folder, simple_rig()) as pipeline:
        stream = LidarStream(OPTIONS, pipeline, lambda boxes, stamp_ns: published.append(stamp_ns))
        stream.start()
        stream.push(broken(message_of(0)))
        assert settled(stream).outcomes["rejected"] == 1
        stream.push(message_of(1))
        status = settled(stream)
        assert stream.stop()
    assert reason in status.trouble
    assert published == [2]
    assert status.adds_up


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), EngineError("engine", found="gone"), MemoryError()])
@pytest.mark.parametrize("where", ["run", "publish"])
def test_an_error_of_student_or_publisher_ends_one_message_only(
    error: Exception, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    errors, published = [error], []

    def perhaps(step: str) -> None:
        if step == where and errors:
            raise errors.pop()

    def publish(result: None, stamp_ns: int) -> None:
        perhaps("publish")
        published.append(stamp_ns)

    stream = LidarStream(OPTIONS, lambda frame: perhaps("run"), publish)
    stream.start()
    with caplog.at_level(logging.WARNING):
        for number in range(2):
            stream.push(message_of(number))
            status = settled(stream)
    assert stream.stop()
    assert published == [2]
    assert status.outcomes["rejected" if isinstance(error, EngineError) else "failed"] == 1
    assert "lidar: a message was" in caplog.text


def test_what_is_older_than_the_deadline_is_not_run_and_what_becomes_so_is_late() -> None:
    clock_ns, ran = [SECOND], []

    def run(frame: Frame) -> None:
        ran.append(frame.stamp_ns)
        clock_ns[0] += 60_000_000 * len(ran)

    options = StreamOptions("lidar", deadline_ns=100_000_000)
    stream = LidarStream(options, run, lambda result, stamp_ns: None, lambda: clock_ns[0])
    stream.start()
    for age_ns in (200_000_000, 10_000_000, 10_000_000):
        message = message_of()
        stamp = replace(message.header.stamp, sec=0, nanosec=0)
        sec, nanosec = divmod(clock_ns[0] - age_ns, SECOND)
        header = replace(message.header, stamp=replace(stamp, sec=sec, nanosec=nanosec))
        stream.push(replace(message, header=header))
        status = settled(stream)
    assert stream.stop()
    assert len(ran) == 2
    assert (status.outcomes["stale"], status.outcomes["published"], status.late) == (1, 2, 1)
    assert status.stages_ms["age"][1] == pytest.approx(130.0)


def test_a_storm_of_good_and_bad_messages_from_many_threads_adds_up() -> None:
    stream = LidarStream(OPTIONS, lambda frame: None, lambda result, stamp_ns: None)
    stream.start()
    looks: list[bool] = []

    def push_all(seed: int) -> None:
        for number in range(50):
            stream.push(message_of(number, 50) if number % 3 else None)
            looks.append(stream.status().adds_up)

    threads = [threading.Thread(target=push_all, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    status = settled(stream)
    assert stream.stop()
    assert all(looks)
    assert (status.received, status.outcomes["rejected"], status.adds_up) == (200, 68, True)
    assert status.outcomes["published"] + status.outcomes["superseded"] == 132


@given(st.lists(st.booleans(), max_size=30))
def test_the_queue_gives_the_newest_and_returns_every_other_exactly_once(takes: list[bool]) -> None:
    queue: Latest[int] = Latest()
    given_back, waiting = [], None
    for number, take in enumerate(takes):
        if take and waiting is not None:
            assert queue.take() == waiting
            given_back.append(waiting)
            waiting = None
        replaced = queue.put(number)
        assert replaced == waiting
        given_back += [] if replaced is None else [replaced]
        waiting = number
    assert queue.close() == waiting
    assert given_back == sorted(set(given_back))
    assert queue.put(99) == 99
    assert queue.take() is None


class TestJudge:
    def status(self, **changed: Any) -> Status:
        outcomes = {**dict.fromkeys(OUTCOMES, 0), **changed.pop("outcomes", {})}
        return Status("roof", outcomes=outcomes, **changed)

    @pytest.mark.parametrize(
        ("now", "level", "message"),
        [
            ({"outcomes": {"published": 10}}, "ok", "roof: 10 published"),
            ({"outcomes": {"published": 9}, "silent_ns": 2 * SECOND}, "error", "roof: no message for 2.0 s"),
            ({"outcomes": {"rejected": 3}, "trouble": "x is missing"}, "error", "3 not used; the last: x is missing"),
            ({"outcomes": {"failed": 1, "published": 9}}, "warn", "1 not used"),
            ({"outcomes": {"stale": 4}}, "error", "roof: 4 older than the deadline"),
            ({"outcomes": {"published": 9}, "late": 2}, "warn", "roof: 2 published after the deadline"),
            ({"waiting": 1}, "warn", "roof: 1 waiting for a result"),
        ],
    )
    def test_the_worst_since_the_last_look_is_said(self, now: dict[str, Any], level: str, message: str) -> None:
        verdict = judge(self.status(), self.status(**now), SECOND)
        assert verdict.level == level
        assert message in verdict.message

    def test_silence_hides_nothing_that_happened_before_it(self) -> None:
        outcomes = {"rejected": 1, "stale": 2}
        now = self.status(outcomes=outcomes, trouble="no points", silent_ns=SECOND + 1)
        verdict = judge(self.status(), now, SECOND)
        found = "no message for 1.0 s; 1 not used; the last: no points; 2 older than the deadline"
        assert (verdict.level, verdict.message) == ("error", f"roof: {found}")

    def test_what_was_seen_before_is_not_said_again(self) -> None:
        before = self.status(outcomes={"rejected": 5, "published": 1}, late=2, trouble="old")
        now = self.status(outcomes={"rejected": 5, "published": 11}, late=2, trouble="old")
        assert judge(before, now, SECOND).level == "ok"
