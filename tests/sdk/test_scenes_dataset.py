"""The reader of generated scenes, on a folder written here by the documented format alone."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from understudy.converters.class_maps import ClassMap
from understudy.datasets.scenes import ARRAYS, BenchmarkEntry, ScenesDataset
from understudy.errors import GeometryError, InputError
from understudy.images import encode_jpeg, encode_png
from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig

CLASSES = ["car", "truck", "pedestrian", "cyclist"]
POINT_CLASSES = ["road", "sidewalk", "building", "pole", "vegetation", "other", *CLASSES]


def arrays(number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    count = 20 + number
    return {
        "points": rng.normal(size=(count, 4)).astype(np.float32),
        "time_offset_s": np.linspace(0, 0.099, count, dtype=np.float32),
        "ring": rng.integers(0, 32, count).astype(np.uint8),
        "point_classes": rng.integers(0, 10, count).astype(np.uint8),
        "boxes": np.array([[5, 1, 0.8, 4, 1.8, 1.5, 0.3], [9, -2, 0.9, 0.6, 0.6, 1.7, -1]], np.float32),
        "labels": np.array([0, 2], np.int32),
        "track_ids": np.array([3, 8], np.int64),
        "num_points": np.array([12, 0], np.int32),
        "velocities_mps": np.array([[1, 0], [0, 0]], np.float32),
        "world_from_ego": Pose.from_yaw(0.1 * number, (number, 0, 0)).matrix,
        "stamp_ns": np.int64(10**9 + number),
    }


MOUNTING = Mounting.from_pose(Pose.from_yaw(0.01, (1.0, 0.0, 1.8)))


def write_rig(folder: Path, *cameras: str) -> None:
    camera = Camera(ego_from_sensor=MOUNTING, width_px=4, height_px=3, fx_px=4, fy_px=4, cx_px=1.5, cy_px=1)
    sensors = {"lidar": Lidar(frame_id="top", ego_from_sensor=MOUNTING), **dict.fromkeys(cameras, camera)}
    Rig(name="scenes", sensors=sensors).write(folder / "rig.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rig(tmp_path)
    drives = [{"name": "0000", "split": "train", "num_frames": 2}, {"name": "0001", "split": "val", "num_frames": 1}]
    describe(tmp_path, drives=drives)
    for number, name in enumerate(["0000/frames/000000", "0000/frames/000001", "0001/frames/000000"]):
        file = tmp_path / "drives" / f"{name}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **arrays(number))
    return tmp_path


def describe(folder: Path, **changes: Any) -> None:
    values = {
        **{"kind": "scenes", "schema_version": 1, "class_names": CLASSES, "point_class_names": POINT_CLASSES},
        **{"drives": [], "generator": {"seed": 0}, **changes},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(values))


def test_reads_what_was_written(folder: Path) -> None:
    dataset = ScenesDataset(folder)
    assert len(dataset) == 3
    assert dataset.class_names == tuple(CLASSES)
    for number in range(3):
        sample, wanted = dataset[number], arrays(number)
        cloud = sample.frame.clouds["lidar"]
        np.testing.assert_array_equal(cloud.points, wanted["points"])
        np.testing.assert_array_equal(cloud.ring, wanted["ring"])
        np.testing.assert_array_equal(cloud.time_offset_s, wanted["time_offset_s"])
        np.testing.assert_array_equal(sample.segments["lidar"].labels, wanted["point_classes"])
        np.testing.assert_array_equal(sample.boxes.geometry, wanted["boxes"])
        np.testing.assert_array_equal(sample.boxes.num_points, wanted["num_points"])
        np.testing.assert_array_equal(sample.boxes.track_ids, wanted["track_ids"])
        np.testing.assert_allclose(sample.frame.world_from_ego.matrix, wanted["world_from_ego"])
        assert (cloud.stamp_ns, cloud.frame_id) == (10**9 + number, "top")
        assert cloud.ring.dtype == np.int16
        assert not sample.frame.images


def test_splits_are_by_drive(folder: Path) -> None:
    assert [sample.key for sample in map(ScenesDataset(folder, "train").__getitem__, range(2))] == [
        "0000/000000",
        "0000/000001",
    ]
    assert ScenesDataset(folder, "val")[0].key == "0001/000000"
    assert [drive.name for drive in ScenesDataset(folder, "val").drives] == ["0001"]


def test_a_class_map_relabels_and_drops(folder: Path) -> None:
    walkers = ClassMap(class_names=("walker",), of={"pedestrian": "walker"})
    sample = ScenesDataset(folder, classes=walkers)[0]
    assert sample.boxes.class_names == ("walker",)
    np.testing.assert_array_equal(sample.boxes.labels, [0])
    np.testing.assert_array_equal(sample.boxes.track_ids, [8])
    assert ScenesDataset(folder, classes="understudy")[0].boxes.class_names == tuple(CLASSES)


def test_places_are_told_without_reading_clouds(folder: Path) -> None:
    dataset = ScenesDataset(folder)
    assert [dataset.place(index).drive for index in range(3)] == ["0000", "0000", "0001"]
    assert [dataset.place(index).stamp_ns for index in range(3)] == [10**9, 10**9 + 1, 10**9 + 2]


def test_can_be_iterated_and_pickled(folder: Path) -> None:
    dataset = pickle.loads(pickle.dumps(ScenesDataset(folder)))
    assert [sample.key for sample in dataset] == ["0000/000000", "0000/000001", "0001/000000"]


def test_fingerprint_is_stable_and_tells_changes(folder: Path) -> None:
    before = ScenesDataset(folder).fingerprint
    assert ScenesDataset(folder).fingerprint == before
    assert ScenesDataset(folder, "val").fingerprint != before
    np.savez(folder / "drives/0000/frames/000001.npz", **arrays(7))
    assert ScenesDataset(folder).fingerprint != before


def test_fingerprint_follows_pictures(folder: Path) -> None:
    write_rig(folder, "camera")
    pictures = folder / "drives" / "0000" / "camera"
    pictures.mkdir()
    found = {ScenesDataset(folder).fingerprint}
    for content in (b"a picture", b"another picture"):
        (pictures / "000000.jpg").write_bytes(content)
        found.add(ScenesDataset(folder).fingerprint)
    assert len(found) == 3


def write_pictures(folder: Path, *cameras: str) -> None:
    for camera in cameras:
        for frame in ("0000/{}/000000", "0000/{}/000001", "0001/{}/000000"):
            file = folder / "drives" / f"{frame.format(camera)}.jpg"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(encode_jpeg(np.full((3, 4, 3), 40 * len(camera) % 255, np.uint8)))


@pytest.mark.parametrize("cameras", [("camera",), ("camera_left", "camera_right")])
def test_reads_the_pictures_of_every_camera(folder: Path, cameras: tuple[str, ...]) -> None:
    write_rig(folder, *cameras)
    write_pictures(folder, *cameras)
    for sample in ScenesDataset(folder):
        assert {name: image.pixels.shape for name, image in sample.frame.images.items()} == dict.fromkeys(
            cameras, (3, 4, 3)
        )
    assert not ScenesDataset(folder, images=False)[0].frame.images
    (folder / "drives/0000" / cameras[-1] / "000001.jpg").unlink()
    assert f"{cameras[-1]}/000001.jpg" in refusal(folder, 1)


def test_truth_of_pixels_lies_beside_each_camera(folder: Path) -> None:
    """Folder `depth` for the camera `camera`, `depth_left` for `camera_left`."""
    write_rig(folder, "camera", "camera_left")
    depth_mm = np.array([[0, 1500, 65535]], np.uint16)
    for kind, values in (("depth", depth_mm), ("classes", np.array([[255, 0, 7]], np.uint8))):
        for name in (kind, f"{kind}_left"):
            (folder / "drives/0000" / name).mkdir()
            (folder / "drives/0000" / name / "000000.png").write_bytes(encode_png(values))
    truths = ScenesDataset(folder, images=False).pixel_truth(0)
    assert set(truths) == {"camera", "camera_left"}
    for truth in truths.values():
        np.testing.assert_allclose(truth.depth_m, [[np.inf, 1.5, 65.535]])
        np.testing.assert_array_equal(truth.classes, [[255, 0, 7]])


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        ("depth", np.zeros((2, 2), np.uint8), "16 bit"),
        ("depth", np.zeros((2, 2, 3), np.uint8), "one channel"),
        ("classes", np.zeros((2, 3), np.uint8), "one class for each depth"),
        ("classes", np.zeros((2, 2), np.uint16), "uint8"),
        ("classes", None, "whole JPEG or PNG"),
    ],
)
def test_refuses_truth_that_cannot_be_right(folder: Path, kind: str, values: Any, says: str) -> None:
    write_rig(folder, "camera")
    right = {"depth": np.ones((2, 2), np.uint16), "classes": np.zeros((2, 2), np.uint8)}
    for name, own in {**right, kind: values}.items():
        (folder / "drives/0000" / name).mkdir()
        (folder / "drives/0000" / name / "000000.png").write_bytes(b"torn" if own is None else encode_png(own))
    with pytest.raises(InputError, match=says) as caught:
        ScenesDataset(folder, images=False).pixel_truth(0)["camera"]
    assert f"{kind}/000000.png" in str(caught.value)


def test_refuses_a_camera_without_a_folder_name(folder: Path) -> None:
    write_rig(folder, "front")
    assert "camera front" in refusal(folder, kind=GeometryError)


def test_tells_which_benchmark_it_is(folder: Path) -> None:
    assert ScenesDataset(folder).description.benchmark is None
    drives = [{"name": "0000", "split": "train", "num_frames": 2}]
    describe(folder, drives=drives, benchmark={"name": "scenes-64", "version": 1, "signature": "ab"})
    assert ScenesDataset(folder).description.benchmark == BenchmarkEntry(name="scenes-64", version=1, signature="ab")


def open_and_look(folder: Path, index: int | None, **arguments: Any) -> None:
    dataset = ScenesDataset(folder, **arguments)
    if index is not None:
        dataset[index]


def refusal(folder: Path, index: int | None = None, kind: type[Exception] = InputError, **arguments: Any) -> str:
    with pytest.raises(kind) as caught:
        open_and_look(folder, index, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refuses_a_folder_without_a_description(folder: Path) -> None:
    (folder / "dataset.yaml").unlink()
    assert "dataset.yaml" in refusal(folder)
    assert "understudy scenes" in refusal(folder)


def test_refuses_another_schema(folder: Path) -> None:
    describe(folder, schema_version=2)
    assert "dataset.yaml: schema_version: found 2, wanted 1" in refusal(folder)


def test_refuses_an_unknown_key(folder: Path) -> None:
    describe(folder, color="red")
    assert "unknown key color" in refusal(folder)


def test_refuses_an_unknown_split(folder: Path) -> None:
    assert "split test" in refusal(folder, split="test")


def test_refuses_a_missing_rig(folder: Path) -> None:
    (folder / "rig.yaml").unlink()
    assert "rig.yaml" in refusal(folder)


def test_refuses_a_rig_without_the_lidar(folder: Path) -> None:
    Rig(name="bare", sensors={}).write(folder / "rig.yaml")
    assert "rig bare" in refusal(folder, kind=GeometryError)


def test_refuses_a_missing_frame(folder: Path) -> None:
    (folder / "drives/0000/frames/000001.npz").unlink()
    assert "0000/frames/000001.npz: found no such file" in refusal(folder, 1)
    with pytest.raises(InputError, match=r"000001\.npz"):
        _ = ScenesDataset(folder).fingerprint


@pytest.mark.parametrize("kept", [0, 10, 400, -30])
def test_refuses_a_truncated_frame(folder: Path, kept: int) -> None:
    file = folder / "drives/0000/frames/000001.npz"
    file.write_bytes(file.read_bytes()[:kept])
    assert "000001.npz" in refusal(folder, 1)


def test_refuses_flipped_bytes(folder: Path) -> None:
    file = folder / "drives/0000/frames/000001.npz"
    data = bytearray(file.read_bytes())
    data[300:320] = b"\xff" * 20
    file.write_bytes(data)
    assert "000001.npz" in refusal(folder, 1)


def test_refuses_pickled_objects(folder: Path) -> None:
    np.savez(folder / "drives/0000/frames/000001.npz", **{**arrays(1), "points": np.array([{}], object)})
    assert "000001.npz" in refusal(folder, 1)


@pytest.mark.parametrize("name", list(ARRAYS))
def test_refuses_a_missing_array(folder: Path, name: str) -> None:
    values = arrays(1)
    del values[name]
    np.savez(folder / "drives/0000/frames/000001.npz", **values)
    assert f"000001.npz: array {name}: found nothing" in refusal(folder, 1)


def test_refuses_arrays_that_do_not_fit(folder: Path) -> None:
    for change in (
        {"points": np.zeros((3, 5), np.float32)},
        {"ring": np.zeros(3, np.uint8)},
        {"labels": np.array([0, 9], np.int32)},
        {"world_from_ego": np.zeros((4, 4))},
        {"point_classes": np.zeros(2, np.uint8)},
    ):
        np.savez(folder / "drives/0000/frames/000001.npz", **{**arrays(1), **change})
        assert "000001.npz" in refusal(folder, 1)
