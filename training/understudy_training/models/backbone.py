"""Three stages of plain convolutions over the bird's-eye map."""

from __future__ import annotations

from torch import Tensor, nn

from understudy_training.models.config import Backbone


class ConvBlock(nn.Sequential):
    """Convolution, batch normalization, ReLU: the only dense layer of the family, so that all of it quantizes."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> None:
        padding = kernel // 2 if kernel % 2 else 0
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False),
            nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01),
            nn.ReLU(inplace=True),
        )


class BevBackbone(nn.Module):
    """SECOND's backbone (Yan et al. 2018): each stage a strided convolution and a few more at its resolution."""

    def __init__(self, config: Backbone, channels_in: int) -> None:
        super().__init__()
        widths = (channels_in, *config.widths)
        self.stages = nn.ModuleList(
            stage_of(widths[i], widths[i + 1], config.layers[i], config.strides[i]) for i in range(3)
        )

    def forward(self, bev: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three stages' maps, finest first."""
        first = self.stages[0](bev)
        second = self.stages[1](first)
        return first, second, self.stages[2](second)


def stage_of(channels_in: int, channels_out: int, layers: int, stride: int) -> nn.Sequential:
    """A strided convolution and `layers` more at its resolution."""
    blocks = [ConvBlock(channels_in, channels_out, stride=stride)]
    return nn.Sequential(*blocks, *(ConvBlock(channels_out, channels_out) for _ in range(layers)))
