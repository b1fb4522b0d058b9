"""One drive: a street, driven through frame by frame, with what the sensors saw and what is true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, wrap_angle
from understudy.pose import Pose
from understudy_training.scenes.camera import CameraModel, Picture
from understudy_training.scenes.config import ACTOR_CLASSES, FRAME_PERIOD_S, SceneConfig
from understudy_training.scenes.geometry import Solids, build_solids, pieces_in_ego, poses_in_ego
from understudy_training.scenes.lidar import LidarModel, Sweep
from understudy_training.scenes.ray_casting import count_inside
from understudy_training.scenes.sensors import CAMERA, LIDAR, SURROUND, build_rig, picture_configs
from understudy_training.scenes.street import Street, draw_street

Array = NDArray[np.float64]
EPOCH_NS = 1_700_000_000_000_000_000
_DRIVE_PERIOD_NS = 1_000_000_000_000


@dataclass(frozen=True, eq=False)
class Moment:
    """One frame of a drive: sweep, pictures by camera, labels in ego, and where the ego was."""

    stamp_ns: int
    world_from_ego: Pose
    sweep: Sweep
    pictures: Mapping[str, Picture]
    boxes: Boxes


class Drive:
    """One drive of a data set; the same configuration and number give the same drive, whatever came before."""

    def __init__(self, config: SceneConfig, number: int) -> None:
        self.config = config
        self.number = number
        self.street: Street = draw_street(self._rng(0), config.num_turns)
        self.solids: Solids = build_solids(self.street)
        rig = build_rig(config)
        self.lidar = LidarModel(config.lidar, rig.lidars[LIDAR].ego_from_sensor.pose())
        self.cameras = {name: CameraModel(own, rig.cameras[name]) for name, own in picture_configs(config).items()}
        actors = self.street.actors
        self.labels = np.array([actor.label for actor in actors], np.int32)
        self.middles_m = np.array([actor.middle_m for actor in actors]).reshape(-1, 3)
        self.sizes_m = np.array([actor.size_m for actor in actors]).reshape(-1, 3)
        self.velocities_mps = np.array([actor.track.velocity_mps for actor in actors]).reshape(len(actors), -1, 2)
        self.sun_yaw_rad = float(self._rng(1).uniform(-np.pi, np.pi))

    def __iter__(self) -> Iterator[Moment]:
        return (self.moment(frame) for frame in range(self.config.num_frames))

    def moment(self, frame: int) -> Moment:
        """The frame of that number."""
        turn = frame * self.config.turns_per_frame
        ego_pose = self.street.ego_poses[turn]
        placed = self.solids.placed(turn, ego_pose)
        pieces = pieces_in_ego(self.street.pieces, ego_pose)
        sweep = self.lidar.sweep(self.solids, placed, pieces, self._rng(2, turn))
        world_from_ego = Pose.from_yaw(float(ego_pose[2]), (*ego_pose[:2], ego_pose[3]))
        sun = self._sun(ego_pose)
        pictures = {
            name: camera.picture(self.solids, placed, pieces, sun, world_from_ego, self._pixel_rng(name, turn))
            for name, camera in self.cameras.items()
        }
        return Moment(
            stamp_ns=EPOCH_NS + self.number * _DRIVE_PERIOD_NS + round(turn * FRAME_PERIOD_S * 1e9),
            world_from_ego=world_from_ego,
            sweep=sweep,
            pictures=pictures,
            boxes=self._boxes(turn, ego_pose, sweep),
        )

    def _boxes(self, turn: int, ego_pose: Array, sweep: Sweep) -> Boxes:
        """Every actor within the LiDAR's range, seen or not."""
        poses = poses_in_ego(self.solids.poses[: len(self.labels), turn], ego_pose)
        reach_m = self.config.lidar.range_m + np.hypot(*self.lidar.ego_from_lidar.translation_m[:2])
        radius_m = np.hypot(self.sizes_m[:, 0], self.sizes_m[:, 1]) / 2
        near = np.flatnonzero(np.hypot(poses[:, 0], poses[:, 1]) - radius_m <= reach_m)
        center = poses[near, :3] + [0.0, 0.0, 1.0] * self.middles_m[near, 2:]
        geometry = np.column_stack([center, self.sizes_m[near], wrap_angle(poses[near, 3])]).astype(np.float32)
        ego_from_world = Pose.from_yaw(-float(ego_pose[2])).rotation[:2, :2]
        return Boxes(
            geometry,
            self.labels[near],
            ACTOR_CLASSES,
            track_ids=near.astype(np.int64),
            num_points=self._counts(geometry, sweep),
            velocities_mps=(self.velocities_mps[near, turn] @ ego_from_world.T).astype(np.float32),
        )

    def _counts(self, geometry: NDArray[np.float32], sweep: Sweep) -> NDArray[np.int32]:
        points = self.lidar.ego_from_lidar.apply(sweep.points[:, :3])
        boxes = geometry.astype(np.float64)
        counts: NDArray[np.int32] = count_inside(boxes, np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), points)
        return counts

    def _sun(self, ego_pose: Array) -> NDArray[np.float32]:
        yaw = self.sun_yaw_rad - ego_pose[2]
        return np.array([0.64 * np.cos(yaw), 0.64 * np.sin(yaw), 0.768], np.float32)

    def _pixel_rng(self, camera: str, turn: int) -> np.random.Generator:
        """Each camera draws its own noise, whatever others the rig has."""
        return self._rng(3, turn) if camera == CAMERA else self._rng(3, turn, 1 + list(SURROUND).index(camera))

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([*self.config.origin(self.number), *purpose])
