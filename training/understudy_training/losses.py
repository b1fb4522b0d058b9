"""The detection loss: penalty-reduced focal loss on the heat-map, L1 on the residuals at the centre cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from understudy_training.targets import Targets


@dataclass(frozen=True, eq=False)
class DetectionLoss:
    """Scalars: what is minimized, and the two parts before weighting."""

    total: Tensor
    heatmap: Tensor
    regression: Tensor


def focal_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Penalty-reduced focal loss (CornerNet, alpha 2, beta 4), divided by the number of centres.

    Args:
        logits: `(B, K, h, w)`.
        target: `(B, K, h, w)` in [0, 1]; exactly 1 at centres.
        weight: `(B, 1, h, w)`, 0 where background is not asked for.
    """
    logits = logits.float()
    probability = logits.sigmoid()
    centre = target.eq(1)
    hit = (1 - probability) ** 2 * functional.logsigmoid(logits)
    miss = (1 - target) ** 4 * probability**2 * functional.logsigmoid(-logits) * weight
    return -torch.where(centre, hit, miss).sum() / centre.sum().clamp(min=1)


def gather_cells(dense: Tensor, cells: Tensor) -> Tensor:
    """The columns of a map `(B, C, h, w)` at flat cells `(B, N)`: `(B, N, C)`."""
    index = cells[:, None, :].expand(-1, dense.shape[1], -1)
    return dense.flatten(2).gather(2, index).transpose(1, 2)


def regression_loss(regression: Tensor, targets: Targets) -> Tensor:
    """Sum over the eight residuals of their absolute errors at the centre cells, mean over boxes; 0 without boxes."""
    predicted = gather_cells(regression, targets.cells).float()
    mask = targets.mask[..., None]
    error = torch.where(mask, predicted - targets.regression, torch.zeros_like(predicted)).abs()
    return error.sum() / targets.mask.sum().clamp(min=1)


def detection_loss(heatmap: Tensor, regression: Tensor, targets: Targets, regression_weight: float) -> DetectionLoss:
    """The whole detection loss of a batch; finite, with finite gradients, when no frame holds a box."""
    heatmap_part = focal_loss(heatmap, targets.heatmap, targets.background)
    regression_part = regression_loss(regression, targets)
    return DetectionLoss(heatmap_part + regression_weight * regression_part, heatmap_part, regression_part)
