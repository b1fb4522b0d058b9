"""The rig of a generated data set: a roof LiDAR, slightly tilted, and a front camera behind the windscreen."""

from __future__ import annotations

import numpy as np

from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig
from understudy_training.scenes.config import CameraConfig, SceneConfig

LIDAR, CAMERA = "lidar", "camera"
_LIDAR_PITCH_RAD, _LIDAR_YAW_RAD = 0.008, 0.012
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Body axes (x forward) from optical axes (z forward, x right, y down)."""


def build_rig(config: SceneConfig) -> Rig:
    """LiDAR 1.84 m above the ground and 0.9 m ahead of ego; camera 1.55 m up, 1.6 m ahead, looking a little down."""
    pitch = _pitch(_LIDAR_PITCH_RAD)
    turned = Pose.from_yaw(_LIDAR_YAW_RAD, (0.9, 0.06, 1.84)) @ Pose(pitch, np.zeros(3))
    sensors: dict[str, Lidar | Camera] = {
        LIDAR: Lidar(frame_id=LIDAR, ego_from_sensor=Mounting.from_pose(turned), intensity_scale=255.0)
    }
    if config.camera is not None:
        sensors[CAMERA] = _camera(config.camera)
    return Rig(name="scenes", sensors=sensors)


def _camera(config: CameraConfig) -> Camera:
    focal_px = config.width_px / 2 / float(np.tan(np.radians(config.fov_deg) / 2))
    return Camera(
        frame_id="camera_optical",
        ego_from_sensor=Mounting.from_pose(Pose(_pitch(0.04) @ _OPTICAL, np.array([1.6, 0.0, 1.55]))),
        width_px=config.width_px,
        height_px=config.height_px,
        fx_px=focal_px,
        fy_px=focal_px,
        cx_px=(config.width_px - 1) / 2,
        cy_px=(config.height_px - 1) / 2,
    )


def _pitch(angle_rad: float) -> np.ndarray:
    """Nose down for a positive angle."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
