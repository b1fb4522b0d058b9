"""What a network costs: multiply-accumulates and parameters."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from understudy_training.models.config import LearnedPillarEncoder
from understudy_training.models.detector import BevDetector


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of one forward pass over one cloud, and learned parameters."""

    macs: int
    parameters: int

    @property
    def gmacs(self) -> float:
        """Thousand millions of multiply-accumulates."""
        return self.macs / 1e9


def count_macs(module: nn.Module, *example: Tensor) -> int:
    """Multiply-accumulates of every convolution and linear layer in one forward pass; biases are not counted."""
    total = 0

    def add(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        weights_per_output = layer.weight[0].numel()
        total += output.numel() * weights_per_output

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        with torch.no_grad():
            module(*example)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def detector_cost(detector: BevDetector) -> Cost:
    """Cost of a detector on its own grid; learned pillars are counted with every pillar and point slot full."""
    parameters = sum(parameter.numel() for parameter in detector.parameters())
    shapes = copy.deepcopy(detector).to("meta").eval()
    grid, encoder = detector.config.grid, detector.config.encoder
    bev = torch.empty(1, encoder.channels, grid.height, grid.width, device="meta")
    macs = count_macs(_Dense(shapes), bev)
    if isinstance(encoder, LearnedPillarEncoder):
        slots = min(encoder.max_pillars, grid.height * grid.width) * encoder.max_points_per_pillar
        macs += slots * shapes.encoder.linear.weight.numel()
    return Cost(macs, parameters)


class _Dense(nn.Module):
    """The part behind the encoder, as a module."""

    def __init__(self, detector: BevDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, bev: Tensor) -> Tensor:
        return self.detector.from_map(bev).heatmap
