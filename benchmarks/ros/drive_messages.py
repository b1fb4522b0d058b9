"""What a vehicle's drivers send: sweeps and JPEG files of PandaSet, or made up ones of their size."""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from understudy.datasets.pandaset import PandasetSequence
from understudy.frame import PointCloud
from understudy.images import encode_jpeg
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.headers import header_message
from understudy.messages.images import camera_info_message
from understudy.recording import rig_in_bag
from understudy.rig import Camera, Lidar, Mounting, Rig
from understudy.testing import road_cloud
from understudy_ros.make import make_message

NUM_SYNTHETIC, NUM_POINTS = 4, 110_000
WIDTH_PX, HEIGHT_PX = 1920, 1080


@dataclass(frozen=True)
class DriveMessages:
    """Messages of each sensor, to be sent round and round with new stamps.

    Attributes:
        source: which recording.
        rig: the vehicle.
        clouds: of its LiDAR.
        pictures: of each camera.
        infos: one of each camera.
    """

    source: str
    rig: Rig
    clouds: tuple[Any, ...]
    pictures: Mapping[str, tuple[Any, ...]]
    infos: Mapping[str, Any]


def pandaset() -> PandasetSequence | None:
    """Sequence 002, if it is there."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("UNDERSTUDY_DATA", default)) / "pandaset" / "002"
    return PandasetSequence(folder) if folder.is_dir() else None


def drive_rig() -> Rig:
    """The rig alone, without reading a sweep into messages."""
    sequence = pandaset()
    return _synthetic_rig() if sequence is None else rig_in_bag(sequence[0].rig, LAYOUTS["plain"])


def drive_messages(num_cameras: int) -> DriveMessages:
    """All of it, with that many cameras of the rig."""
    sequence, rig = pandaset(), drive_rig()
    cameras = {name: rig.cameras[name] for name in list(rig.cameras)[:num_cameras]}
    lidar_name, lidar = rig.lidar()
    if sequence is None:
        clouds = [road_cloud(np.random.default_rng(n), NUM_POINTS, reach_m=40.0) for n in range(NUM_SYNTHETIC)]
        jpegs = {name: [_synthetic_jpeg(number) for number in range(NUM_SYNTHETIC)] for name in cameras}
    else:
        frames = [sequence[number].frame for number in range(len(sequence))]
        clouds = [frame.clouds[lidar_name] for frame in frames]
        jpegs = {name: [frame.images.file(name).path.read_bytes() for frame in frames] for name in cameras}
    return DriveMessages(
        "synthetic" if sequence is None else "PandaSet 002",
        rig,
        tuple(_cloud_message(cloud, lidar) for cloud in clouds),
        {name: tuple(_picture(data, cameras[name]) for data in each) for name, each in jpegs.items()},
        {name: camera_info_message(make_message, camera, 0, camera.frame_id) for name, camera in cameras.items()},
    )


def _cloud_message(cloud: PointCloud, lidar: Lidar) -> Any:
    named = PointCloud(cloud.points, 0, lidar.frame_id, cloud.time_offset_s, cloud.ring)
    return cloud_message(make_message, named, LAYOUTS["plain"], lidar.intensity_scale)


def _picture(data: bytes, camera: Camera) -> Any:
    header = header_message(make_message, 0, camera.frame_id)
    return make_message("sensor_msgs/msg/CompressedImage", header=header, format="jpeg", data=array("B", data))


def _synthetic_jpeg(number: int) -> bytes:
    """Coarse noise: about 400 kB, as a street is."""
    coarse = np.random.default_rng(number).integers(0, 256, (HEIGHT_PX // 8, WIDTH_PX // 8, 3), np.uint8)
    return encode_jpeg(np.kron(coarse, np.ones((8, 8, 1), np.uint8)), 85)


def _synthetic_rig() -> Rig:
    lidar = Lidar(frame_id="lidar", ego_from_sensor=Mounting(translation_m=(1.0, 0.0, 1.8)), intensity_scale=1.0)
    forward = Mounting(translation_m=(1.5, 0.0, 1.6), rotation_wxyz=(0.5, -0.5, 0.5, -0.5))
    cameras = {
        name: Camera(
            frame_id=name,
            ego_from_sensor=forward,
            width_px=WIDTH_PX,
            height_px=HEIGHT_PX,
            fx_px=1000.0,
            fy_px=1000.0,
            cx_px=WIDTH_PX / 2,
            cy_px=HEIGHT_PX / 2,
        )
        for name in (f"camera_{number}" for number in range(6))
    }
    return Rig(name="synthetic", sensors={"lidar": lidar, **cameras})
