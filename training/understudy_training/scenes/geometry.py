"""All primitives of a street in one set of arrays, posed anew for each frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy_training.scenes.config import FIRST_ACTOR_CLASS, OTHER
from understudy_training.scenes.ray_casting import ground_heights
from understudy_training.scenes.relief import relief_in_ego
from understudy_training.scenes.shapes import Shape
from understudy_training.scenes.street import Street

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Solids:
    """`P` primitives of `O` objects: the `A` actors first, then the fixtures, the ego last.

    Attributes:
        poses: `(O, F, 4)` x, y, z of the ground below and yaw of each object at each frame, in the world.
        owner: `(P,)` row of the object that each primitive belongs to.
        kinds: `(P,)` shapes, as in `ray_casting`.
        center_m: `(P, 3)` centers in their objects' frames.
        half_m: `(P, 3)` half sizes.
        color: `(P, 3)` float32 in [0, 1].
        reflectivity: `(P,)` float32; 1 is a white target, more is retro-reflecting.
        fuzz_m: `(P,)` float32 extra spread of the range.
        point_class: `(P,)` uint8.
    """

    poses: Array
    owner: NDArray[np.int64]
    kinds: NDArray[np.int64]
    center_m: Array
    half_m: Array
    color: NDArray[np.float32]
    reflectivity: NDArray[np.float32]
    fuzz_m: NDArray[np.float32]
    point_class: NDArray[np.uint8]

    def placed(self, frame: int, ego_pose: Array) -> Array:
        """`(P, 7)` center, half sizes and yaw of the primitives at a frame, in ego (its pose: x, y, yaw, height)."""
        object_poses = poses_in_ego(self.poses[:, frame], ego_pose)
        x, y, z, yaw = object_poses[self.owner].T
        cos, sin = np.cos(yaw), np.sin(yaw)
        center = self.center_m
        moved = [x + cos * center[:, 0] - sin * center[:, 1], y + sin * center[:, 0] + cos * center[:, 1]]
        return np.column_stack([*moved, z + center[:, 2], self.half_m, yaw])


def poses_in_ego(poses: Array, ego_pose: Array) -> Array:
    """`(N, 4)` x, y, z, yaw from the world to ego (its pose in the world: x, y, yaw, height)."""
    cos, sin = np.cos(ego_pose[2]), np.sin(ego_pose[2])
    dx, dy = poses[:, 0] - ego_pose[0], poses[:, 1] - ego_pose[1]
    turned = [cos * dx + sin * dy, cos * dy - sin * dx]
    return np.column_stack([*turned, poses[:, 2] - ego_pose[3], poses[:, 3] - ego_pose[2]])


def pieces_in_ego(pieces: Array, ego_pose: Array) -> Array:
    """Road pieces (`Street.pieces`) from the world to ego."""
    starts = np.insert(pieces[:, :3], 2, 0.0, axis=1)
    moved = poses_in_ego(starts, ego_pose)
    return np.column_stack([moved[:, [0, 1, 3]], pieces[:, 3:10], relief_in_ego(pieces, ego_pose)])


def build_solids(street: Street) -> Solids:
    """The primitives of a street, each object standing on the ground below it."""
    num_frames = len(street.ego.pose)
    tracks = [actor.track.pose for actor in street.actors]
    tracks += [np.tile(fixture.pose, (num_frames, 1)) for fixture in street.fixtures]
    tracks.append(street.ego.pose)
    poses = np.stack([_grounded(track, street.pieces) for track in tracks])
    objects: list[tuple[int, Shape]] = [(FIRST_ACTOR_CLASS + actor.label, actor.shape) for actor in street.actors]
    objects += [(fixture.point_class, fixture.shape) for fixture in street.fixtures]
    objects.append((OTHER, street.roof_rack))
    parts = [part for _, shape in objects for part in shape]
    counts = [len(shape) for _, shape in objects]
    return Solids(
        poses=poses,
        owner=np.repeat(np.arange(len(objects)), counts),
        kinds=np.array([part.kind for part in parts], np.int64),
        center_m=np.array([part.center_m for part in parts], float),
        half_m=np.array([part.size_m for part in parts], float) / 2,
        color=np.array([part.color for part in parts], np.float32),
        reflectivity=np.array([part.reflectivity for part in parts], np.float32),
        fuzz_m=np.array([part.fuzz_m for part in parts], np.float32),
        point_class=np.repeat(np.array([point_class for point_class, _ in objects], np.uint8), counts),
    )


def _grounded(track: Array, pieces: Array) -> Array:
    return np.insert(track, 2, ground_heights(pieces, np.ascontiguousarray(track[:, :2])), axis=1)
