"""What every term has: a place in the recipe, what it asks of a detector, and how its sum is divided."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from understudy.configuration import Config
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.sampling import on_grid_of
from understudy_training.distillation.schedule import TermSchedule

Losses = dict[str, Tensor]
Level = Literal["low", "high"]
"""The backbone's first stage, or the neck's output."""


class Widths(Config):
    """Channels of a detector's feature maps."""

    low: int
    high: int
    pillar: int = 0
    """Of each pillar's feature; 0 where the encoder learns none."""


class TermSettings(Config):
    """What every term's configuration has."""

    schedule: TermSchedule = TermSchedule()

    @property
    def asks(self) -> tuple[Asked, ...]:
        """What the term looks at besides heatmap, residuals and valid boxes."""
        return ()

    @property
    def label(self) -> str:
        """Tells terms of a recipe apart: its losses are recorded under it."""
        level = getattr(self, "level", None)
        return f"{getattr(self, 'kind', '')}_{level}" if level else getattr(self, "kind", "")


def dense_maps(student: Answers, teacher: Answers, level: Level) -> tuple[Tensor, Tensor]:
    """Both maps of a level, `(B, C, h, w)` and `(B, C', h, w)`: the student's read at the teacher's cell centers."""
    own, said = getattr(student, f"{level}_map"), getattr(teacher, f"{level}_map")
    assert own is not None and said is not None  # noqa: PT018
    return on_grid_of(own, said), said


def divided(total: Tensor, count: Tensor, divisor: Tensor | None) -> Tensor:
    """The sum over the count, or over what is given instead for a batch that is a part of a larger one."""
    return total / (count.clamp(min=1) if divisor is None else divisor)
