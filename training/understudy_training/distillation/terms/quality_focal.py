"""MonoTAKD's part on the heads (arXiv 2404.04910): quality focal loss on classes, smooth L1 on boxes.

Quality focal loss `|sigmoid(s) - p|^2 BCE(s, p)` with the teacher's probability p, divided in each frame and class by
the number of cells where p is above `seen_from`; boxes where the teacher's probabilities add up to more than that,
weighted by the sum. The release has anchors and codes a yaw as `sin(a - b)` beside a direction class; a center head
has sine and cosine, so the axis is the nearer way round and the direction the whole difference (`residual_error`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """What a center head says.

    Attributes:
        heatmap: `(B, K, h, w)` logits.
        regression: `(B, 8, h, w)`, sine and cosine of the yaw last.
    """

    heatmap: Tensor
    regression: Tensor


def quality_focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """`|sigmoid(s) - p|^2 BCE(s, p)` element by element."""
    surprise = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (logits.sigmoid() - wanted).square() * surprise


def class_error(student: HeadMaps, teacher: HeadMaps, seen_from: float) -> Tensor:
    """`(B,)`: quality focal loss over each class's number of seen cells, summed over the classes."""
    wanted = teacher.heatmap.sigmoid()
    seen = (wanted > seen_from).sum(dim=(2, 3)).clamp(min=1)
    return (quality_focal(student.heatmap, wanted).sum(dim=(2, 3)) / seen).sum(dim=1)


def box_errors(student: HeadMaps, teacher: HeadMaps, seen_from: float) -> tuple[Tensor, Tensor]:
    """`(B,)` error of place, size and axis, and `(B,)` of the direction, where the teacher sees something."""
    strength = teacher.heatmap.sigmoid().sum(dim=1)
    seen = strength > seen_from
    weight = torch.where(seen, strength, torch.zeros_like(strength)) / seen.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    own, said = student.regression, teacher.regression
    directed = functional.smooth_l1_loss(own[:, 6:], said[:, 6:], reduction="none").sum(dim=1)
    turned = functional.smooth_l1_loss(own[:, 6:], -said[:, 6:], reduction="none").sum(dim=1)
    place = functional.smooth_l1_loss(own[:, :6], said[:, :6], reduction="none").sum(dim=1)
    located = place + torch.minimum(directed, turned)
    return (weight * located).sum(dim=(1, 2)), (weight * directed).sum(dim=(1, 2))
