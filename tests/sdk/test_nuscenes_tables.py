"""The reader of nuScenes' official tables, against the development kit on releases written by the schema."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.nuscenes_builder import CATEGORIES, LIDAR, Release, build_release
from tests.oracles import Oracle
from understudy.boxes import Boxes
from understudy.converters.class_maps import NUSCENES_DETECTION_NAMES, chosen_map, identity
from understudy.converters.nuscenes import quaternions_from_yaw
from understudy.datasets.dataset import Sequential, WithSweeps
from understudy.datasets.nuscenes_keyframe import NuscenesKeyframes
from understudy.datasets.nuscenes_splits import scenes_of_split
from understudy.datasets.nuscenes_tables import NuscenesTables
from understudy.datasets.opening import open_dataset
from understudy.datasets.sweeps import MultiSweep
from understudy.errors import InputError
from understudy.pose import Pose

EVERYTHING = identity(CATEGORIES)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_release(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture
def damaged(root: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(root, tmp_path / "release")


@pytest.fixture(scope="module")
def devkit(oracle: Oracle, root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("devkit") / "answer.npz"
    oracle.run("nuscenes_release", root, out, "5", "1.0")
    with np.load(out, allow_pickle=False) as content:
        return dict(content)


def test_order_boxes_and_velocities_equal_the_devkits(root: Path, devkit: dict[str, Any]) -> None:
    dataset = NuscenesTables(root, classes=EVERYTHING)
    assert [dataset[index].key for index in range(len(dataset))] == list(devkit["keys"])
    for index, key in enumerate(devkit["keys"]):
        labels = dataset.annotations(index)
        assert list(labels.names) == list(devkit[f"{key}/names"])
        np.testing.assert_array_equal(labels.translations_m, devkit[f"{key}/global"])
        np.testing.assert_allclose(labels.velocities_mps, devkit[f"{key}/velocities"], rtol=1e-9)
        sample = dataset[index]
        assert sample.boxes is not None
        lidar_from_ego = sample.rig.lidars[LIDAR].ego_from_sensor.pose().inverse()
        centers = lidar_from_ego.apply(sample.boxes.geometry[:, :3])
        np.testing.assert_allclose(centers, devkit[f"{key}/lidar"], atol=1e-4)
        # Our boxes stand upright in ego, the devkit's are tilted by up to 1.2 degrees against it.
        corners = lidar_from_ego.apply(sample.boxes.corners())
        apart = np.linalg.norm(corners[:, :, None] - devkit[f"{key}/corners"][:, None], axis=-1).min(axis=2)
        assert apart.max() < 0.15
        assert list(sample.boxes.class_names) == list(CATEGORIES)
        world_from_ego = sample.frame.world_from_ego
        assert world_from_ego is not None
        velocities = devkit[f"{key}/velocities"] @ world_from_ego.rotation
        np.testing.assert_allclose(sample.boxes.velocities_mps, velocities[:, :2], atol=1e-5)
    assert any(np.isnan(devkit[f"{key}/velocities"]).any() for key in devkit["keys"]), "nothing tells no velocity"


def test_accumulated_clouds_equal_the_devkits(root: Path, devkit: dict[str, Any]) -> None:
    dataset = MultiSweep(NuscenesTables(root), 5, min_distance_m=1.0)
    counts = set()
    for index, key in enumerate(devkit["keys"]):
        sample = dataset[index]
        cloud = sample.frame.clouds[LIDAR]
        np.testing.assert_allclose(cloud.points, devkit[f"{key}/points"], atol=2e-5)
        assert cloud.time_offset_s is not None
        np.testing.assert_allclose(cloud.time_offset_s, -devkit[f"{key}/ages"], atol=1e-6)
        assert len(sample.segments[LIDAR]) == len(cloud)
        counts.add(len(np.unique(cloud.time_offset_s)))
    assert counts == {3, 5}, "the first key frame of a scene has two sweeps before it"


def test_point_classes_equal_the_devkits(root: Path, devkit: dict[str, Any]) -> None:
    dataset, official = NuscenesTables(root), chosen_map("nuscenes-lidarseg", "official")
    for index, key in enumerate(devkit["keys"]):
        segments = dataset[index].segments[LIDAR]
        assert segments.class_names == CATEGORIES
        np.testing.assert_array_equal(segments.labels, devkit[f"{key}/classes"])
        np.testing.assert_array_equal(official.relabel_segments(segments).labels + 1, devkit[f"{key}/coarse"])


def test_splits_equal_the_devkits(devkit: dict[str, Any]) -> None:
    official = {name.partition("/")[2]: set(scenes) for name, scenes in devkit.items() if name.startswith("split/")}
    releases = {"v1.0-mini": ("mini_train", "mini_val"), "v1.0-trainval": ("train", "val"), "v1.0-test": ("test",)}
    for version, splits in releases.items():
        scenes = sorted(set().union(*(official[name] for name in splits)))
        for name in splits:
            assert scenes_of_split(Path(version), name, scenes) == official[name]


def test_splits_choose_scenes_and_a_file_adds_more(root: Path, damaged: Path) -> None:
    assert [len(open_dataset(root, split)) for split in (None, "all", "mini_train", "mini_val")] == [15, 15, 10, 5]
    assert {open_dataset(root, "mini_val").place(index).drive for index in range(5)} == {"scene-0103"}
    assert len(open_dataset(root / "v1.0-mini", "mini_val")) == 5
    (damaged / "v1.0-mini" / "splits.json").write_text(json.dumps({"night": ["scene-0553", "scene-0999"]}))
    assert len(NuscenesTables(damaged, "night")) == 5
    message = (
        r"v1\.0-mini: split val: found no such split, wanted night or mini_train or mini_val or all; .*splits\.json"
    )
    with pytest.raises(InputError, match=message):
        NuscenesTables(damaged, "val")
    (damaged / "v1.0-mini" / "splits.json").write_text(json.dumps({"night": ["scene-0999"]}))
    with pytest.raises(InputError, match=r"split night: found none of its scenes among 3"):
        NuscenesTables(damaged, "night")


def test_several_releases_are_told_apart_by_split(damaged: Path) -> None:
    shutil.copytree(damaged / "v1.0-mini", damaged / "v1.0-trainval")
    assert len(NuscenesTables(damaged, "mini_val")) == 5
    assert len(NuscenesTables(damaged, "val")) == 10, "scene-0103 and scene-0553 are of val, too"
    with pytest.raises(
        InputError, match=r"found v1\.0-mini, v1\.0-trainval, wanted one of .*name the version's folder"
    ):
        NuscenesTables(damaged)


def test_samples_are_whole(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(NuscenesTables(root)))
    assert isinstance(dataset, Sequential)
    assert isinstance(dataset, WithSweeps)
    places = [dataset.place(index) for index in range(len(dataset))]
    assert [place.drive for place in places[::5]] == ["scene-0061", "scene-0103", "scene-0553"]
    for index, place in enumerate(places):
        sample = dataset[index]
        assert sample.frame.stamp_ns == place.stamp_ns
        assert set(sample.frame.images) == set(sample.rig.cameras) == {"CAM_FRONT", "CAM_BACK"}
        assert sample.frame.images["CAM_FRONT"].stamp_ns == place.stamp_ns + 12_000_000
        assert sample.frame.images["CAM_FRONT"].pixels.shape == (36, 64, 3)
        assert sample.rig.lidar()[0] == LIDAR
    assert dataset.scene_description(0) == "scene-0061, rain"
    assert dataset.fingerprint == NuscenesTables(root).fingerprint != NuscenesTables(root, "mini_val").fingerprint


def test_fingerprint_follows_sweeps_and_point_classes_where_they_are(damaged: Path) -> None:
    found = [NuscenesTables(damaged).fingerprint]
    sweep, labels = next(damaged.glob("sweeps/LIDAR_TOP/*")), next(damaged.glob("lidarseg/*/*"))
    for file in (sweep, labels, next(damaged.glob("samples/CAM_BACK/*")), next(damaged.glob("v1.0-mini/log.json"))):
        file.write_bytes(file.read_bytes() + b" ")
        found.append(NuscenesTables(damaged).fingerprint)
    shutil.rmtree(damaged / "sweeps")
    found.append(NuscenesTables(damaged).fingerprint)
    assert len(set(found)) == 6


def test_a_camera_stands_where_it_fired(root: Path) -> None:
    dataset = NuscenesTables(root)
    sample = dataset[2]
    world_from_ego = sample.frame.world_from_ego
    assert world_from_ego is not None
    mounted = world_from_ego @ sample.rig.cameras["CAM_BACK"].ego_from_sensor.pose()
    seen = dataset.world_from_sensor(2, "CAM_BACK")
    late_m = np.linalg.norm(mounted.translation_m - seen.translation_m)
    assert late_m == pytest.approx(np.hypot(9, 7) * 0.036, rel=0.1), "36 ms at 11 m/s"
    lidar = world_from_ego @ sample.rig.lidars[LIDAR].ego_from_sensor.pose()
    np.testing.assert_allclose(dataset.world_from_sensor(2, LIDAR).matrix, lidar.matrix, atol=1e-9)


def test_class_maps_and_tracks(root: Path) -> None:
    official = NuscenesTables(root, classes="official")
    assert official.class_names == NUSCENES_DETECTION_NAMES
    ours, all_of_them = NuscenesTables(root), NuscenesTables(root, classes=EVERYTHING)
    first, second = all_of_them[1].boxes, all_of_them[2].boxes
    assert first is not None
    assert second is not None
    names = {int(track): CATEGORIES[label] for track, label in zip(first.track_ids, first.labels, strict=True)}
    kept = [track for track in second.track_ids if int(track) in names]
    assert len(kept) > 5
    labels = {int(track): CATEGORIES[label] for track, label in zip(second.track_ids, second.labels, strict=True)}
    assert all(names[int(track)] == labels[int(track)] for track in kept)
    counts = [sum(len(dataset[i].boxes) for i in range(15)) for dataset in (ours, official, all_of_them)]
    assert counts[0] > 0
    assert counts[1] < counts[2]
    annotations = official.annotations(0)
    assert set(annotations.attributes) > {"", "vehicle.stopped"}


@pytest.mark.data
def test_the_real_key_frame_as_a_release_gives_the_same_sample(data_root: Path, tmp_path: Path) -> None:
    info = next((data_root / "nuscenes").glob("*.json"))
    record = json.loads(info.read_text())["data_list"][0]
    categories = json.loads(info.read_text())["metainfo"]["categories"]
    names = {index: name for name, index in categories.items()}
    native = {"car": "vehicle.car", "pedestrian": "human.pedestrian.adult", "truck": "vehicle.truck"}
    release = Release(tmp_path, lidarseg=False)
    ego_from_lidar = Pose.from_matrix(np.array(record["lidar_points"]["lidar2ego"]))
    world_from_ego = Pose.from_matrix(np.array(record["ego2global"]))
    release.sensor(LIDAR, ego_from_lidar)
    stamp_us = round(record["timestamp"] * 1e6)
    (sample,) = release.scene("scene-0061", [stamp_us])
    sweep = data_root / "nuscenes" / "samples" / LIDAR / record["lidar_points"]["lidar_path"]
    release.data(LIDAR, sample, stamp_us, world_from_ego, sweep.read_bytes(), key=True)
    for number, entry in enumerate(record["instances"]):
        if names.get(entry["bbox_label_3d"]) in native:
            x, y, z, length, width, height, yaw = entry["bbox_3d"]
            turn = Pose.from_quaternion(quaternions_from_yaw(np.array([yaw]))[0], [x, y, z])
            seen = [(sample, world_from_ego @ ego_from_lidar @ turn)]
            fields = {"size": (width, length, height), "num_points": entry["num_lidar_pts"]}
            release.instance(f"{number}", native[names[entry["bbox_label_3d"]]], seen, **fields)
    wanted = NuscenesKeyframes(data_root / "nuscenes", classes=identity(tuple(native)))[0]
    found = NuscenesTables(release.write(), classes="official")[0]
    assert wanted.boxes is not None
    assert found.boxes is not None
    assert len(found.boxes) == len(wanted.boxes) > 30
    np.testing.assert_allclose(found.boxes.geometry, wanted.boxes.geometry, atol=2e-3)
    np.testing.assert_array_equal(found.boxes.num_points, wanted.boxes.num_points)
    assert _names(found.boxes) == _names(wanted.boxes)
    np.testing.assert_array_equal(found.frame.clouds[LIDAR].points, wanted.frame.clouds[LIDAR].points)
    assert found.frame.stamp_ns == wanted.frame.stamp_ns
    assert not found.segments


def _names(boxes: Boxes) -> list[str]:
    return [boxes.class_names[label] for label in boxes.labels]


def test_releases_without_labels_cameras_or_lidarseg_open(damaged: Path) -> None:
    shutil.rmtree(damaged / "samples" / "CAM_BACK")
    (damaged / "v1.0-mini" / "lidarseg.json").unlink()
    sample = NuscenesTables(damaged)[0]
    assert set(sample.frame.images) == set(sample.rig.cameras) == {"CAM_FRONT"}
    assert sample.segments == {}
    (damaged / "v1.0-mini").rename(damaged / "v1.0-test")
    test = NuscenesTables(damaged, "test")
    assert len(test) == 15
    assert test[0].boxes is None


def edit(table: str, change: Callable[[list[dict[str, Any]]], None]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = root / "v1.0-mini" / f"{table}.json"
        rows = json.loads(path.read_text())
        change(rows)
        path.write_text(json.dumps(rows))

    return apply


def write(pattern: str, content: bytes | None) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        for path in sorted(root.glob(pattern)):
            path.unlink() if content is None else path.write_bytes(content)

    return apply


NAN_CLOUD = np.full((200, 5), np.nan, np.float32).tobytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (write("v1.0-mini/sample.json", None), r"sample\.json: found no such file"),
        (write("v1.0-mini/scene.json", b"[{"), r"scene\.json: found .*wanted JSON"),
        (write("v1.0-mini/scene.json", b'"x"'), r"scene\.json: found str, wanted a list of records"),
        (edit("sample", lambda rows: rows.pop(1)), r"sample\.json: found no record \w+, wanted that of sample \w+"),
        (edit("sample", lambda rows: rows[2].pop("next")), r"sample\.json: record 3, token \w+: found no field 'next'"),
        (
            edit("ego_pose", lambda rows: rows.pop(2)),
            r"ego_pose\.json: found no record \w+, wanted that of sample_data",
        ),
        (
            edit("ego_pose", lambda rows: [row.update(rotation=[2, 0, 0, 0]) for row in rows]),
            r"ego_pose\.json: token \w+: found quaternion: found length 2",
        ),
        (
            edit("ego_pose", lambda rows: rows[0].update(translation=[1, 2, float("inf")])),
            r"ego_pose\.json: record 1, token \w+: found pose \[1, 2, inf",
        ),
        (
            edit("calibrated_sensor", lambda rows: rows[0].update(rotation=[2, 0, 0, 0])),
            r"calibrated_sensor\.json: record 1, token \w+: found quaternion: found length 2",
        ),
        (
            edit("sensor", lambda rows: rows.clear()),
            r"sensor\.json: found no record \w+, wanted that of calibrated_sens",
        ),
        (edit("calibrated_sensor", lambda rows: rows.pop(0)), r"calibrated_sensor\.json: found no record"),
        (edit("log", lambda rows: rows.clear()), r"log\.json: found no record \w+, wanted that of scene scene-0061"),
        (
            edit("instance", lambda rows: rows.pop(0)),
            r"instance\.json: found no record \w+, wanted that of sample_annot",
        ),
        (
            edit("sample_annotation", lambda rows: rows[3].update(size=[1, -1, 1])),
            r"sample_annotation\.json: record 4, token \w+: found size \[1, -1, 1\]",
        ),
        (
            edit("sample_annotation", lambda rows: rows[0].update(translation=[0, float("nan"), 0])),
            r"sample_annotation\.json: record 1, token \w+: found a box that is not .* finite numbers",
        ),
        (
            edit("sample_annotation", lambda rows: rows[0].update(next="gone")),
            r"sample_annotation\.json: found no record gone",
        ),
        (
            edit("sample_data", lambda rows: [row.update(timestamp=5) for row in rows if row["is_key_frame"]]),
            r"sample_data\.json: sample \w+ of scene-0061: found stamp 5 us after 5 us, wanted stamps that ascend",
        ),
        (edit("sample_data", lambda rows: rows.__delitem__(slice(0, 3))), r"sample_data\.json: .*found no LIDAR_TOP"),
        (write("samples/LIDAR_TOP/*", b"12345"), r"LIDAR_TOP/\S+\.bin: found 5 bytes, wanted a multiple of 20"),
        (write("samples/LIDAR_TOP/*", NAN_CLOUD), r"LIDAR_TOP/\S+\.bin: found point 0 is nan .* wanted finite numbers"),
        (write("samples/LIDAR_TOP/*", None), r"LIDAR_TOP/\S+\.bin: found no such file"),
        (write("samples/CAM_FRONT/*", None), r"CAM_FRONT/\S+\.jpg: found no such file, wanted the frame's image"),
        (write("lidarseg/*/*", b"12"), r"_lidarseg\.bin: found 2 classes, wanted 200, one per point"),
        (write("lidarseg/*/*", b"\x21" * 200), r"_lidarseg\.bin: found class 33, wanted below 32"),
        (write("lidarseg/*/*", None), r"_lidarseg\.bin: found no such file"),
    ],
)
def test_damaged_releases_are_refused_by_table_and_record(
    damaged: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(damaged)
    with pytest.raises(InputError, match=message) as caught:
        NuscenesTables(damaged)[0]
    assert "\n" not in str(caught.value)


def test_missing_sweeps_are_refused(damaged: Path) -> None:
    dataset = NuscenesTables(damaged)
    with pytest.raises(InputError, match="LiDAR LIDAR_SIDE: found no such LiDAR, wanted LIDAR_TOP"):
        dataset.sweeps_before(1, 2, "LIDAR_SIDE")
    write("sweeps/LIDAR_TOP/*", None)(damaged)
    with pytest.raises(InputError, match=r"sweeps/LIDAR_TOP/\S+\.bin: found no such file"):
        dataset.sweeps_before(1, 2)
    edit("sample_data", lambda rows: rows.pop(1))(damaged)
    with pytest.raises(InputError, match=r"sample_data\.json: found no record \w+, wanted that of the sweep before"):
        NuscenesTables(damaged).sweeps_before(0, 2)


def test_sweeps_whose_stamps_do_not_ascend_are_refused(damaged: Path) -> None:
    edit("sample_data", lambda rows: rows[1].update(timestamp=rows[2]["timestamp"]))(damaged)
    with pytest.raises(
        InputError, match=r"sample_data\.json: sample_data \w+: found a sweep before it that is not earl"
    ):
        NuscenesTables(damaged).sweeps_before(0, 2)


def test_folders_without_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no tables.*unpack the metadata archive there"):
        NuscenesTables(tmp_path)
