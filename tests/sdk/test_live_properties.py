"""Whatever comes, in whatever order: every message has one end at every instant, no result is older than the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sdk.live_cases import MS, PERIOD, SECOND, Bench, cloud, cut, jpeg, odometry
from understudy.errors import EngineError, FrameError
from understudy.frame import Frame
from understudy.live.options import Rule, StreamOptions
from understudy.synchronization.matcher import SyncPolicy

SENSORS = ("lidar", "front", "rear")
QUEUE = 4

GOOD = {
    (name, seed): cloud(0, seed=seed, num_points=12) if name == "lidar" else jpeg(0, name=name, seed=seed)
    for name in SENSORS
    for seed in range(3)
}
BAD = ("none", "cut", "other frame", "other kind")


@dataclass(frozen=True)
class Push:
    sensor: str
    age_ms: int
    seed: int
    bad: str


@dataclass(frozen=True)
class Pass:
    num_ms: int
    jump_s: int


@dataclass(frozen=True)
class Drive:
    """Good messages of all sensors, on time, while nobody works."""

    num_sweeps: int
    age_ms: int


@dataclass(frozen=True)
class Work:
    error: Exception | None
    inside: tuple[Push | Pass | Drive, ...]


PUSHES = st.builds(
    Push,
    st.sampled_from(SENSORS),
    st.sampled_from([0, 0, 0, 0, 10, 50, 150, 3000, -5000]),
    st.integers(0, 2),
    st.sampled_from(["", "", "", "", "", *BAD]),
)
PASSES = st.builds(Pass, st.sampled_from([1, 30, 100, 1000]), st.sampled_from([0, 0, 0, 0, -60, 60]))
DRIVES = st.builds(Drive, st.integers(1, 3), st.sampled_from([0, 0, 0, 50, 150, 300]))
ERRORS = st.sampled_from([None, None, FrameError("frame"), EngineError("engine"), ValueError("bug")])
WORKS = st.builds(Work, ERRORS, st.lists(st.one_of(PUSHES, PASSES, DRIVES), max_size=4).map(tuple))
STEPS = st.lists(st.one_of(PUSHES, PASSES, DRIVES, DRIVES, WORKS, WORKS), min_size=1, max_size=40)
OPTIONS = st.builds(
    StreamOptions,
    st.just("lidar"),
    st.sampled_from([(), ("front",), ("front", "rear")]),
    st.builds(SyncPolicy, require=st.sampled_from(["any", "all", "min_n"]), queue_size=st.just(QUEUE)),
    st.sampled_from(["nearest", "approximate_time"]).map(lambda rule: rule_of(rule)),
    deadline_ns=st.sampled_from([None, 200 * MS]),
    num_sweeps=st.sampled_from([1, 3]),
)


def rule_of(name: str) -> Rule:
    return "nearest" if name == "nearest" else "approximate_time"


class Model:
    """The bench, and what is known without looking into it."""

    def __init__(self, options: StreamOptions) -> None:
        self.bench = Bench(options)
        self.pushed = dict.fromkeys((options.pivot, *options.cameras), 0)
        self.order: list[tuple[tuple[int, int], int]] = []
        self.work_left: Work | None = None
        self.bench.during = self.student
        self.bench.published = self  # type: ignore[assignment]

    def append(self, frame: Frame) -> None:
        """A result was published."""
        status = self.bench.stream.status()
        epoch = (status.clock_jumps, status.of("lidar").jumps)
        assert all(before < frame.stamp_ns for other, before in self.order if other == epoch)
        self.order.append((epoch, frame.stamp_ns))

    def student(self, frame: Frame) -> None:
        work, self.work_left = self.work_left, None
        if work is None:
            return
        for step in work.inside:
            self.do(step)
        if work.error is not None:
            raise work.error

    def do(self, step: Any) -> None:
        if isinstance(step, Push):
            self.push(step)
        elif isinstance(step, Pass):
            self.bench.clock.pass_ns(step.num_ms * MS)
            self.bench.clock.stamps_ns += step.jump_s * SECOND
            self.bench.stream.tick()
        elif isinstance(step, Work):
            self.work_left = step
            self.bench.stream.work()
        else:
            for number in range(step.num_sweeps):
                self.sweep(number, step.age_ms)
        self.check()

    def sweep(self, number: int, age_ms: int) -> None:
        """One message of each sensor, then time passes."""
        self.bench.stream.push_motion(odometry(self.bench.clock.stamps_ns, 0.0))
        for name in reversed(self.pushed):
            self.push(Push(name, age_ms, number % 3, ""))
        self.bench.clock.pass_ns(PERIOD)
        self.bench.stream.tick()

    def push(self, step: Push) -> None:
        if step.sensor not in self.pushed:
            return
        self.pushed[step.sensor] += 1
        self.bench.stream.push(step.sensor, self.message(step))

    def message(self, step: Push) -> Any:
        stamp_ns = self.bench.clock.stamps_ns - step.age_ms * MS
        message = GOOD[step.sensor, step.seed]
        sec, nanosec = divmod(stamp_ns, SECOND)
        header = type(message.header)(type(message.header.stamp)(sec, nanosec), step.sensor)
        message = type(message)(**{**vars(message), "header": header})
        if step.bad == "cut":
            return cut(message, 50)
        if step.bad == "other frame":
            message.header.frame_id = "elsewhere"
            return message
        return {"none": None, "other kind": odometry(stamp_ns, 0.0)}.get(step.bad, message)

    def check(self) -> None:
        status = self.bench.stream.status()
        assert status.adds_up, status
        num_sets = QUEUE + 1 + (status.busy_ns > 0 or self.work_left is None) + 1
        for name, num in self.pushed.items():
            assert status.of(name).received == num
            assert 0 <= status.of(name).waiting <= QUEUE + num_sets
        assert status.results == len(self.order)


@settings(max_examples=150)
@given(OPTIONS, STEPS)
def test_every_message_has_one_end_at_every_instant(options: StreamOptions, steps: list[Any]) -> None:
    model = Model(options)
    for step in steps:
        model.do(step)
    assert model.bench.stream.stop()
    model.check()
    assert all(entry.waiting == 0 for entry in model.bench.stream.status().sensors.values())


@settings(max_examples=50)
@given(OPTIONS.filter(lambda options: options.rule == "nearest"), STEPS)
def test_two_seconds_of_good_messages_bring_results_back(options: StreamOptions, steps: list[Any]) -> None:
    model = Model(options)
    for step in steps:
        model.do(step)
    num_before = len(model.order)
    for number in range(20):
        model.sweep(number, 0)
        model.bench.step()
    model.check()
    assert len(model.order) >= num_before + 5
