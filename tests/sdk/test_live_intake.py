"""The door: what is refused and why, what is matched, what becomes a frame; every message has one end."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.sdk.live_cases import (
    MS,
    PERIOD,
    SECOND,
    T0,
    HandClock,
    cloud,
    cut,
    jpeg,
    odometry,
    raw_picture,
    two_camera_rig,
)
from understudy.bags.types import make_message
from understudy.errors import FrameError, GeometryError, InputError, UnderstudyError
from understudy.live.intake import Intake
from understudy.live.options import StreamOptions
from understudy.live.reading import Repeats
from understudy.live.reasons import OTHER
from understudy.live.stream import SensorStream
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.clouds import cloud_from_message
from understudy.rig import Lidar, Mounting
from understudy.synchronization.matcher import SyncPolicy

BOTH = StreamOptions("lidar", ("front", "rear"))
LIDAR = StreamOptions("lidar")


def intake_of(options: StreamOptions = LIDAR) -> Intake:
    return Intake(two_camera_rig(), options)


def with_fields(message: Any, names: tuple[str, ...]) -> Any:
    return replace(message, fields=[field for field in message.fields if field.name in names])


def with_points(message: Any, value: float, share: float) -> Any:
    """The x, y, z of the first points replaced by one value."""
    sweep = cloud_from_message(message)
    points = sweep.points.copy()
    points[: int(share * len(points)), :3] = value
    return cloud_message(make_message, replace(sweep, points=points), LAYOUTS["plain"], 1.0)


class TestPointsAtTheDoor:
    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (lambda good: cut(good, 100), "the message was cut"),
            (lambda good: replace(good, width=0, row_step=0, data=good.data[:0]), "wanted at least one"),
            (lambda good: with_fields(good, ("y", "z", "intensity")), "x is missing"),
            (lambda good: with_fields(good, ("x", "y", "z")), "an intensity, which the student needs"),
            (lambda good: replace(good, header=replace(good.header, frame_id="roof")), "frame_id: found roof"),
            (lambda good: with_points(good, np.nan, 1.0), "none finite"),
            (lambda good: with_points(good, np.inf, 1.0), "none finite"),
            (lambda good: with_points(good, 1e6, 0.8), "most points beyond 1000 m"),
            (lambda good: with_points(good, 0.0, 1.0), "no point farther"),
            (lambda good: jpeg(T0, name="lidar"), "PointCloud2"),
            (lambda good: object(), "a stamped message"),
            (lambda good: None, "a stamped message"),
        ],
    )
    def test_what_cannot_be_used_is_rejected_with_its_reason_and_the_next_is_taken(self, bad: Any, reason: str) -> None:
        intake = intake_of(StreamOptions("lidar", require_intensity=True))
        assert intake.push("lidar", bad(cloud(T0)), T0) == []
        assert reason in intake.reasons["lidar"].last
        [matched] = intake.push("lidar", cloud(T0 + PERIOD), T0 + PERIOD)
        assert intake.frame(matched).stamp_ns == T0 + PERIOD
        counts = intake.counts["lidar"]
        assert (counts.outcomes["rejected"], counts.outcomes["used"], counts.pushed) == (1, 1, 2)
        assert counts.adds_up

    def test_other_layouts_and_some_points_that_are_not_finite_are_fine(self) -> None:
        intake = intake_of()
        messages = [cloud(T0), cloud(T0 + PERIOD, layout="shuffled"), with_points(cloud(T0 + 2 * PERIOD), np.nan, 0.5)]
        for number, message in enumerate(messages):
            assert len(intake.push("lidar", message, T0 + number * PERIOD)) == 1
        assert intake.counts["lidar"].outcomes["used"] == 3

    def test_a_stamp_far_ahead_is_refused_where_the_clocks_are_said_to_be_the_same(self) -> None:
        ahead = cloud(T0 + 5 * SECOND)
        assert len(intake_of().push("lidar", ahead, T0)) == 1
        strict = intake_of(StreamOptions("lidar", deadline_ns=100 * MS))
        assert strict.push("lidar", ahead, T0) == []
        assert "5.0 s ahead of the clock" in strict.reasons["lidar"].last
        assert len(strict.push("lidar", cloud(T0), T0)) == 1, "it hides nothing that comes after it"

    def test_an_unknown_sensor_is_the_callers_mistake(self) -> None:
        with pytest.raises(InputError, match="left"):
            intake_of().push("left", cloud(T0), T0)

    def test_reasons_are_counted_in_bounded_memory(self) -> None:
        intake = intake_of(StreamOptions("lidar", deadline_ns=100 * MS))
        for number in range(100):
            intake.push("lidar", cloud(T0 + number * SECOND), T0)
        reasons = intake.reasons["lidar"]
        assert len(reasons.counts) == 21
        assert sum(reasons.counts.values()) == reasons.num == 98
        assert reasons.counts[OTHER] == 78


class TestFrozen:
    def frames(self, intake: Intake, sensor: str, messages: list[Any]) -> list[int]:
        """How many sets each message closed."""
        return [len(intake.push(sensor, message, T0 + n * PERIOD)) for n, message in enumerate(messages)]

    def test_the_same_points_with_new_stamps_are_refused_from_the_third_repeat_on(self) -> None:
        intake = intake_of()
        frozen = [cloud(T0 + number * PERIOD, seed=1) for number in range(5)]
        fresh = [cloud(T0 + number * PERIOD) for number in range(5, 7)]
        assert self.frames(intake, "lidar", frozen + fresh) == [1, 1, 1, 0, 0, 1, 1]
        assert "frozen: found the very same content with 5 stamps in a row" in intake.reasons["lidar"].last

    def test_the_same_stamp_again_is_a_duplicate_not_a_frozen_sensor(self) -> None:
        intake = intake_of()
        assert self.frames(intake, "lidar", [cloud(T0)] * 6) == [1, 0, 0, 0, 0, 0]
        assert intake.counts["lidar"].outcomes["duplicate"] == 5

    def test_zero_takes_everything(self) -> None:
        intake = intake_of(StreamOptions("lidar", refuse_frozen_after=0))
        frozen = [cloud(T0 + number * PERIOD, seed=1) for number in range(6)]
        assert self.frames(intake, "lidar", frozen) == [1] * 6

    def test_a_frozen_camera_costs_its_pictures_only(self) -> None:
        intake = intake_of(StreamOptions("lidar", ("front",), SyncPolicy(max_wait_ns=0)))
        masks = []
        for number in range(6):
            stamp_ns = T0 + number * PERIOD
            intake.push("front", jpeg(stamp_ns, seed=3), stamp_ns)
            masks += [matched.mask for matched in intake.push("lidar", cloud(stamp_ns), stamp_ns)]
        assert masks == [(True,)] * 3 + [(False,)] * 3
        assert intake.counts["front"].outcomes["rejected"] == 3

    @pytest.mark.parametrize("num_bytes", [1, 100, 5000, 1_000_003])
    def test_one_byte_that_changes_anywhere_is_no_repeat(self, num_bytes: int) -> None:
        repeats, rng = Repeats(1), np.random.default_rng(0)
        content = rng.integers(0, 255, num_bytes).astype(np.uint8)
        for stamp_ns in range(20):
            content = content.copy()
            content[rng.integers(num_bytes)] += 1
            repeats.refuse("cloud", stamp_ns, content)
        with pytest.raises(FrameError, match="frozen"):
            repeats.refuse("cloud", 99, content.copy())


class TestPictures:
    def sweep_with(self, picture: Any, decode: Any = map) -> tuple[Intake, Any]:
        """An intake and the frame of a sweep with this picture of the front camera and a good one of the rear."""
        intake = intake_of(BOTH)
        intake.push("front", picture, T0)
        intake.push("rear", jpeg(T0, name="rear"), T0)
        closed = intake.push("lidar", cloud(T0), T0) or intake.advance(T0 + SECOND)
        return intake, intake.frame(closed[0], decode)

    @pytest.mark.parametrize("picture", [jpeg(T0), raw_picture(T0)])
    @pytest.mark.parametrize("pooled", [False, True])
    def test_pictures_that_match_are_decoded(self, picture: Any, pooled: bool) -> None:
        with ThreadPoolExecutor(2) as pool:
            intake, frame = self.sweep_with(picture, pool.map if pooled else map)
        assert list(frame.images) == ["front", "rear"]
        assert frame.images["front"].pixels.shape == (96, 160, 3)
        assert intake.counts["front"].outcomes["used"] == 1

    @pytest.mark.parametrize(
        ("picture", "reason"),
        [
            (cut(jpeg(T0), 700), "a whole JPEG or PNG"),
            (replace(jpeg(T0), data=np.arange(200, dtype=np.uint8)), "a whole JPEG or PNG"),
            (replace(jpeg(T0), format="theora"), "jpeg or png"),
            (cut(jpeg(T0, size_px=(800, 600)), 2000), "800 x 600 pixels, wanted 160 x 96"),  # never decoded
            (jpeg(T0, size_px=(80, 48)), "80 x 48 pixels, wanted 160 x 96, as in the rig"),
            (raw_picture(T0, size_px=(80, 48)), "80 x 48 pixels, wanted 160 x 96, as in the rig"),
            (replace(raw_picture(T0), encoding="32FC1"), "image encoding"),
            (cut(raw_picture(T0), 4000), "sizes that agree"),
            (cut(jpeg(T0), 0), "no bytes"),
            (jpeg(T0, name="rear"), "frame_id: found rear, wanted front"),
            (cloud(T0, frame_id="front"), "a sensor_msgs/Image or CompressedImage"),
            (None, "a stamped message"),
        ],
    )
    def test_one_that_cannot_be_used_costs_itself_only(self, picture: Any, reason: str) -> None:
        intake, frame = self.sweep_with(picture)
        assert list(frame.images) == ["rear"]
        assert list(frame.clouds) == ["lidar"]
        assert reason in intake.reasons["front"].last
        outcomes = {name: counts.outcomes for name, counts in intake.counts.items()}
        assert (outcomes["front"]["rejected"], outcomes["front"]["used"]) == (1, 0)
        assert outcomes["lidar"]["used"] == outcomes["rear"]["used"] == 1
        assert all(counts.adds_up for counts in intake.counts.values())

    def test_a_reason_is_no_longer_than_what_one_reads(self) -> None:
        intake, _ = self.sweep_with(jpeg(T0, name="x" * 100_000))
        assert len(intake.reasons["front"].last) == 500

    def test_pictures_that_match_no_sweep_are_never_decoded(self) -> None:
        decoded: list[str] = []

        def counting(function: Any, pictures: Any) -> Any:
            decoded.extend(name for name, _ in pictures)
            return map(function, pictures)

        intake = intake_of(StreamOptions("lidar", ("front",)))
        for number in range(30):
            stamp_ns = T0 + number * 10 * MS
            intake.push("front", jpeg(stamp_ns), stamp_ns)
        [matched] = intake.push("lidar", cloud(T0 + 200 * MS), T0 + 290 * MS)
        assert intake.frame(matched, counting).images["front"].stamp_ns == T0 + 200 * MS
        assert decoded == ["front"]

    def test_a_decoder_that_breaks_costs_the_set_and_is_not_raised_as_what_it_was(self) -> None:
        def broken(function: Any, pictures: Any) -> Any:
            raise MemoryError("pool")

        intake = intake_of(StreamOptions("lidar", ("front",)))
        intake.push("front", jpeg(T0), T0)
        [matched] = intake.push("lidar", cloud(T0), T0)
        with pytest.raises(FrameError, match="MemoryError: pool"):
            intake.frame(matched, broken)
        assert intake.counts["lidar"].outcomes["rejected"] == 1
        assert intake.counts["front"].outcomes["unmatched"] == 1

    def test_a_camera_may_make_the_sets(self) -> None:
        intake = intake_of(StreamOptions("front", ("rear",)))
        intake.push("rear", jpeg(T0, name="rear"), T0)
        [matched] = intake.push("front", jpeg(T0), T0)
        frame = intake.frame(matched)
        assert (list(frame.images), dict(frame.clouds)) == (["front", "rear"], {})
        intake.push("rear", jpeg(T0 + PERIOD, name="rear"), T0 + PERIOD)
        [matched] = intake.push("front", cut(jpeg(T0 + PERIOD), 700), T0 + PERIOD)
        with pytest.raises(FrameError, match="whole JPEG"):
            intake.frame(matched)
        assert {name: counts.outcomes["used"] for name, counts in intake.counts.items()} == {"front": 1, "rear": 1}


class TestMatching:
    def drive(self, options: StreamOptions, num: int, offset_ns: int = 0) -> list[tuple[int, tuple[bool, ...]]]:
        intake, closed = intake_of(options), []
        for number in range(num):
            stamp_ns = T0 + number * PERIOD
            closed += intake.push("lidar", cloud(stamp_ns), stamp_ns)
            closed += intake.push("front", jpeg(stamp_ns + offset_ns), stamp_ns + offset_ns)
        closed += intake.flush()
        assert all(counts.adds_up and not counts.waiting for counts in intake.counts.values())
        return [((matched.pivot.time_ns - T0) // MS, matched.mask) for matched in closed]

    def test_by_the_lidar_rule(self) -> None:
        assert self.drive(StreamOptions("lidar", ("front",)), 3, 30 * MS) == [(n * 100, (True,)) for n in range(3)]

    def test_by_the_rule_of_message_filters(self) -> None:
        options = StreamOptions("lidar", ("front",), rule="approximate_time")
        assert self.drive(options, 4, 30 * MS) == [(n * 100, (True,)) for n in range(3)]

    def test_by_the_rule_of_message_filters_a_lidar_alone(self) -> None:
        intake = intake_of(StreamOptions("lidar", rule="approximate_time"))
        closed = [len(intake.push("lidar", cloud(T0 + n * PERIOD), T0 + n * PERIOD)) for n in range(3)]
        assert closed == [1, 1, 1]

    @pytest.mark.parametrize("rule", ["nearest", "approximate_time"])
    def test_a_pivot_whose_stamps_go_back_for_good_begins_anew(self, rule: Any) -> None:
        intake = intake_of(StreamOptions("lidar", rule=rule))
        epochs = []
        for number, behind_s in enumerate((0, 0, 60, 60, 60, 60)):
            now_ns = T0 + number * PERIOD
            intake.push("lidar", cloud(now_ns - behind_s * SECOND), now_ns)
            epochs.append(intake.epoch)
        assert epochs == [(0, 0)] * 4 + [(0, 1)] * 2
        assert intake.jumps == {"lidar": 1}

    @pytest.mark.parametrize("rule", ["nearest", "approximate_time"])
    def test_a_clock_that_goes_back_begins_anew(self, rule: Any) -> None:
        intake = intake_of(StreamOptions("lidar", ("front",), rule=rule))
        intake.push("lidar", cloud(T0), T0)
        intake.advance(T0 - 60 * SECOND)
        assert intake.clock_jumps == 1
        assert intake.counts["lidar"].outcomes["unmatched"] == 1
        past_ns = T0 - 60 * SECOND
        intake.push("lidar", cloud(past_ns), past_ns)
        intake.push("front", jpeg(past_ns), past_ns)
        intake.push("lidar", cloud(past_ns + PERIOD), past_ns + PERIOD)
        assert intake.counts["lidar"].outcomes["used"] == 1
        assert intake.epoch == (1, 0)


def test_motion_that_cannot_be_used_is_counted() -> None:
    intake = intake_of()
    for message in (odometry(T0, 0.0), None, cloud(T0)):
        intake.push_motion(message)
    assert (intake.num_motion, intake.num_motion_refused) == (3, 2)
    assert "nav_msgs/Odometry" in intake.reasons["ego motion"].last
    [matched] = intake.push("lidar", cloud(T0), T0)
    pose = intake.frame(matched).world_from_ego
    assert pose is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"pivot": "lidar", "cameras": ("front", "front")},
        {"pivot": "lidar", "rule": "newest"},
        {"pivot": "lidar", "num_sweeps": 0},
        {"pivot": "lidar", "refuse_frozen_after": -1},
        {"pivot": "lidar", "deadline_ns": 0},
    ],
)
def test_options_out_of_range_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError):
        StreamOptions(**wrong)


def test_sensors_that_are_not_the_rigs_are_refused() -> None:
    rig = two_camera_rig()
    other = Lidar(ego_from_sensor=Mounting(translation_m=(0.0, 0.0, 1.0)))
    both = rig.model_copy(update={"sensors": {**rig.sensors, "second": other}})
    for options in (
        StreamOptions("roof"),
        StreamOptions("lidar", ("left",)),
        StreamOptions("lidar", ("second",)),
        StreamOptions("front", num_sweeps=2),
    ):
        with pytest.raises(GeometryError, match=r"rig simple|rig"):
            Intake(both, options)
    assert issubclass(GeometryError, UnderstudyError)


class TestMemory:
    """Whatever comes, no more is kept than the queues hold, what waits for the student, and the last of each sensor."""

    QUEUE = 4

    def alive_after(self, arrivals: list[tuple[str, Any]], num_sweeps: int = 1) -> int:
        policy = SyncPolicy(queue_size=self.QUEUE)
        options = StreamOptions("lidar", ("front", "rear"), policy, num_sweeps=num_sweeps)
        stream = SensorStream(two_camera_rig(), options, lambda frame: None, lambda result, frame: None, HandClock())
        kept = []
        for sensor, message in arrivals:
            stream.push(sensor, message)
            kept.append(weakref.ref(message))
        arrivals.clear()
        message = None
        gc.collect()
        assert stream.status().adds_up
        return sum(reference() is not None for reference in kept)

    def test_a_flood_of_pictures_without_a_sweep(self) -> None:
        assert self.alive_after([("front", jpeg(T0 + n * MS)) for n in range(200)]) <= self.QUEUE + 1

    def test_a_student_that_never_gets_on(self) -> None:
        arrivals = []
        for number in range(100):
            stamp_ns = T0 + number * PERIOD
            arrivals += [(name, jpeg(stamp_ns, name=name)) for name in ("front", "rear")]
            arrivals += [("lidar", cloud(stamp_ns))]
        assert self.alive_after(arrivals) <= 2 * (self.QUEUE + 2)

    def test_stamps_that_stand_still_go_back_or_ahead(self) -> None:
        for step_ns in (0, -SECOND, 3600 * SECOND):
            arrivals = [("front", jpeg(T0 + n * step_ns, seed=n)) for n in range(200)]
            assert self.alive_after(arrivals) <= self.QUEUE + 1

    def test_sets_that_wait_for_motion(self) -> None:
        arrivals = []
        for number in range(100):
            arrivals += [("front", jpeg(T0 + number * PERIOD)), ("lidar", cloud(T0 + number * PERIOD))]
        assert self.alive_after(arrivals, num_sweeps=5) <= 2 * self.QUEUE + 4
