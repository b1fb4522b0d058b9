"""The pillar detector: encoder, backbone, neck, head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy_training.models.backbone import BevBackbone
from understudy_training.models.config import DetectorConfig
from understudy_training.models.decoding import Detections, decode
from understudy_training.models.encoders import EncoderInput, build_encoder
from understudy_training.models.graph import ExportSpec, export_spec_of
from understudy_training.models.head import CenterHead
from understudy_training.models.neck import Neck


@dataclass(frozen=True, eq=False)
class DetectorOutputs:
    """What the network says, and the maps that distillation compares.

    Attributes:
        heatmap: `(B, K, h, w)` logits of centers; rows along y, columns along x.
        regression: `(B, 8, h, w)` as in `head.REGRESSION_CHANNELS`.
        low: `(B, C, h', w')` the backbone's first stage.
        high: `(B, C, h, w)` the neck's output.
        encoded: `(B, C, H, W)` the encoder's map.
    """

    heatmap: Tensor
    regression: Tensor
    low: Tensor
    high: Tensor
    encoded: Tensor


class BevDetector(nn.Module):
    """A detector of the family; teacher and students differ in their configuration only."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.encoder, config.grid)
        self.backbone = BevBackbone(config.backbone, self.encoder.channels)
        self.neck = Neck(config.backbone.widths, config.neck_width, config.stage_strides, config.output_stride)
        self.head = CenterHead(config.head, self.neck.channels, len(config.class_names))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def output_stride(self) -> int:
        """Grid cells per output cell."""
        return self.config.output_stride

    def collate(self, clouds: Sequence[NDArray[np.float32]]) -> EncoderInput:
        """`(N, 4)` float32 clouds (x, y, z in ego, intensity in [0, 1]) as one batch."""
        return self.encoder.collate(clouds)

    def forward(self, inputs: EncoderInput) -> DetectorOutputs:
        """The maps of a batch."""
        return self.from_map(self.encoder(inputs))

    def from_map(self, bev: Tensor) -> DetectorOutputs:
        """The dense part: everything behind the encoder's `(B, C, H, W)` map."""
        stages = self.backbone(bev)
        high = self.neck(stages)
        heatmap, regression = self.head(high)
        return DetectorOutputs(heatmap, regression, stages[0], high, bev)

    def decode(self, outputs: DetectorOutputs) -> Detections:
        """Boxes of each cloud, by falling score."""
        return decode(
            outputs.heatmap.float(),
            outputs.regression.float(),
            self.config.grid,
            self.config.output_stride,
            max_detections=self.config.max_detections,
            suppression_overlap=self.config.suppression_overlap,
        )

    def export_spec(self, *, half: bool = False) -> ExportSpec:
        """How the detector is cut for export: from raw or grouped points of one cloud to boxes.

        Args:
            half: the dense part in float16, coordinates in float32.
        """
        return export_spec_of(self, half=half)
