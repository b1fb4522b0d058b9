"""Bags for the tests of from-bag: a short drive with whatever a vehicle records, and whatever can be wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.boxes import Boxes
from understudy.frame import Image, PointCloud
from understudy.images import encode_jpeg
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.headers import header_message
from understudy.messages.images import camera_info_message, compressed_image_message
from understudy.messages.outputs import detections_message
from understudy.messages.transforms import odometry_message, rig_transforms_message
from understudy.pose import Pose
from understudy.rig import Rig
from understudy.testing import road_cloud, simple_rig

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
POINTS, IMAGE, INFO = "/sensors/lidar/points", "/sensors/front/image/compressed", "/sensors/front/camera_info"
ODOMETRY, LABELS, TF = "/ego/odom", "/labels/boxes", "/tf_static"
SPEED_MPS = 10.0
Edit = Callable[[int, Any], Any]


@dataclass
class Drive:
    """What to record; 10 Hz, pictures 10 ms after each sweep, poses 5 ms before it."""

    num: int = 12
    rig: Rig = field(default_factory=lambda: simple_rig(camera=True))
    points: str = POINTS
    image: str = IMAGE
    info: bool = True
    odometry: bool = True
    odometry_child: str = "base_link"
    moving_tf: bool = False
    tf: Rig | None = None
    labels: bool = False
    labels_frame: str = "base_link"
    class_names: tuple[str, ...] = ("car", "pedestrian")
    ids: bool = True
    picture_px: tuple[int, int] = (160, 96)
    edit_cloud: Edit | None = None
    edit_picture: Edit | None = None
    beside: bool = True
    sqlite3: bool = False


def stamp_ns(number: int) -> int:
    return START_NS + 100 * MS * number


def world_from_ego(time_ns: int) -> Pose:
    return Pose.from_yaw(0.2, (100.0 + SPEED_MPS * (time_ns - START_NS) / 1e9, -50.0, 0.0))


def cloud_of(number: int) -> PointCloud:
    return road_cloud(np.random.default_rng(number), 400, stamp_ns=stamp_ns(number), frame_id="lidar")


def picture_of(number: int, drive: Drive) -> bytes:
    width_px, height_px = drive.picture_px
    pixels = np.random.default_rng(number).integers(0, 255, (height_px, width_px, 3)).astype(np.uint8)
    return encode_jpeg(pixels, 60)


def boxes_of(number: int, drive: Drive) -> Boxes:
    geometry = np.array([[10.0 - number, 3.0, 0.8, 4.2, 1.8, 1.6, 0.1], [5, -4, 0.9, 0.6, 0.7, 1.7, -2.0]], np.float32)
    ids = np.array([2**62 + 5, 7], np.int64) if drive.ids else None
    return Boxes(geometry, np.array([0, 1], np.int32), drive.class_names, track_ids=ids)


def write_drive(path: Path, drive: Drive | None = None) -> Path:
    drive = drive or Drive()
    with BagWriter(path, sqlite3=drive.sqlite3) as writer:
        if drive.beside:
            drive.rig.write(writer.folder / "rig.yaml")
        if drive.tf is not None:
            writer.write(TF, rig_transforms_message(make_message, drive.tf, START_NS), START_NS - 9 * MS, latched=True)
        for number in range(drive.num):
            _write_poses(writer, drive, number)
            _write_sensors(writer, drive, number)
        _write_poses(writer, drive, drive.num)
    return path


def _write_poses(writer: BagWriter, drive: Drive, number: int) -> None:
    time_ns = stamp_ns(number) - 5 * MS
    pose = world_from_ego(time_ns)
    if drive.odometry:
        message = odometry_message(make_message, pose, time_ns)
        message.child_frame_id = drive.odometry_child
        writer.write(ODOMETRY, message, time_ns)
    if drive.moving_tf:
        message = rig_transforms_message(make_message, simple_rig(), time_ns)
        entry = message.transforms[0]
        entry.header.frame_id, entry.child_frame_id = "map", "base_link"
        entry.transform.translation.x, entry.transform.translation.y, entry.transform.translation.z = pose.translation_m
        w, x, y, z = pose.quaternion_wxyz
        turn = entry.transform.rotation
        turn.w, turn.x, turn.y, turn.z = float(w), float(x), float(y), float(z)
        writer.write("/tf", message, time_ns)


def _write_sensors(writer: BagWriter, drive: Drive, number: int) -> None:
    now_ns = stamp_ns(number)
    message = cloud_message(make_message, cloud_of(number), LAYOUTS["plain"], 1.0)
    message = drive.edit_cloud(number, message) if drive.edit_cloud else message
    if isinstance(message, bytes):
        writer.write_raw(drive.points, "sensor_msgs/msg/PointCloud2", message, now_ns + 40 * MS)
    elif message is not None:
        writer.write(drive.points, message, now_ns + 40 * MS)
    if drive.labels:
        boxes = detections_message(make_message, boxes_of(number, drive), now_ns, drive.labels_frame)
        writer.write(LABELS, boxes, now_ns + 41 * MS)
    header = header_message(make_message, now_ns + 10 * MS, "front")
    data = np.frombuffer(picture_of(number, drive), np.uint8)
    picture = make_message("sensor_msgs/msg/CompressedImage", header=header, format="jpeg", data=data)
    picture = drive.edit_picture(number, picture) if drive.edit_picture else picture
    if picture is not None:
        writer.write(drive.image, picture, now_ns + 45 * MS)
        if drive.info:
            camera = drive.rig.cameras["front"]
            info = camera_info_message(make_message, camera, now_ns + 10 * MS, "front")
            writer.write(INFO, info, now_ns + 45 * MS)


def raw_image(number: int) -> Any:
    """A `sensor_msgs/Image` of one gray."""
    pixels = np.full((96, 160, 3), 10 + number, np.uint8)
    return make_message(
        "sensor_msgs/msg/Image",
        header=header_message(make_message, stamp_ns(number) + 10 * MS, "front"),
        height=96,
        width=160,
        encoding="rgb8",
        is_bigendian=0,
        step=480,
        data=pixels.reshape(-1),
    )


def black_picture(stamp: int) -> Any:
    return compressed_image_message(make_message, Image(np.zeros((96, 160, 3), np.uint8), stamp, "front"))
