"""Turns, flips and scalings of a whole frame, drawn so that any of them can be drawn again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.boxes import Boxes, wrap_angle
from understudy.configuration import Config


class Augmentation(Config):
    """How much frames are varied."""

    flip_y: bool = True
    """Mirror left and right in half of the draws."""
    max_turn_rad: float = Field(0.78, ge=0, le=3.1416)
    """Turn about z by at most this much either way."""
    scale_range: tuple[float, float] = (0.95, 1.05)
    variants: int | None = Field(None, gt=0)
    """How many versions of a frame there are. With a number, version `epoch % variants` is shown, the same for every
    seed of the run, so that a teacher's answers can be kept on disk; without, each epoch of each seed draws anew."""


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
        return replace(boxes, geometry=geometry, velocities_mps=None)


def draw(augmentation: Augmentation | None, *, seed: int, epoch: int, index: int) -> Draw:
    """The change of sample `index` in `epoch` of the run with `seed`: the same arguments, the same change."""
    if augmentation is None:
        return Draw()
    fixed = augmentation.variants is not None
    version = variant_of(augmentation, epoch)
    if fixed and version == 0:
        return Draw()
    generator = np.random.default_rng([0 if fixed else 1 + seed, version, index])
    flip, turn, scale = generator.random(3)
    low, high = augmentation.scale_range
    return Draw(
        flip_y=bool(augmentation.flip_y and flip < 0.5),
        turn_rad=float((2 * turn - 1) * augmentation.max_turn_rad),
        scale=float(low + (high - low) * scale),
    )


def variant_of(augmentation: Augmentation | None, epoch: int) -> int:
    """Which version of a frame is shown in `epoch`."""
    if augmentation is None:
        return 0
    return epoch % augmentation.variants if augmentation.variants is not None else epoch
