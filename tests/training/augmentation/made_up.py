"""A made-up street for the tests: boxes apart from each other, a flat road, one LiDAR, one camera."""

from __future__ import annotations

import numpy as np

from understudy.boxes import Boxes
from understudy.pose import Pose
from understudy.rig import Camera, Mounting
from understudy_training.augmentation.scene import Scene

CLASSES = ("car", "pedestrian")
SIZES_M = np.array([[4.4, 1.9, 1.6], [0.8, 0.7, 1.7]])
EGO_FROM_LIDAR = Pose.from_yaw(0.02, (0.4, 0.1, 1.8))
CAMERA = Camera(
    ego_from_sensor=Mounting.from_pose(
        Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([1.2, 0.3, 1.5]))
    ),
    width_px=320,
    height_px=200,
    fx_px=210.0,
    fy_px=220.0,
    cx_px=150.3,
    cy_px=97.8,
)


def boxes_apart(generator: np.random.Generator, count: int = 6) -> Boxes:
    """Boxes on the road, each in a square of 9 m of its own, some of them in front of the camera."""
    squares = generator.permutation(36)[:count]
    centers = np.stack([squares % 6, squares // 6], 1) * 9.0 - 22.5 + generator.uniform(-1.5, 1.5, (count, 2))
    labels = generator.integers(0, 2, count).astype(np.int32)
    sizes = SIZES_M[labels] * generator.uniform(0.9, 1.1, (count, 3))
    yaw = generator.uniform(-np.pi, np.pi, (count, 1))
    geometry = np.hstack([centers, sizes[:, 2:] / 2 + 0.05, sizes, yaw]).astype(np.float32)
    return Boxes(
        geometry,
        labels,
        CLASSES,
        track_ids=np.arange(count),
        num_points=np.full(count, 50, np.int32),
        velocities_mps=generator.normal(size=(count, 2)).astype(np.float32),
    )


def street(seed: int = 0, count: int = 6, *, camera: bool = False, road: int = 3000) -> Scene:
    """A scene whose boxes hold 50 points each; with a noisy picture where wanted."""
    generator = np.random.default_rng(seed)
    boxes = boxes_apart(generator, count)
    parts = [np.column_stack([generator.uniform(-40, 40, (road, 2)), np.zeros(road), np.full(road, 0.3)])]
    for box in boxes.geometry.astype(np.float64):
        local = generator.uniform(-0.49, 0.49, (50, 3)) * box[3:6]
        cos, sin = np.cos(box[6]), np.sin(box[6])
        x, y = cos * local[:, 0] - sin * local[:, 1] + box[0], sin * local[:, 0] + cos * local[:, 1] + box[1]
        parts.append(np.column_stack([x, y, local[:, 2] + box[2], np.full(50, 0.6)]))
    points = np.concatenate(parts).astype(np.float32)
    images = {"front": generator.integers(0, 256, (200, 320, 3)).astype(np.uint8)} if camera else {}
    return Scene(points, boxes, EGO_FROM_LIDAR, images=images, cameras={"front": CAMERA} if camera else {})


def contained(scene: Scene) -> np.ndarray:
    """`(N,)` points in each box, counted the plain way."""
    return scene.boxes.contains(scene.points).sum(axis=1)


def same(first: Scene, second: Scene) -> bool:
    """Whether two scenes are the same to the last bit."""
    arrays = [
        [scene.points, scene.boxes.geometry, scene.boxes.labels, scene.boxes.num_points, *scene.images.values()]
        for scene in (first, second)
    ]
    cameras = [[camera.model_dump_json() for camera in scene.cameras.values()] for scene in (first, second)]
    return cameras[0] == cameras[1] and all(a.tobytes() == b.tobytes() for a, b in zip(*arrays, strict=True))
