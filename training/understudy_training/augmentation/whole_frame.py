"""Turns, flips and scalings of a whole frame, drawn at once: the short form of an augmentation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, wrap_angle
from understudy_training.augmentation.motions import flipped_view, scaled_view, turned_view
from understudy_training.augmentation.scene import Scene


@dataclass(frozen=True)
class Draw:
    """One drawn change of the scene: mirror first, then turn, then scale."""

    flip_y: bool = False
    turn_rad: float = 0.0
    scale: float = 1.0

    def points(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(N, 4)` ego points (x, y, z, intensity), changed; intensity stays."""
        cos, sin = np.cos(self.turn_rad), np.sin(self.turn_rad)
        sign = -1.0 if self.flip_y else 1.0
        matrix = self.scale * np.array([[cos, -sin * sign, 0, 0], [sin, cos * sign, 0, 0], [0, 0, 1, 0]])
        full = np.vstack([matrix, [0, 0, 0, 1]]).astype(np.float32)
        moved: NDArray[np.float32] = points @ full.T
        return moved

    def boxes(self, boxes: Boxes) -> Boxes:
        """Ego boxes, changed as the points inside them are."""
        centers = self.points(np.pad(boxes.geometry[:, :3], ((0, 0), (0, 1))))[:, :3]
        sign = -1.0 if self.flip_y else 1.0
        yaw_rad = wrap_angle(sign * boxes.geometry[:, 6:7] + self.turn_rad)
        geometry = np.hstack([centers, boxes.geometry[:, 3:6] * self.scale, yaw_rad]).astype(np.float32)
        return replace(boxes, geometry=geometry, velocities_mps=self._velocities_mps(boxes))

    def _velocities_mps(self, boxes: Boxes) -> NDArray[np.float32] | None:
        if boxes.velocities_mps is None:
            return None
        return self.points(np.pad(boxes.velocities_mps, ((0, 0), (0, 2))))[:, :2]

    def apply(self, scene: Scene) -> Scene:
        """The scene with points, boxes, sensors and pictures changed alike."""
        view = flipped_view(scene) if self.flip_y else scene
        view = scaled_view(turned_view(view, self.turn_rad), self.scale)
        return replace(view, points=self.points(scene.points), boxes=self.boxes(scene.boxes))
