"""The three stages' maps brought to one resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from understudy_training.models.backbone import ConvBlock


class Level(nn.Module):
    """One stage to the output's resolution: 1x1 convolution at its own, then nearest repetition; or a strided one."""

    def __init__(self, channels_in: int, channels_out: int, stage_stride: int, output_stride: int) -> None:
        super().__init__()
        shrink = max(1, output_stride // stage_stride)
        grow = max(1, stage_stride // output_stride)
        self.convolution = ConvBlock(channels_in, channels_out, kernel=shrink, stride=shrink)
        self.grow = nn.Upsample(scale_factor=float(grow), mode="nearest") if grow > 1 else nn.Identity()

    def forward(self, stage: Tensor) -> Tensor:
        """The level at the output's resolution."""
        grown: Tensor = self.grow(self.convolution(stage))
        return grown


class Neck(nn.Module):
    """Each stage's level, stacked along the channels."""

    def __init__(
        self, widths: Sequence[int], neck_width: int, stage_strides: Sequence[int], output_stride: int
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            Level(width, neck_width, stride, output_stride) for width, stride in zip(widths, stage_strides, strict=True)
        )
        self.channels = neck_width * len(widths)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """`(B, 3 * neck_width, h, w)`."""
        return torch.cat([level(stage) for level, stage in zip(self.levels, stages, strict=True)], 1)
