"""The terms of a recipe together: what they add to the student's loss, with a warm-up and their shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from understudy.bundle.manifest import Grid
from understudy.configuration import Config
from understudy_training.distillation.answers import Answers
from understudy_training.distillation.sampling import sample_boxes
from understudy_training.distillation.terms import FeatureConfig, Level, RelationConfig, TermConfig, Widths
from understudy_training.losses import wide
from understudy_training.models.detector import DetectorOutputs
from understudy_training.targets import BoxBatch


class DistillationConfig(Config):
    """How the teacher is listened to."""

    terms: tuple[TermConfig, ...] = Field(min_length=1)
    warmup: float = Field(0.1, ge=0, le=1)
    """Part of the training over which the terms' weight grows from 0 to 1."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The feature maps that any term looks at."""
        return tuple(sorted({term.level for term in self.terms if isinstance(term, FeatureConfig | RelationConfig)}))


@dataclass(frozen=True, eq=False)
class DistillationLoss:
    """What the terms say.

    Attributes:
        total: the sum, with the warm-up, to be added to the detection loss.
        by_term: each part before the warm-up, detached.
    """

    total: Tensor
    by_term: dict[str, Tensor]


class Distiller(nn.Module):
    """Holds the terms and their adapters: trained beside the student, never part of it."""

    def __init__(self, config: DistillationConfig, teacher: Widths, student: Widths) -> None:
        super().__init__()
        self.warmup, self.levels = config.warmup, config.levels
        self.terms = nn.ModuleList(term.build(teacher, student) for term in config.terms)

    def counts(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """`(T,)` float32: what each term is divided by; needs no answer of the student's.

        Args:
            teacher: the teacher's answers.
            valid: `(B, N)` bool, the student's labeled boxes.
            centres: `(B, K, h, w)` target heat-map.
        """
        teacher = _widened(teacher)
        with torch.autocast(centres.device.type, enabled=False):
            return torch.stack([wide(term.count(teacher, valid, centres)) for term in self.terms])  # type: ignore[operator]

    def forward(
        self, student: Answers, teacher: Answers, centres: Tensor, progress: float, divisors: Tensor | None = None
    ) -> DistillationLoss:
        """Compares the answers.

        Args:
            student: the student's, with gradients.
            teacher: the teacher's, without.
            centres: `(B, K, h, w)` target heat-map.
            progress: how much of the training is done, 0 to 1.
            divisors: `(T,)` instead of `counts`, for a batch that is a part of a larger one.
        """
        assert not teacher.heatmap.requires_grad
        student, teacher = _widened(student), _widened(teacher)
        parts: dict[str, Tensor] = {}
        with torch.autocast(centres.device.type, enabled=False):
            for number, term in enumerate(self.terms):
                parts.update(term(student, teacher, centres, None if divisors is None else divisors[number]))
        share = min(progress / self.warmup, 1.0) if self.warmup > 0 else 1.0
        total = share * torch.stack(list(parts.values())).sum()
        return DistillationLoss(total, {name: part.detach() for name, part in parts.items()})


def answers_of(outputs: DetectorOutputs, boxes: BoxBatch, grid: Grid, levels: tuple[Level, ...]) -> Answers:
    """A detector's outputs reduced to what the terms take; features that none looks at come without channels."""
    maps = {"low": outputs.low, "high": outputs.high}
    wanted = {name: dense if name in levels else dense[:, :0] for name, dense in maps.items()}
    sampled = {name: sample_boxes(dense, boxes.geometry, grid) for name, dense in wanted.items()}
    return Answers(outputs.heatmap, outputs.regression, sampled["low"], sampled["high"], boxes.valid)


def _widened(answers: Answers) -> Answers:
    heatmap, regression, low, high, valid = answers.parts()
    return Answers(wide(heatmap), wide(regression), wide(low), wide(high), valid)
