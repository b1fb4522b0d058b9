"""The bird's-eye detector: encoder, backbone, neck, head. Only the encoder knows which sensors there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.bundle.manifest import Grid
from understudy_training.models.backbone import BevBackbone
from understudy_training.models.camera import CameraLift, CameraMaps, ImagesBatch
from understudy_training.models.camera_config import CameraEncoder
from understudy_training.models.config import DetectorConfig, Encoder, FusionEncoder
from understudy_training.models.decoding import Detections, decode
from understudy_training.models.encoders import (
    OccupancyMap,
    PillarFeatureNet,
    PillarsBatch,
    PointsBatch,
    build_encoder,
)
from understudy_training.models.fusion import FusionBatch, FusionMap
from understudy_training.models.graph import ExportSpec, export_spec_of
from understudy_training.models.head import CenterHead
from understudy_training.models.neck import Neck
from understudy_training.models.observed import Observed

EncoderInput = PointsBatch | PillarsBatch | ImagesBatch | FusionBatch


@dataclass(frozen=True, eq=False)
class DetectorOutputs:
    """What the network says, and the maps that distillation compares.

    Attributes:
        heatmap: `(B, K, h, w)` logits of centers; rows along y, columns along x.
        regression: `(B, 8, h, w)` as in `head.REGRESSION_CHANNELS`.
        low: `(B, C, h', w')` the backbone's first stage.
        high: `(B, C, h, w)` the neck's output.
        encoded: `(B, C, H, W)` the encoder's map.
        camera: what the cameras' part made; None without cameras.
    """

    heatmap: Tensor
    regression: Tensor
    low: Tensor
    high: Tensor
    encoded: Tensor
    camera: CameraMaps | None = None


class BevDetector(nn.Module):
    """A detector of the family; teacher and students differ in their configuration only."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder_of(config.encoder, config.grid)
        self.backbone = BevBackbone(config.backbone, self.encoder.channels)
        self.neck = Neck(config.backbone.widths, config.neck_width, config.stage_strides, config.output_stride)
        self.head = CenterHead(config.head, self.neck.channels, len(config.class_names))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def output_stride(self) -> int:
        """Grid cells per output cell."""
        return self.config.output_stride

    def collate(self, frames: Sequence[Observed]) -> EncoderInput:
        """What was seen in each frame as one batch."""
        if isinstance(self.encoder, CameraLift | FusionMap):
            return self.encoder.collate(frames)
        return self.encoder.collate([frame.points for frame in frames])

    def forward(self, inputs: EncoderInput) -> DetectorOutputs:
        """The maps of a batch."""
        bev, camera = self._encoded(inputs)
        return self.from_map(bev, camera)

    def from_map(self, bev: Tensor, camera: CameraMaps | None = None) -> DetectorOutputs:
        """The dense part: everything behind the encoder's `(B, C, H, W)` map."""
        stages = self.backbone(bev)
        high = self.neck(stages)
        heatmap, regression = self.head(high)
        return DetectorOutputs(heatmap, regression, stages[0], high, bev, camera)

    def _encoded(self, inputs: EncoderInput) -> tuple[Tensor, CameraMaps | None]:
        if isinstance(self.encoder, CameraLift):
            camera = self.encoder(inputs)
            return camera.bev, camera
        if isinstance(self.encoder, FusionMap):
            bev, camera = self.encoder(inputs)
            return bev, camera
        return self.encoder(inputs), None

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


def encoder_of(config: Encoder, grid: Grid) -> OccupancyMap | PillarFeatureNet | CameraLift | FusionMap:
    """The encoder that a configuration describes."""
    if isinstance(config, CameraEncoder):
        return CameraLift(config, grid)
    if isinstance(config, FusionEncoder):
        return FusionMap(config, grid)
    return build_encoder(config, grid)
