"""Who moves about a street: each actor's shape and its path over the drive, without any two meeting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy_training.scenes.roads import Road
from understudy_training.scenes.shapes import Shape, extent

Array = NDArray[np.float64]

BOX_MARGIN_M = 0.05
"""Labels are this much larger than the shape on each side, as range noise carries returns out of the surface."""
CLEARANCE_M = 0.04
"""Labels begin this much above the ground, so that the ground's returns do not count as the object's."""


@dataclass(frozen=True, eq=False)
class Track:
    """Where something is at each of a drive's `F` frames, in the world.

    Attributes:
        pose: `(F, 3)` x, y, yaw.
        velocity_mps: `(F, 2)` over ground.
    """

    pose: Array
    velocity_mps: Array


@dataclass(frozen=True, eq=False)
class Actor:
    """A labeled thing: class, shape and track."""

    label: int
    shape: Shape
    track: Track

    @property
    def middle_m(self) -> Array:
        """`(3,)` center of the label in the actor's frame."""
        low, high = extent(self.shape)
        return np.array([*(low + high)[:2] / 2, (CLEARANCE_M + high[2] + BOX_MARGIN_M) / 2])

    @property
    def size_m(self) -> Array:
        """`(3,)` length, width and height of the label."""
        low, high = extent(self.shape)
        return np.array([*(high - low)[:2] + 2 * BOX_MARGIN_M, high[2] + BOX_MARGIN_M - CLEARANCE_M])


def follow(road: Road, along_m: float, left_m: float, speed_mps: float, times_s: Array) -> Track:
    """Along a road at a constant offset and pace; a negative speed, -0.0 too, faces against it."""
    places = along_m + speed_mps * times_s
    pose = road.locate(places, left_m)
    over_ground = speed_mps * (1 - road.bend_at(places) * left_m)
    velocity = over_ground[:, None] * np.stack([np.cos(pose[:, 2]), np.sin(pose[:, 2])], axis=1)
    if np.signbit(speed_mps):
        pose[:, 2] += np.pi
    return Track(pose, velocity)


def cross(road: Road, along_m: float, left_m: float, speed_mps: float, times_s: Array) -> Track:
    """Straight over a road, to the left with a positive speed."""
    places = np.full(len(times_s), along_m)
    pose = road.locate(places, left_m + speed_mps * times_s)
    left = np.stack([-np.sin(pose[:, 2]), np.cos(pose[:, 2])], axis=1)
    pose[:, 2] += np.pi / 2 * np.sign(speed_mps)
    return Track(pose, speed_mps * left)


def stand(pose: Array, num_frames: int) -> Track:
    """At one pose (x, y, yaw) all the time."""
    return Track(np.tile(pose, (num_frames, 1)), np.zeros((num_frames, 2)))


class Occupancy:
    """What is taken already: rectangles that move over a drive's `F` frames."""

    def __init__(self, num_frames: int) -> None:
        self._poses = np.zeros((64, num_frames, 3))
        self._halves = np.zeros((64, 2))
        self._count = 0

    def admit(self, track: Track, shape: Shape, gap_m: tuple[float, float]) -> bool:
        """Takes the rectangle in if it keeps its gaps (along and across it) at every frame; says whether it did."""
        low, high = extent(shape)
        half = np.maximum(np.abs(low), np.abs(high))[:2] + BOX_MARGIN_M
        if self._meets(track.pose, half + gap_m):
            return False
        if self._count == len(self._poses):
            self._poses, self._halves = (np.concatenate([old, old]) for old in (self._poses, self._halves))
        self._poses[self._count], self._halves[self._count] = track.pose, half
        self._count += 1
        return True

    def _meets(self, pose: Array, half: Array) -> bool:
        poses, halves = self._poses[: self._count], self._halves[: self._count]
        reach = np.hypot(*half) + np.hypot(halves[:, 0], halves[:, 1])
        dx, dy = poses[..., 0] - pose[:, 0], poses[..., 1] - pose[:, 1]
        rows, frames = np.nonzero(dx * dx + dy * dy < (reach * reach)[:, None])
        if not len(rows):
            return False
        own = np.tile(half, (len(rows), 1))
        return bool(rectangles_meet(pose[frames], own, poses[rows, frames], halves[rows]).any())


def rectangles_meet(a: Array, a_half: Array, b: Array, b_half: Array) -> NDArray[np.bool_]:
    """`(N,)` whether rectangles (x, y, yaw; half sizes) overlap, by the separating axes of both."""
    offset = b[:, :2] - a[:, :2]
    meet = np.ones(len(a), bool)
    for yaw in (a[:, 2], b[:, 2]):
        for turn in (0.0, np.pi / 2):
            axis = yaw + turn
            gap = np.abs(offset[:, 0] * np.cos(axis) + offset[:, 1] * np.sin(axis))
            reach = np.zeros(len(a))
            for pose, half in ((a, a_half), (b, b_half)):
                turned = axis - pose[:, 2]
                reach += half[:, 0] * np.abs(np.cos(turned)) + half[:, 1] * np.abs(np.sin(turned))
            meet &= gap < reach
    return meet
