"""The maps of a LiDAR and of cameras, one above the other; each sensor may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from understudy.bundle.manifest import Grid
from understudy_training.models.camera import CameraLift, CameraMaps, ImagesBatch
from understudy_training.models.config import FusionEncoder
from understudy_training.models.encoders import OccupancyMap, PillarFeatureNet, PillarsBatch, PointsBatch, build_encoder
from understudy_training.models.observed import Observed


@dataclass(frozen=True, eq=False)
class FusionBatch:
    """What the two parts take of the same frames."""

    lidar: PointsBatch | PillarsBatch
    camera: ImagesBatch

    @property
    def depth_bins(self) -> Tensor:
        """As in `ImagesBatch`."""
        return self.camera.depth_bins

    def to(self, device: torch.device | str) -> FusionBatch:
        """The same batch on a device."""
        return FusionBatch(self.lidar.to(device), self.camera.to(device))

    def pin_memory(self) -> FusionBatch:
        """The same batch in pinned memory."""
        return FusionBatch(self.lidar.pin_memory(), self.camera.pin_memory())


class FusionMap(nn.Module):
    """The LiDAR's map and the cameras', brought to the LiDAR's resolution, stacked along the channels.

    In training whole sensors are hidden at random (`ModalityDropout`), as a vehicle hides them by a mask.
    """

    def __init__(self, config: FusionEncoder, grid: Grid) -> None:
        super().__init__()
        self.config = config
        self.lidar: OccupancyMap | PillarFeatureNet = build_encoder(config.lidar, grid)
        self.camera = CameraLift(config.camera, grid)
        stride = config.camera.pictures.cell_stride
        self.grow = nn.Upsample(scale_factor=float(stride), mode="nearest") if stride > 1 else nn.Identity()
        self.channels = config.channels

    def collate(self, frames: Sequence[Observed]) -> FusionBatch:
        """Both parts of the same frames."""
        return FusionBatch(self.lidar.collate([frame.points for frame in frames]), self.camera.collate(frames))

    def forward(self, batch: FusionBatch) -> tuple[Tensor, CameraMaps]:
        """The `(B, C, H, W)` map of both, and what the cameras' part made."""
        pictures = self._hide_cameras(batch.camera)
        camera = self.camera(pictures)
        points = self._hide_lidar(self.lidar(batch.lidar), pictures.camera_mask)
        return self.joined(points, camera.bev), camera

    def joined(self, points: Tensor, pictures: Tensor) -> Tensor:
        """`(B, C, H, W)` of the LiDAR's `(B, C1, H, W)` and the cameras' `(B, C2, H', W')` map."""
        return torch.cat([points.to(pictures.dtype), self.grow(pictures)], 1)

    def _hide_cameras(self, batch: ImagesBatch) -> ImagesBatch:
        if not self.training:
            return batch
        drawn = torch.rand(batch.camera_mask.shape[0], batch.camera_mask.shape[1] + 1, device=batch.camera_mask.device)
        dropout = self.config.dropout
        kept = (drawn[:, :1] >= dropout.all_cameras) & (drawn[:, 1:] >= dropout.camera)
        return replace(batch, camera_mask=batch.camera_mask * kept)

    def _hide_lidar(self, points: Tensor, camera_mask: Tensor) -> Tensor:
        """Never in a frame whose pictures are hidden too: nothing would be left to find the labels by."""
        if not self.training or self.config.dropout.lidar == 0:
            return points
        kept = torch.rand(len(points), device=points.device) >= self.config.dropout.lidar
        kept = kept | (camera_mask.sum(1) == 0)
        return points * kept[:, None, None, None].to(points.dtype)
