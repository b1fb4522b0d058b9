from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.boxes import Boxes
from understudy.converters.class_maps import NUSCENES_DETECTION_NAMES, identity
from understudy.converters.classes import CLASS_NAMES
from understudy.converters.nuscenes import (
    NuscenesBoxes,
    boxes_from_nuscenes,
    nuscenes_from_boxes,
    quaternions_from_yaw,
    yaw_from_quaternions,
)
from understudy.datasets.nuscenes_keyframe import LIDAR, NuscenesKeyframes
from understudy.errors import InputError
from understudy.pose import Pose


@pytest.fixture
def keyframes(data_root):
    return NuscenesKeyframes(data_root / "nuscenes")


@pytest.fixture
def instances(data_root):
    info = json.loads(next((data_root / "nuscenes").glob("*.json")).read_text())
    return info["data_list"][0]["instances"]


@pytest.mark.data
def test_points_per_box_agree_with_the_stored_counts(keyframes, instances):
    geometry = np.array([entry["bbox_3d"] for entry in instances], np.float32)
    boxes = Boxes(geometry, np.zeros(len(geometry), np.int32), ("any",))
    counts = boxes.contains(keyframes[0].frame.clouds[LIDAR].points[:, :3]).sum(axis=1)
    stored = np.array([entry["num_lidar_pts"] for entry in instances])
    assert (len(instances), counts.sum(), stored.sum()) == (69, 994, 1009)
    assert (counts > 0).sum() == 66
    assert np.median(counts - stored) == 0


@pytest.mark.data
def test_boxes_in_ego_hold_the_same_points(keyframes):
    sample = keyframes[0]
    lidar = sample.rig.lidars[LIDAR]
    points = lidar.ego_from_sensor.pose().apply(sample.frame.clouds[LIDAR].points[:, :3])
    counts = sample.boxes.contains(points).sum(axis=1)
    assert len(sample.boxes) == 43
    assert np.median(counts - sample.boxes.num_points) == 0
    assert abs(counts.sum() - sample.boxes.num_points.sum()) < 0.05 * sample.boxes.num_points.sum()
    near = np.hypot(sample.boxes.geometry[:, 0], sample.boxes.geometry[:, 1]) < 25
    bottoms_m = (sample.boxes.geometry[:, 2] - sample.boxes.geometry[:, 5] / 2)[near]
    assert np.median(np.abs(bottoms_m)) < 0.3, "ego stands on the road"


@pytest.mark.data
def test_sensors_are_as_the_recordings_readme_says(keyframes):
    sample = keyframes[0]
    cloud = sample.frame.clouds[LIDAR]
    assert sorted(set(cloud.ring.tolist())) == list(range(32))
    assert sample.frame.stamp_ns == 1_532_402_927_647_951_000
    lidar = sample.rig.lidars[LIDAR]
    assert cloud.points[:, 3].max() <= lidar.intensity_scale == 255
    points = lidar.ego_from_sensor.pose().apply(cloud.points[:, :3])
    wanted = {
        "CAM_FRONT": 3067,
        "CAM_FRONT_RIGHT": 3079,
        "CAM_FRONT_LEFT": 3704,
        "CAM_BACK": 4826,
        "CAM_BACK_LEFT": 4097,
        "CAM_BACK_RIGHT": 3379,
    }
    for name, count in wanted.items():
        camera = sample.rig.cameras[name]
        pixels, depth_m = camera.project(points)
        seen = (depth_m > 0) & (pixels >= 0).all(axis=1) & (pixels < [camera.width_px, camera.height_px]).all(axis=1)
        # The README's counts also undo the vehicle's motion between sweep and exposure, up to 43 ms.
        assert seen.sum() == pytest.approx(count, rel=0.07)
    assert sample.frame.images["CAM_BACK"].pixels.shape == (900, 1600, 3)


@pytest.mark.data
def test_real_boxes_survive_the_way_to_ego_and_back(keyframes, instances):
    names = {f"class {entry['bbox_label_3d']}" for entry in instances}
    rows = np.array([entry["bbox_3d"] for entry in instances], np.float64)
    annotations = NuscenesBoxes(
        tuple(f"class {entry['bbox_label_3d']}" for entry in instances),
        rows[:, :3],
        rows[:, [4, 3, 5]],
        quaternions_from_yaw(rows[:, 6]),
    )
    ego_from_lidar = keyframes[0].rig.lidars[LIDAR].ego_from_sensor.pose()
    boxes = boxes_from_nuscenes(annotations, ego_from_lidar, identity(sorted(names)))
    back = nuscenes_from_boxes(boxes, ego_from_lidar.inverse())
    assert back.names == annotations.names
    np.testing.assert_allclose(back.translations_m, annotations.translations_m, atol=1e-5)
    np.testing.assert_allclose(back.sizes_m, annotations.sizes_m, atol=1e-6)
    turned = yaw_from_quaternions(back.rotations_wxyz) - rows[:, 6]
    np.testing.assert_allclose(np.sin(turned), 0, atol=1e-6)
    assert (np.cos(turned) > 0).all()


@given(st.floats(-3.1, 3.1), st.floats(-3.1, 3.1), st.floats(-0.05, 0.05), st.floats(-0.05, 0.05))
@settings(max_examples=60)
def test_boxes_survive_the_way_to_a_tilted_global_frame_and_back(yaw, turn, roll, pitch):
    tilt = np.array([1.0, roll / 2, pitch / 2, 0.0])
    global_from_ego = Pose.from_yaw(turn, (411.0, 1180.0, 3.0)) @ Pose.from_quaternion(
        tilt / np.linalg.norm(tilt), [0.0, 0.0, 0.0]
    )
    boxes = Boxes(np.float32([[12, -7, 1, 4.5, 1.9, 1.6, yaw]]), np.int32([0]), CLASS_NAMES)
    annotations = nuscenes_from_boxes(boxes, global_from_ego)
    back = boxes_from_nuscenes(annotations, global_from_ego.inverse())
    np.testing.assert_allclose(back.geometry, boxes.geometry, atol=1e-5)
    np.testing.assert_allclose(annotations.sizes_m, [[1.9, 4.5, 1.6]], atol=1e-6)


def test_wrong_shapes_and_unknown_names():
    with pytest.raises(InputError, match="nuScenes boxes: found shapes"):
        NuscenesBoxes(("car",), np.zeros((1, 3)), np.zeros((2, 3)), np.zeros((1, 4)))
    cone = NuscenesBoxes(("traffic_cone",), np.zeros((1, 3)), np.ones((1, 3)), np.array([[1.0, 0, 0, 0]]))
    assert len(boxes_from_nuscenes(cone, Pose.identity())) == 0


@pytest.mark.data
def test_a_file_without_entries_is_refused(data_root, tmp_path):
    (tmp_path / "samples").mkdir()
    with pytest.raises(InputError, match="found 0 JSON files"):
        NuscenesKeyframes(tmp_path)
    (tmp_path / "info.json").write_text("{}")
    with pytest.raises(InputError, match=r"info\.json: metainfo \(and 1 more\): found no such key"):
        NuscenesKeyframes(tmp_path)
    info = json.loads(next((data_root / "nuscenes").glob("*.json")).read_text())
    shutil.copytree(data_root / "nuscenes" / "samples", tmp_path / "samples", dirs_exist_ok=True)
    sweep = next((tmp_path / "samples" / LIDAR).glob("*.bin"))
    sweep.chmod(0o644)
    for change, message in (
        (lambda record: record.pop("ego2global"), r"info\.json: data_list 0: ego2global: .*found no such key"),
        (lambda record: record.pop("token"), r"data_list 0: token: .*found no such key"),
        (lambda record: record["lidar_points"].update(lidar2ego=[[2, 0], [0, 1]]), r"lidar2ego: found rows of 2, 2"),
        (lambda record: record.update(ego2global=np.diag([2.0, 1, 1, 1]).tolist()), "wanted a rigid 4x4 transform"),
        (lambda record: record["lidar_points"].update(lidar_path=None), r"lidar_points\.lidar_path: found None"),
        (
            lambda record: record.update(timestamp="noon"),
            r"data_list 0: timestamp: found 'noon', wanted a valid number",
        ),
        (lambda record: record.update(timestamp=float("nan")), "timestamp: found nan, wanted a finite number"),
        (lambda record: record.update(instances=None), r"instances: found None, wanted a valid list"),
        (lambda record: record["images"].update(CAM_BACK="x"), r"images\.CAM_BACK: found 'x'"),
        (
            lambda record: record["images"]["CAM_BACK"].update(cam2img=[[1]]),
            r"images\.CAM_BACK\.cam2img: found rows of 1",
        ),
        (
            lambda record: record["instances"][0].update(bbox_3d=[1, 2, float("nan"), 1, 1, 1, 0]),
            r"0\.bbox_3d\.2: found nan",
        ),
        (
            lambda record: record["instances"][0].update(bbox_3d=[1, 2, 3, -1, 1, 1, 0]),
            r"instances\.0\.bbox_3d\.3: found -1",
        ),
        (lambda record: record["instances"][0].update(velocity=[1]), r"instances\.0\.velocity"),
        (
            lambda record: record["instances"][0].pop("bbox_label_3d"),
            r"instances\.0\.bbox_label_3d: .*found no such key",
        ),
        (lambda record: record["images"]["CAM_BACK"].update(img_path="gone.jpg"), r"gone\.jpg: found no such file"),
        (lambda record: record["instances"][0].pop("bbox_3d"), r"instances\.0\.bbox_3d: .*found no such key"),
        (lambda record: sweep.write_bytes(np.full((4, 5), np.inf, "<f4").tobytes()), r"found point 0 is inf inf"),
        (lambda record: sweep.write_bytes(b"0" * 30), r"pcd\.bin: found 30 bytes, wanted a multiple of 20"),
    ):
        damaged = json.loads(json.dumps(info))
        change(damaged["data_list"][0])
        (tmp_path / "info.json").write_text(json.dumps(damaged))
        with pytest.raises(InputError, match=message):
            NuscenesKeyframes(tmp_path)[0]


@pytest.mark.data
def test_unsorted_stamps_and_other_tables_are_refused(data_root, tmp_path):
    info = json.loads(next((data_root / "nuscenes").glob("*.json")).read_text())
    first, path = info["data_list"][0], tmp_path / "info.json"
    later = {**first, "timestamp": first["timestamp"] + 0.5, "token": "later"}
    path.write_text(json.dumps({**info, "data_list": [first, later]}))
    keyframes = NuscenesKeyframes(tmp_path)
    assert keyframes.place(0).drive == keyframes.place(1).drive == "n015-2018-07-24-11-22-45+0800"
    assert keyframes.place(1).stamp_ns - keyframes.place(0).stamp_ns == 500_000_000
    path.write_text(json.dumps({**info, "data_list": [later, first]}))
    with pytest.raises(InputError, match=r"info\.json: data_list 1: found timestamp .* wanted stamps that ascend"):
        NuscenesKeyframes(tmp_path)
    for content, message in (
        ("[1]", r"info\.json: \(top level\)"),
        ('{"metainfo": {"categories": ["car"]}}', "categories"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            NuscenesKeyframes(tmp_path)


@pytest.mark.data
def test_cameras_that_were_not_unpacked_are_left_out(data_root, tmp_path):
    shutil.copy(next((data_root / "nuscenes").glob("*.json")), tmp_path)
    for sensor in (LIDAR, "CAM_FRONT"):
        shutil.copytree(data_root / "nuscenes" / "samples" / sensor, tmp_path / "samples" / sensor)
    sample = NuscenesKeyframes(tmp_path)[0]
    assert set(sample.frame.images) == set(sample.rig.cameras) == {"CAM_FRONT"}


@pytest.mark.data
def test_class_maps_decide_what_counts(data_root, instances):
    official = NuscenesKeyframes(data_root / "nuscenes", classes="official")
    assert official.class_names == NUSCENES_DETECTION_NAMES
    found = official[0].boxes
    assert len(found) == sum(entry["bbox_label_3d"] >= 0 for entry in instances) == 68, "one has no detection class"
    assert {official.class_names[label] for label in found.labels} >= {"barrier", "traffic_cone", "pedestrian"}
