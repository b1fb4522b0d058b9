"""Several sweeps as one, and sweeps without the vehicle's motion: a world that stands still must stand still."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.nuscenes_builder import LIDAR as TOP
from tests.nuscenes_builder import build_release
from understudy.boxes import Boxes, Segments
from understudy.datasets.dataset import Place, Sample, Sweep, sweeps_held
from understudy.datasets.deskewing import deskew
from understudy.datasets.kitti import KittiDataset
from understudy.datasets.nuscenes_tables import NuscenesTables
from understudy.datasets.opening import open_dataset
from understudy.datasets.pandaset import LIDAR, PandasetSequence
from understudy.datasets.pose_tracks import PoseTrack
from understudy.datasets.recorded import DriveEntry, Provenance
from understudy.datasets.recorded_writer import DriveWriter
from understudy.datasets.shard_writer import write_shards
from understudy.datasets.sweeps import MultiSweep, accumulate, with_sweeps
from understudy.engines.model import OpenedModel
from understudy.errors import FrameError, GeometryError, InputError
from understudy.evaluation import evaluate_model
from understudy.frame import Frame, PointCloud
from understudy.pipeline import Pipeline
from understudy.pose import Pose
from understudy.rig import Lidar, Mounting, Rig
from understudy.testing import FakeEngine, tiny_contract

WORLD = np.random.default_rng(3).uniform(-40, 40, (300, 3))
EGO_FROM_SENSOR = Pose.from_quaternion([0.9238795, 0, 0, 0.3826834], [0.9, 0.1, 1.8])


def ego(seconds: float, speed_mps: float = 12.0, turn_radps: float = 0.3) -> Pose:
    tilt = Pose.from_quaternion([np.cos(0.01), np.sin(0.01), 0, 0], [0, 0, 0.1 * seconds])
    return Pose.from_yaw(turn_radps * seconds, (speed_mps * seconds, 2 * seconds, 0)) @ tilt


def seen_from(world_from_sensor: Pose, stamp_ns: int, points: NDArray[np.float64] = WORLD) -> PointCloud:
    local = world_from_sensor.inverse().apply(points)
    return PointCloud(np.column_stack([local, np.arange(len(points))]).astype(np.float32), stamp_ns, "top")


class Drive:
    """A world that stands still, seen from a vehicle that does not, in two drives of four frames."""

    class_names = ("car",)
    fingerprint = "0" * 64

    def __init__(self, *, poses: bool = True) -> None:
        lidar = Lidar(ego_from_sensor=Mounting.from_pose(EGO_FROM_SENSOR))
        self.rig, self.poses = Rig(name="drive", sensors={"top": lidar}), poses

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Sample:
        place = self.place(index)
        world_from_ego = ego(place.stamp_ns / 1e9)
        cloud = seen_from(world_from_ego @ EGO_FROM_SENSOR, place.stamp_ns)
        frame = Frame(place.stamp_ns, {"top": cloud}, {}, world_from_ego if self.poses else None)
        segments = {"top": Segments(np.zeros(len(cloud), np.int16), ("any",))}
        return Sample(f"{index}", frame, self.rig, Boxes.empty(("car",)), segments)

    def place(self, index: int) -> Place:
        return Place(f"{index // 4}", index * 100_000_000)


@given(st.floats(-30, 30), st.floats(-1.5, 1.5), st.lists(st.integers(1, 9), min_size=1, max_size=5, unique=True))
@settings(max_examples=40)
def test_a_still_world_coincides_from_a_moving_vehicle(speed_mps, turn_radps, ages):
    now = ego(1.0, speed_mps, turn_radps) @ EGO_FROM_SENSOR
    earlier = []
    for age in sorted(ages):
        then = ego(1.0 - age / 10, speed_mps, turn_radps) @ EGO_FROM_SENSOR
        earlier.append(Sweep(seen_from(then, 1_000_000_000 - age * 100_000_000), then))
    whole = accumulate(seen_from(now, 1_000_000_000), now, earlier)
    assert len(whole) == len(WORLD) * (1 + len(ages))
    for part, age in zip(np.split(whole.points, 1 + len(ages)), [0, *sorted(ages)], strict=True):
        np.testing.assert_allclose(part, whole.points[: len(WORLD)], atol=3e-5)
        number = int(np.flatnonzero(np.isclose(-whole.time_offset_s, age / 10))[0])
        assert number % len(WORLD) == 0
    assert whole.stamp_ns == 1_000_000_000
    assert whole.ring is None


def test_accumulation_keeps_rings_and_times_and_drops_the_vehicle():
    pose = Pose.identity()
    points = np.array([[0.5, -0.5, 0, 7], [0.5, 3, 0, 8], [5, 0.2, 0, 9]], np.float32)
    ring, times = np.array([1, 2, 3], np.int16), np.array([-0.1, -0.05, 0], np.float32)
    cloud = PointCloud(points, 2_000_000_000, "top", times, ring)
    whole = accumulate(cloud, pose, [Sweep(cloud, pose)], min_distance_m=1.0)
    np.testing.assert_array_equal(whole.points[:, 3], [8, 9, 8, 9])
    np.testing.assert_array_equal(whole.ring, [2, 3, 2, 3])
    np.testing.assert_allclose(whole.time_offset_s, [-0.05, 0, -0.05, 0])
    alone = accumulate(cloud, pose, [])
    np.testing.assert_array_equal(alone.points, points)


def test_earlier_samples_of_the_same_drive_are_taken():
    dataset = MultiSweep(Drive(), 3)
    sizes = [len(dataset[index].frame.clouds["top"]) // len(WORLD) for index in range(8)]
    assert sizes == [1, 2, 3, 3, 1, 2, 3, 3], "nothing crosses from drive to drive"
    sample = dataset[3]
    cloud, labels = sample.frame.clouds["top"], sample.segments["top"].labels
    np.testing.assert_array_equal(np.unique(cloud.time_offset_s), np.float32([-0.2, -0.1, 0]))
    np.testing.assert_allclose(cloud.points[300:600], cloud.points[:300], atol=3e-5)
    assert (labels[:300] == 0).all()
    assert (labels[300:] == -1).all()
    assert dataset.place(3) == Drive().place(3)
    assert len(dataset[-1].frame.clouds["top"]) == 900, "the last one has earlier ones, too"
    assert len({dataset.fingerprint, MultiSweep(Drive(), 2).fingerprint, Drive.fingerprint}) == 3
    assert (len(dataset), dataset.class_names) == (8, ("car",))
    assert dataset.labeled(sample, Boxes.empty(("car",))).shape == (0,)


def test_what_cannot_be_accumulated_is_refused(tmp_path):
    with pytest.raises(InputError, match="sweeps of a cloud: found 0, wanted at least 1"):
        MultiSweep(Drive(), 0)
    with pytest.raises(InputError, match=r"sample 1: found nothing of where the ego was, .*take one sweep"):
        MultiSweep(Drive(poses=False), 2)[1]
    with pytest.raises(InputError, match="found list, which does not tell which samples follow each other"):
        MultiSweep([], 2)


def test_sweeps_between_key_frames_are_taken_where_there_are_any(tmp_path):
    release = NuscenesTables(build_release(tmp_path))
    cloud = MultiSweep(release, 4)[2].frame.clouds[TOP]
    np.testing.assert_allclose(np.unique(cloud.time_offset_s), [-0.149, -0.099, -0.049, 0], atol=1e-6)


def test_clouds_that_were_accumulated_already_say_so(tmp_path):
    """A copy with three sweeps in a cloud must not be accumulated once more, nor pass for one of single sweeps."""
    drive, three = Drive(), MultiSweep(Drive(), 3)
    write_shards(three, tmp_path / "shards", source="drive")
    write_shards(drive, tmp_path / "single", source="drive")
    settings = {"provenance": Provenance(settings={"sweeps": 3})}
    with DriveWriter(tmp_path / "recorded", "first", drive.rig) as writer:
        for index in range(4):
            writer.add(three[index])
        writer.publish(DriveEntry(name="first", split="train", num_frames=4, **settings), drive.class_names)
    for name in ("shards", "recorded"):
        held = open_dataset(tmp_path / name)
        assert with_sweeps(held, 3) is held
        np.testing.assert_array_equal(held[3].frame.clouds["top"].points, three[3].frame.clouds["top"].points)
        for wanted in (1, 2, 6):
            with pytest.raises(
                InputError, match=f"whose clouds hold 3 already, wanted {wanted}.*take it with 3 sweeps"
            ):
                with_sweeps(held, wanted)
        with pytest.raises(InputError, match="whose clouds hold 3 already, wanted one with single sweeps"):
            MultiSweep(held, 2)
    single = open_dataset(tmp_path / "single")
    assert with_sweeps(single, 1) is single
    assert len(with_sweeps(single, 3)[1].frame.clouds["top"]) == 600
    write_shards(open_dataset(tmp_path / "recorded"), tmp_path / "copy", source="recorded")
    assert sweeps_held(open_dataset(tmp_path / "copy")) == 3


def test_shards_without_the_sweeps_between_key_frames_are_not_accumulated(tmp_path):
    """Ten key frames of nuScenes are five seconds, ten sweeps half of one."""
    release = NuscenesTables(build_release(tmp_path / "release"), "mini_val")
    write_shards(release, tmp_path / "shards", source="nuScenes", images=False)
    write_shards(open_dataset(tmp_path / "shards"), tmp_path / "copy", source="shards", images=False)
    for name in ("shards", "copy"):
        with pytest.raises(InputError, match=r"found a copy that left out the sweeps .*make it anew with --sweeps"):
            with_sweeps(open_dataset(tmp_path / name), 3)
        assert len(with_sweeps(open_dataset(tmp_path / name), 1)) == 5
    write_shards(MultiSweep(release, 3), tmp_path / "three", source="nuScenes", images=False)
    cloud = with_sweeps(open_dataset(tmp_path / "three"), 3)[2].frame.clouds[TOP]
    np.testing.assert_array_equal(cloud.points, MultiSweep(release, 3)[2].frame.clouds[TOP].points)


def test_drives_of_different_numbers_of_sweeps_are_refused(tmp_path):
    drive = Drive()
    for name, number in (("first", 3), ("second", 1)):
        with DriveWriter(tmp_path / "recorded", name, drive.rig) as writer:
            writer.add(drive[0])
            entry = DriveEntry(name=name, split="train", num_frames=1, provenance={"settings": {"sweeps": number}})
            writer.publish(entry, drive.class_names)
    with pytest.raises(InputError, match="drives whose clouds hold 1 and 3 sweeps, wanted one number"):
        with_sweeps(open_dataset(tmp_path / "recorded"), 3)


def median_distance_m(points: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Median distance of some points above the road to the nearest of the others."""
    chosen = points[(points[:, 2] > -1) & (np.hypot(points[:, 0], points[:, 1]) < 25)][::600]
    return float(np.median([np.sqrt(((others - point) ** 2).sum(axis=1).min()) for point in chosen]))


@pytest.mark.data
def test_real_sweeps_fall_into_place(data_root):
    sequence = PandasetSequence(data_root / "pandaset" / "002")
    whole = MultiSweep(sequence, 4)[3].frame.clouds[LIDAR]
    raw, own = sequence[0].frame.clouds[LIDAR], len(sequence[3].frame.clouds[LIDAR])
    current, oldest = whole.points[:own, :3], whole.points[-len(raw) :, :3]
    assert len(whole) == sum(len(sequence[index].frame.clouds[LIDAR]) for index in range(4))
    assert whole.time_offset_s.min() == pytest.approx(-0.4, abs=0.01)
    moved, unmoved = median_distance_m(oldest, current), median_distance_m(raw.points[:, :3], current)
    assert moved < 0.08
    assert unmoved > 2.5 * moved


@pytest.mark.data
@pytest.mark.parametrize("folder", ["semantickitti", "argoverse2/sensor/val"])
def test_real_pairs_of_sweeps_come_closer(data_root, folder):
    dataset = open_dataset(data_root / folder)
    first, second = dataset[0], dataset[1]
    name, _ = second.rig.lidar()
    whole = MultiSweep(dataset, 2)[1].frame.clouds[name]
    own = len(second.frame.clouds[name])
    current, carried = whole.points[:own, :3], whole.points[own:, :3]
    assert whole.time_offset_s[own:].min() < -0.09
    unmoved = median_distance_m(first.frame.clouds[name].points[:, :3], current)
    assert median_distance_m(carried, current) < 0.75 * unmoved


@pytest.mark.data
def test_single_frames_cannot_be_accumulated(data_root):
    with pytest.raises(InputError, match="sample 000001: found nothing of where the ego was"):
        MultiSweep(KittiDataset(data_root / "kitti" / "object"), 2)[1]


@given(st.floats(-30, 30), st.floats(-1.5, 1.5), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_a_deskewed_still_world_is_that_of_a_sensor_that_fires_at_once(speed_mps, turn_radps, seed):
    rng = np.random.default_rng(seed)
    stamp_ns = 1_532_402_927_647_951_000
    knots_s = stamp_ns / 1e9 + np.linspace(-0.2, 0.1, 31)
    poses = tuple(ego(knot - stamp_ns / 1e9, speed_mps, turn_radps) @ EGO_FROM_SENSOR for knot in knots_s)
    track = PoseTrack(knots_s, poses)
    offsets_s = rng.uniform(-0.1, 0.05, len(WORLD)).astype(np.float32)
    measured = [
        (ego(float(offset), speed_mps, turn_radps) @ EGO_FROM_SENSOR).inverse().apply(point)
        for offset, point in zip(offsets_s, WORLD, strict=True)
    ]
    points = np.column_stack([measured, np.zeros(len(WORLD))]).astype(np.float32)
    straight = deskew(PointCloud(points, stamp_ns, "top", offsets_s), track)
    wanted = (ego(0.0, speed_mps, turn_radps) @ EGO_FROM_SENSOR).inverse().apply(WORLD)
    np.testing.assert_allclose(straight.points[:, :3], wanted, atol=1e-3)
    np.testing.assert_array_equal(straight.time_offset_s, offsets_s)


def test_deskewing_needs_times_and_poses():
    cloud = seen_from(Pose.identity(), 10**9)
    still = PoseTrack(np.array([1.0]), (Pose.identity(),))
    with pytest.raises(FrameError, match="a cloud to deskew: found no time per point, wanted time_offset_s"):
        deskew(cloud, still)
    timed = PointCloud(cloud.points, 10**9, "top", np.zeros(len(cloud), np.float32))
    np.testing.assert_allclose(deskew(timed, still).points, timed.points, atol=1e-6)
    with pytest.raises(InputError, match="found one pose"):
        deskew(timed, PoseTrack(np.array([3.0]), (Pose.identity(),)))


def counting(contract) -> tuple[FakeEngine, list[int]]:
    """A network that says nothing and notes how many points it is shown."""
    seen: list[int] = []

    def answer(feeds):
        seen.append(len(feeds["points"]))
        return {"boxes": np.zeros((0, 7), np.float32), "scores": np.float32([]), "labels": np.int32([])}

    return FakeEngine(contract, answer), seen


def test_a_student_of_several_sweeps_is_shown_as_many_and_refused_fewer():
    contract, drive = tiny_contract().model_copy(update={"sweeps": 3}), Drive()
    wanted = [300, 600, 900, 900, 300, 600, 900, 900]
    for data in (drive, MultiSweep(drive, 3)):
        engine, seen = counting(contract)
        evaluate_model(OpenedModel(contract, engine), data)
        assert seen == wanted
    with pytest.raises(GeometryError, match=r"sweeps in a cloud for tiny: found 1, wanted 3"):
        Pipeline(contract, engine, drive.rig)
    with pytest.raises(GeometryError, match=r"sweeps in a cloud for tiny: found 3, wanted 1"):
        Pipeline(tiny_contract(), counting(tiny_contract())[0], drive.rig, sweeps=3)
