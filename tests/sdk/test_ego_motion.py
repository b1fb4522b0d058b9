"""Where the ego was: numbers that a hand can check, streams that go wrong, and real drives accumulated by odometry."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.bags.reader import BagReader
from understudy.bags.types import make_message
from understudy.datasets.dataset import Sweep
from understudy.datasets.opening import open_dataset
from understudy.datasets.sweeps import MultiSweep, accumulate
from understudy.ego_motion import EXTRAPOLATED_NS, INTERPOLATED_NS, KEPT_NS, KEPT_POSES, EgoMotion, slerp
from understudy.errors import UnderstudyError
from understudy.frame import PointCloud
from understudy.messages.clouds import cloud_from_message
from understudy.messages.headers import header_message
from understudy.messages.transforms import odometry_message
from understudy.pose import Pose
from understudy.recording import record_bag
from understudy.rig import read_rig
from understudy.topics import ODOMETRY_TOPIC, points_topic

MS = 1_000_000


def odometry(stamp_ms: float, x: float = 0.0, y: float = 0.0, yaw_rad: float = 0.0, **changes: Any) -> Any:
    """`frame_id`, `child` and `wxyz` change what the message says."""
    message = odometry_message(make_message, Pose.from_yaw(yaw_rad), round(stamp_ms * MS))
    message.pose.pose.position.x, message.pose.pose.position.y = x, y
    message.header.frame_id = changes.get("frame_id", "odom")
    message.child_frame_id = changes.get("child", "base_link")
    if "wxyz" in changes:
        turn = message.pose.pose.orientation
        turn.w, turn.x, turn.y, turn.z = changes["wxyz"]
    return message


def transforms(*edges: tuple[str, str, float, float]) -> Any:
    """Edges as parent, child, milliseconds, x."""
    made = []
    for parent, child, stamp_ms, x in edges:
        turn = make_message("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
        shift = make_message("geometry_msgs/msg/Vector3", x=x, y=0.0, z=0.0)
        made.append(
            make_message(
                "geometry_msgs/msg/TransformStamped",
                header=header_message(make_message, round(stamp_ms * MS), parent),
                child_frame_id=child,
                transform=make_message("geometry_msgs/msg/Transform", translation=shift, rotation=turn),
            )
        )
    return make_message("tf2_msgs/msg/TFMessage", transforms=made)


def moved(*messages: Any) -> EgoMotion:
    motion = EgoMotion()
    for message in messages:
        motion.push(message)
    return motion


def x_at(motion: EgoMotion, stamp_ms: float) -> float | None:
    pose = motion.world_from_ego(round(stamp_ms * MS))
    return None if pose is None else round(float(pose.translation_m[0]), 9)


class TestPoses:
    def test_a_stamp_that_is_there_gives_the_message_itself(self) -> None:
        pose = moved(odometry(1000, 3, 4, 0.5)).world_from_ego(1000 * MS)
        assert pose is not None
        np.testing.assert_allclose(pose.matrix, Pose.from_yaw(0.5, (3, 4, 0)).matrix, atol=1e-12)

    def test_between_two_the_place_is_on_the_line_and_the_turn_even(self) -> None:
        motion = moved(odometry(1000, 0, 0, 0.0), odometry(1100, 2, 1, math.pi / 2))
        pose = motion.world_from_ego(1025 * MS)
        assert pose is not None
        np.testing.assert_allclose(pose.translation_m, [0.5, 0.25, 0], atol=1e-12)
        assert pose.yaw_rad == pytest.approx(math.pi / 8, abs=1e-12)

    def test_the_turn_takes_the_shorter_way_whatever_the_quaternions_sign(self) -> None:
        wxyz = [-math.cos(1.65), 0.0, 0.0, -math.sin(1.65)]  # 3.3 rad, written with the other sign
        motion = moved(odometry(1000, yaw_rad=3.0), odometry(1100, wxyz=wxyz))
        pose = motion.world_from_ego(1050 * MS)
        assert pose is not None
        assert math.remainder(pose.yaw_rad - 3.15, math.tau) == pytest.approx(0, abs=1e-9)

    def test_slerp_against_its_formula(self) -> None:
        first, second = np.array([1.0, 0, 0, 0]), np.array([0.0, 1, 0, 0])
        np.testing.assert_allclose(slerp(first, second, 1 / 3), [math.cos(math.pi / 6), 0.5, 0, 0], atol=1e-12)
        np.testing.assert_allclose(slerp(first, first, 0.7), first)
        np.testing.assert_allclose(
            slerp(first, second, 1.5), [math.cos(0.75 * math.pi), math.sin(0.75 * math.pi), 0, 0]
        )

    def test_a_little_beyond_the_newest_at_constant_velocity_and_no_farther(self) -> None:
        motion = moved(odometry(1000, 0), odometry(1100, 2, yaw_rad=0.1))
        pose = motion.world_from_ego(1150 * MS)
        assert pose is not None
        np.testing.assert_allclose(pose.translation_m, [3, 0, 0], atol=1e-12)
        assert pose.yaw_rad == pytest.approx(0.15)
        assert EXTRAPOLATED_NS == 50 * MS
        assert motion.world_from_ego(1150 * MS + 1) is None
        assert motion.world_from_ego(999 * MS) is None

    def test_velocity_is_not_taken_from_neighbors_that_are_close(self) -> None:
        """1 cm of noise between poses 5 ms apart is 2 m/s; over 50 ms it is 0.2."""
        messages = [odometry(1000 + 5 * n, 0.05 * n + (0.01 if n == 10 else 0)) for n in range(11)]
        assert x_at(moved(*messages), 1100) == pytest.approx(1.0, abs=0.021)
        assert x_at(moved(*messages[:5]), 1040) is None

    def test_a_wide_gap_is_not_bridged(self) -> None:
        motion = moved(odometry(1000), odometry(1300, 1), odometry(1601, 2))
        assert INTERPOLATED_NS == 300 * MS
        assert x_at(motion, 1150) == 0.5
        assert x_at(motion, 1450) is None
        assert x_at(motion, 1601) == 2
        assert x_at(motion, 1610) is None  # velocity over such a gap is none either

    def test_nothing_is_known_of_nothing(self) -> None:
        assert EgoMotion().world_from_ego(0) is None
        assert x_at(moved(odometry(1000)), 1001) is None


class TestTransforms:
    def test_the_edge_to_the_base_frame_counts_and_no_other(self) -> None:
        motion = moved(
            transforms(("base_link", "lidar", 1000, 9), ("/odom", "/base_link", 1000, 1)),
            transforms(("base_link", "lidar", 1050, 9)),
            transforms(("odom", "base_link", 1100, 2), ("map", "odom", 1100, 100)),
        )
        assert motion.odom_frame == "odom"
        assert x_at(motion, 1050) == 1.5

    def test_another_parent_is_refused_whole(self) -> None:
        motion = moved(transforms(("odom", "base_link", 1000, 1)))
        for wrong in (
            transforms(("odom", "base_link", 1100, 2), ("map", "base_link", 1100, 2)),
            transforms(("map", "base_link", 1100, 2)),
            transforms(("", "base_link", 1100, 2)),
        ):
            with pytest.raises(UnderstudyError, match="base_link"):
                motion.push(wrong)
        assert x_at(motion, 1100) is None


class TestDisorder:
    def test_late_messages_find_their_place_and_the_first_of_a_stamp_stays(self) -> None:
        motion = moved(odometry(1000, 0), odometry(1200, 2), odometry(1100, 0.5), odometry(1100, 7), odometry(1200, 8))
        assert [x_at(motion, stamp) for stamp in (1050, 1100, 1150, 1200)] == [0.25, 0.5, 1.25, 2]
        assert motion.restarts == 0

    def test_one_message_far_behind_changes_nothing(self) -> None:
        motion = moved(odometry(10_000), odometry(10_100, 1), odometry(500, 0.5), odometry(10_200, 2))
        assert x_at(motion, 10_150) == 1.5
        assert x_at(motion, 500) is None

    def test_time_that_jumps_back_begins_anew(self) -> None:
        motion = moved(*(odometry(10_000 + 100 * n, n) for n in range(5)))
        for n in range(3):
            assert motion.restarts == 0
            motion.push(odometry(2000 + 100 * n, 50 + n))
            motion.push(odometry(2000 + 100 * n, 50 + n))
        assert motion.restarts == 1
        assert x_at(motion, 2150) == 51.5
        assert x_at(motion, 10_100) is None

    def test_a_stamp_of_the_far_future_is_forgotten_and_never_interpolated_to(self) -> None:
        motion = moved(odometry(1000, 0), odometry(1100, 1), odometry(3_600_000, 2))
        for n in range(2, 5):
            assert x_at(motion, 1000 + 100 * n - 50) is None
            motion.push(odometry(1000 + 100 * n, n))
        assert x_at(motion, 1350) == 3.5

    def test_a_leap_begins_anew(self) -> None:
        motion = moved(odometry(1000, 0), odometry(1100, 1), odometry(1200, 500), odometry(1300, 501))
        assert motion.restarts == 1
        assert x_at(motion, 1050) is None
        assert x_at(motion, 1250) == 500.5

    def test_a_fast_vehicle_and_noise_at_a_high_rate_are_no_leap(self) -> None:
        assert moved(*(odometry(1000 + 100 * n, 9.0 * n) for n in range(20))).restarts == 0
        assert moved(*(odometry(1000 + n, 0.5 * (n % 2)) for n in range(20))).restarts == 0

    def test_memory_is_bounded(self) -> None:
        motion = moved(*(odometry(n, 0.01 * n) for n in range(KEPT_POSES + 500)))
        assert x_at(motion, 499) is None
        assert x_at(motion, 500) == 5
        motion = moved(*(odometry(100 * n, n) for n in range(200)))
        newest_ms = 19_900
        assert x_at(motion, newest_ms - KEPT_NS / MS) is not None
        assert x_at(motion, newest_ms - KEPT_NS / MS - 100) is None


@pytest.mark.parametrize(
    "wrong",
    [
        odometry(1100, math.nan),
        odometry(1100, math.inf),
        odometry(1100, wxyz=(1.0, math.nan, 0.0, 0.0)),
        odometry(1100, wxyz=(0.0, 0.0, 0.0, 0.0)),
        odometry(1100, wxyz=(0.9, 0.0, 0.0, 0.0)),
        odometry(1100, frame_id="map"),
        odometry(1100, frame_id=""),
        odometry(1100, frame_id="base_link"),
        odometry(1100, child="imu"),
        odometry(1100, child=""),
        make_message("builtin_interfaces/msg/Time", sec=1, nanosec=0),
        None,
    ],
    ids=repr,
)
def test_a_bad_message_is_refused_in_a_line_and_changes_nothing(wrong: Any) -> None:
    motion = moved(odometry(1000), odometry(1200, 2))
    with pytest.raises(UnderstudyError) as caught:
        motion.push(wrong)
    assert "\n" not in str(caught.value)
    assert x_at(motion, 1100) == 1
    assert motion.odom_frame == "odom"


def test_a_quaternion_that_is_nearly_of_length_1_is_taken() -> None:
    pose = moved(odometry(1000, wxyz=(1.0005, 0.0, 0.0, 0.0))).world_from_ego(1000 * MS)
    assert pose is not None
    np.testing.assert_allclose(pose.rotation, np.eye(3), atol=1e-12)


@pytest.mark.data
@pytest.mark.parametrize("folder", ["pandaset/002", "argoverse2/sensor/val", "semantickitti"])
def test_a_real_drive_accumulates_by_its_odometry_as_by_its_data_set(
    tmp_path: Path, data_root: Path, folder: str
) -> None:
    """`MultiSweep` takes the poses of the files; the bag has them as messages of float64."""
    dataset = open_dataset(data_root / folder)
    frames = range(min(3, len(dataset)))
    assert len(frames) > 1
    bag = record_bag(dataset, tmp_path / "bag", frames=frames, images=False).bag
    name, sensor = read_rig(bag / "rig.yaml").lidar(next(iter(dataset[0].frame.clouds)))
    motion, clouds = from_bag(bag, name)
    sweeps = []
    for cloud in clouds:
        world_from_ego = motion.world_from_ego(cloud.stamp_ns)
        assert world_from_ego is not None
        sweeps.append(Sweep(cloud, world_from_ego @ sensor.ego_from_sensor.pose()))
    wanted = MultiSweep(dataset, len(frames), name)[frames[-1]].frame.clouds[name]
    found = accumulate(sweeps[-1].cloud, sweeps[-1].world_from_sensor, sweeps[-2::-1])
    assert len(found) == len(wanted)
    np.testing.assert_allclose(found.points[:, :3], wanted.points[:, :3], atol=1e-4)
    np.testing.assert_allclose(found.time_offset_s, wanted.time_offset_s, atol=1e-6)


def from_bag(bag: Path, lidar: str) -> tuple[EgoMotion, list[PointCloud]]:
    motion, clouds = EgoMotion(), []
    with BagReader(bag) as reader:
        for message in reader.messages([ODOMETRY_TOPIC, points_topic(lidar)]):
            content = reader.decode(message)
            if message.topic == ODOMETRY_TOPIC:
                motion.push(content)
            else:
                clouds.append(cloud_from_message(content))
    return motion, clouds


def test_a_clock_set_back_twice_in_a_row_is_believed_the_second_time():
    """Found by the stream's properties: one message of the first time back hid all of the second."""
    motion = EgoMotion()
    for stamp_ms in (200_000, 200_100, 140_000, 80_000, 80_100, 80_200):
        motion.push(odometry(stamp_ms))
    assert motion.restarts == 1
    assert motion.world_from_ego(80_150_000_000) is not None
