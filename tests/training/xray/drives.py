"""A made-up drive: boxes with tracks seen from a moving vehicle, each frame showing another part."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from understudy.boxes import Boxes, Segments
from understudy.datasets.dataset import Place, Sample
from understudy.frame import Frame, PointCloud
from understudy.pose import Pose
from understudy.rig import Lidar, Mounting, Rig

CLASSES = ("car", "pedestrian")
SENSOR = Mounting(translation_m=(0.5, 0.0, 1.8), rotation_wxyz=(0.9238795, 0.0, 0.0, 0.3826834))
RIG = Rig(name="made up", sensors={"top": Lidar(ego_from_sensor=SENSOR, intensity_scale=255.0)})


class MovingDataset:
    """Two drives of `frames` frames: a car that is passed, one that turns, a pedestrian; 0.1 s apart."""

    class_names = CLASSES

    def __init__(self, frames: int = 6, *, poses: bool = True, tracks: bool = True) -> None:
        self.frames, self.poses, self.tracks, self.reads = frames, poses, tracks, 0

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.frames}".encode()).hexdigest()

    def __len__(self) -> int:
        return 2 * self.frames

    def place(self, index: int) -> Place:
        return Place(f"drive{index // self.frames}", 1_000_000_000 + index * 100_000_000)

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        stamp_ns, seconds = self.place(index).stamp_ns, 0.1 * (index % self.frames)
        rng = np.random.default_rng(index)
        world_from_ego = Pose.from_yaw(0.1 * seconds, (10.0 * seconds, 0.3 * seconds, 0.0))
        boxes = world_boxes(seconds).transformed(world_from_ego.inverse())
        points = points_of(rng, boxes, seconds)
        boxes = replace(boxes, num_points=boxes.contains(points).sum(axis=1).astype(np.int32))
        cloud = self._cloud(points, stamp_ns, rng)
        frame = Frame(stamp_ns, {"top": cloud}, {}, world_from_ego if self.poses else None)
        segments = {"top": Segments(np.zeros(len(cloud), np.int16), ("any",))}
        return Sample(f"{index:02d}", frame, RIG, boxes if self.tracks else replace(boxes, track_ids=None), segments)

    def _cloud(self, points: np.ndarray, stamp_ns: int, rng: np.random.Generator) -> PointCloud:
        points = points.copy()
        points[:, :3] = SENSOR.pose().inverse().apply(points[:, :3])
        points[3, 0] = np.nan
        count = len(points)
        ring = rng.integers(0, 32, count).astype(np.int16)
        return PointCloud(points, stamp_ns, time_offset_s=np.full(count, 0.05, np.float32), ring=ring)


def world_boxes(seconds: float) -> Boxes:
    geometry = [
        [14.0, 4.0, 0.8, 4.4, 1.9, 1.6, 0.2],
        [20.0, -5.0 + 4 * seconds, 0.8, 4.2, 1.8, 1.5, 1.0 + seconds],
        [9.0 + seconds, -4.0, 0.9, 0.8, 0.7, 1.8, 0.0],
    ]
    labels = np.array([0, 0, 1], np.int32)
    return Boxes(np.array(geometry, np.float32), labels, CLASSES, track_ids=np.array([7, 8, 9]))


def points_of(rng: np.random.Generator, boxes: Boxes, seconds: float) -> np.ndarray:
    """`(N, 4)` in ego: a floor, and of each box the end that the time says, with intensity 100 + its row."""
    floor = np.column_stack([rng.uniform(-30, 30, (300, 2)), np.full(300, -0.05), np.full(300, 20.0)])
    parts = [floor]
    for row, (x, y, z, length, width, height, yaw) in enumerate(boxes.geometry):
        local = rng.uniform(-0.49, 0.49, (20 + 5 * row, 3)) * [length, width, height]
        local[:, 0] = np.abs(local[:, 0]) * (1 if seconds < 0.25 else -1)
        cos, sin = np.cos(yaw), np.sin(yaw)
        turned = [cos * local[:, 0] - sin * local[:, 1] + x, sin * local[:, 0] + cos * local[:, 1] + y]
        parts.append(np.column_stack([*turned, local[:, 2] + z, np.full(len(local), 100.0 + row)]))
    return np.concatenate(parts).astype(np.float32)
