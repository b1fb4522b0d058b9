"""From heatmap and regression to boxes: the same function in training's evaluation and in the exported graph.

Every step is an operator that ONNX Runtime and the TensorRT builders take: no NonMaxSuppression, no matrix product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.bundle.manifest import Grid

SUPPRESSION_ROUNDS = 8
"""Suppression is greedy's exact result while no chain of boxes that suppress each other is longer than this."""

_LOG_SIZE_RANGE = (-3.0, 4.0)
"""5 cm to 55 m: keeps the exponential finite whatever the network says."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The strongest peaks of each cloud, by falling score.

    Attributes:
        boxes: `(B, M, 7)` float32 x, y, z, length, width, height, yaw in ego.
        scores: `(B, M)` float32, 0 for rows that are suppressed or no peak.
        labels: `(B, M)` int32.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def decode(
    heatmap: Tensor,
    regression: Tensor,
    grid: Grid,
    output_stride: int,
    *,
    max_detections: int = 100,
    suppression_overlap: float = 0.3,
) -> Detections:
    """Peaks, boxes around them, weaker overlapping boxes suppressed.

    Args:
        heatmap: `(B, K, h, w)` logits.
        regression: `(B, 8, h, w)` as in `head.REGRESSION_CHANNELS`.
        grid: bird's-eye grid in ego.
        output_stride: grid cells per output cell.
        max_detections: rows of the result; fewer when the map has fewer entries.
        suppression_overlap: ProbIoU from which the weaker of two boxes of a class is dropped.
    """
    scores, labels, cells = _strongest_peaks(heatmap, max_detections)
    chosen = cells.to(torch.int64)[:, None].expand(-1, regression.shape[1], -1)
    values = torch.gather(regression.flatten(2), 2, chosen)
    boxes, cosine, sine = _boxes(values, cells, regression.shape[3], grid, output_stride)
    keep = _greedy_keep(prob_iou(boxes, cosine, sine) > suppression_overlap, labels)
    return Detections(boxes, scores * keep, labels.to(torch.int32))


def _strongest_peaks(heatmap: Tensor, max_detections: int) -> tuple[Tensor, Tensor, Tensor]:
    """`(B, M)` scores, labels and output cells, the last two as float32 that holds whole numbers."""
    _, classes, height, width = heatmap.shape
    ranked = (torch.sigmoid(heatmap) * _is_peak(heatmap)).flatten(1)
    scores, entries = torch.topk(ranked, min(max_detections, classes * height * width), dim=1)
    labels, cells = _quotient_and_rest(entries.to(torch.float32), height * width)
    return scores, labels, cells


def _is_peak(heatmap: Tensor) -> Tensor:
    """Ones where no neighbor is higher (CenterNet, Zhou et al. 2019) and none before it in raster order is as high.

    The second half counts a plateau once: quantized heatmaps are full of them, and so is empty road.
    """
    highest = F.max_pool2d(heatmap, 3, stride=1, padding=1)
    padded = F.pad(heatmap, (1, 1, 1, 0), value=-1e4)
    above = torch.maximum(torch.maximum(padded[..., :-1, :-2], padded[..., :-1, 1:-1]), padded[..., :-1, 2:])
    before = torch.maximum(above, padded[..., 1:, :-2])
    return ((heatmap >= highest) & (heatmap > before)).to(heatmap.dtype)


def _quotient_and_rest(numbers: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """Whole-number division of whole floats; half a step is added so that a rounded reciprocal changes nothing.

    Exact below 2^22, which the configuration makes sure of.
    """
    quotient = torch.floor((numbers + 0.5) * (1.0 / divisor))
    return quotient, numbers - quotient * divisor


def _boxes(values: Tensor, cells: Tensor, width: int, grid: Grid, output_stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """`(B, M, 7)` boxes from `(B, 8, M)` regression, and cosine and sine of their yaw."""
    dx, dy, z, log_length, log_width, log_height, sine, cosine = values.unbind(1)
    row, column = _quotient_and_rest(cells, width)
    step_m = grid.cell_m * output_stride
    x = (column + dx) * step_m + grid.x_range_m[0]
    y = (row + dy) * step_m + grid.y_range_m[0]
    sizes = [torch.exp(torch.clamp(log, *_LOG_SIZE_RANGE)) for log in (log_length, log_width, log_height)]
    norm = torch.sqrt(sine * sine + cosine * cosine + 1e-12)
    return torch.stack([x, y, z, *sizes, _yaw(sine, cosine)], 2), cosine / norm, sine / norm


def _yaw(sine: Tensor, cosine: Tensor) -> Tensor:
    """`atan2` written out, because runtimes differ where both are zero (here: zero sine is +, zero cosine is small)."""
    safe = torch.where(cosine.abs() < 1e-6, 1e-6, cosine)
    half_turn = torch.where(sine < 0, -math.pi, math.pi)
    return torch.atan(sine / safe) + torch.where(safe < 0, half_turn, 0.0)


def prob_iou(boxes: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """`(B, M, M)` ProbIoU of boxes seen from above, each taken as the Gaussian of its rectangle.

    One minus the Hellinger distance of two Gaussians with covariance R diag(l^2, w^2)/12 R^T, in closed form from the
    Bhattacharyya distance (Llerena et al. 2021, "Gaussian bounding boxes and probabilistic intersection-over-union").
    """
    x, y, along, across = boxes[..., 0], boxes[..., 1], boxes[..., 3] ** 2 / 12, boxes[..., 4] ** 2 / 12
    var_x = _pairwise_sum(along * cosine * cosine + across * sine * sine)
    var_y = _pairwise_sum(along * sine * sine + across * cosine * cosine)
    covariance = _pairwise_sum((along - across) * cosine * sine)
    dx, dy = x[:, :, None] - x[:, None], y[:, :, None] - y[:, None]
    determinant = torch.clamp(var_x * var_y - covariance * covariance, min=1e-9)
    shift = 0.25 * (var_y * dx * dx + var_x * dy * dy - 2 * covariance * dx * dy) / determinant
    deviation = torch.sqrt(along * across)
    spread = 0.5 * torch.log(determinant / (4 * deviation[:, :, None] * deviation[:, None]))
    affinity = torch.exp(-torch.clamp(shift + spread, min=0.0, max=50.0))
    return 1 - torch.sqrt(torch.clamp(1 - affinity, min=0.0))


def _pairwise_sum(values: Tensor) -> Tensor:
    return values[:, :, None] + values[:, None]


def _greedy_keep(overlaps: Tensor, labels: Tensor) -> Tensor:
    """`(B, M)` ones and zeros: a box stays unless a stronger box of its class that itself stays overlaps it."""
    rank = torch.arange(labels.shape[1], device=labels.device)
    stronger = rank[:, None] < rank[None]
    same_class = labels[:, :, None] == labels[:, None]
    suppresses = (overlaps & stronger & same_class).to(torch.float32)
    keep = 1 - suppresses.amax(1)
    for _ in range(SUPPRESSION_ROUNDS - 1):
        keep = 1 - (suppresses * keep[:, :, None]).amax(1)
    return keep
