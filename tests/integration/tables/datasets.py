"""Data sets of every kind with one thing wrong, through the verbs that read them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.integration.cases import Case
from tests.integration.damage import (
    change_arrays,
    change_json,
    copy,
    cut,
    edit,
    folder,
    link,
    remove,
    swap,
    write,
)
from tests.integration.zoo import START_NS

RAW, DRIVE = copy("kitti_raw"), "kitti_raw/2011_09_26/2011_09_26_drive_0001_sync"
SEMANTIC, SEQUENCE = copy("semantickitti"), "semantickitti/sequences/08"
TABLES, INFO = "nuscenes/v1.0-mini", "keyframes/info.json"
FRAME = "recorded/drives/drive/frames/000000.npz"


def stats(kind: str, more: str = "--split all") -> str:
    """The command that counts a data set."""
    return f"dataset stats {{here}}/{kind} {more}"


def first(name: str, value: Any) -> Any:
    """A change to a field of the first record."""
    return lambda rows: rows[0].__setitem__(name, value)


def of_instance(name: str, value: Any) -> Any:
    """A change to a field of the first label of an info file."""
    return lambda info: info["data_list"][0]["instances"][0].__setitem__(name, value)


def filled(value: float) -> Any:
    """Every entry of an array as one value."""
    return lambda values: np.full_like(values, value)


KITTI_RAW = (
    Case(
        "KITTI raw with a camera's calibration of another picture",
        stats("kitti_raw/2011_09_26"),
        ("0000000000.png: found 160 x 96 pixels", "1242 x 375", "calib_cam_to_cam.txt says"),
        (RAW, swap("kitti_raw/2011_09_26/calib_cam_to_cam.txt", "160 96", "1242 375")),
    ),
    Case(
        "KITTI raw without the inertial unit's calibration",
        stats("kitti_raw/2011_09_26"),
        ("calib_imu_to_velo.txt: found no such file",),
        (RAW, remove("kitti_raw/2011_09_26/calib_imu_to_velo.txt")),
    ),
    Case(
        "KITTI raw stamps unsorted",
        stats("kitti_raw/2011_09_26"),
        ("velodyne_points/timestamps.txt line 2: found", "not after line 1", "ascending"),
        (RAW, swap(f"{DRIVE}/velodyne_points/timestamps.txt", "13:02:26", "13:02:24")),
    ),
    Case(
        "KITTI raw stamps that are a dead link",
        stats("kitti_raw/2011_09_26"),
        ("velodyne_points/timestamps.txt: found",),
        (RAW, link(f"{DRIVE}/velodyne_points/timestamps.txt", "/nowhere/timestamps.txt")),
    ),
    Case(
        "KITTI raw tracklets that are a folder",
        stats("kitti_raw/2011_09_26"),
        ("tracklet_labels.xml: found",),
        (RAW, folder(f"{DRIVE}/tracklet_labels.xml")),
    ),
    Case(
        "KITTI raw tracklets cut short",
        stats("kitti_raw/2011_09_26"),
        ("tracklet_labels.xml: found", "wanted XML"),
        (RAW, cut(f"{DRIVE}/tracklet_labels.xml", 90)),
    ),
    Case(
        "KITTI raw with a packet of too few numbers",
        stats("kitti_raw/2011_09_26"),
        ("oxts/data/0000000001.txt: found",),
        (RAW, write(f"{DRIVE}/oxts/data/0000000001.txt", "49.0 8.4")),
    ),
    Case(
        "KITTI raw sweep with NaN",
        stats("kitti_raw/2011_09_26"),
        ("0000000001.bin: found point 0 is nan", "60 of 60 points are not finite"),
        (RAW, write(f"{DRIVE}/velodyne_points/data/0000000001.bin", np.full((60, 4), np.nan, "<f4").tobytes())),
    ),
)

SEMANTICKITTI = (
    Case(
        "SemanticKITTI label without sweep",
        stats("semantickitti"),
        ("labels/000007.label: found a label without a sweep", "velodyne/000007.bin"),
        (SEMANTIC, write(f"{SEQUENCE}/labels/000007.label", b"")),
    ),
    Case(
        "SemanticKITTI label of another sweep",
        stats("semantickitti"),
        ("labels/000000.label: found 59 labels, wanted 60",),
        (SEMANTIC, cut(f"{SEQUENCE}/labels/000000.label", 4)),
    ),
    Case(
        "SemanticKITTI label of no class",
        stats("semantickitti"),
        ("labels/000000.label", "found"),
        (SEMANTIC, write(f"{SEQUENCE}/labels/000000.label", np.full(60, 7, "<u4").tobytes())),
    ),
    Case(
        "SemanticKITTI with fewer poses than sweeps",
        stats("semantickitti"),
        ("poses.txt: found 1 lines, wanted at least 2",),
        (SEMANTIC, write(f"{SEQUENCE}/poses.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n")),
    ),
    Case(
        "SemanticKITTI poses that are a dead link",
        stats("semantickitti"),
        ("poses.txt: found",),
        (SEMANTIC, link(f"{SEQUENCE}/poses.txt", "/nowhere/poses.txt")),
    ),
    Case(
        "SemanticKITTI stamps unsorted",
        stats("semantickitti"),
        ("times.txt line 2: found 0.0, not after line 1",),
        (SEMANTIC, swap(f"{SEQUENCE}/times.txt", "0.1037", "0.0")),
    ),
    Case(
        "SemanticKITTI split that is not there",
        stats("semantickitti", "--split test"),
        ("split test: found sequences 08", "wanted one of 11"),
        (SEMANTIC,),
    ),
    Case(
        "SemanticKITTI calibration without Tr",
        stats("semantickitti"),
        ("calib.txt: Tr: found P2",),
        (SEMANTIC, swap(f"{SEQUENCE}/calib.txt", "Tr:", "T1:")),
    ),
)

NUSCENES = (
    Case(
        "nuScenes table missing",
        stats("nuscenes"),
        ("v1.0-mini/sample_data.json: found no such file", "unpack the metadata"),
        (copy("nuscenes"), remove(f"{TABLES}/sample_data.json")),
    ),
    Case(
        "nuScenes table cut short",
        stats("nuscenes"),
        ("ego_pose.json: found", "wanted JSON", "unpack the tables again"),
        (copy("nuscenes"), cut(f"{TABLES}/ego_pose.json", 40)),
    ),
    Case(
        "nuScenes table of numbers",
        stats("nuscenes"),
        ("attribute.json: found 3 entries, 0 of them records",),
        (copy("nuscenes"), write(f"{TABLES}/attribute.json", "[1, 2, 3]")),
    ),
    Case(
        "nuScenes record without a field",
        stats("nuscenes"),
        ("sample_data.json: record 1, token", "no field 'filename'"),
        (copy("nuscenes"), change_json(f"{TABLES}/sample_data.json", lambda rows: rows[0].pop("filename") and None)),
    ),
    Case(
        "nuScenes record that names one that is not there",
        stats("nuscenes"),
        ("ego_pose.json: found no record", "wanted that of sample_data"),
        (copy("nuscenes"), change_json(f"{TABLES}/sample_data.json", first("ego_pose_token", "f00"))),
    ),
    Case(
        "nuScenes token that is a list",
        stats("nuscenes"),
        ("log.json: record 1", "token [], wanted text"),
        (copy("nuscenes"), change_json(f"{TABLES}/log.json", first("token", []))),
    ),
    Case(
        "nuScenes scene cut short",
        stats("nuscenes"),
        ("scene.json: scene-0103: found 1 samples along next, wanted 2, as nbr_samples says",),
        (copy("nuscenes"), change_json(f"{TABLES}/sample.json", first("next", ""))),
    ),
    Case(
        "nuScenes label with a rotation that is none",
        stats("nuscenes"),
        ("sample_annotation.json: token", "rotation of length 0.04998", "length 1"),
        (
            copy("nuscenes"),
            change_json(f"{TABLES}/sample_annotation.json", lambda rows: rows[0]["rotation"].__setitem__(0, 0.0)),
        ),
    ),
    Case(
        "nuScenes label with minus one point",
        stats("nuscenes"),
        ("sample_annotation.json: record 1", "points -1", "0 or more"),
        (copy("nuscenes"), change_json(f"{TABLES}/sample_annotation.json", first("num_lidar_pts", -1))),
    ),
    Case(
        "nuScenes without annotations",
        stats("nuscenes"),
        ("sample_annotation.json: found no such file",),
        (copy("nuscenes"), remove(f"{TABLES}/sample_annotation.json")),
    ),
    Case(
        "nuScenes camera of no focal length",
        stats("nuscenes"),
        ("calibrated_sensor.json: token", "fx_px", "greater than 0"),
        (
            copy("nuscenes"),
            change_json(
                f"{TABLES}/calibrated_sensor.json", lambda rows: rows[1]["camera_intrinsic"][0].__setitem__(0, 0)
            ),
        ),
    ),
    Case(
        "nuScenes split that is not there",
        stats("nuscenes", "--split mini_train"),
        ("mini_train",),
        (copy("nuscenes"),),
    ),
    Case(
        "nuScenes split of no name",
        stats("nuscenes", "--split holdout"),
        ("split holdout", "mini_val"),
        (copy("nuscenes"),),
    ),
    Case(
        "key frames with labels of a class that is not there",
        stats("keyframes"),
        ("info.json: data_list 0: bbox_label_3d: found 7, wanted -1 or one of metainfo's: 0 car",),
        (copy("keyframes"), change_json(INFO, of_instance("bbox_label_3d", 7))),
    ),
    Case(
        "key frames with a box at infinity",
        stats("keyframes"),
        ("info.json: data_list 0: instances.0.bbox_3d.0: found inf",),
        (copy("keyframes"), change_json(INFO, of_instance("bbox_3d", [np.inf, 0, 0, 4, 2, 1, 0]))),
    ),
    Case(
        "key frames in the wrong order",
        stats("keyframes"),
        ("info.json: data_list 1: found timestamp", "sort data_list"),
        (copy("keyframes"), change_json(INFO, lambda info: info["data_list"].reverse())),
    ),
    Case(
        "key frames of two info files",
        stats("keyframes"),
        ("keyframes: found 2 JSON files, wanted one info file",),
        (copy("keyframes"), write("keyframes/more.json", "{}")),
    ),
)

COPIES = (
    Case(
        "range image empty",
        stats("range_images"),
        (f"{START_NS}.npy: found No data left in file", "an npy file"),
        (copy("range_images"), write(f"range_images/{START_NS}.npy")),
    ),
    Case(
        "recorded labels of another type",
        stats("recorded"),
        ("000000.npz: found boxes.labels: found values of type bool, wanted whole numbers", "anew"),
        (copy("recorded"), change_arrays(FRAME, **{"boxes.labels": lambda values: values > 0})),
    ),
    Case(
        "recorded stamps damaged",
        stats("recorded"),
        ("stamps_ns.npy: found", "int64 stamps"),
        (copy("recorded"), swap("recorded/drives/drive/stamps_ns.npy", "}", "{")),
    ),
    Case(
        "recorded frames of other classes",
        stats("recorded"),
        ("000000.npz: boxes: found class car, wanted those of dataset.yaml: ship",),
        (copy("recorded"), edit("recorded/dataset.yaml", class_names=["ship"])),
    ),
    Case(
        "recorded frame missing",
        stats("recorded"),
        ("000000.npz: found no such file", "anew"),
        (copy("recorded"), remove(FRAME)),
    ),
    Case(
        "recorded split that is not there",
        stats("recorded", "--split train"),
        ("split train",),
        (copy("recorded"),),
    ),
    Case(
        "shard cut short",
        stats("shards"),
        (".tar: found",),
        (copy("shards"), cut("shards/shard-000000.tar", 20_000)),
    ),
    Case(
        "shards of another split",
        stats("shards", "--split train"),
        ("split train",),
        (copy("shards"),),
    ),
    Case(
        "shards whose index is cut short",
        stats("shards"),
        ("index.npz: found",),
        (copy("shards"), cut("shards/index.npz", 100)),
    ),
)

DATASETS = (*KITTI_RAW, *SEMANTICKITTI, *NUSCENES, *COPIES)
