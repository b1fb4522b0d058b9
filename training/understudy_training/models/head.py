"""Where centers are, and the box around each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from understudy_training.models.backbone import ConvBlock
from understudy_training.models.config import Head

REGRESSION_CHANNELS = ("dx", "dy", "z_m", "log_length", "log_width", "log_height", "sin_yaw", "cos_yaw")
"""dx, dy: from the output cell's lower corner, in output cells; z: of the box's center; logarithms of meters."""

_RARE_CENTER_LOGIT = -2.19
"""Probability 0.1 at the start, so that the many empty cells do not swamp the first steps (Lin et al. 2017)."""


class CenterHead(nn.Module):
    """CenterPoint's head (Yin et al. 2021) with one branch for the heatmap and one for the box."""

    def __init__(self, config: Head, channels_in: int, num_classes: int) -> None:
        super().__init__()
        self.shared = ConvBlock(channels_in, config.width)
        self.heatmap = _branch(config, num_classes)
        self.regression = _branch(config, len(REGRESSION_CHANNELS))
        nn.init.constant_(_last(self.heatmap).bias, _RARE_CENTER_LOGIT)  # type: ignore[arg-type]
        nn.init.zeros_(_last(self.regression).bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, K, h, w)` logits and `(B, 8, h, w)` regression."""
        shared = self.shared(features)
        return self.heatmap(shared), self.regression(shared)


def _branch(config: Head, channels_out: int) -> nn.Sequential:
    last = nn.Conv2d(config.branch_width, channels_out, 1)
    with torch.no_grad():
        last.weight.mul_(0.1)
    return nn.Sequential(ConvBlock(config.width, config.branch_width), last)


def _last(branch: nn.Sequential) -> nn.Conv2d:
    layer = branch[-1]
    assert isinstance(layer, nn.Conv2d)
    return layer
