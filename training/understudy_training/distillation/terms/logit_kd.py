"""Knowledge distillation from softened outputs (Hinton et al. 2015, arXiv 1503.02531), class by class and cell by cell.

`T^2 KL(sigmoid(t/T) || sigmoid(s/T))` with natural logarithms: a center head has one yes-or-no per class and cell, so
the softmax is over (logit, 0). The paper says "a weighted average" with the labels' loss and gives no one temperature
(1 to 20 were tried); 4 is what its reimplementations mostly take.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from understudy_training.distillation.answers import Answers
from understudy_training.distillation.terms.term import Losses, TermSettings, Widths, divided


class LogitKDConfig(TermSettings):
    """Agreement of the heatmaps' softened probabilities (Hinton's knowledge distillation)."""

    kind: Literal["logit_kd"] = "logit_kd"
    weight: float = Field(1.0, ge=0)
    temperature: float = Field(4.0, gt=0)
    per: Literal["cells", "centers"] = "cells"
    """Sum over all cells and classes divided by their number (the paper's mean over samples), or by the number of
    labeled centers as detection losses are."""

    def build(self, teacher: Widths, student: Widths) -> LogitKDTerm:
        """The term; it learns nothing."""
        return LogitKDTerm(self)


class LogitKDTerm(nn.Module):
    """See `LogitKDConfig`."""

    def __init__(self, config: LogitKDConfig) -> None:
        super().__init__()
        self.config = config

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of cells times classes, or of centers."""
        if self.config.per == "centers":
            return centres.eq(1).sum()
        return centres.new_tensor(float(teacher.heatmap.numel()))

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """Compares every entry of the heatmaps."""
        temperature = self.config.temperature
        total = binary_divergence(teacher.heatmap / temperature, student.heatmap / temperature).sum() * temperature**2
        count = self.count(teacher, student.valid, centres)
        return {self.config.label: self.config.weight * divided(total, count, divisor)}


def binary_divergence(wanted: Tensor, found: Tensor) -> Tensor:
    """`KL(sigmoid(wanted) || sigmoid(found))` of logits, entry by entry."""
    probability = wanted.sigmoid()
    yes = functional.logsigmoid(wanted) - functional.logsigmoid(found)
    no = functional.logsigmoid(-wanted) - functional.logsigmoid(-found)
    return probability * yes + (1 - probability) * no
