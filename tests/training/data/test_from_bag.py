"""From bag to data set: what a sensor said is what the data set says, and every message is accounted for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.data.recordings import (
    IMAGE,
    LABELS,
    MS,
    ODOMETRY,
    POINTS,
    Drive,
    boxes_of,
    cloud_of,
    picture_of,
    raw_image,
    stamp_ns,
    world_from_ego,
    write_drive,
)
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.boxes import wrap_angle
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.opening import open_dataset
from understudy.datasets.pandaset import PandasetSequence
from understudy.datasets.recorded import RecordedDataset, read_description
from understudy.datasets.recorded_frame import pictures_of
from understudy.errors import BagError, InputError
from understudy.messages.cloud_layouts import LAYOUTS, LayoutName, cloud_message
from understudy.messages.transforms import rig_transforms_message
from understudy.recording import record_bag
from understudy.rig import Lidar, Mounting, Rig, read_rig
from understudy.testing import simple_rig
from understudy_training.data.from_bag import Job, dataset_from_bags
from understudy_training.data.from_bag_drive import KeyFrames
from understudy_training.data.from_bag_settings import FromBagSettings
from understudy_training.scenes.config import CameraConfig, LidarConfig, SceneConfig
from understudy_training.scenes.writer import make_scenes

EVERY = FromBagSettings(key_frame_hz=0)


def _made(tmp_path: Path, drive: Drive | None = None, settings: FromBagSettings = EVERY, **job: Any) -> RecordedDataset:
    write_drive(tmp_path / "bag", drive)
    dataset_from_bags(Job(bags=(tmp_path / "bag",), out=tmp_path / "set", settings=settings, **job))
    assert not list(tmp_path.glob(".*"))
    return RecordedDataset(tmp_path / "set")


def _boxes(sample: Sample) -> Any:
    assert sample.boxes is not None
    return sample.boxes


def _with_camera_offsets(rig: Rig, sample: Sample) -> Rig:
    """PandaSet stamps a sweep at its end; the LiDAR passed each camera up to 0.1 s before."""
    sensors = dict(rig.sensors)
    for name, image in sample.frame.images.items():
        offset_ns = sample.frame.stamp_ns - image.stamp_ns
        sensors[name] = sensors[name].model_copy(update={"time_offset_ns": offset_ns})
    return rig.model_copy(update={"sensors": sensors})


class TestRoundTrip:
    """A data set written as a bag and turned back is the same data set."""

    @pytest.mark.data
    @pytest.mark.parametrize("layout", ["plain", "shuffled"])
    def test_pandaset(self, tmp_path: Path, data_root: Path, layout: LayoutName) -> None:
        source = PandasetSequence(data_root / "pandaset/002")
        made = record_bag(source, tmp_path / "bag", layout=layout, labels=True)
        rig = tmp_path / "rig.yaml"
        _with_camera_offsets(read_rig(made.rig), source[0]).write(rig)
        job = Job(bags=(made.bag,), out=tmp_path / "set", settings=EVERY, rig=rig)
        (summary,) = dataset_from_bags(job)
        found = RecordedDataset(tmp_path / "set")
        assert found.class_names == source.class_names
        self._assert_same(found, source)
        for index in range(len(source)):
            there, here = pictures_of(source[index]), pictures_of(found[index])
            assert len(here) == 6
            assert [(picture.entry, picture.data) for picture in here] == [
                (picture.entry, picture.data) for picture in there
            ]
        assert (summary.counts.labeled, summary.counts.partial) == (4, 0)

    @pytest.mark.parametrize("layout", ["plain", "shuffled"])
    def test_our_scenes(self, tmp_path: Path, layout: LayoutName) -> None:
        config = SceneConfig(
            seed=4,
            num_drives=1,
            num_val_drives=0,
            num_frames=3,
            lidar=LidarConfig(beams=16, azimuth_steps=360),
            camera=CameraConfig(width_px=64, height_px=48),
        )
        make_scenes(config, tmp_path / "scenes", workers=1)
        source = open_dataset(tmp_path / "scenes")
        bag = record_bag(source, tmp_path / "bag", layout=layout, labels=True).bag
        dataset_from_bags(Job(bags=(bag,), out=tmp_path / "set", settings=EVERY))
        found = RecordedDataset(tmp_path / "set")
        self._assert_same(found, source, exact_intensity=layout == "plain")
        for index in range(len(source)):
            there, here = pictures_of(source[index]), pictures_of(found[index])
            assert [picture.data for picture in here] == [picture.data for picture in there]

    @staticmethod
    def _assert_same(found: Dataset, source: Dataset, *, exact_intensity: bool = True) -> None:
        assert len(found) == len(source)
        for index in range(len(source)):
            here, there = found[index], source[index]
            assert here.frame.stamp_ns == there.frame.stamp_ns
            for name, cloud in there.frame.clouds.items():
                other = here.frame.clouds[name]
                assert other.stamp_ns == cloud.stamp_ns
                columns = slice(None) if exact_intensity else slice(3)
                assert other.points.dtype == np.float32
                assert other.points[:, columns].tobytes() == cloud.points[:, columns].tobytes()
                assert (other.time_offset_s is None) == (cloud.time_offset_s is None)
                if other.time_offset_s is not None and cloud.time_offset_s is not None:
                    assert other.time_offset_s.tobytes() == cloud.time_offset_s.tobytes()
            wanted = _boxes(there)
            boxes = _boxes(here)
            assert boxes.geometry[:, :6].tobytes() == wanted.geometry[:, :6].tobytes()
            np.testing.assert_allclose(wrap_angle(boxes.geometry[:, 6] - wanted.geometry[:, 6]), 0, atol=1e-6)
            assert boxes.labels.tolist() == wanted.labels.tolist()
            assert boxes.track_ids.tolist() == wanted.track_ids.tolist()
            assert boxes.num_points.tolist() == wanted.num_points.tolist()
            assert boxes.scores is None
            assert here.frame.world_from_ego is not None
            assert there.frame.world_from_ego is not None
            matrices = here.frame.world_from_ego.matrix, there.frame.world_from_ego.matrix
            np.testing.assert_allclose(*matrices, rtol=0, atol=1e-9)


class TestFrames:
    def test_everything_of_a_drive(self, tmp_path: Path) -> None:
        drive = Drive(labels=True)
        dataset = _made(tmp_path, drive)
        assert len(dataset) == 12
        assert dataset.class_names == ("car", "truck", "pedestrian", "cyclist")
        for index in range(len(dataset)):
            sample = dataset[index]
            assert sample.frame.stamp_ns == stamp_ns(index)
            assert sample.frame.clouds["lidar"].points.tobytes() == cloud_of(index).points.tobytes()
            (picture,) = pictures_of(sample)
            assert picture.data == picture_of(index, drive)
            assert (picture.entry.stamp_ns, picture.entry.frame_id) == (stamp_ns(index) + 10 * MS, "front")
            assert sample.frame.world_from_ego is not None
            wanted = world_from_ego(stamp_ns(index))
            np.testing.assert_allclose(sample.frame.world_from_ego.matrix, wanted.matrix, atol=1e-6)
            boxes = _boxes(sample)
            assert boxes.geometry[:, :6].tobytes() == boxes_of(index, drive).geometry[:, :6].tobytes()
            assert boxes.track_ids.tolist() == [2**62 + 5, 7]
            assert [boxes.class_names[label] for label in boxes.labels] == ["car", "pedestrian"]
        entry = dataset.description.drives[0]
        assert (entry.labels, entry.split) == ("recorded", "train")
        assert entry.provenance.topics == {"lidar": POINTS, "front": IMAGE}

    def test_key_frames_by_rate_and_every_message_has_one_fate(self, tmp_path: Path) -> None:
        dataset = _made(tmp_path, Drive(num=21, labels=True), FromBagSettings(key_frame_hz=2))
        stamps = [dataset.place(index).stamp_ns for index in range(len(dataset))]
        assert stamps == [stamp_ns(number) for number in (0, 5, 10, 15, 20)]
        messages = dataset.description.drives[0].provenance.messages
        for row in messages.values():
            assert row["read"] == sum(row.values()) - row["read"]
        for topic in (POINTS, IMAGE, LABELS):
            assert (messages[topic]["read"], messages[topic]["used"], messages[topic]["not_key_frame"]) == (21, 5, 16)
        assert messages[ODOMETRY] == {"read": 22, "used": 22, "rejected": 0}

    def test_a_standing_vehicle_gives_no_second_frame(self, tmp_path: Path) -> None:
        dataset = _made(tmp_path, Drive(num=21), FromBagSettings(key_frame_hz=0, min_motion_m=4.5))
        stamps = [dataset.place(index).stamp_ns for index in range(len(dataset))]
        assert stamps == [stamp_ns(number) for number in (0, 5, 10, 15, 20)]

    def test_jitter_does_not_change_the_rate(self) -> None:
        rng = np.random.default_rng(0)
        chooser = KeyFrames(2.0, 0.0)
        stamps = [stamp_ns(n) + int(rng.normal(0, 4 * MS)) for n in range(2000)]
        taken = [stamp for stamp in stamps if chooser.takes(stamp, None)]
        assert abs(len(taken) - 400) <= 1

    @pytest.mark.parametrize("layout_frame", ["base_link", "lidar"])
    def test_labels_in_a_sensors_frame_are_carried_to_ego(self, tmp_path: Path, layout_frame: str) -> None:
        drive = Drive(labels=True, labels_frame=layout_frame, tf=simple_rig(camera=True))
        boxes = _boxes(_made(tmp_path, drive)[3])
        shift = np.array([1.0, 0.0, 1.8]) if layout_frame == "lidar" else np.zeros(3)
        np.testing.assert_allclose(boxes.geometry[:, :3], boxes_of(3, drive).geometry[:, :3] + shift, atol=1e-5)

    def test_other_classes_and_boxes_without_identity(self, tmp_path: Path) -> None:
        dataset = _made(tmp_path, Drive(labels=True, class_names=("forklift", "pallet"), ids=False))
        assert dataset.class_names == ("forklift", "pallet")
        assert _boxes(dataset[0]).track_ids is None

    def test_sweeps_are_accumulated_with_the_ego_motion(self, tmp_path: Path) -> None:
        dataset = _made(tmp_path, Drive(), FromBagSettings(key_frame_hz=0, sweeps=3))
        assert [len(dataset[index].frame.clouds["lidar"]) for index in range(4)] == [400, 800, 1200, 1200]
        cloud = dataset[5].frame.clouds["lidar"]
        assert cloud.points[:400].tobytes() == cloud_of(5).points.tobytes()
        lidar = dataset[5].rig.lidars["lidar"].ego_from_sensor.pose()
        now_from_before = world_from_ego(stamp_ns(5)).inverse() @ world_from_ego(stamp_ns(4))
        moved = (lidar.inverse() @ now_from_before @ lidar).apply(cloud_of(4).points[:, :3])
        np.testing.assert_allclose(cloud.points[400:800, :3], moved, atol=1e-4)
        assert cloud.time_offset_s is not None
        np.testing.assert_allclose(cloud.time_offset_s[[0, 400, 800]], [0, -0.1, -0.2], atol=1e-6)

    def test_points_that_are_not_finite_are_dropped_and_counted(self, tmp_path: Path) -> None:
        def edit(number: int, message: Any) -> Any:
            message.data = message.data.copy()
            message.data.reshape(400, 22)[:3, 0:4] = np.frombuffer(np.float32(np.nan).tobytes(), np.uint8)
            return message

        write_drive(tmp_path / "bag", Drive(edit_cloud=edit, num=2))
        (summary,) = dataset_from_bags(Job(bags=(tmp_path / "bag",), out=tmp_path / "set", settings=EVERY))
        assert summary.counts.dropped_points == 6
        cloud = RecordedDataset(tmp_path / "set")[1].frame.clouds["lidar"]
        assert cloud.points.tobytes() == cloud_of(1).points[3:].tobytes()
        assert any("6 points that are not finite" in line for line in summary.lines())

    def test_missing_and_broken_pictures_leave_partial_frames(self, tmp_path: Path) -> None:
        def edit(number: int, picture: Any) -> Any:
            if number == 3:
                return None
            if number == 5:
                picture.data = picture.data[:500]
            return picture

        write_drive(tmp_path / "bag", Drive(edit_picture=edit))
        (summary,) = dataset_from_bags(Job(bags=(tmp_path / "bag",), out=tmp_path / "set", settings=EVERY))
        dataset = RecordedDataset(tmp_path / "set")
        assert [len(dataset[index].frame.images) for index in range(7)] == [1, 1, 1, 0, 1, 0, 1]
        assert (summary.counts.partial, summary.messages[IMAGE]["rejected"]) == (2, 1)
        assert any("picture of front: found one that is cut" in reason for reason in summary.reasons)

    def test_raw_pictures_become_jpeg(self, tmp_path: Path) -> None:
        dataset = _made(tmp_path, Drive(num=2, image="/cam", edit_picture=lambda number, _: raw_image(number)))
        image = dataset[1].frame.images["front"]
        assert np.abs(image.pixels.astype(int) - 11).max() <= 1

    def test_a_sqlite3_bag_without_cameras_and_poses(self, tmp_path: Path) -> None:
        settings = FromBagSettings(key_frame_hz=0, camera_topics=("none",))
        dataset = _made(tmp_path, Drive(num=2, sqlite3=True, odometry=False), settings)
        assert dataset[0].frame.world_from_ego is None
        assert not dataset[0].frame.images


class TestRigs:
    def test_from_transforms_and_camera_info(self, tmp_path: Path) -> None:
        rig = simple_rig(camera=True)
        settings = FromBagSettings(key_frame_hz=0, intensity_scale=1.0)
        dataset = _made(tmp_path, Drive(num=2, tf=rig, beside=False), settings)
        found = dataset[0].rig
        for name, sensor in rig.sensors.items():
            mountings = found.sensors[name].ego_from_sensor, sensor.ego_from_sensor
            np.testing.assert_allclose(*(mounting.pose().matrix for mounting in mountings), atol=1e-12)
            assert found.sensors[name].model_copy(update={"ego_from_sensor": sensor.ego_from_sensor}) == sensor
        assert len(dataset[0].frame.images) == 1

    def test_from_a_chain_of_transforms(self, tmp_path: Path) -> None:
        """The LiDAR hangs on the roof, the roof on the vehicle."""
        roof = Rig(
            name="roof",
            sensors={"lidar": Lidar(frame_id="lidar", ego_from_sensor=Mounting(translation_m=(0.2, 0.0, 0.3)))},
        )

        with BagWriter(tmp_path / "bag") as writer:
            message = rig_transforms_message(make_message, roof, 1)
            message.transforms[0].header.frame_id = "roof"
            base = rig_transforms_message(make_message, roof, 1)
            base.transforms[0].child_frame_id, base.transforms[0].transform.translation.z = "roof", 1.5
            writer.write("/tf_static", message, 1)
            writer.write("/tf_static", base, 2)
            cloud = cloud_message(make_message, cloud_of(0), LAYOUTS["plain"], 1.0)
            writer.write("/velodyne_points", cloud, stamp_ns(0))
        settings = FromBagSettings(intensity_scale=255.0)
        dataset_from_bags(Job(bags=(tmp_path / "bag",), out=tmp_path / "set", settings=settings))
        lidar = RecordedDataset(tmp_path / "set")[0].rig.lidars["lidar"]
        np.testing.assert_allclose(lidar.ego_from_sensor.translation_m, (0.4, 0.0, 1.8))
        assert lidar.intensity_scale == 255.0

    def test_poses_from_moving_transforms(self, tmp_path: Path) -> None:
        dataset = _made(tmp_path, Drive(num=3, odometry=False, moving_tf=True))
        pose = dataset[1].frame.world_from_ego
        assert pose is not None
        np.testing.assert_allclose(pose.matrix, world_from_ego(stamp_ns(1)).matrix, atol=1e-6)

    def test_odometry_of_another_frame_of_the_vehicle(self, tmp_path: Path) -> None:
        dataset = _made(tmp_path, Drive(num=3, odometry_child="lidar", tf=simple_rig(camera=True)))
        pose = dataset[1].frame.world_from_ego
        assert pose is not None
        wanted = world_from_ego(stamp_ns(1)) @ simple_rig().lidars["lidar"].ego_from_sensor.pose().inverse()
        np.testing.assert_allclose(pose.matrix, wanted.matrix, atol=1e-6)

    def test_topics_are_found_by_frame_id(self, tmp_path: Path) -> None:
        settings = FromBagSettings(key_frame_hz=0)
        dataset = _made(tmp_path, Drive(num=2, points="/velodyne/points_raw", image="/camera/compressed"), settings)
        assert dataset.description.drives[0].provenance.topics == {
            "lidar": "/velodyne/points_raw",
            "front": "/camera/compressed",
        }


class TestSeveralBags:
    def test_one_drive_each_with_every_third_for_validation(self, tmp_path: Path) -> None:
        bags = tuple(write_drive(tmp_path / name, Drive(num=2)) for name in ("a", "b", "c"))
        dataset_from_bags(Job(bags=bags, out=tmp_path / "set", settings=EVERY, val_every=3))
        drives = read_description(tmp_path / "set").drives
        assert [(drive.name, drive.split) for drive in drives] == [("a", "train"), ("b", "train"), ("c", "val")]
        more = write_drive(tmp_path / "d", Drive(num=2, rig=simple_rig(camera=True, height_m=2.0)))
        dataset_from_bags(Job(bags=(more,), out=tmp_path / "set", settings=EVERY, split="val", append=True))
        dataset = RecordedDataset(tmp_path / "set", "val")
        heights = [dataset[index].rig.lidars["lidar"].ego_from_sensor.translation_m[2] for index in (0, 2)]
        assert heights == [1.8, 2.0]

    def test_a_second_run_goes_on_where_the_first_was_interrupted(self, tmp_path: Path) -> None:
        good, bad = write_drive(tmp_path / "a", Drive(num=2)), tmp_path / "b"
        write_drive(bad, Drive(num=2, points="/elsewhere", rig=simple_rig(camera=True)))
        job = Job(bags=(good, bad), out=tmp_path / "set", settings=EVERY.model_copy(update={"lidar_topics": (POINTS,)}))
        with pytest.raises(BagError, match="/sensors/lidar/points"):
            dataset_from_bags(job)
        assert not (tmp_path / "set").exists()
        shutil.rmtree(bad)
        write_drive(bad, Drive(num=3))
        first, second = dataset_from_bags(job)
        assert (first.num_frames, second.num_frames) == (0, 3)
        assert "there already" in " ".join(first.lines())
        assert len(RecordedDataset(tmp_path / "set")) == 5

    def test_what_another_job_left_is_not_mixed_in(self, tmp_path: Path) -> None:
        good = write_drive(tmp_path / "a", Drive(num=2))
        bad = write_drive(tmp_path / "b", Drive(num=2, edit_cloud=lambda number, _: b"no cloud"))
        with pytest.raises(BagError, match="no frame could be made"):
            dataset_from_bags(Job(bags=(good, bad), out=tmp_path / "set", settings=EVERY))
        other = write_drive(tmp_path / "c", Drive(num=2))
        dataset_from_bags(Job(bags=(other,), out=tmp_path / "set", settings=EVERY))
        assert [drive.name for drive in read_description(tmp_path / "set").drives] == ["c"]

    def test_appending_the_same_bag_again_changes_nothing(self, tmp_path: Path) -> None:
        before = _made(tmp_path).fingerprint
        job = Job(bags=(tmp_path / "bag",), out=tmp_path / "set", settings=EVERY, append=True)
        assert dataset_from_bags(job)[0].num_frames == 0
        assert RecordedDataset(tmp_path / "set").fingerprint == before
        changed = Job(bags=(tmp_path / "bag",), out=tmp_path / "set", append=True)
        with pytest.raises(InputError, match="drive bag: found one of that name"):
            dataset_from_bags(changed)
