"""The four motions of a whole scene: mirror, turn, scale and translate, on points, boxes, sensors and pictures alike.

A camera's picture stays on the same pixels under a turn, a scaling and a translation, because its pose moves along
with the points. A mirrored scene needs a mirrored picture: for the picture's column u to become W - 1 - u with a
camera that is still right-handed, the pose is mirrored on both sides (the world's y and the camera's x).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, wrap_angle
from understudy.distortion import turned_lens
from understudy.pose import Pose
from understudy.rig import Camera, Mounting
from understudy_training.augmentation.scene import Scene

_MIRROR_Y = np.diag([1.0, -1.0, 1.0])
_MIRROR_X = np.diag([-1.0, 1.0, 1.0])


def flipped(scene: Scene) -> Scene:
    """Left and right exchanged."""
    points = scene.points * np.array([1, -1, 1, 1], np.float32)
    boxes = _boxes(scene.boxes, np.array([1, -1, 1, 1, 1, 1, -1], np.float32), np.array([1, -1], np.float32))
    return replace(flipped_view(scene), points=points, boxes=boxes)


def turned(scene: Scene, turn_rad: float) -> Scene:
    """Turned counter-clockwise about ego's z."""
    rotation = Pose.from_yaw(turn_rad)
    points = _moved(scene.points, rotation.rotation, np.zeros(3))
    return replace(turned_view(scene, turn_rad), points=points, boxes=scene.boxes.transformed(rotation))


def scaled(scene: Scene, factor: float) -> Scene:
    """Everything larger by a factor about ego's origin, speeds too."""
    points = scene.points * np.array([factor, factor, factor, 1], np.float32)
    lengths = np.array([factor] * 6 + [1], np.float32)
    boxes = _boxes(scene.boxes, lengths, np.array([factor, factor], np.float32))
    return replace(scaled_view(scene, factor), points=points, boxes=boxes)


def translated(scene: Scene, offset_m: tuple[float, float, float]) -> Scene:
    """Everything moved along ego's axes."""
    offset = np.asarray(offset_m, np.float64)
    points = scene.points + np.append(offset, 0).astype(np.float32)
    geometry = scene.boxes.geometry + np.append(offset, np.zeros(4)).astype(np.float32)
    moved = _sensors(scene, lambda pose: Pose(pose.rotation, pose.translation_m + offset))
    return replace(moved, points=points, boxes=replace(scene.boxes, geometry=geometry))


def flipped_view(scene: Scene) -> Scene:
    """Sensors and pictures of a mirrored scene; points and boxes stay."""
    lidar = mirrored_pose(scene.ego_from_lidar, _MIRROR_Y)
    cameras = {name: mirrored_camera(camera) for name, camera in scene.cameras.items()}
    images = {name: np.ascontiguousarray(pixels[:, ::-1]) for name, pixels in scene.images.items()}
    return replace(scene, ego_from_lidar=lidar, cameras=cameras, images=images)


def turned_view(scene: Scene, turn_rad: float) -> Scene:
    """Sensors of a turned scene; points and boxes stay."""
    rotation = Pose.from_yaw(turn_rad)
    return _sensors(scene, lambda pose: rotation @ pose)


def scaled_view(scene: Scene, factor: float) -> Scene:
    """Sensors of a scaled scene; points and boxes stay."""
    return _sensors(scene, lambda pose: Pose(pose.rotation, pose.translation_m * factor))


def mirrored_pose(ego_from_sensor: Pose, mirror_sensor: NDArray[np.float64]) -> Pose:
    """The pose of a sensor whose own axes are mirrored too, so that it stays right-handed."""
    rotation = _MIRROR_Y @ ego_from_sensor.rotation @ mirror_sensor
    return Pose(rotation, _MIRROR_Y @ ego_from_sensor.translation_m)


def mirrored_camera(camera: Camera) -> Camera:
    """The camera that takes the mirrored picture of the mirrored scene."""
    pose = mirrored_pose(camera.ego_from_sensor.pose(), _MIRROR_X)
    distortion = turned_lens(camera.distortion_model, camera.distortion, np.diag([-1.0, 1.0]))
    changes = {"cx_px": camera.width_px - 1 - camera.cx_px, "distortion": distortion}
    return camera.model_copy(update={"ego_from_sensor": Mounting.from_pose(pose), **changes})


def _sensors(scene: Scene, move: Callable[[Pose], Pose]) -> Scene:
    """The scene with its sensors' poses moved."""
    cameras = {
        name: camera.model_copy(update={"ego_from_sensor": Mounting.from_pose(move(camera.ego_from_sensor.pose()))})
        for name, camera in scene.cameras.items()
    }
    return replace(scene, ego_from_lidar=move(scene.ego_from_lidar), cameras=cameras)


def _moved(
    points: NDArray[np.float32], rotation: NDArray[np.float64], offset: NDArray[np.float64]
) -> NDArray[np.float32]:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    moved: NDArray[np.float32] = points @ matrix.T.astype(np.float32) + np.append(offset, 0).astype(np.float32)
    return moved


def _boxes(boxes: Boxes, factors: NDArray[np.float32], speeds: NDArray[np.float32]) -> Boxes:
    geometry = boxes.geometry * factors
    geometry[:, 6] = wrap_angle(geometry[:, 6])
    velocities = None if boxes.velocities_mps is None else boxes.velocities_mps * speeds
    return replace(boxes, geometry=geometry, velocities_mps=velocities)
