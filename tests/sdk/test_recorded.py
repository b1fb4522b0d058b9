"""Recorded data sets: what is written is what is read, to the last bit; damage is named by its file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.boxes import Boxes, Segments
from understudy.converters.class_maps import ClassMap
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.opening import open_dataset
from understudy.datasets.recorded import DriveEntry, RecordedDataset
from understudy.datasets.recorded_frame import decode_sample, encode_sample, pictures_of, read_arrays
from understudy.datasets.recorded_writer import DriveWriter, refuse_occupied
from understudy.errors import InputError
from understudy.frame import Frame, Image, PointCloud
from understudy.images import encode_jpeg
from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig

NAMES = ("car", "van")
MOUNTING = Mounting(translation_m=(0.0, 0.0, 1.8))
RIG = Rig(
    name="two eyes",
    sensors={
        "top": Lidar(frame_id="lidar_top", ego_from_sensor=MOUNTING, intensity_scale=255.0),
        "front": Lidar(ego_from_sensor=MOUNTING),
        "cam": Camera(ego_from_sensor=MOUNTING, width_px=16, height_px=8, fx_px=9.0, fy_px=9.0, cx_px=8.0, cy_px=4.0),
    },
)


def _sample(rng: np.random.Generator, stamp_ns: int, *, boxes: bool = True, optional: bool = True) -> Sample:
    num_points, num_boxes = int(rng.integers(1, 50)), int(rng.integers(0, 5))
    points = rng.normal(0, 30, (num_points, 4)).astype(np.float32)
    points[0, 0] = np.nan
    offsets_s = rng.normal(0, 0.05, num_points).astype(np.float32) if optional else None
    ring = rng.integers(0, 64, num_points).astype(np.int16) if optional else None
    clouds = {
        "top": PointCloud(points, stamp_ns, "lidar_top", offsets_s, ring),
        "front": PointCloud(points[:1].copy(), stamp_ns + 5),
    }
    geometry = np.abs(rng.normal(0, 5, (num_boxes, 7))).astype(np.float32)
    columns = {
        "scores": rng.random(num_boxes).astype(np.float32),
        "track_ids": rng.integers(0, 2**62, num_boxes),
        "num_points": rng.integers(0, 99, num_boxes).astype(np.int32),
        "velocities_mps": rng.normal(0, 5, (num_boxes, 2)).astype(np.float32),
    }
    labels = rng.integers(0, len(NAMES), num_boxes).astype(np.int32)
    labeled = Boxes(geometry, labels, NAMES, **(columns if optional else {})) if boxes else None
    segments = {"top": Segments(rng.integers(-1, 2, num_points).astype(np.int16), ("road", "tree"))}
    world_from_ego = Pose.from_yaw(float(rng.normal()), rng.normal(0, 1000, 3)) if optional else None
    pixels = rng.integers(0, 256, (8, 16, 3)).astype(np.uint8)
    images = {"cam": Image(pixels, stamp_ns - 7, "cam_optical")} if optional else {}
    return Sample("somewhere", Frame(stamp_ns, clouds, images, world_from_ego), RIG, labeled, segments)


def _assert_equal(found: Sample, wanted: Sample) -> None:
    assert found.frame.stamp_ns == wanted.frame.stamp_ns
    assert list(found.frame.clouds) == list(wanted.frame.clouds)
    for name, cloud in wanted.frame.clouds.items():
        other = found.frame.clouds[name]
        assert (other.stamp_ns, other.frame_id) == (cloud.stamp_ns, cloud.frame_id)
        _assert_same_bits(other.points, cloud.points)
        _assert_same_bits(other.time_offset_s, cloud.time_offset_s)
        _assert_same_bits(other.ring, cloud.ring)
    assert (found.boxes is None) == (wanted.boxes is None)
    if found.boxes is not None and wanted.boxes is not None:
        assert found.boxes.class_names == wanted.boxes.class_names
        for name in ("geometry", "labels", "scores", "track_ids", "num_points", "velocities_mps"):
            _assert_same_bits(getattr(found.boxes, name), getattr(wanted.boxes, name))
    for name, segments in wanted.segments.items():
        assert found.segments[name].class_names == segments.class_names
        _assert_same_bits(found.segments[name].labels, segments.labels)
    assert (found.frame.world_from_ego is None) == (wanted.frame.world_from_ego is None)
    if found.frame.world_from_ego is not None and wanted.frame.world_from_ego is not None:
        _assert_same_bits(found.frame.world_from_ego.matrix, wanted.frame.world_from_ego.matrix)
    for name, image in wanted.frame.images.items():
        other_image = found.frame.images[name]
        assert (other_image.stamp_ns, other_image.frame_id) == (image.stamp_ns, image.frame_id)
        _assert_same_bits(other_image.pixels, image.pixels)


def _assert_same_bits(found: np.ndarray | None, wanted: np.ndarray | None) -> None:
    if found is None or wanted is None:
        assert found is wanted
        return
    assert (found.dtype, found.shape, found.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), boxes=st.booleans(), optional=st.booleans())
def test_a_frame_comes_back_from_its_arrays_bit_for_bit(seed: int, boxes: bool, optional: bool) -> None:
    wanted = _sample(np.random.default_rng(seed), 10**18 + seed, boxes=boxes, optional=optional)
    arrays = encode_sample(wanted)
    assert not any(values.dtype.hasobject for values in arrays.values())
    found = decode_sample(arrays, RIG, wanted.frame.images, "memory")
    assert found.key == wanted.key
    _assert_equal(found, wanted)


def _write(path: Path, name: str = "drive_a", split: str = "train", num_frames: int = 3) -> list[Sample]:
    rng = np.random.default_rng(5)
    samples = [_sample(rng, 10**18 + 10**8 * number) for number in range(num_frames)]
    with DriveWriter(path, name, RIG) as writer:
        for sample in samples:
            writer.add(sample)
        entry = DriveEntry(name=name, split=split, num_frames=writer.num_frames)  # type: ignore[arg-type]
        writer.publish(entry, NAMES)
    return samples


def test_a_data_set_reads_back_lazily_and_in_a_worker(tmp_path: Path) -> None:
    samples = _write(tmp_path / "set")
    found = open_dataset(tmp_path / "set")
    assert isinstance(found, RecordedDataset)
    dataset = pickle.loads(pickle.dumps(found))  # what a data loader's worker does
    assert len(dataset) == 3
    assert dataset.class_names == NAMES
    for index, wanted in enumerate(samples):
        assert dataset.place(index) == Place("drive_a", wanted.frame.stamp_ns)
        assert dataset[index].key == f"drive_a/{index:06d}"
        assert dataset[index].rig.hash == RIG.hash
        _assert_equal(dataset[index], wanted)
    assert not RecordedDataset(tmp_path / "set", images=False)[0].frame.images


def test_another_drive_is_appended_with_its_split_and_rig(tmp_path: Path) -> None:
    _write(tmp_path / "set")
    before = RecordedDataset(tmp_path / "set").fingerprint
    other = RIG.model_copy(update={"name": "other car"})
    with DriveWriter(tmp_path / "set", "drive_b", other) as writer:
        writer.add(_sample(np.random.default_rng(1), 5))
        writer.publish(DriveEntry(name="drive_b", split="val", num_frames=1), ("van", "bus"))
    everything = open_dataset(tmp_path / "set", "all")
    assert len(everything) == 4
    assert everything.class_names == ("car", "van", "bus")
    assert everything.fingerprint != before
    val = open_dataset(tmp_path / "set", "val")
    assert [val[0].rig.name, len(val)] == ["other car", 1]
    assert open_dataset(tmp_path / "set", "train")[0].rig.name == RIG.name
    with pytest.raises(InputError, match=r"drive drive_b.*one of that name already"):
        refuse_occupied(tmp_path / "set", "drive_b", append=True)
    with pytest.raises(InputError, match=r"something there already.*--append"):
        refuse_occupied(tmp_path / "set", "drive_c", append=False)


def test_nothing_is_left_when_a_drive_was_not_finished(tmp_path: Path) -> None:
    with DriveWriter(tmp_path / "set", "drive_a", RIG) as writer:
        writer.add(_sample(np.random.default_rng(1), 5))
    assert list(tmp_path.iterdir()) == []
    with DriveWriter(tmp_path / "set", "drive_a", RIG) as writer, pytest.raises(InputError, match="no frames"):
        writer.publish(DriveEntry(name="drive_a", split="train", num_frames=1), NAMES)
    with DriveWriter(tmp_path / "set", "drive_a", RIG) as writer:
        writer.add(_sample(np.random.default_rng(1), 5))
        with pytest.raises(InputError, match="stamps that rise"):
            writer.add(_sample(np.random.default_rng(1), 5))
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_copied_byte_for_byte(tmp_path: Path) -> None:
    samples = _write(tmp_path / "set", num_frames=1)
    jpeg = encode_jpeg(samples[0].frame.images["cam"].pixels, 30)
    (tmp_path / "set" / "drives" / "drive_a" / "cam" / "000000.png").write_bytes(jpeg)
    dataset = RecordedDataset(tmp_path / "set")
    (picture,) = pictures_of(dataset[0])
    assert picture.data == jpeg


def test_classes_are_mapped_by_name(tmp_path: Path) -> None:
    samples = _write(tmp_path / "set")
    ours = open_dataset(tmp_path / "set", classes="understudy")
    assert ours.class_names[0] == "car"
    only_vans = open_dataset(tmp_path / "set", classes=ClassMap(class_names=("bus",), of={"van": "bus"}))
    for index, wanted in enumerate(samples):
        boxes, vans, all_ours = wanted.boxes, only_vans[index].boxes, ours[index].boxes
        assert boxes is not None
        assert vans is not None
        assert all_ours is not None
        assert all_ours.labels.tolist() == [0] * len(boxes)
        assert vans.geometry.tolist() == boxes.geometry[boxes.labels == 1].tolist()
        assert vans.track_ids is not None
        assert len(vans.track_ids) == len(vans)


def _damage(path: Path, kind: str) -> None:
    drive = path / "drives" / "drive_a"
    file = drive / "frames" / "000001.npz"
    if kind == "cut":
        file.write_bytes(file.read_bytes()[:200])
    elif kind == "missing":
        file.unlink()
    elif kind == "picture":
        (drive / "cam" / "000001.png").unlink()
    else:
        arrays = read_arrays(file)
        changed = {
            "dtype": {"lidar0.points": arrays["lidar0.points"].astype(np.float64)},
            "schema": {"schema_version": np.array(9)},
            "pickled": {"key": np.array({"a": 1}, dtype=object)},
            "length": {"lidar0.segments": np.zeros(999, np.int16)},
        }
        removed = {name: values for name, values in arrays.items() if (kind, name) != ("array", "lidar1.points")}
        np.savez(file, **(removed | changed.get(kind, {})))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", r"000001.npz: found .*wanted a whole npz"),
        ("missing", r"000001.npz: found no such file"),
        ("picture", r"cam/000001.png: found no such file"),
        ("dtype", r"000001.npz: found point cloud: found float64"),
        ("schema", r"000001.npz: schema_version: found 9, wanted 1"),
        ("pickled", r"000001.npz: found Object arrays cannot be loaded"),
        ("length", r"000001.npz: found segments of top: found 999 entries"),
        ("array", r"000001.npz: found KeyError: 'lidar1.points'"),
    ],
)
def test_a_damaged_frame_is_named(tmp_path: Path, kind: str, message: str) -> None:
    _write(tmp_path / "set")
    _damage(tmp_path / "set", kind)
    dataset = RecordedDataset(tmp_path / "set")
    assert dataset[0].boxes is not None
    with pytest.raises(InputError, match=message):
        dataset[1]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("dataset.yaml", "kind: recorded\nschema_version: 7\n", r"schema_version: found 7, wanted 1"),
        ("dataset.yaml", "kind: recorded\nschema_version: 1\n", r"dataset.yaml: class_names"),
        ("drives/drive_a/stamps_ns.npy", "no array", r"stamps_ns.npy: found .*wanted an npy"),
    ],
)
def test_a_broken_description_is_named(tmp_path: Path, file: str, text: str, message: str) -> None:
    _write(tmp_path / "set")
    (tmp_path / "set" / file).write_text(text)
    with pytest.raises(InputError, match=message):
        open_dataset(tmp_path / "set")


def test_wrong_stamps_and_splits_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "set")
    with pytest.raises(InputError, match="split val: found no drives, wanted one of train"):
        open_dataset(tmp_path / "set", "val")
    stamps = tmp_path / "set" / "drives" / "drive_a" / "stamps_ns.npy"
    np.save(stamps, np.array([3, 2, 1]))
    with pytest.raises(InputError, match="stamps that do not rise"):
        open_dataset(tmp_path / "set")
    np.save(stamps, np.array([1, 2]))
    with pytest.raises(InputError, match=r"int64 \(2,\), wanted int64 \(3,\)"):
        open_dataset(tmp_path / "set")
