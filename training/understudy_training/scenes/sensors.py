"""The rig of a generated data set: a roof LiDAR, slightly tilted, a front camera, six cameras all around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig
from understudy_training.scenes.config import CameraConfig, PictureConfig, SceneConfig, SurroundConfig

LIDAR, CAMERA = "lidar", "camera"
_LIDAR_PITCH_RAD, _LIDAR_YAW_RAD = 0.008, 0.012
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Body axes (x forward) from optical axes (z forward, x right, y down)."""
_FRONT_PITCH_RAD, _SURROUND_PITCH_RAD = 0.04, 0.02


@dataclass(frozen=True)
class CameraPlace:
    """Where a camera of the surround rig sits in ego, where it looks and how wide."""

    translation_m: tuple[float, float, float]
    yaw_deg: float
    fov_deg: float


SURROUND: Mapping[str, CameraPlace] = {
    "camera_front": CameraPlace((1.70, 0.02, 1.51), 0.0, 65.0),
    "camera_front_left": CameraPlace((1.52, 0.49, 1.51), 55.0, 65.0),
    "camera_front_right": CameraPlace((1.55, -0.49, 1.50), -55.0, 65.0),
    "camera_back": CameraPlace((0.03, 0.00, 1.58), 180.0, 90.0),
    "camera_back_left": CameraPlace((1.04, 0.48, 1.59), 110.0, 65.0),
    "camera_back_right": CameraPlace((1.01, -0.48, 1.56), -110.0, 65.0),
}
"""Like the cameras of nuScenes' vehicle (Caesar et al., CVPR 2020), whose ego is ours: gaps and overlaps are alike."""


def build_rig(config: SceneConfig) -> Rig:
    """LiDAR 1.84 m above the ground and 0.9 m ahead of ego, cameras as asked for.

    The front camera is 1.55 m up, 1.6 m ahead and looks a little down; the surrounding ones are where `SURROUND` says.
    """
    pitch = _pitch(_LIDAR_PITCH_RAD)
    turned = Pose.from_yaw(_LIDAR_YAW_RAD, (0.9, 0.06, 1.84)) @ Pose(pitch, np.zeros(3))
    sensors: dict[str, Lidar | Camera] = {
        LIDAR: Lidar(frame_id=LIDAR, ego_from_sensor=Mounting.from_pose(turned), intensity_scale=255.0)
    }
    if config.camera is not None:
        sensors[CAMERA] = _front_camera(config.camera)
    if config.surround is not None:
        sensors.update({name: _surround_camera(name, config.surround) for name in SURROUND})
    return Rig(name="scenes", sensors=sensors)


def picture_configs(config: SceneConfig) -> dict[str, PictureConfig]:
    """The cameras of a data set's rig by name, with what each makes of its pixels."""
    configs: dict[str, PictureConfig] = {}
    if config.camera is not None:
        configs[CAMERA] = config.camera
    if config.surround is not None:
        configs.update(dict.fromkeys(SURROUND, config.surround))
    return configs


def _front_camera(config: CameraConfig) -> Camera:
    ego_from_camera = Pose(_pitch(_FRONT_PITCH_RAD) @ _OPTICAL, np.array([1.6, 0.0, 1.55]))
    return _pinhole(CAMERA, ego_from_camera, (config.width_px, config.height_px), config.fov_deg)


def _surround_camera(name: str, config: SurroundConfig) -> Camera:
    place = SURROUND[name]
    turned = Pose.from_yaw(float(np.radians(place.yaw_deg)), place.translation_m)
    ego_from_camera = turned @ Pose(_pitch(_SURROUND_PITCH_RAD) @ _OPTICAL, np.zeros(3))
    return _pinhole(name, ego_from_camera, (config.width_px, config.height_px), place.fov_deg)


def _pinhole(name: str, ego_from_camera: Pose, size_px: tuple[int, int], fov_deg: float) -> Camera:
    """A camera without distortion, of that horizontal field of view."""
    focal_px = size_px[0] / 2 / float(np.tan(np.radians(fov_deg) / 2))
    return Camera(
        frame_id=f"{name}_optical",
        ego_from_sensor=Mounting.from_pose(ego_from_camera),
        width_px=size_px[0],
        height_px=size_px[1],
        fx_px=focal_px,
        fy_px=focal_px,
        cx_px=(size_px[0] - 1) / 2,
        cy_px=(size_px[1] - 1) / 2,
    )


def _pitch(angle_rad: float) -> np.ndarray:
    """Nose down for a positive angle."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
