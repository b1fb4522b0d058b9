"""Students of several sweeps on a bag: its odometry carries earlier sweeps along, as the data set's poses do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from tests.sdk.replay_cases import MS, POINTS, outputs
from understudy.bags.reader import BagReader
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.boxes import Boxes
from understudy.cli import build_app
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.sweeps import MultiSweep
from understudy.errors import BagError, FrameError, GeometryError
from understudy.frame import Frame, PointCloud
from understudy.messages.headers import header_message
from understudy.messages.transforms import odometry_message
from understudy.pipeline import Pipeline
from understudy.pose import Pose
from understudy.recording import record_bag
from understudy.replay.against import Against
from understudy.replay.options import ReplayOptions
from understudy.replay.player import replay_bag
from understudy.rig import Rig
from understudy.testing import FakeEngine, simple_rig, tiny_bundle, tiny_contract

ODOM = "/ego/odom"
NUM_SWEEPS = 3
WORLD = np.random.default_rng(3).uniform(-12, 12, (300, 3)) * [1, 1, 0.1] + [0, 0, 0.5]


def ego(seconds: float) -> Pose:
    return Pose.from_yaw(0.2 * seconds, (8 * seconds, seconds, 0.0))


class Drive:
    """A world that stands still, seen every 100 ms from a vehicle that turns."""

    class_names = ("car",)
    fingerprint = "0" * 64

    def __init__(self, num: int = 6) -> None:
        self.rig, self.num = simple_rig(), num

    def __len__(self) -> int:
        return self.num

    def place(self, index: int) -> Place:
        return Place("drive", (1000 + 100 * index) * MS)

    def __getitem__(self, index: int) -> Sample:
        stamp_ns = self.place(index).stamp_ns
        world_from_ego = ego(stamp_ns / 1e9)
        (mounting,) = (lidar.ego_from_sensor.pose() for lidar in self.rig.lidars.values())
        local = (world_from_ego @ mounting).inverse().apply(WORLD + ego(1.25).translation_m)
        cloud = PointCloud(np.column_stack([local, np.ones(len(local))]).astype(np.float32), stamp_ns, "lidar")
        frame = Frame(stamp_ns, {"lidar": cloud}, {}, world_from_ego)
        return Sample(f"{index}", frame, self.rig, Boxes.empty(("car",)), {})


class Student:
    """A student of so many sweeps that remembers what it was shown."""

    def __init__(self, rig: Rig, sweeps: int = NUM_SWEEPS) -> None:
        self.seen: list[NDArray[np.float32]] = []
        contract = tiny_contract().model_copy(update={"sweeps": sweeps})

        def answer(feeds: Any) -> dict[str, Any]:
            self.seen.append(feeds["points"].copy())
            x, y = (float(value) for value in feeds["points"][:, :2].mean(axis=0))
            boxes = np.array([[x, y, 1.0, 4.0, 2.0, 1.5, 0.3]], np.float32)
            return {"boxes": boxes, "scores": np.array([0.9], np.float32), "labels": np.array([0], np.int32)}

        self.pipeline = Pipeline(contract, FakeEngine(contract, answer), rig, sweeps=sweeps)


def shown_by_data_set(drive: Drive) -> list[NDArray[np.float32]]:
    student, accumulated = Student(drive.rig), MultiSweep(drive, NUM_SWEEPS)
    for index in range(len(drive)):
        student.pipeline(accumulated[index].frame)
    return student.seen


def rewritten(bag: Path, out: Path, change: Callable[[str, int, Any], list[tuple[str, int, Any]]]) -> Path:
    """The bag with each message in the place of others, in the order of their log times."""
    rows: list[tuple[str, int, Any]] = []
    with BagReader(bag) as reader:
        for message in reader.messages():
            rows += change(message.topic, message.log_time_ns, reader.decode(message))
    with BagWriter(out) as writer:
        for topic, log_time_ns, content in sorted(rows, key=lambda row: row[1]):
            writer.write(topic, content, log_time_ns)
    return out


def as_transforms(topic: str, log_time_ns: int, content: Any) -> list[tuple[str, int, Any]]:
    if topic != ODOM:
        return [(topic, log_time_ns, content)]
    position, turn = content.pose.pose.position, content.pose.pose.orientation
    shift = make_message("geometry_msgs/msg/Vector3", x=position.x, y=position.y, z=position.z)
    edge = make_message(
        "geometry_msgs/msg/TransformStamped",
        header=header_message(make_message, log_time_ns, "odom"),
        child_frame_id="base_link",
        transform=make_message("geometry_msgs/msg/Transform", translation=shift, rotation=turn),
    )
    return [("/tf", log_time_ns, make_message("tf2_msgs/msg/TFMessage", transforms=[edge]))]


class TestAccumulation:
    def test_the_student_is_shown_what_the_data_set_shows(self, tmp_path: Path) -> None:
        drive = Drive()
        bag = record_bag(drive, tmp_path / "bag").bag
        student = Student(drive.rig)
        summary = replay_bag(bag, student.pipeline, tmp_path / "out")
        wanted = shown_by_data_set(drive)
        assert [len(points) for points in student.seen] == [300, 600, 900, 900, 900, 900]
        for found, expected in zip(student.seen, wanted, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-4)
        assert summary.topics[ODOM] | {"read": 6, "used": 6, "rejected": 0} == summary.topics[ODOM]
        again = [
            replay_bag(bag, Student(drive.rig).pipeline, tmp_path / name / "out", ReplayOptions(rate=rate))
            for name, rate in (("a", 0.0), ("b", 50.0))
        ]
        assert {entry.digest for entry in again} == {summary.digest}
        assert (tmp_path / "a/out/out.mcap").read_bytes() == (tmp_path / "b/out/out.mcap").read_bytes()

    def test_transforms_do_as_well_as_odometry(self, tmp_path: Path) -> None:
        drive = Drive()
        bag = record_bag(drive, tmp_path / "bag").bag
        one = replay_bag(bag, Student(drive.rig).pipeline, tmp_path / "one")
        moved = rewritten(bag, tmp_path / "moved", as_transforms)
        two = replay_bag(moved, Student(drive.rig).pipeline, tmp_path / "two")
        assert one.digest == two.digest
        assert two.topics["/tf"]["used"] == 6

    def test_odometry_at_other_times_and_later_than_the_sweeps(self, tmp_path: Path) -> None:
        """Stamps 30 ms off those of the sweeps, logged 60 ms late: each sweep waits for the pose after it."""

        def shifted(topic: str, log_time_ns: int, content: Any) -> list[tuple[str, int, Any]]:
            if topic != ODOM:
                return [(topic, log_time_ns, content)]
            made = []
            for shift_ns in (-20 * MS, 30 * MS):
                pose, stamp_ns = ego((log_time_ns + shift_ns) / 1e9), log_time_ns + shift_ns
                made.append((ODOM, stamp_ns + 60 * MS, odometry_message(make_message, pose, stamp_ns)))
            return made

        drive = Drive()
        bag = rewritten(record_bag(drive, tmp_path / "bag").bag, tmp_path / "late", shifted)
        student = Student(drive.rig)
        summary = replay_bag(bag, student.pipeline, tmp_path / "out")
        assert summary.topics[POINTS]["used"] == 6
        for found, expected in zip(student.seen, shown_by_data_set(drive), strict=True):
            np.testing.assert_allclose(found, expected, atol=5e-3)

    def test_sweeps_without_a_pose_are_rejected_with_their_reason(self, tmp_path: Path) -> None:
        def late_start(topic: str, log_time_ns: int, content: Any) -> list[tuple[str, int, Any]]:
            return [] if topic == ODOM and log_time_ns < 1200 * MS else [(topic, log_time_ns, content)]

        drive = Drive()
        bag = rewritten(record_bag(drive, tmp_path / "bag").bag, tmp_path / "cut", late_start)
        student = Student(drive.rig)
        summary = replay_bag(bag, student.pipeline, tmp_path / "out")
        assert [len(points) for points in student.seen] == [300, 600, 900, 900]
        assert (summary.topics[POINTS]["used"], summary.topics[POINTS]["rejected"]) == (4, 2)
        ((reason, count),) = summary.reasons.items()
        assert count == 2
        assert "ego motion" in reason

    def test_odometry_that_is_wrong_is_counted(self, tmp_path: Path) -> None:
        def spoiled(topic: str, log_time_ns: int, content: Any) -> list[tuple[str, int, Any]]:
            if topic == ODOM and log_time_ns == 1200 * MS:
                content.child_frame_id = "imu"
            if topic == ODOM and log_time_ns == 1300 * MS:
                content.pose.pose.position.x = float("nan")
            return [(topic, log_time_ns, content)]

        drive = Drive()
        bag = rewritten(record_bag(drive, tmp_path / "bag").bag, tmp_path / "spoiled", spoiled)
        summary = replay_bag(bag, Student(drive.rig).pipeline, tmp_path / "out", ReplayOptions(with_input=True))
        assert (summary.topics[ODOM]["used"], summary.topics[ODOM]["rejected"]) == (4, 2)
        assert len(outputs(tmp_path / "out", ODOM)) == 4
        assert any("found imu" in reason for reason in summary.reasons)
        lines = list(summary.lines())
        assert "read 12 = used + stale + duplicate + disorder + unmatched + rejected 12" in lines


class TestRefusals:
    def test_a_bag_that_does_not_tell_where_the_ego_was(self, tmp_path: Path) -> None:
        drive = Drive()
        bag = record_bag(drive, tmp_path / "bag").bag
        still = rewritten(bag, tmp_path / "still", lambda *row: [] if row[0] == ODOM else [row])
        with pytest.raises(BagError, match=r"nothing that tells where the ego was, wanted .*of 3 sweeps"):
            replay_bag(still, Student(drive.rig).pipeline, tmp_path / "out")
        with pytest.raises(BagError, match="wanted /wheels"):
            replay_bag(bag, Student(drive.rig).pipeline, tmp_path / "out", ReplayOptions(odometry="/wheels"))
        with pytest.raises(BagError, match="found sensor_msgs/msg/PointCloud2, wanted nav_msgs"):
            replay_bag(bag, Student(drive.rig).pipeline, tmp_path / "out", ReplayOptions(odometry=POINTS))
        assert replay_bag(still, Student(drive.rig, 1).pipeline, tmp_path / "out").num_frames == 6

    def test_of_several_odometries_one_must_be_chosen(self, tmp_path: Path) -> None:
        drive = Drive()
        bag = record_bag(drive, tmp_path / "bag").bag
        two = rewritten(bag, tmp_path / "two", lambda topic, *row: [(f"{topic}{n}", *row) for n in "12"])
        options = ReplayOptions(topic=f"{POINTS}1", check_transforms=False)
        with pytest.raises(BagError, match="choose it with --odometry"):
            replay_bag(two, Student(drive.rig).pipeline, tmp_path / "out", options)
        chosen = ReplayOptions(topic=f"{POINTS}1", check_transforms=False, odometry=f"{ODOM}2")
        assert replay_bag(two, Student(drive.rig).pipeline, tmp_path / "out", chosen).num_frames == 6

    def test_odometry_of_which_nothing_can_be_used(self, tmp_path: Path) -> None:
        def foreign(topic: str, log_time_ns: int, content: Any) -> list[tuple[str, int, Any]]:
            if topic == ODOM:
                content.child_frame_id = "imu"
            return [(topic, log_time_ns, content)]

        drive = Drive()
        bag = rewritten(record_bag(drive, tmp_path / "bag").bag, tmp_path / "foreign", foreign)
        with pytest.raises(FrameError, match=r"none of 6 sweeps could be used; the first: .*ego motion"):
            replay_bag(bag, Student(drive.rig).pipeline, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_two_students_of_different_numbers_of_sweeps(self) -> None:
        rig = simple_rig()
        with pytest.raises(GeometryError, match="--against: sweeps in a cloud: found 1, wanted 3"):
            Against(Student(rig).pipeline, Student(rig, 1).pipeline)


def test_the_command_opens_a_student_of_several_sweeps(tmp_path: Path) -> None:
    bag = record_bag(Drive(), tmp_path / "bag").bag
    tiny_bundle(tmp_path / "student", sweeps=NUM_SWEEPS)
    words = ["replay", bag, tmp_path / "student", "--out", tmp_path / "out", "--odometry", ODOM]
    result = CliRunner().invoke(build_app(), [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "6 frames" in result.output
