"""Small made-up frames: boxes full of points on a flat floor, seen by one LiDAR."""

from __future__ import annotations

import hashlib

import numpy as np

from understudy.boxes import Boxes
from understudy.bundle.manifest import Grid
from understudy.datasets.dataset import Sample
from understudy.frame import Frame, PointCloud
from understudy.rig import Lidar, Mounting, Rig

CLASSES = ("car", "pedestrian")
GRID = Grid(x_range_m=(-12.8, 12.8), y_range_m=(-12.8, 12.8), z_range_m=(-1.0, 3.0), cell_m=0.8)
SIZES_M = np.array([[4.4, 1.9, 1.6], [0.8, 0.7, 1.7]], np.float32)
RIG = Rig(
    name="made up",
    sensors={"top": Lidar(ego_from_sensor=Mounting(translation_m=(0.5, 0.0, 1.8)), intensity_scale=255.0)},
)


def boxes_in(generator: np.random.Generator, count: int) -> Boxes:
    """Boxes on the ground, anywhere on the grid, each with the 60 points that `points_of` gives it."""
    labels = generator.integers(0, len(CLASSES), count).astype(np.int32)
    centers = generator.uniform(-10, 10, (count, 2))
    sizes = SIZES_M[labels]
    yaw_rad = generator.uniform(-np.pi, np.pi, (count, 1))
    geometry = np.hstack([centers, sizes[:, 2:] / 2, sizes, yaw_rad]).astype(np.float32)
    return Boxes(geometry, labels, CLASSES, num_points=np.full(count, 60, np.int32))


def points_of(generator: np.random.Generator, boxes: Boxes, floor: int = 400) -> np.ndarray:
    """`(N, 4)` ego points, intensity in [0, 1]."""
    parts = [np.column_stack([generator.uniform(-13, 13, (floor, 2)), np.zeros(floor), np.full(floor, 0.2)])]
    for x, y, z, length, width, height, yaw in boxes.geometry:
        local = generator.uniform(-0.5, 0.5, (60, 3)) * [length, width, height]
        cos, sin = np.cos(yaw), np.sin(yaw)
        turned = [cos * local[:, 0] - sin * local[:, 1] + x, sin * local[:, 0] + cos * local[:, 1] + y]
        parts.append(np.column_stack([*turned, local[:, 2] + z, np.full(60, 0.6)]))
    return np.concatenate(parts).astype(np.float32)


class MadeUpDataset:
    """Frames that a seed decides."""

    def __init__(self, num_frames: int, seed: int = 0) -> None:
        self.num_frames, self.seed = num_frames, seed

    class_names = CLASSES

    @property
    def fingerprint(self) -> str:
        """Of the seed."""
        return hashlib.sha256(f"{self.num_frames} {self.seed}".encode()).hexdigest()

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> Sample:
        generator = np.random.default_rng([self.seed, index])
        boxes = boxes_in(generator, int(generator.integers(1, 5)))
        points = points_of(generator, boxes) - np.array([0.5, 0.0, 1.8, 0.0], np.float32)
        points[:, 3] *= 255.0
        points[0, 0] = np.nan
        frame = Frame(stamp_ns=index, clouds={"top": PointCloud(points, stamp_ns=index)})
        return Sample(f"{index:03d}", frame, RIG, boxes, {})


def recipe_values(**changes: object) -> dict[str, object]:
    """The smallest complete recipe, with changes at the top level."""
    detector = {
        "kind": "sized",
        "size": "nano",
        "grid": GRID.model_dump(),
        "class_names": list(CLASSES),
        "strides": [1, 2, 2],
        "output_stride": 1,
    }
    values: dict[str, object] = {
        "name": "tiny",
        "detector": detector,
        "data": {"batch_size": 2, "augmentation": {"variants": 2}},
        "schedule": {"epochs": 2},
        "precision": "32-true",
    }
    return values | changes
