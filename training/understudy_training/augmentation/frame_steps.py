"""Steps that change the whole scene as one: flip, turn, scale, translate."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from understudy.configuration import Config
from understudy_training.augmentation.motions import flipped, scaled, translated, turned
from understudy_training.augmentation.scene import Scene
from understudy_training.augmentation.step import Range, Step, positive, uniform

Triple = tuple[float, float, float]


class DrawnFlip(Config):
    """Left and right exchanged."""

    kind: Literal["flip"] = "flip"

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`."""
        return flipped(scene)


class Flip(Step):
    """Mirrors left and right; pictures are mirrored too."""

    kind: Literal["flip"] = "flip"
    probability: float = Field(0.5, ge=0, le=1)

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnFlip:
        """A mirroring."""
        return DrawnFlip()


class DrawnTurn(Config):
    """A turn about ego's z, counter-clockwise."""

    kind: Literal["turn"] = "turn"
    turn_rad: float

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`."""
        return turned(scene, self.turn_rad)


class Turn(Step):
    """Turns about z."""

    kind: Literal["turn"] = "turn"
    max_turn_rad: float = Field(0.78, ge=0, le=3.1416)

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnTurn:
        """An angle."""
        return DrawnTurn(turn_rad=uniform(generator, (-self.max_turn_rad, self.max_turn_rad)))


class DrawnScale(Config):
    """A scaling about ego's origin."""

    kind: Literal["scale"] = "scale"
    factor: float = Field(gt=0)

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`."""
        return scaled(scene, self.factor)


class Scale(Step):
    """Scales everything."""

    kind: Literal["scale"] = "scale"
    scale_range: Range = (0.95, 1.05)

    @field_validator("scale_range")
    @classmethod
    def _positive(cls, value: Range) -> Range:
        return positive(value, "scale_range")

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnScale:
        """A factor."""
        return DrawnScale(factor=uniform(generator, self.scale_range))


class DrawnTranslate(Config):
    """A translation along ego's axes."""

    kind: Literal["translate"] = "translate"
    offset_m: Triple

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`."""
        return translated(scene, self.offset_m)


class Translate(Step):
    """Moves everything, as if the base frame had been put elsewhere on the vehicle."""

    kind: Literal["translate"] = "translate"
    sigma_m: Triple = (0.2, 0.2, 0.1)
    """Standard deviations along x, y, z; cut at three of them."""

    @field_validator("sigma_m")
    @classmethod
    def _not_negative(cls, value: Triple) -> Triple:
        if min(value) < 0:
            raise ValueError("sigma_m: not negative")
        return value

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnTranslate:
        """An offset."""
        x, y, z = np.clip(generator.normal(size=3), -3, 3) * self.sigma_m
        return DrawnTranslate(offset_m=(float(x), float(y), float(z)))
