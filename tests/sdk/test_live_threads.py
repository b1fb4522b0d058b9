"""The stream with its thread: hangs are told, stops are clean, and many threads at once keep the counts."""

from __future__ import annotations

import threading
from typing import Any

from tests.sdk.live_cases import MS, PERIOD, SECOND, cloud, jpeg, two_camera_rig, until
from understudy.frame import Frame
from understudy.live.clock import StampClock, SystemClock
from understudy.live.options import StreamOptions
from understudy.live.stream import SensorStream
from understudy.live.tally import Status, judge
from understudy.synchronization.matcher import SyncPolicy

LIDAR = StreamOptions("lidar")


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


def settled(stream: SensorStream[Any]) -> Status:
    until(lambda: all(entry.waiting == 0 for entry in stream.status().sensors.values()))
    return stream.status()


def test_a_student_that_hangs_is_told_and_left_behind() -> None:
    slow, published = Slow(), []
    stream = SensorStream(two_camera_rig(), LIDAR, slow, lambda result, frame: published.append(result))
    before = stream.status()
    stream.start()
    stream.push("lidar", cloud(1))
    assert slow.entered.acquire(timeout=20)
    stream.push("lidar", cloud(2))
    until(lambda: stream.status().busy_ns > 20 * MS)
    verdict = judge(before, stream.status(), 20 * MS)
    assert verdict.level == "error"
    assert "student" in verdict.at_fault
    assert "student: busy for 0." in verdict.message
    assert not stream.stop(timeout_s=0.01)
    slow.go.release(2)
    assert stream.stop()
    stream.push("lidar", cloud(3))
    status = stream.status()
    assert published == []
    assert (status.of("lidar").outcomes["discarded"], status.adds_up, status.of("lidar").waiting) == (3, True, 0)
    assert slow.seen == [1]


def test_a_stream_that_never_started_can_be_stopped() -> None:
    stream = SensorStream(two_camera_rig(), LIDAR, Slow(), lambda result, frame: None)
    assert stream.stop()
    assert stream.stop()


def test_the_thread_lets_time_pass_for_a_camera_that_never_comes() -> None:
    published: list[Frame] = []
    options = StreamOptions("lidar", ("front", "rear"), SyncPolicy(max_wait_ns=30 * MS))
    stream = SensorStream(two_camera_rig(), options, lambda frame: None, lambda result, frame: published.append(frame))
    stream.start()
    now_ns = SystemClock().now_ns()
    stream.push("front", jpeg(now_ns))
    stream.push("lidar", cloud(now_ns))
    status = settled(stream)
    assert stream.stop()
    assert [list(frame.images) for frame in published] == [["front"]]
    assert status.missing == ("rear",)
    assert status.last is not None
    waited_ns = status.last.convert_ns + status.last.match_ns
    assert waited_ns >= 29 * MS, "max_wait counts from the arrival, on another clock than the times are taken with"


def test_a_simulated_clock_that_stands_still_keeps_sweeps_waiting_until_it_runs() -> None:
    clock_ns, published = [5 * SECOND], []
    options = StreamOptions("lidar", ("front",))
    stream = SensorStream(
        two_camera_rig(),
        options,
        lambda frame: None,
        lambda result, frame: published.append(frame.stamp_ns),
        StampClock(lambda: clock_ns[0]),
    )
    stream.start()
    stream.push("lidar", cloud(5 * SECOND))
    threading.Event().wait(0.3)
    assert published == []
    clock_ns[0] += SECOND
    settled(stream)
    assert stream.stop()
    assert published == [5 * SECOND]


def test_the_student_may_push_and_look_while_it_runs() -> None:
    looks: list[bool] = []

    def run(frame: Frame) -> None:
        if len(looks) < 5:
            stream.push("lidar", cloud(frame.stamp_ns + PERIOD))
            stream.tick()
            looks.append(stream.status().adds_up)

    stream = SensorStream(two_camera_rig(), LIDAR, run, lambda result, frame: None)
    stream.start()
    stream.push("lidar", cloud(1))
    status = settled(stream)
    assert stream.stop()
    assert (status.results, looks) == (6, [True] * 5)


def test_a_storm_from_many_threads_adds_up_at_every_look() -> None:
    options = StreamOptions("lidar", ("front", "rear"), SyncPolicy(max_wait_ns=5 * MS))
    stream = SensorStream(two_camera_rig(), options, lambda frame: None, lambda result, frame: None)
    stream.start()
    looks: list[bool] = []

    def push_all(name: str, seed: int) -> None:
        for number in range(40):
            stamp_ns = number * PERIOD
            good = cloud(stamp_ns, num_points=30, seed=seed + number) if name == "lidar" else jpeg(stamp_ns, name=name)
            stream.push(name, good if number % 3 else None)
            looks.append(stream.status().adds_up)

    names = ("lidar", "lidar", "front", "rear")
    threads = [threading.Thread(target=push_all, args=(name, 99 * seed)) for seed, name in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stream.stop()
    status = stream.status()
    assert all(looks)
    assert status.adds_up
    assert [entry.received for entry in status.sensors.values()] == [80, 40, 40]
    assert [entry.outcomes["rejected"] for entry in status.sensors.values()] == [28, 14, 14]
    assert all(entry.waiting == 0 for entry in status.sensors.values())


def test_a_clock_that_breaks_for_a_while_ends_no_thread() -> None:
    broken, published = threading.Event(), []

    def now_ns() -> int:
        if broken.is_set() and threading.current_thread().name == "infer lidar":
            raise RuntimeError("no clock")
        return 5 * SECOND

    def run(frame: Frame) -> None:
        if not published:
            broken.set()
            published.append(0)

    stream = SensorStream(
        two_camera_rig(),
        LIDAR,
        run,
        lambda result, frame: published.append(frame.stamp_ns),
        StampClock(now_ns),
    )
    stream.start()
    stream.push("lidar", cloud(1))
    until(lambda: stream.status().of("lidar").outcomes["failed"] == 1)
    assert "no clock" in stream.status().student_trouble
    broken.clear()
    stream.push("lidar", cloud(2))
    settled(stream)
    assert stream.stop()
    assert published == [0, 2]
