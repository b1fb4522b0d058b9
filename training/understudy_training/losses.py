"""The detection loss: penalty-reduced focal loss on the heat-map, absolute errors of the residuals at center cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from understudy_training.models.camera import ImagesBatch
from understudy_training.models.detector import DetectorOutputs
from understudy_training.models.fusion import FusionBatch
from understudy_training.targets import Targets

DIRECTION_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class DetectionLoss:
    """Scalars: what is minimized, and the two parts before weighting."""

    total: Tensor
    heatmap: Tensor
    regression: Tensor


def wide(values: Tensor) -> Tensor:
    """In float32, or float64 where that is what comes: losses are never summed in half precision."""
    return values.to(wide_kind(values))


def wide_kind(values: Tensor) -> torch.dtype:
    """What `wide` would make of them, for operators that widen as they read."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def detection_counts(targets: Targets) -> Tensor:
    """`(2,)` float32: what the two parts are divided by, the number of centers and the number of boxes."""
    return torch.stack([targets.heatmap.eq(1).sum(), targets.mask.sum()]).float()


def focal_loss(logits: Tensor, target: Tensor, weight: Tensor, divisor: Tensor | None = None) -> Tensor:
    """Penalty-reduced focal loss (CornerNet, alpha 2, beta 4), divided by the number of centers.

    Args:
        logits: `(B, K, h, w)`.
        target: `(B, K, h, w)` in [0, 1]; exactly 1 at centers.
        weight: `(B, 1, h, w)`, 0 where background is not asked for.
        divisor: a scalar instead of the number of these centers, for a batch that is a part of a larger one.
    """
    logits = wide(logits)
    probability = logits.sigmoid()
    center = target.eq(1)
    hit = (1 - probability) ** 2 * functional.logsigmoid(logits)
    miss = (1 - target) ** 4 * probability**2 * functional.logsigmoid(-logits) * weight
    divisor = center.sum().clamp(min=1) if divisor is None else divisor
    return -torch.where(center, hit, miss).sum() / divisor


def gather_cells(dense: Tensor, cells: Tensor) -> Tensor:
    """The columns of a map `(B, C, h, w)` at flat cells `(B, N)`: `(B, N, C)`.

    Cells must be those of the map: one beyond it would be another frame's.
    """
    batch, channels, height, width = dense.shape
    first = torch.arange(batch, device=cells.device)[:, None] * (height * width)
    return rows_of(dense).index_select(0, (cells + first).flatten()).view(batch, cells.shape[1], channels)


def cells_where(dense: Tensor, chosen: Tensor) -> Tensor:
    """The columns of a map `(B, C, h, w)` where `(B, h, w)` is not zero: `(P, C)`, frame by frame, row by row."""
    assert chosen.shape == (dense.shape[0], *dense.shape[2:]), "cells of another map"
    return rows_of(dense).index_select(0, chosen.flatten().nonzero()[:, 0])


def rows_of(dense: Tensor) -> Tensor:
    """A map `(B, C, h, w)` as `(B h w, C)`, cell after cell, to choose from by `index_select`.

    Copies nothing of a channels-last map, neither here nor on the way back, which is six times as fast as that of
    `dense[frame, :, row, column]`.
    """
    return dense.permute(0, 2, 3, 1).reshape(-1, dense.shape[1])


def residual_error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Sum of the absolute errors of the eight residuals, the heading mostly as an axis.

    Where front and back look alike, half of the headings are `yaw` and half `yaw + pi`. Their L1 is flat between the
    two, so nothing keeps the predicted vector from vanishing, and with it the axis, which the points do show. So most
    of the heading's error is the smaller one of the two ways round; `DIRECTION_SHARE` of it asks for the right one.

    Args:
        predicted: `(..., 8)`, sine and cosine of the yaw last.
        wanted: `(..., 8)`.

    Returns:
        `(...)`.
    """
    place_and_size = (predicted[..., :6] - wanted[..., :6]).abs().sum(-1)
    directed = (predicted[..., 6:] - wanted[..., 6:]).abs().sum(-1)
    axis = torch.minimum(directed, (predicted[..., 6:] + wanted[..., 6:]).abs().sum(-1))
    return place_and_size + DIRECTION_SHARE * directed + (1 - DIRECTION_SHARE) * axis


def regression_loss(regression: Tensor, targets: Targets, divisor: Tensor | None = None) -> Tensor:
    """`residual_error` at the center cells, mean over boxes; 0 without boxes."""
    error = residual_error(wide(gather_cells(regression, targets.cells)), targets.regression)
    divisor = targets.mask.sum().clamp(min=1) if divisor is None else divisor
    return torch.where(targets.mask, error, torch.zeros_like(error)).sum() / divisor


def detection_loss(
    heatmap: Tensor, regression: Tensor, targets: Targets, regression_weight: float, divisors: Tensor | None = None
) -> DetectionLoss:
    """The whole detection loss of a batch; finite, with finite gradients, when no frame holds a box.

    Args:
        heatmap: `(B, K, h, w)` logits.
        regression: `(B, 8, h, w)`.
        targets: what they should be.
        regression_weight: of the second part in the sum.
        divisors: `(2,)` instead of `detection_counts`, for a batch that is a part of a larger one.
    """
    by_center, by_box = (None, None) if divisors is None else divisors.unbind()
    heatmap_part = focal_loss(heatmap, targets.heatmap, targets.background, by_center)
    regression_part = regression_loss(regression, targets, by_box)
    return DetectionLoss(heatmap_part + regression_weight * regression_part, heatmap_part, regression_part)


def depth_count(inputs: ImagesBatch | FusionBatch) -> Tensor:
    """A scalar: how many cells of the pictures' features a LiDAR point falls into."""
    return inputs.depth_bins.ge(0).sum().float()


def depth_loss(outputs: DetectorOutputs, inputs: ImagesBatch | FusionBatch, divisor: Tensor | None = None) -> Tensor:
    """Cross entropy of the predicted depth where a LiDAR point says what it is (BEVDepth, Li et al. 2022).

    Args:
        outputs: of a detector that sees pictures.
        inputs: what it took; cells without a point are left out.
        divisor: a scalar instead of the number of cells, for a batch that is a part of a larger one.
    """
    assert outputs.camera is not None
    bins = inputs.depth_bins.to(torch.int64)
    surprise = functional.cross_entropy(
        wide(outputs.camera.depth).flatten(0, 1), bins.flatten(0, 1), ignore_index=-1, reduction="sum"
    )
    return surprise / (depth_count(inputs).clamp(min=1) if divisor is None else divisor)
