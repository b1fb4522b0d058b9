"""Distillation terms: each compares a student's answers with a teacher's and says how far apart they are.

`response`, `feature` and `relation` follow UniDistill (arXiv 2303.15083) with the metric sampler of
`distillation.sampling`; `dense_response` is the quality focal loss of Generalized Focal Loss (arXiv 2006.04388) with
the teacher's probability as the target, and the residuals' error wherever the teacher sees a centre. Normalizers are
max(sum of the mask, 1), so a frame without boxes gives exactly 0 from the terms that look at boxes. Each term says by
`count` what that sum is before the student has answered: a batch that is shared over devices or taken in parts is then
divided by the sum over all of it (`divisor`), as if it had been one.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from understudy.configuration import Config
from understudy_training.distillation.adapters import Adapter
from understudy_training.distillation.answers import Answers
from understudy_training.losses import residual_error

Losses = dict[str, Tensor]
Level = Literal["low", "high"]
"""The backbone's first stage, or the neck's output."""


class Widths(Config):
    """Channels of a detector's two feature maps."""

    low: int
    high: int


class ResponseConfig(Config):
    """Agreement of the strongest class and of the residuals under the boxes' Gaussians (UniDistill's L_resp)."""

    kind: Literal["response"] = "response"
    class_weight: float = Field(5.0, ge=0)
    regression_weight: float = Field(5.0, ge=0)
    teacher_temperature: float = Field(1.0, gt=0)
    """1 compares like with like; 2 is what the method's release does."""

    def build(self, teacher: Widths, student: Widths) -> ResponseTerm:
        """The term; it learns nothing."""
        return ResponseTerm(self)


class DenseResponseConfig(Config):
    """Agreement on every cell: class by class in probability, residuals where the teacher sees a centre."""

    kind: Literal["dense_response"] = "dense_response"
    class_weight: float = Field(1.0, ge=0)
    regression_weight: float = Field(1.0, ge=0)
    seen_from: float = Field(0.1, gt=0, lt=1)
    """Residuals are compared in cells whose strongest class the teacher gives at least this probability."""

    def build(self, teacher: Widths, student: Widths) -> DenseResponseTerm:
        """The term; it learns nothing."""
        return DenseResponseTerm(self)


class FeatureConfig(Config):
    """Agreement of features at nine places of each box, through a 1x1 adapter on the student (UniDistill's L_fea)."""

    kind: Literal["feature"] = "feature"
    weight: float = Field(1.0, ge=0)
    level: Level = "high"

    def build(self, teacher: Widths, student: Widths) -> FeatureTerm:
        """The term with an adapter between the two widths."""
        return FeatureTerm(self, Adapter(getattr(student, self.level), getattr(teacher, self.level)))


class RelationConfig(Config):
    """Agreement of the 9x9 cosine similarities within each box (UniDistill's L_rel)."""

    kind: Literal["relation"] = "relation"
    weight: float = Field(5.0, ge=0)
    level: Level = "high"

    def build(self, teacher: Widths, student: Widths) -> RelationTerm:
        """The term; similarities need no adapter."""
        return RelationTerm(self)


TermConfig = Annotated[
    ResponseConfig | DenseResponseConfig | FeatureConfig | RelationConfig, Field(discriminator="kind")
]


class ResponseTerm(nn.Module):
    """See `ResponseConfig`."""

    def __init__(self, config: ResponseConfig) -> None:
        super().__init__()
        self.config = config

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Sum of the boxes' Gaussians."""
        return centres.amax(dim=1).sum()

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """`centres` is the `(B, K, h, w)` target heat-map."""
        mask = centres.amax(dim=1)
        wanted = (teacher.heatmap / self.config.teacher_temperature).sigmoid().amax(dim=1)
        by_class = mask * (wanted - student.heatmap.sigmoid().amax(dim=1)).abs()
        by_residual = mask * (teacher.regression - student.regression).abs().mean(dim=1)
        total = self.count(teacher, student.valid, centres).clamp(min=1) if divisor is None else divisor
        return {
            "response_class": self.config.class_weight * by_class.sum() / total,
            "response_regression": self.config.regression_weight * by_residual.sum() / total,
        }


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


class FeatureTerm(nn.Module):
    """See `FeatureConfig`."""

    def __init__(self, config: FeatureConfig, adapter: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.adapter = adapter

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of boxes that both know."""
        return (valid & teacher.valid).sum()

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """Compares the features at the boxes' places."""
        adapted: Tensor = self.adapter(getattr(student, self.config.level))
        away = (adapted - getattr(teacher, self.config.level)).abs().mean(dim=(2, 3))
        return {f"feature_{self.config.level}": self.config.weight * _mean_over_boxes(away, student, teacher, divisor)}


class RelationTerm(nn.Module):
    """See `RelationConfig`."""

    def __init__(self, config: RelationConfig) -> None:
        super().__init__()
        self.config = config

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of boxes that both know."""
        return (valid & teacher.valid).sum()

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """Compares how alike the nine places look to each."""
        level = self.config.level
        away = (_similarities(getattr(student, level)) - _similarities(getattr(teacher, level))).abs().mean(dim=(2, 3))
        return {f"relation_{level}": self.config.weight * _mean_over_boxes(away, student, teacher, divisor)}


def _similarities(features: Tensor) -> Tensor:
    """Cosines between the nine rows of `(B, N, 9, C)`: `(B, N, 9, 9)`."""
    unit = features / (features.square().sum(dim=-1, keepdim=True) + 1e-8).sqrt()
    return unit @ unit.transpose(-1, -2)


def _mean_over_boxes(away: Tensor, student: Answers, teacher: Answers, divisor: Tensor | None) -> Tensor:
    valid = student.valid & teacher.valid
    divisor = valid.sum().clamp(min=1) if divisor is None else divisor
    return torch.where(valid, away, torch.zeros_like(away)).sum() / divisor
