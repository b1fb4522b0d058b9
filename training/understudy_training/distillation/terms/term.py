"""What every term has: a place in the recipe, what it asks of a detector, and how its sum is divided."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator
from torch import Tensor

from understudy.bundle.manifest import Grid
from understudy.configuration import Config
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.sampling import on_grid_of
from understudy_training.distillation.schedule import TermSchedule

Losses = dict[str, Tensor]
Level = Literal["low", "high"]
"""The backbone's first stage, or the neck's output."""


TEACHER = "teacher"
"""Name of the only teacher."""


class Widths(Config):
    """Channels of a detector's feature maps."""

    low: int
    high: int
    pillar: int = 0
    """Of each pillar's feature; 0 where the encoder learns none."""
    camera: int = 0
    """Of the map lifted from pictures; 0 without cameras."""
    camera_residual: int = 0
    """Of the residual branch beside it; 0 without one."""
    grid: Grid | None = None
    """Area that the maps lie over, for terms that look at places in it."""


class TermSettings(Config):
    """What every term's configuration has."""

    schedule: TermSchedule = TermSchedule()
    teacher: str = TEACHER
    """Name of the teacher that is listened to, where a study has several."""

    @field_validator("teacher")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not value.isidentifier():
            raise ValueError("a name of letters, digits and underscores, as --teacher NAME=... gives it")
        return value

    @property
    def asks(self) -> tuple[Asked, ...]:
        """What the term looks at besides heatmap, residuals and valid boxes."""
        return ()

    def asks_of(self, teacher: str) -> tuple[Asked, ...]:
        """What it looks at of the teacher of that name, for a term that looks at other things of each."""
        return self.asks

    @property
    def others(self) -> tuple[str, ...]:
        """Names of further teachers, for a term that looks at several: `forward` takes their answers last."""
        return ()

    @property
    def label(self) -> str:
        """Tells terms of a recipe apart: its losses are recorded under it."""
        level, of = getattr(self, "level", None), "" if self.teacher == TEACHER else f"{self.teacher}."
        return f"{of}{getattr(self, 'kind', '')}{f'_{level}' if level else ''}"


def dense_maps(student: Answers, teacher: Answers, level: Level) -> tuple[Tensor, Tensor]:
    """Both maps of a level, `(B, C, h, w)` and `(B, C', h, w)`: the student's read at the teacher's cell centers."""
    own, said = getattr(student, f"{level}_map"), getattr(teacher, f"{level}_map")
    assert own is not None and said is not None  # noqa: PT018
    return on_grid_of(own, said), said


def divided(total: Tensor, count: Tensor, divisor: Tensor | None) -> Tensor:
    """The sum over the count, or over what is given instead for a batch that is a part of a larger one."""
    return total / (count.clamp(min=1) if divisor is None else divisor)
