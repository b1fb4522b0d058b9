"""What every step keeps: it draws concrete parameters, and those change a scene, now or again later."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from pydantic import Field

from understudy.configuration import Config
from understudy_training.augmentation.scene import Scene

Range = tuple[float, float]


class Drawn(Protocol):
    """One drawn change: a small frozen record that can be stored and applied again with the same result."""

    def apply(self, scene: Scene) -> Scene:
        """The changed scene; the given one stays as it is."""


class Step(Config):
    """Base of the steps of a recipe."""

    probability: float = Field(1.0, ge=0, le=1)
    """Share of the draws in which the step does something."""


def uniform(generator: np.random.Generator, between: Range) -> float:
    """A number between two."""
    return float(generator.uniform(*between))


def new_seed(generator: np.random.Generator) -> int:
    """A seed for what a drawn change decides point by point; kept in it, so that it decides alike each time."""
    return int(generator.integers(2**53))


def ordered(between: Range, name: str) -> Range:
    """Refuses a range whose ends are exchanged."""
    if between[0] > between[1]:
        raise ValueError(f"{name}: the lower end first")
    return between


def positive(between: Range, name: str) -> Range:
    """Refuses a range that reaches 0, or whose ends are exchanged."""
    if between[0] <= 0:
        raise ValueError(f"{name}: above 0")
    return ordered(between, name)
