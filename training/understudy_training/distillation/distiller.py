"""The terms of a recipe together: what they add to the student's loss, with a warm-up and their shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from understudy.bundle.manifest import Grid
from understudy.configuration import Config
from understudy_training.distillation.answers import Answers
from understudy_training.distillation.sampling import sample_boxes
from understudy_training.distillation.terms import TermConfig, Widths
from understudy_training.targets import BoxBatch


class DistillationConfig(Config):
    """How the teacher is listened to."""

    terms: tuple[TermConfig, ...] = Field(min_length=1)
    warmup: float = Field(0.1, ge=0, le=1)
    """Part of the training over which the terms' weight grows from 0 to 1."""


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
        self.warmup = config.warmup
        self.terms = nn.ModuleList(term.build(teacher, student) for term in config.terms)

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, progress: float) -> DistillationLoss:
        """Compares the answers.

        Args:
            student: the student's, with gradients.
            teacher: the teacher's, without.
            centres: `(B, K, h, w)` target heat-map.
            progress: how much of the training is done, 0 to 1.
        """
        assert not teacher.heatmap.requires_grad
        student, teacher = _in_float32(student), _in_float32(teacher)
        parts: dict[str, Tensor] = {}
        with torch.autocast(centres.device.type, enabled=False):
            for term in self.terms:
                parts.update(term(student, teacher, centres))
        share = min(progress / self.warmup, 1.0) if self.warmup > 0 else 1.0
        total = share * torch.stack(list(parts.values())).sum()
        return DistillationLoss(total, {name: part.detach() for name, part in parts.items()})


def answers_of(heatmap: Tensor, regression: Tensor, features: Sequence[Tensor], boxes: BoxBatch, grid: Grid) -> Answers:
    """A detector's outputs reduced to what the terms take; `features` are the first-stage and the neck map."""
    low, high = (sample_boxes(level, boxes.geometry, grid) for level in features)
    return Answers(heatmap, regression, low, high, boxes.valid)


def _in_float32(answers: Answers) -> Answers:
    heatmap, regression, low, high, valid = answers.parts()
    return Answers(heatmap.float(), regression.float(), low.float(), high.float(), valid)
