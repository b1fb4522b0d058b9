"""A second branch behind the lifting that learns what cameras alone do not show (MonoTAKD, arXiv 2404.04910).

The lifted map is collapsed twice: F_vis is taught by a camera assistant with true depth, F_spa by what a LiDAR has
beyond that. F_spa passes a spatial alignment (SAM) and both are fused (FFM). SAM is the paper's squeeze-excite gate on
an atrous pyramid beside a deformable convolution applied twice; here two dilated 3x3 convolutions take its place, since
engines refuse deformable ones. All of it stays in the exported student.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy_training.models.backbone import ConvBlock
from understudy_training.models.camera_config import ResidualBranch


@dataclass(frozen=True, eq=False)
class BranchMaps:
    """What the branches hold, each `(B, C, H, W)`.

    Attributes:
        fused: what the backbone takes.
        visual: F_vis, like the camera assistant's map.
        spatial: F_spa behind its alignment, like the residual; None where there is one branch only.
    """

    fused: Tensor
    visual: Tensor
    spatial: Tensor | None


class DilatedBlock(nn.Sequential):
    """3x3 convolution with holes, batch normalization, ReLU; in float32 on processors, whatever the precision.

    oneDNN's bfloat16 gradient of such weights reads beyond its arrays (seen in PyTorch 2.13: NaN, and crashes).
    """

    def __init__(self, channels_in: int, channels_out: int, dilation: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01),
            nn.ReLU(inplace=True),
        )

    def forward(self, dense: Tensor) -> Tensor:
        """`(B, C, H, W)`."""
        if dense.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return self._through(dense.float())
        return self._through(dense)

    def _through(self, dense: Tensor) -> Tensor:
        for layer in self:
            dense = layer(dense)
        return dense


class AtrousGate(nn.Module):
    """Squeeze and excitation: how much each channel counts, from an atrous pyramid over the whole map."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        narrow = max(channels // reduction, 4)
        self.pyramid = nn.ModuleList(
            [ConvBlock(channels, narrow, kernel=1), *(DilatedBlock(channels, narrow, rate) for rate in (2, 4))]
        )
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.excite = nn.Sequential(
            nn.Conv2d(3 * narrow, narrow, 1), nn.ReLU(inplace=True), nn.Conv2d(narrow, channels, 1), nn.Sigmoid()
        )

    def forward(self, dense: Tensor) -> Tensor:
        """`(B, C, 1, 1)` in 0 to 1."""
        seen = torch.cat([part(dense) for part in self.pyramid], dim=1)
        gate: Tensor = self.excite(self.squeeze(seen))
        return gate


class SpatialAlignment(nn.Module):
    """SAM: the gated map plus two dilated convolutions, then two 3x3 ones; no ReLU last: residuals have signs."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.gate = AtrousGate(channels)
        self.reach = nn.Sequential(DilatedBlock(channels, inner, 2), DilatedBlock(inner, channels, 4))
        self.smooth = nn.Sequential(ConvBlock(channels, inner), nn.Conv2d(inner, channels, 3, padding=1))

    def forward(self, spatial: Tensor) -> Tensor:
        """`(B, C, H, W)`."""
        aligned: Tensor = self.smooth(spatial * self.gate(spatial) + self.reach(spatial))
        return aligned


class Fusion(nn.Module):
    """FFM: the sum of both branches through 3x3, 1x1 to `hidden` channels, 3x3."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(channels, channels), ConvBlock(channels, hidden, kernel=1), ConvBlock(hidden, channels)
        )

    def forward(self, visual: Tensor, spatial: Tensor) -> Tensor:
        """`(B, C, H, W)`."""
        fused: Tensor = self.layers(visual + spatial)
        return fused


class TwoBranches(nn.Module):
    """From the lifted map to the backbone's input by way of F_vis and F_spa."""

    def __init__(self, config: ResidualBranch, channels_in: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.collapse_visual = ConvBlock(channels_in, channels)
        self.collapse_spatial = ConvBlock(channels_in, channels)
        self.align = SpatialAlignment(channels, config.inner or channels)
        self.fuse = Fusion(channels, config.hidden or 2 * channels)

    def forward(self, lifted: Tensor) -> BranchMaps:
        """See `BranchMaps`; `lifted` is `(B, C_in, H, W)`."""
        visual = self.collapse_visual(lifted)
        spatial = self.align(self.collapse_spatial(lifted))
        return BranchMaps(self.fuse(visual, spatial), visual, spatial)
