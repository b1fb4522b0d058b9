"""Agreement on every cell, in probability and, where the teacher sees a center, in the residuals.

The classes' part is the quality focal loss of Generalized Focal Loss (arXiv 2006.04388) with the teacher's
probability as the target.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from understudy_training.distillation.answers import Answers
from understudy_training.distillation.terms.term import Losses, TermSettings, Widths
from understudy_training.losses import residual_error


class DenseResponseConfig(TermSettings):
    """Agreement on every cell: class by class in probability, residuals where the teacher sees a centre."""

    kind: Literal["dense_response"] = "dense_response"
    class_weight: float = Field(1.0, ge=0)
    regression_weight: float = Field(1.0, ge=0)
    seen_from: float = Field(0.1, gt=0, lt=1)
    """Residuals are compared in cells whose strongest class the teacher gives at least this probability."""

    def build(self, teacher: Widths, student: Widths) -> DenseResponseTerm:
        """The term; it learns nothing."""
        return DenseResponseTerm(self)


class DenseResponseTerm(nn.Module):
    """See `DenseResponseConfig`."""

    def __init__(self, config: DenseResponseConfig) -> None:
        super().__init__()
        self.config = config

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Sum of the teacher's strongest probabilities in the cells that count."""
        return self._seen(teacher.heatmap.sigmoid()).sum()

    def _seen(self, wanted: Tensor) -> Tensor:
        """`(B, h, w)`: the strongest of `(B, K, h, w)` probabilities, 0 below the threshold."""
        strongest = wanted.amax(dim=1)
        return torch.where(strongest >= self.config.seen_from, strongest, torch.zeros_like(strongest))

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """`centres` is not looked at: the teacher says where the objects are."""
        wanted = teacher.heatmap.sigmoid()
        distance = (wanted - student.heatmap.sigmoid()).square()
        surprise = functional.binary_cross_entropy_with_logits(student.heatmap, wanted, reduction="none")
        seen = self._seen(wanted)
        by_residual = seen * residual_error(student.regression.movedim(1, -1), teacher.regression.movedim(1, -1))
        total = seen.sum().clamp(min=1) if divisor is None else divisor
        return {
            "dense_class": self.config.class_weight * (distance * surprise).sum() / total,
            "dense_regression": self.config.regression_weight * by_residual.sum() / total,
        }
