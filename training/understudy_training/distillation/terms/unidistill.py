"""UniDistill (arXiv 2303.15083): `response`, `feature` and `relation`.

Features are read at metric places (`distillation.sampling`). Normalizers are max(sum of the mask, 1), so a frame
without boxes gives exactly 0. The release swaps x and y when it samples, counts an all-zero box where there is none,
and divides the teacher's logits by 2 (here only with `teacher_temperature: 2`). Its adaptive layers are commented
out; ours is one 1x1 layer on the student: always there for `feature`, by `adaptive: true` for `relation`.

The method's weights of `feature`, `relation` and `response` by path: LiDAR to camera 100, 40, 10; fusion to camera
10, 5, 10; camera to LiDAR 10, 5, 1; fusion to LiDAR 10, 1, 10.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from understudy.bundle.manifest import Grid
from understudy.errors import RecipeError
from understudy_training.distillation.adapters import Adapter
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.sampling import sample_map
from understudy_training.distillation.terms.term import Level, Losses, TermSettings, Widths


class BoxTermSettings(TermSettings):
    """What the three have."""

    gated: bool = False
    """Leave out boxes at whose center the teacher is less sure than the student, for a teacher that is weaker in
    places. They cost nothing and still count in the mean, whose divisor is known before the student has answered."""

    @property
    def asks(self) -> tuple[Asked, ...]:
        """Where the boxes are, to look at the scores there."""
        return ("boxes",) if self.gated else ()

    def gate(self, student: Widths) -> Gate | None:
        """Tells boxes worth learning from the others; None when all are.

        Raises:
            RecipeError: when the student's maps are not known to lie over an area.
        """
        if not self.gated:
            return None
        if student.grid is None:
            raise RecipeError(f"term {self.label}: gated", found="a student without a grid", wanted="its grid")
        return Gate(student.grid)


class ResponseConfig(BoxTermSettings):
    """Agreement of the strongest class and of the residuals under the boxes' Gaussians (UniDistill's L_resp)."""

    kind: Literal["response"] = "response"
    class_weight: float = Field(5.0, ge=0)
    regression_weight: float = Field(5.0, ge=0)
    teacher_temperature: float = Field(1.0, gt=0)
    """1 compares like with like; 2 is what the method's release does."""
    classes: Literal["strongest", "each"] = "strongest"
    """Compare the strongest class of each cell, or each class with itself, added up: then a peak of the wrong class
    does not pass for agreement."""

    def build(self, teacher: Widths, student: Widths) -> ResponseTerm:
        """The term; it learns nothing."""
        return ResponseTerm(self, self.gate(student))


class FeatureConfig(BoxTermSettings):
    """Agreement of features at nine places of each box, through a 1x1 adapter on the student (UniDistill's L_fea)."""

    kind: Literal["feature"] = "feature"
    weight: float = Field(1.0, ge=0)
    level: Level = "high"

    @property
    def asks(self) -> tuple[Asked, ...]:
        """Features at the boxes' places."""
        return (self.level, *super().asks)

    def build(self, teacher: Widths, student: Widths) -> FeatureTerm:
        """The term with an adapter between the two widths."""
        adapter = Adapter(getattr(student, self.level), getattr(teacher, self.level))
        return FeatureTerm(self, adapter, self.gate(student))


class RelationConfig(BoxTermSettings):
    """Agreement of the 9x9 cosine similarities within each box (UniDistill's L_rel)."""

    kind: Literal["relation"] = "relation"
    weight: float = Field(5.0, ge=0)
    level: Level = "high"
    adaptive: bool = False
    """Let a 1x1 layer stand between the student's features and the similarities (the paper's adaptive layer, for
    teachers weaker than the student): the student then need not show them itself."""

    @property
    def asks(self) -> tuple[Asked, ...]:
        """Features at the boxes' places."""
        return (self.level, *super().asks)

    def build(self, teacher: Widths, student: Widths) -> RelationTerm:
        """The term; similarities need no adapter, so that it is an option."""
        widths = getattr(student, self.level), getattr(teacher, self.level)
        return RelationTerm(self, Adapter(*widths) if self.adaptive else nn.Identity(), self.gate(student))


class Gate:
    """Tells the boxes at whose center the teacher is at least as sure as the student."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def boxes(self, student: Answers, teacher: Answers) -> Tensor:
        """`(B, N)` bool."""
        assert student.boxes is not None
        centers = student.boxes[..., :2]
        own, its = (
            sample_map(answers.heatmap.detach().sigmoid().amax(1, keepdim=True), centers, self.grid)[..., 0]
            for answers in (student, teacher)
        )
        return its >= own

    def cells(self, student: Answers, teacher: Answers) -> Tensor:
        """`(B, h, w)` float32: 1 where the valid box nearest to a cell passes, by centers."""
        assert student.boxes is not None
        grid, (height, width) = self.grid, student.heatmap.shape[2:]
        columns, rows = (torch.arange(size, device=student.boxes.device) + 0.5 for size in (width, height))
        x = columns * (grid.x_range_m[1] - grid.x_range_m[0]) / width + grid.x_range_m[0]
        y = rows * (grid.y_range_m[1] - grid.y_range_m[0]) / height + grid.y_range_m[0]
        places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(1, -1, 2).to(student.boxes.dtype)
        away = torch.cdist(places.expand(len(student.boxes), -1, -1), student.boxes[..., :2])
        away = away.masked_fill(~student.valid[:, None], torch.inf)
        passed = self.boxes(student, teacher).gather(1, away.argmin(2))
        return passed.view(-1, height, width).float()


class ResponseTerm(nn.Module):
    """See `ResponseConfig`."""

    def __init__(self, config: ResponseConfig, gate: Gate | None = None) -> None:
        super().__init__()
        self.config, self.gate = config, gate

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Sum of the boxes' Gaussians."""
        return centres.amax(dim=1).sum()

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """`centres` is the `(B, K, h, w)` target heat-map."""
        mask = centres.amax(dim=1)
        if self.gate is not None:
            mask = mask * self.gate.cells(student, teacher)
        by_class = mask * self._away_in_class(student, teacher)
        by_residual = mask * (teacher.regression - student.regression).abs().mean(dim=1)
        total = self.count(teacher, student.valid, centres).clamp(min=1) if divisor is None else divisor
        return {
            "response_class": self.config.class_weight * by_class.sum() / total,
            "response_regression": self.config.regression_weight * by_residual.sum() / total,
        }

    def _away_in_class(self, student: Answers, teacher: Answers) -> Tensor:
        """`(B, h, w)` how far apart the class probabilities are."""
        wanted = (teacher.heatmap / self.config.teacher_temperature).sigmoid()
        own = student.heatmap.sigmoid()
        if self.config.classes == "each":
            return (wanted - own).abs().sum(dim=1)
        return (wanted.amax(dim=1) - own.amax(dim=1)).abs()


class FeatureTerm(nn.Module):
    """See `FeatureConfig`."""

    def __init__(self, config: FeatureConfig, adapter: nn.Module, gate: Gate | None = None) -> None:
        super().__init__()
        self.config, self.gate = config, gate
        self.adapter = adapter

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of boxes that both know."""
        return (valid & teacher.valid).sum()

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """Compares the features at the boxes' places."""
        adapted: Tensor = self.adapter(getattr(student, self.config.level))
        away = (adapted - getattr(teacher, self.config.level)).abs().mean(dim=(2, 3))
        mean = _mean_over_boxes(away, student, teacher, divisor, self.gate)
        return {f"feature_{self.config.level}": self.config.weight * mean}


class RelationTerm(nn.Module):
    """See `RelationConfig`."""

    def __init__(self, config: RelationConfig, adapter: nn.Module, gate: Gate | None = None) -> None:
        super().__init__()
        self.config, self.gate = config, gate
        self.adapter = adapter

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of boxes that both know."""
        return (valid & teacher.valid).sum()

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """Compares how alike the nine places look to each."""
        own, said = (getattr(answers, self.config.level) for answers in (student, teacher))
        away = (_similarities(self.adapter(own)) - _similarities(said)).abs().mean(dim=(2, 3))
        mean = _mean_over_boxes(away, student, teacher, divisor, self.gate)
        return {f"relation_{self.config.level}": self.config.weight * mean}


def _similarities(features: Tensor) -> Tensor:
    """Cosines between the nine rows of `(B, N, 9, C)`: `(B, N, 9, 9)`."""
    unit = features / (features.square().sum(dim=-1, keepdim=True) + 1e-8).sqrt()
    return unit @ unit.transpose(-1, -2)


def _mean_over_boxes(
    away: Tensor, student: Answers, teacher: Answers, divisor: Tensor | None, gate: Gate | None
) -> Tensor:
    valid = student.valid & teacher.valid
    divisor = valid.sum().clamp(min=1) if divisor is None else divisor
    counted = valid if gate is None else valid & gate.boxes(student, teacher)
    return torch.where(counted, away, torch.zeros_like(away)).sum() / divisor
