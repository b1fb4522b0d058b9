"""A data set as a bag: what is written is what the data set says, with a rig that fits the bag."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.bags.reader import BagReader
from understudy.datasets.dataset import Sample
from understudy.datasets.kitti_raw import KittiRawDataset
from understudy.datasets.pandaset import PandasetSequence
from understudy.errors import GeometryError, InputError
from understudy.frame import Frame, Image, PointCloud
from understudy.messages.cloud_layouts import layout_named
from understudy.messages.clouds import cloud_from_message
from understudy.messages.frame_tree import FrameTree
from understudy.messages.images import camera_from_info, image_from_message
from understudy.messages.outputs import boxes_from_detections, ids_from_detections
from understudy.pose import Pose
from understudy.recording import chosen_frames, record_bag
from understudy.rig import Rig, read_rig
from understudy.testing import road_cloud, simple_rig
from understudy.topics import LABELS_TOPIC

MS = 1_000_000


@dataclass
class Drive:
    name: str
    num_frames: int


@dataclass
class FakeDataset:
    """Frames made on the spot: a LiDAR and a camera 20 ms later."""

    num: int = 3
    intensity_scale: float = 1.0
    rigs: list[Rig] = field(default_factory=list)
    period_ms: int = 100
    drives: tuple[Drive, ...] = (Drive("a", 1), Drive("b", 2))
    class_names: tuple[str, ...] = ("car",)
    fingerprint: str = ""

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> Sample:
        stamp_ns = (1000 + index * self.period_ms) * MS
        rng = np.random.default_rng(index)
        plain = road_cloud(rng, 500, stamp_ns=stamp_ns, intensity_scale=self.intensity_scale, frame_id="")
        offsets_s = rng.uniform(0, 0.1, 500).astype(np.float32)
        cloud = PointCloud(plain.points, stamp_ns, "", offsets_s, rng.integers(0, 64, 500).astype(np.int16))
        image = Image(np.full((96, 160, 3), 10 * index, np.uint8), stamp_ns + 20 * MS)
        rig = self.rigs[index] if self.rigs else simple_rig(intensity_scale=self.intensity_scale, camera=True)
        frame = Frame(stamp_ns, {"lidar": cloud}, {"front": image}, Pose.from_yaw(0.1 * index, (index, 0, 0)))
        return Sample(str(index), frame, rig, None, {})


def decoded(bag: Path, topic: str) -> list[Any]:
    with BagReader(bag) as reader:
        return [reader.decode(message) for message in reader.messages([topic])]


@pytest.mark.parametrize("layout", ["plain", "shuffled"])
@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_clouds_come_back_to_the_rounding_of_intensity(tmp_path: Path, layout: Any, scale: float) -> None:
    dataset = FakeDataset(intensity_scale=scale)
    made = record_bag(dataset, tmp_path / "bag", layout=layout)
    rig = read_rig(made.rig)
    rig_scale = rig.lidars["lidar"].intensity_scale
    assert rig_scale == (255.0 if layout == "shuffled" else scale)
    for index, message in enumerate(decoded(made.bag, "/sensors/lidar/points")):
        cloud, wanted = cloud_from_message(message), dataset[index].frame.clouds["lidar"]
        np.testing.assert_array_equal(cloud.points[:, :3], wanted.points[:, :3])
        np.testing.assert_allclose(cloud.points[:, 3] / rig_scale, wanted.points[:, 3] / scale, atol=0.5 / 255 + 1e-6)
        np.testing.assert_array_equal(cloud.ring, wanted.ring)
        np.testing.assert_array_equal(cloud.time_offset_s, wanted.time_offset_s)
        assert (cloud.stamp_ns, cloud.frame_id) == (wanted.stamp_ns, "lidar")


def test_everything_else_a_vehicle_records(tmp_path: Path) -> None:
    dataset = FakeDataset()
    made = record_bag(dataset, tmp_path / "bag")
    assert made.messages == {
        "/ego/odom": 3,
        "/sensors/front/camera_info": 3,
        "/sensors/front/image/compressed": 3,
        "/sensors/lidar/points": 3,
        "/tf_static": 1,
    }
    assert (made.num_frames, made.span_s) == (3, pytest.approx(0.2))
    rig = read_rig(made.rig)
    image = image_from_message(decoded(made.bag, "/sensors/front/image/compressed")[1])
    assert image.stamp_ns == 1120 * MS
    assert abs(int(image.pixels.mean()) - 10) <= 1
    info = decoded(made.bag, "/sensors/front/camera_info")[0]
    assert camera_from_info(info, rig.cameras["front"].ego_from_sensor) == rig.cameras["front"]
    tree = FrameTree()
    tree.add(decoded(made.bag, "/tf_static")[0])
    found = tree.pose("base_link", "lidar")
    assert found is not None
    np.testing.assert_allclose(found.matrix, rig.lidars["lidar"].ego_from_sensor.pose().matrix, atol=1e-9)
    assert decoded(made.bag, "/ego/odom")[2].pose.pose.position.x == 2.0


def test_without_images(tmp_path: Path) -> None:
    made = record_bag(FakeDataset(), tmp_path / "bag", images=False)
    assert not any("front" in topic for topic in made.messages)


@pytest.mark.parametrize(
    ("drive", "part", "wanted"),
    [(None, "", [0, 1, 2]), (1, "", [1, 2]), (1, "1:", [2]), (None, ":2", [0, 1]), (0, "", [0]), (None, "5:9", [])],
)
def test_choosing_frames(drive: int | None, part: str, wanted: list[int]) -> None:
    assert list(chosen_frames(FakeDataset(), drive, part)) == wanted


@pytest.mark.parametrize(("drive", "part"), [(2, ""), (-1, ""), (None, "a:b"), (None, "3"), (None, "1:2:3")])
def test_wrong_choices_are_refused(drive: int | None, part: str) -> None:
    with pytest.raises(InputError, match=r"--drive|--frames"):
        chosen_frames(FakeDataset(), drive, part)


def test_what_cannot_be_one_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frames"):
        record_bag(FakeDataset(), tmp_path / "none", frames=range(0))
    with pytest.raises(InputError, match="stamps that rise"):
        record_bag(FakeDataset(period_ms=0), tmp_path / "still")
    rigs = [simple_rig(camera=True), simple_rig(camera=True, height_m=2.0)]
    with pytest.raises(GeometryError, match="another rig than frame 0 has"):
        record_bag(FakeDataset(num=2, rigs=rigs), tmp_path / "rigs")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="plain or shuffled"):
        layout_named("sorted")


@pytest.mark.data
def test_a_real_drive(tmp_path: Path, data_root: Path) -> None:
    dataset = KittiRawDataset(next((data_root / "kitti/raw/2011_09_26").glob("*_sync")))
    made = record_bag(dataset, tmp_path / "bag")
    message = decoded(made.bag, "/sensors/velodyne/points")[1]
    assert (message.width, message.point_step) == (len(dataset[1].frame.clouds["velodyne"]), 22)
    np.testing.assert_array_equal(cloud_from_message(message).points, dataset[1].frame.clouds["velodyne"].points)
    image = image_from_message(decoded(made.bag, "/sensors/camera_2/image/compressed")[0])
    camera = read_rig(made.rig).cameras["camera_2"]
    assert image.pixels.shape == (camera.height_px, camera.width_px, 3)
    assert np.abs(image.pixels.astype(int) - dataset[0].frame.images["camera_2"].pixels).mean() < 4


@pytest.mark.data
def test_files_of_pictures_and_boxes_travel_as_they_are(tmp_path: Path, data_root: Path) -> None:
    dataset = PandasetSequence(data_root / "pandaset/002")
    made = record_bag(dataset, tmp_path / "bag", frames=[1], labels=True)
    (picture,) = decoded(made.bag, "/sensors/front_camera/image/compressed")
    file = data_root / "pandaset/002/camera/front_camera/41.jpg"
    assert (bytes(picture.data), picture.format) == (file.read_bytes(), "jpeg")
    wanted = dataset[1].boxes
    (message,) = decoded(made.bag, LABELS_TOPIC)
    found = boxes_from_detections(message, dataset.class_names)
    assert wanted is not None
    assert found.geometry.tobytes() == wanted.geometry.tobytes()
    assert found.labels.tolist() == wanted.labels.tolist()
    assert wanted.track_ids is not None
    assert ids_from_detections(message) == [str(number) for number in wanted.track_ids]
    assert LABELS_TOPIC not in record_bag(dataset, tmp_path / "plain", frames=[1], images=False).messages
