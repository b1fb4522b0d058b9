"""A small whole data set of every kind that is read, of known values: what the wrong data sets are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.nuscenes_builder import LIDAR as NUSCENES_LIDAR
from tests.nuscenes_builder import Release
from understudy.datasets.feather import write_feather
from understudy.datasets.opening import open_dataset
from understudy.datasets.recorded import DriveEntry
from understudy.datasets.recorded_writer import DriveWriter
from understudy.datasets.shard_writer import write_shards
from understudy.images import encode_jpeg, encode_png
from understudy.pose import Pose

KINDS = (
    *("kitti_raw", "semantickitti", "nuscenes", "keyframes", "argoverse2", "pandaset", "range_images"),
    *("recorded", "shards"),
)
WIDTH, HEIGHT = 160, 96
START_NS = 1_600_000_000_000_000_000
LOG = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"
UUID = "0a1b2c3d-0000-4000-8000-00000000000"
IDENTITY = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
LIDAR_MOUNTING = [*IDENTITY[:2], [0.0, 0.0, 1.0, 1.8], IDENTITY[3]]
FORWARD = [[0.0, 0.0, 1.0, 1.5], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.6], [0.0, 0.0, 0.0, 1.0]]
"""Ego from a camera that looks ahead."""
CAMERA_MATRIX = f"700 0 {WIDTH // 2} 0 0 700 {HEIGHT // 2} 0 0 0 1 0"
INTRINSICS = {"fx": 700.0, "fy": 700.0, "cx": WIDTH / 2, "cy": HEIGHT / 2}
TRACKLET = """<boost_serialization><tracklets><count>1</count><item><objectType>Car</objectType><h>1.5</h><w>1.8</w>
<l>4</l><first_frame>0</first_frame><poses><item><tx>10</tx><ty>0</ty><tz>-1.7</tz><rx>0</rx><ry>0</ry><rz>0.1</rz>
<state>2</state><occlusion>0</occlusion><truncation>0</truncation></item></poses></item></tracklets>
</boost_serialization>"""


def make_zoo(root: Path, scenes: Path) -> None:
    """One folder for each of `KINDS`; recorded and shards are copies of scenes."""
    write_kitti_raw(root / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_0001_sync")
    write_semantickitti(root / "semantickitti" / "sequences" / "08")
    write_nuscenes(root / "nuscenes")
    write_keyframes(root / "keyframes")
    write_argoverse2(root / "argoverse2" / "val" / LOG)
    write_pandaset(root / "pandaset")
    write_range_images(root / "range_images")
    write_recorded(root / "recorded", scenes)
    write_shards(open_dataset(scenes, "val"), root / "shards", source="scenes", split="val")


def write_kitti_raw(drive: Path) -> None:
    """Two frames of one camera with official calibration, poses and a tracklet."""
    dates = "2011-09-26 13:02:25.951199337\n2011-09-26 13:02:26.054651337\n"
    files: dict[str, str | bytes] = {"tracklet_labels.xml": TRACKLET}
    for place in ("velodyne_points", "oxts", "image_02"):
        files[f"{place}/timestamps.txt"] = dates
    for number in range(2):
        files[f"velodyne_points/data/{number:010d}.bin"] = ground(number).tobytes()
        files[f"image_02/data/{number:010d}.png"] = encode_png(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        files[f"oxts/data/{number:010d}.txt"] = " ".join(str(v) for v in (49 + 1e-5 * number, 8.4, 112, *[0.0] * 27))
    day = {
        "cam_to_cam": f"R_rect_00: 1 0 0 0 1 0 0 0 1\nS_rect_02: {WIDTH} {HEIGHT}\nP_rect_02: {CAMERA_MATRIX}\n",
        "velo_to_cam": "R: 0 -1 0 0 0 -1 1 0 0\nT: 0 -0.08 -0.27\n",
        "imu_to_velo": "R: 1 0 0 0 1 0 0 0 1\nT: -0.81 0.32 -0.80\n",
    }
    _write_all(drive, files)
    _write_all(drive.parent, {f"calib_{name}.txt": text for name, text in day.items()})


def write_semantickitti(sequence: Path) -> None:
    """Two sweeps of one camera, both labeled."""
    files: dict[str, str | bytes] = {
        "calib.txt": f"P2: {CAMERA_MATRIX}\nTr: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27\n",
        "times.txt": "0.0\n0.1037\n",
        "poses.txt": "1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 0 0 1 0 0 0 0 1 2\n",
    }
    for number in range(2):
        files[f"velodyne/{number:06d}.bin"] = ground(number).tobytes()
        files[f"labels/{number:06d}.label"] = np.full(60, 40, "<u4").tobytes()
        files[f"image_2/{number:06d}.png"] = encode_png(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    _write_all(sequence, files)


def write_nuscenes(root: Path) -> None:
    """Tables of one scene of mini_val: two key frames, one sweep between them, a car, the class of each point."""
    release = Release(root)
    release.sensor(NUSCENES_LIDAR, Pose.from_yaw(-1.57, (0.94, 0.0, 1.84)))
    release.sensor("CAM_FRONT", Pose.from_matrix(np.array(FORWARD)), [[700, 0, 80], [0, 700, 48], [0, 0, 1]])
    start_us = START_NS // 1000
    samples = release.scene("scene-0103", [start_us, start_us + 500_000])
    seen, prev = [], ""
    for step, (offset_us, sample) in enumerate(((0, 0), (250_000, 1), (500_000, 1))):
        pose = Pose.from_yaw(0.0, (400.0 + 2 * step, 1180.0, 0.0))
        points = np.column_stack([ground(step), np.arange(60) % 32]).astype(np.float32)
        key = step != 1
        stamp_us = start_us + offset_us
        prev = release.data(NUSCENES_LIDAR, samples[sample], stamp_us, pose, points.tobytes(), key=key, prev=prev)
        if key:
            release.point_classes(prev, np.full(60, 24))
            picture = encode_jpeg(np.zeros((36, 64, 3), np.uint8))
            release.data("CAM_FRONT", samples[sample], stamp_us + 12_000, pose, picture, key=True)
            seen.append((samples[sample], Pose.from_yaw(0.1, (412.0, 1181.0, 0.8))))
    release.instance("car", "vehicle.car", seen, attribute="vehicle.parked")
    release.write()


def write_keyframes(root: Path) -> None:
    """Two key frames of an info file, one camera, one car each."""
    frames = []
    for number in range(2):
        matrix = [[700.0, 0.0, 80.0], [0.0, 700.0, 48.0], [0.0, 0.0, 1.0]]
        stamp_s = START_NS / 1e9 + number / 2
        picture = {"img_path": f"{number}.jpg", "timestamp": stamp_s, "cam2img": matrix, "cam2ego": FORWARD}
        box = {"bbox_label_3d": 0, "bbox_3d": [10.0, 0.0, -0.8, 4.2, 1.8, 1.6, 0.1], "num_lidar_pts": 5}
        frames.append(
            {
                "token": f"{number:032x}",
                "timestamp": stamp_s,
                "ego2global": IDENTITY,
                "lidar_points": {
                    "lidar_path": f"{number}.bin",
                    "lidar2ego": LIDAR_MOUNTING,
                },
                "images": {"CAM_FRONT": picture},
                "instances": [{**box, "velocity": [1.0, 0.0]}],
                "scene_token": "scene",
            }
        )
    files: dict[str, str | bytes] = {
        "info.json": json.dumps({"metainfo": {"categories": {"car": 0}}, "data_list": frames})
    }
    for number in range(2):
        points = np.column_stack([ground(number), np.arange(60) % 32]).astype("<f4")
        files[f"samples/LIDAR_TOP/{number}.bin"] = points.tobytes()
        files[f"samples/CAM_FRONT/{number}.jpg"] = encode_jpeg(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    _write_all(root, files)


def write_argoverse2(log: Path) -> None:
    """Two sweeps with a car each, one camera with pictures."""
    stamps_ns = np.array([START_NS, START_NS + 100_000_000])
    names = np.array(["ring_front_center", "up_lidar", "down_lidar"], object)
    _write_all(log, {f"sensors/cameras/{names[0]}/{START_NS}.jpg": encode_jpeg(np.zeros((HEIGHT, WIDTH, 3), np.uint8))})
    for folder in ("sensors/lidar", "calibration"):
        (log / folder).mkdir(parents=True)
    for number, stamp_ns in enumerate(stamps_ns):
        points = ground(number)
        columns = {name: points[:, column].astype(np.float16) for column, name in enumerate("xyz")}
        columns |= {"intensity": np.full(60, 9, np.uint8), "laser_number": (np.arange(60) % 64).astype(np.uint8)}
        columns["offset_ns"] = np.arange(60, dtype=np.int32)
        write_feather(log / "sensors" / "lidar" / f"{stamp_ns}.feather", columns)
    write_feather(log / "city_SE3_egovehicle.feather", {"timestamp_ns": stamps_ns, **_poses(2)})
    write_feather(log / "calibration" / "egovehicle_SE3_sensor.feather", {"sensor_name": names, **_poses(3)})
    one = {"sensor_name": names[:1], "fx_px": 700.0, "fy_px": 700.0, "cx_px": 80.0, "cy_px": 48.0}
    sized = {**one, "width_px": WIDTH, "height_px": HEIGHT}
    write_feather(log / "calibration" / "intrinsics.feather", {name: np.atleast_1d(v) for name, v in sized.items()})
    write_feather(log / "annotations.feather", argoverse2_cuboids(stamps_ns))


def argoverse2_cuboids(stamps_ns: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """A car 10 m ahead at each of the stamps."""
    count = len(stamps_ns)
    sizes = {"length_m": np.full(count, 4.2), "width_m": np.full(count, 1.8), "height_m": np.full(count, 1.6)}
    return {
        "timestamp_ns": stamps_ns,
        "track_uuid": np.array([f"{UUID}0"] * count, object),
        "category": np.array(["REGULAR_VEHICLE"] * count, object),
        **sizes,
        **_poses(count),
        "num_interior_pts": np.full(count, 3),
    }


def write_pandaset(root: Path) -> None:
    """Two frames, one camera, one car each, a class per point."""
    stamps_s = [START_NS / 1e9, START_NS / 1e9 + 0.1]
    poses = [
        {"position": dict(zip("xyz", (0, 0, 0), strict=True)), "heading": dict(zip("wxyz", (1, 0, 0, 0), strict=True))}
    ]
    files: dict[str, str | bytes] = {}
    for place in ("lidar", "camera/front_camera"):
        files[f"{place}/timestamps.json"] = json.dumps(stamps_s)
        files[f"{place}/poses.json"] = json.dumps(poses * 2)
    files["camera/front_camera/intrinsics.json"] = json.dumps(INTRINSICS)
    files["annotations/semseg/classes.json"] = json.dumps({"1": "Road", "2": "Car"})
    place = {"position.x": 0.0, "position.y": 10.0, "position.z": 0.8, "yaw": 0.1}
    size = {"dimensions.x": 1.8, "dimensions.y": 4.2, "dimensions.z": 1.6}
    cuboid = {"label": "Car", "uuid": f"{UUID}0", "cuboids.sensor_id": -1, **place, **size}
    for number in range(2):
        files[f"camera/front_camera/{number:02d}.jpg"] = encode_jpeg(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        files[f"annotations/cuboids/{number:02d}.json"] = json.dumps([cuboid])
    _write_all(root, files)
    (root / "annotations" / "semseg").mkdir(exist_ok=True)
    for number in range(2):
        points = ground(number).astype(np.float64)
        columns = {name: points[:, column] for column, name in enumerate("xyz")}
        columns |= {"i": np.full(60, 9, np.uint8), "t": np.full(60, stamps_s[number]), "d": np.zeros(60, np.uint8)}
        np.savez(root / "lidar" / f"{number:02d}.npz", **columns)
        np.savez(root / "annotations" / "semseg" / f"{number:02d}.npz", **{"class": np.ones(60, np.uint8)})


def write_range_images(root: Path) -> None:
    """Two sweeps of 4 x 6 cells."""
    root.mkdir()
    for number in range(2):
        cells = np.zeros((4, 6, 6))
        cells[..., 0], cells[..., 2] = np.arange(5, 11), -1.7
        cells[..., 3], cells[..., 4] = 20, np.hypot(cells[..., 0], cells[..., 2])
        np.save(root / f"{START_NS + number * 100_000_000}.npy", cells)


def write_recorded(root: Path, scenes: Path) -> None:
    """The validation drive of scenes."""
    dataset = open_dataset(scenes, "val")
    with DriveWriter(root, "drive", dataset[0].rig) as writer:
        for index in range(len(dataset)):
            writer.add(dataset[index])
        writer.publish(DriveEntry(name="drive", split="val", num_frames=writer.num_frames), dataset.class_names)


def ground(seed: int) -> NDArray[np.float32]:
    """`(60, 4)` returns of a road, 5 to 20 m around the LiDAR, intensities 0 to 1."""
    rng = np.random.default_rng(seed)
    angles, ranges = rng.uniform(-np.pi, np.pi, 60), rng.uniform(5, 20, 60)
    return np.column_stack(
        [ranges * np.cos(angles), ranges * np.sin(angles), np.full(60, -1.7), rng.random(60)]
    ).astype("<f4")


def _poses(count: int) -> dict[str, NDArray[np.float64]]:
    values = {"qw": 1.0, "qx": 0.0, "qy": 0.0, "qz": 0.0, "tx_m": 10.0, "ty_m": 0.0, "tz_m": 0.5}
    return {name: np.full(count, value) for name, value in values.items()}


def _write_all(root: Path, files: Mapping[str, str | bytes]) -> None:
    for name, contents in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
