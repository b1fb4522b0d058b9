"""Relational knowledge distillation (Park et al. 2019, arXiv 1904.05068): distances and angles between examples.

The examples are the labeled boxes of a frame, each by its feature at the center. Distances are divided by their mean
over the frame's pairs; an angle is the cosine at one box between two others; both are compared by Huber's loss with
delta 1. Pairs and triplets of different boxes count; the release averages over all combinations of indices, the zeros
of a box with itself included. Weights 1 and 2 are those of the paper's metric learning.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.terms.term import Level, Losses, TermSettings, Widths, divided

_CENTER = 4
_SHORTEST = 1e-4


class RKDConfig(TermSettings):
    """Agreement of distances and angles between the boxes of a frame (relational knowledge distillation)."""

    kind: Literal["rkd"] = "rkd"
    distance_weight: float = Field(1.0, ge=0)
    angle_weight: float = Field(2.0, ge=0)
    level: Level = "high"

    @property
    def asks(self) -> tuple[Asked, ...]:
        """Features at the boxes' places."""
        return (self.level,)

    def build(self, teacher: Widths, student: Widths) -> RKDTerm:
        """The term; relations need no adapter."""
        return RKDTerm(self)


class RKDTerm(nn.Module):
    """See `RKDConfig`."""

    def __init__(self, config: RKDConfig) -> None:
        super().__init__()
        self.config = config

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of frames with two boxes or more that both know."""
        return ((valid & teacher.valid).sum(dim=1) >= 2).sum()

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """Compares the relations frame by frame, and takes the mean over frames."""
        level, valid = self.config.level, student.valid & teacher.valid
        own, said = (getattr(answers, level)[:, :, _CENTER] for answers in (student, teacher))
        count = self.count(teacher, student.valid, centres)
        return {
            f"rkd_distance_{level}": self.config.distance_weight
            * divided(distance_error(own, said, valid).sum(), count, divisor),
            f"rkd_angle_{level}": self.config.angle_weight
            * divided(angle_error(own, said, valid).sum(), count, divisor),
        }


def distance_error(own: Tensor, said: Tensor, valid: Tensor) -> Tensor:
    """`(B,)`: mean over the pairs of Huber's loss of distances, each divided by the mean of its network's.

    Args:
        own: `(B, N, C)` the student's features of the boxes.
        said: `(B, N, C')` the teacher's.
        valid: `(B, N)` bool, boxes that count.
    """
    pairs = _pairs(valid)
    error = functional.smooth_l1_loss(_distances(own, pairs), _distances(said, pairs), reduction="none")
    return _mean_where(pairs, error, (1, 2))


def angle_error(own: Tensor, said: Tensor, valid: Tensor) -> Tensor:
    """`(B,)`: mean over the triplets of Huber's loss of cosines; arguments as for `distance_error`."""
    pairs = _pairs(valid)
    triplets = pairs[:, :, :, None] & pairs[:, :, None, :] & pairs[:, None, :, :]
    error = functional.smooth_l1_loss(_cosines(own), _cosines(said), reduction="none")
    return _mean_where(triplets, error, (1, 2, 3))


def _distances(features: Tensor, pairs: Tensor) -> Tensor:
    """`(B, N, N)` distances, divided by their mean over the frame's pairs."""
    length = _lengths(features[:, :, None] - features[:, None])[..., 0]
    return length / _mean_where(pairs, length, (1, 2)).clamp(min=_SHORTEST)[:, None, None]


def _cosines(features: Tensor) -> Tensor:
    """`(B, N, N, N)`: at box j, the cosine between the ways to i and to k."""
    ways = features[:, None] - features[:, :, None]
    unit = ways / _lengths(ways)
    return unit @ unit.transpose(-1, -2)


def _lengths(differences: Tensor) -> Tensor:
    """Euclidean lengths of the last axis, kept; never below what a gradient can bear."""
    return differences.square().sum(dim=-1, keepdim=True).clamp(min=_SHORTEST**2).sqrt()


def _pairs(valid: Tensor) -> Tensor:
    """`(B, N, N)` bool: two different boxes that both count."""
    different = ~torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
    return valid[:, :, None] & valid[:, None, :] & different


def _mean_where(mask: Tensor, values: Tensor, axes: tuple[int, ...]) -> Tensor:
    total = torch.where(mask, values, torch.zeros_like(values)).sum(dim=axes)
    return total / mask.sum(dim=axes).clamp(min=1)
