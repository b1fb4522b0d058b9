"""What a network costs: multiply-accumulates and parameters."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from understudy.lifting import lifted_size
from understudy_training.models.camera import CameraLift
from understudy_training.models.config import LearnedPillarEncoder
from understudy_training.models.detector import BevDetector
from understudy_training.models.encoders import PillarFeatureNet
from understudy_training.models.fusion import FusionMap


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
    grid, encoder = detector.config.grid, shapes.encoder
    bev = torch.empty(1, encoder.channels, grid.height, grid.width, device="meta")
    macs = count_macs(_Dense(shapes), bev)
    lidar, camera = (encoder.lidar, encoder.camera) if isinstance(encoder, FusionMap) else (encoder, encoder)
    if isinstance(lidar, PillarFeatureNet):
        assert isinstance(lidar.config, LearnedPillarEncoder)
        slots = min(lidar.config.max_pillars, grid.height * grid.width) * lidar.config.max_points_per_pillar
        macs += slots * lidar.linear.weight.numel()
    if isinstance(camera, CameraLift):
        macs += _camera_macs(camera)
    return Cost(macs, parameters)


def _camera_macs(camera: CameraLift) -> int:
    """Of all pictures of a frame, and of the convolution over the lifted map."""
    pictures, (rows, columns) = camera.config.pictures, lifted_size(camera.grid, camera.config.pictures)
    images = torch.empty(1, pictures.num_cameras, pictures.height_px, pictures.width_px, 3, device="meta")
    lifted = torch.empty(1, camera.lifted_channels, rows, columns, device="meta")
    return count_macs(_Pictured(camera), images) + count_macs(camera.collapse, lifted)


class _Pictured(nn.Module):
    """The part before the lifting, as a module."""

    def __init__(self, camera: CameraLift) -> None:
        super().__init__()
        self.camera = camera

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.camera.pictured(images)


class _Dense(nn.Module):
    """The part behind the encoder, as a module."""

    def __init__(self, detector: BevDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, bev: Tensor) -> Tensor:
        return self.detector.from_map(bev).heatmap
