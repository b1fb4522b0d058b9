"""One drive: a street, driven through frame by frame, with what the sensors saw and what is true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, wrap_angle
from understudy.pose import Pose
from understudy_training.scenes.camera import CameraModel, Picture
from understudy_training.scenes.config import ACTOR_CLASSES, FRAME_PERIOD_S, SceneConfig
from understudy_training.scenes.geometry import Solids, build_solids, pieces_in_ego, poses_in_ego
from understudy_training.scenes.lidar import LidarModel, Sweep
from understudy_training.scenes.sensors import CAMERA, LIDAR, build_rig
from understudy_training.scenes.street import Street, draw_street

Array = NDArray[np.float64]
EPOCH_NS = 1_700_000_000_000_000_000
_DRIVE_PERIOD_NS = 1_000_000_000_000


@dataclass(frozen=True, eq=False)
class Moment:
    """One frame of a drive: sweep, picture, labels in ego, and where the ego was."""

    stamp_ns: int
    world_from_ego: Pose
    sweep: Sweep
    picture: Picture | None
    boxes: Boxes


class Drive:
    """One drive of a data set; the same configuration and number give the same drive, whatever came before."""

    def __init__(self, config: SceneConfig, number: int) -> None:
        self.config = config
        self.number = number
        self.street: Street = draw_street(self._rng(0), config.num_frames)
        self.solids: Solids = build_solids(self.street)
        rig = build_rig(config)
        self.lidar = LidarModel(config.lidar, rig.lidars[LIDAR].ego_from_sensor.pose())
        self.camera = CameraModel(config.camera, rig.cameras[CAMERA]) if config.camera else None
        self.labels = np.array([actor.label for actor in self.street.actors], np.int32)
        self.sun_yaw_rad = float(self._rng(1).uniform(-np.pi, np.pi))

    def __iter__(self) -> Iterator[Moment]:
        return (self.moment(frame) for frame in range(self.config.num_frames))

    def moment(self, frame: int) -> Moment:
        """The frame of that number."""
        ego_pose = self.street.ego.pose[frame]
        placed = self.solids.placed(frame, ego_pose)
        pieces = pieces_in_ego(self.street.pieces, ego_pose)
        lidar_rng, camera_rng = self._rng(2, frame), self._rng(3, frame)
        sweep = self.lidar.sweep(self.solids, placed, pieces, lidar_rng)
        picture = None
        if self.camera is not None:
            picture = self.camera.picture(self.solids, placed, pieces, self._sun(ego_pose), camera_rng)
        return Moment(
            stamp_ns=EPOCH_NS + self.number * _DRIVE_PERIOD_NS + round(frame * FRAME_PERIOD_S * 1e9),
            world_from_ego=Pose.from_yaw(float(ego_pose[2]), (*ego_pose[:2], 0.0)),
            sweep=sweep,
            picture=picture,
            boxes=self._boxes(frame, ego_pose, sweep),
        )

    def _boxes(self, frame: int, ego_pose: Array, sweep: Sweep) -> Boxes:
        """Every actor within the LiDAR's range, seen or not."""
        actors = self.street.actors
        poses = poses_in_ego(self.solids.poses[: len(actors), frame], ego_pose)
        middle = np.array([actor.middle_m for actor in actors])
        cos, sin = np.cos(poses[:, 3]), np.sin(poses[:, 3])
        x = poses[:, 0] + cos * middle[:, 0] - sin * middle[:, 1]
        y = poses[:, 1] + sin * middle[:, 0] + cos * middle[:, 1]
        sizes = np.array([actor.size_m for actor in actors])
        geometry = np.column_stack([x, y, poses[:, 2] + middle[:, 2], sizes, wrap_angle(poses[:, 3])])
        reach_m = self.config.lidar.range_m + np.hypot(*self.lidar.ego_from_lidar.translation_m[:2])
        near = np.flatnonzero(np.hypot(x, y) - np.hypot(*sizes[:, :2].T) / 2 <= reach_m)
        velocity = np.array([actor.track.velocity_mps[frame] for actor in actors])[near]
        turn = Pose.from_yaw(-float(ego_pose[2])).rotation[:2, :2]
        boxes = Boxes(
            geometry[near].astype(np.float32),
            self.labels[near],
            ACTOR_CLASSES,
            track_ids=near.astype(np.int64),
            velocities_mps=(velocity @ turn.T).astype(np.float32),
        )
        return self._counted(boxes, sweep)

    def _counted(self, boxes: Boxes, sweep: Sweep) -> Boxes:
        points = self.lidar.ego_from_lidar.apply(sweep.points[:, :3])
        counts = boxes.contains(points).sum(axis=1).astype(np.int32)
        return Boxes(
            *(boxes.geometry, boxes.labels, boxes.class_names),
            track_ids=boxes.track_ids,
            num_points=counts,
            velocities_mps=boxes.velocities_mps,
        )

    def _sun(self, ego_pose: Array) -> NDArray[np.float32]:
        yaw = self.sun_yaw_rad - ego_pose[2]
        return np.array([0.64 * np.cos(yaw), 0.64 * np.sin(yaw), 0.768], np.float32)

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, self.number, *purpose])
