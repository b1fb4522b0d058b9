"""A rig's sensors as publishers of the test's own process."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from tests.ros_nodes.observer import Observer
from tests.ros_nodes.running_detector import message_of
from understudy.frame import Image as Picture
from understudy.frame import PointCloud
from understudy.messages.headers import header_message
from understudy.messages.images import camera_info_message, compressed_image_message
from understudy.messages.transforms import rig_transforms_message
from understudy.rig import Camera, Rig
from understudy_ros.make import make_message


def jpeg_message(data: bytes, stamp_ns: int, frame_id: str) -> CompressedImage:
    header = header_message(make_message, stamp_ns, frame_id)
    return CompressedImage(header=header, format="jpeg", data=array("B", data))


def raw_message(pixels: NDArray[np.uint8], encoding: str, stamp_ns: int, frame_id: str) -> Image:
    """`(H, W)` or `(H, W, C)` in the encoding's own order."""
    return Image(
        header=header_message(make_message, stamp_ns, frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels[0].size,
        data=array("B", pixels.tobytes()),
    )


def noise_message(camera: Camera, number: int, stamp_ns: int) -> Any:
    """A picture of the camera's size; another one for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (camera.height_px, camera.width_px, 3), dtype=np.uint8)
    return compressed_image_message(make_message, Picture(pixels, stamp_ns, camera.frame_id))


@dataclass
class SensorRack:
    """Publishers of a LiDAR and cameras; a camera that is dead is not asked for pictures any more.

    Attributes:
        observer: whose publishers they are.
        rig: the sensors.
        lidar: name of the LiDAR.
        raw: whether pictures are sent as they are, not compressed.
    """

    observer: Observer
    rig: Rig
    lidar: str = "lidar"
    raw: bool = False
    dead: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        kind, suffix = (Image, "") if self.raw else (CompressedImage, "/compressed")
        self.points = self.observer.publisher(PointCloud2, "/points")
        self._pictures = {name: self.observer.publisher(kind, f"/{name}/image{suffix}") for name in self.rig.cameras}
        self._infos = {name: self.observer.publisher(CameraInfo, f"/{name}/camera_info") for name in self.rig.cameras}

    def connect(self, *, infos: bool = False, points: bool = True) -> None:
        clouds = (self.points,) if points else ()
        for publisher in (*clouds, *self._pictures.values(), *(self._infos.values() if infos else ())):
            self.observer.connect(publisher)

    def send(self, cloud: PointCloud, pictures: Mapping[str, Any], *, intensity_scale: float = 1.0) -> None:
        """A sweep and its pictures; the pictures first, so that the sweep waits for the dead ones alone."""
        self.send_pictures(pictures)
        self.points.publish(message_of(cloud, intensity_scale=intensity_scale))

    def send_pictures(self, pictures: Mapping[str, Any]) -> None:
        for name, picture in pictures.items():
            if name not in self.dead:
                self._pictures[name].publish(picture)

    def send_info(self, camera: str, **changed: Any) -> None:
        """The rig's own, or a changed one."""
        entry = self.rig.cameras[camera].model_copy(update=changed)
        self._infos[camera].publish(camera_info_message(make_message, entry, 1, entry.frame_id))

    def close(self) -> None:
        for publisher in (self.points, *self._pictures.values(), *self._infos.values()):
            self.observer.node.destroy_publisher(publisher)


class StaticTransformsOf:
    """`/tf_static` of a vehicle, latched; says what a rig says."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        profile = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._publisher = observer.node.create_publisher(TFMessage, "/tf_static", profile)

    def send(self, rig: Rig) -> None:
        self._publisher.publish(rig_transforms_message(make_message, rig, 1))

    def close(self) -> None:
        self._observer.node.destroy_publisher(self._publisher)
