"""Moves single objects a little, their points with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from understudy.boxes import wrap_angle
from understudy.configuration import Config
from understudy.overlap import bev_intersection_m2
from understudy_training.augmentation.membership import members
from understudy_training.augmentation.object_frame import local_points, placed_points
from understudy_training.augmentation.scene import Scene
from understudy_training.augmentation.step import Range, Step, positive

_TOUCH_M2 = 1e-4


class Nudge(Config):
    """What happens to one box: scaled on its place on the road, turned about its center, moved in the plane."""

    box: int
    """Row among the scene's boxes."""
    offset_m: tuple[float, float]
    turn_rad: float
    scale: float

    def moved(self, geometry: NDArray[np.float32]) -> NDArray[np.float32]:
        """The `(7,)` box afterwards; it stands where it stood in height."""
        x, y, z, length, width, height, yaw = geometry.astype(np.float64)
        bottom, scale = z - height / 2, self.scale
        place = [x + self.offset_m[0], y + self.offset_m[1], bottom + scale * height / 2]
        turned = wrap_angle(np.array(yaw + self.turn_rad))
        return np.array([*place, length * scale, width * scale, height * scale, turned], np.float32)


class DrawnObjectJitter(Config):
    """The objects that move."""

    kind: Literal["object_jitter"] = "object_jitter"
    nudges: tuple[Nudge, ...]

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`. Points that stood in the new places go; the old places and their shadows stay empty."""
        if not self.nudges:
            return scene
        rows = np.array([nudge.box for nudge in self.nudges])
        geometry, velocities = scene.boxes.geometry.copy(), scene.boxes.velocities_mps
        geometry[rows] = [nudge.moved(geometry[nudge.box]) for nudge in self.nudges]
        points, own, gone = scene.points.copy(), np.zeros(len(scene.points), bool), np.zeros(len(scene.points), bool)
        for row, inside in zip(rows, members(scene.boxes[rows], scene.points), strict=True):
            local = local_points(points[inside], scene.boxes.geometry[row])
            points[inside, :3] = placed_points(local, geometry[row])
            own[inside] = True
        for inside in members(replace(scene.boxes, geometry=geometry)[rows], points):
            gone[inside] = True
        if velocities is not None:
            velocities = _turned_rows(velocities, {nudge.box: nudge.turn_rad for nudge in self.nudges})
        boxes = replace(scene.boxes, geometry=geometry, velocities_mps=velocities)
        return replace(scene, points=points, boxes=boxes).kept(own | ~gone, recount=False)


class ObjectJitter(Step):
    """Moves, turns and scales single objects; one that would touch another stays where it is."""

    kind: Literal["object_jitter"] = "object_jitter"
    share: float = Field(0.5, gt=0, le=1)
    """Share of the objects that are tried."""
    sigma_m: float = Field(0.25, ge=0)
    """Standard deviation of the move along x and y; cut at three of them."""
    max_turn_rad: float = Field(0.1, ge=0, le=3.1416)
    scale_range: Range = (0.95, 1.05)
    gap_m: float = Field(0.1, ge=0)
    """Distance that is kept to other boxes."""

    @field_validator("scale_range")
    @classmethod
    def _positive(cls, value: Range) -> Range:
        return positive(value, "scale_range")

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnObjectJitter:
        """A nudge for each object that is chosen and has the room; objects that overlap others stay."""
        scene.refuse_pictures(self.kind)
        count = len(scene.boxes)
        chosen = generator.random(count) < self.share
        offsets_m = np.clip(generator.normal(size=(count, 2)), -3, 3) * self.sigma_m
        turns_rad = generator.uniform(-self.max_turn_rad, self.max_turn_rad, count)
        scales = generator.uniform(*self.scale_range, count)
        standing, nudges = scene.boxes.geometry.copy(), []
        free = free_of_others(standing, standing)
        for row in np.flatnonzero(chosen & free):
            x, y = offsets_m[row].tolist()
            nudge = Nudge(box=int(row), offset_m=(x, y), turn_rad=float(turns_rad[row]), scale=float(scales[row]))
            moved = nudge.moved(scene.boxes.geometry[row])
            # neither where the others stand now nor where they stood: their points are still there
            others = np.delete(np.concatenate([standing, scene.boxes.geometry]), [row, row + count], axis=0)
            if not touches(moved, others, self.gap_m):
                standing[row] = moved
                nudges.append(nudge)
        return DrawnObjectJitter(nudges=tuple(nudges))


def touches(box: NDArray[np.float32], others: NDArray[np.float32], gap_m: float) -> bool:
    """Whether a `(7,)` box comes nearer than a gap to one of `(N, 7)`, seen from above."""
    if len(others) == 0:
        return False
    grown = box + np.array([0, 0, 0, 2 * gap_m, 2 * gap_m, 0, 0], np.float32)
    return bool((bev_intersection_m2(grown[None], others) > _TOUCH_M2).any())


def free_of_others(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """`(N,)`: whether a box shares no ground with another of the same set."""
    shared_m2 = bev_intersection_m2(boxes, others)
    np.fill_diagonal(shared_m2, 0)
    free: NDArray[np.bool_] = (shared_m2 <= _TOUCH_M2).all(axis=1)
    return free


def _turned_rows(velocities_mps: NDArray[np.float32], turns_rad: dict[int, float]) -> NDArray[np.float32]:
    turned = velocities_mps.copy()
    for row, turn_rad in turns_rad.items():
        cos, sin = np.cos(turn_rad), np.sin(turn_rad)
        turned[row] = np.array([[cos, -sin], [sin, cos]]) @ velocities_mps[row]
    return turned
