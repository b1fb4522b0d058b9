"""UniDistill (arXiv 2303.15083): `response`, `feature` and `relation`.

Features are read at metric places (`distillation.sampling`). Normalizers are max(sum of the mask, 1), so a frame
without boxes gives exactly 0. The release swaps x and y when it samples, counts an all-zero box where there is none,
and divides the teacher's logits by 2 (here only with `teacher_temperature: 2`). Its adaptive layers are commented
out; ours is one 1x1 layer on the student.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from understudy_training.distillation.adapters import Adapter
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.terms.term import Level, Losses, TermSettings, Widths


class ResponseConfig(TermSettings):
    """Agreement of the strongest class and of the residuals under the boxes' Gaussians (UniDistill's L_resp)."""

    kind: Literal["response"] = "response"
    class_weight: float = Field(5.0, ge=0)
    regression_weight: float = Field(5.0, ge=0)
    teacher_temperature: float = Field(1.0, gt=0)
    """1 compares like with like; 2 is what the method's release does."""

    def build(self, teacher: Widths, student: Widths) -> ResponseTerm:
        """The term; it learns nothing."""
        return ResponseTerm(self)


class FeatureConfig(TermSettings):
    """Agreement of features at nine places of each box, through a 1x1 adapter on the student (UniDistill's L_fea)."""

    kind: Literal["feature"] = "feature"
    weight: float = Field(1.0, ge=0)
    level: Level = "high"

    @property
    def asks(self) -> tuple[Asked, ...]:
        """Features at the boxes' places."""
        return (self.level,)

    def build(self, teacher: Widths, student: Widths) -> FeatureTerm:
        """The term with an adapter between the two widths."""
        return FeatureTerm(self, Adapter(getattr(student, self.level), getattr(teacher, self.level)))


class RelationConfig(TermSettings):
    """Agreement of the 9x9 cosine similarities within each box (UniDistill's L_rel)."""

    kind: Literal["relation"] = "relation"
    weight: float = Field(5.0, ge=0)
    level: Level = "high"

    @property
    def asks(self) -> tuple[Asked, ...]:
        """Features at the boxes' places."""
        return (self.level,)

    def build(self, teacher: Widths, student: Widths) -> RelationTerm:
        """The term; similarities need no adapter."""
        return RelationTerm(self)


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
