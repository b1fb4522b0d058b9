"""From pictures to a bird's-eye map: an image backbone, a distribution over depth, and a gather by the rig's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from understudy.bundle.manifest import Grid
from understudy.lifting import depth_targets, lift_table, lifted_size
from understudy.network_pictures import network_images
from understudy_training.models.backbone import ConvBlock, stage_of
from understudy_training.models.camera_config import CameraEncoder, ImageBackbone
from understudy_training.models.frustum import Frustum
from understudy_training.models.observed import Observed
from understudy_training.models.residual_branch import BranchMaps, TwoBranches
from understudy_training.models.true_depth import mean_depth_bins

_MIDDLE_GRAY, _GRAY_SPREAD = 114.0, 58.0
"""Mean and spread of ImageNet's pixels, on the scale 0 to 255, over the three colors."""


@dataclass(frozen=True, eq=False)
class ImagesBatch:
    """Pictures of several frames, and the rows to gather from all of their features.

    Attributes:
        images: `(B, N, H, W, 3)` uint8 RGB.
        camera_mask: `(B, N)` float32, 0 for a camera that did not deliver.
        lift_pixels: `(B, S, V)` int32, rows of the batch's features `(B * N * h * w, C)`; one past them where none.
        lift_depths: `(B, S, V)` int32, rows of the batch's depths `(B * N * h * w * D,)`; one past them where none.
        depth_bins: `(B, N, h, w)` int16 bin of what the LiDAR saw there, -1 where it saw nothing or no picture is.
        frustum: where the features look.
    """

    images: Tensor
    camera_mask: Tensor
    lift_pixels: Tensor
    lift_depths: Tensor
    depth_bins: Tensor
    frustum: Frustum

    def to(self, device: torch.device | str) -> ImagesBatch:
        """The same batch on a device."""
        return ImagesBatch(*(getattr(self, part.name).to(device, non_blocking=True) for part in fields(self)))

    def pin_memory(self) -> ImagesBatch:
        """The same batch in pinned memory."""
        return ImagesBatch(*(getattr(self, part.name).pin_memory() for part in fields(self)))


@dataclass(frozen=True, eq=False)
class CameraMaps:
    """What a camera encoder made on its way to the map.

    Attributes:
        features: `(B, N, C, h, w)` of each picture.
        depth: `(B, N, D, h, w)` logits over the bins of depth.
        shares: `(B, N, D, h, w)` what the features were weighted with: the softmax of the logits, or the true depth.
        bev: `(B, C', H', W')` the lifted map behind its convolution: what the backbone takes.
        frustum: where the features look.
        visual: the same as `bev`, or with a residual branch what the other one holds.
        residual: what the residual branch holds, if there is one.
    """

    features: Tensor
    depth: Tensor
    shares: Tensor
    bev: Tensor
    frustum: Frustum
    visual: Tensor
    residual: Tensor | None


class ImageNet(nn.Module):
    """Pictures to features at an eighth of their resolution."""

    def __init__(self, config: ImageBackbone) -> None:
        super().__init__()
        first, second, third = config.widths
        self.stem = ConvBlock(3, config.stem, stride=2)
        self.stages = nn.ModuleList(
            stage_of(before, after, layers, stride=2)
            for before, after, layers in zip((config.stem, first, second), config.widths, config.layers, strict=True)
        )
        self.near = ConvBlock(second, second, kernel=1)
        self.far = ConvBlock(third, second, kernel=1)
        self.grow = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.join = ConvBlock(2 * second, second)
        self.channels = second

    def forward(self, images: Tensor) -> Tensor:
        """`(M, 3, H, W)` to `(M, C, H / 8, W / 8)`."""
        quarter = self.stages[0](self.stem(images))
        eighth = self.stages[1](quarter)
        sixteenth = self.stages[2](eighth)
        joined: Tensor = self.join(torch.cat([self.near(eighth), self.grow(self.far(sixteenth))], 1))
        return joined


class CameraLift(nn.Module):
    """Lift-Splat-Shoot (Philion and Fidler 2020) read the other way: see `understudy.lifting`."""

    def __init__(self, config: CameraEncoder, grid: Grid) -> None:
        super().__init__()
        self.config, self.grid = config, grid
        pictures = config.pictures
        self.image = ImageNet(config.image)
        self.head = nn.Sequential(
            ConvBlock(self.image.channels, self.image.channels),
            nn.Conv2d(self.image.channels, pictures.depth.count + config.feature_channels, 1),
        )
        self.lifted_channels = len(pictures.heights_m) * config.feature_channels
        self.collapse = (
            ConvBlock(self.lifted_channels, config.channels)
            if config.residual_branch is None
            else TwoBranches(config.residual_branch, self.lifted_channels, config.channels)
        )
        self.channels = config.channels

    def collate(self, frames: Sequence[Observed]) -> ImagesBatch:
        """Pictures brought to size, tables looked up, depths read off the points where there are any."""
        pictures = self.config.pictures
        made = [network_images(dict(frame.images), dict(frame.cameras), pictures) for frame in frames]
        cameras = [tuple(frame.cameras.values()) for frame in frames]
        tables = [lift_table(entry, pictures, self.grid) for entry in cameras]
        cells = pictures.num_cameras * pictures.feature_size[0] * pictures.feature_size[1]
        true_depth = depth_targets if self.config.true_depth == "nearest" else mean_depth_bins
        bins = [true_depth(frame.points, entry, pictures) for frame, entry in zip(frames, cameras, strict=True)]
        for entry, (_, mask) in zip(bins, made, strict=True):
            entry[mask == 0] = -1  # no picture, nothing to see the depth in
        return ImagesBatch(
            images=torch.from_numpy(np.stack([images for images, _ in made])),
            camera_mask=torch.from_numpy(np.stack([mask for _, mask in made])),
            lift_pixels=_rows_of_batch([table.pixels for table in tables], cells),
            lift_depths=_rows_of_batch([table.depths for table in tables], cells * pictures.depth.count),
            depth_bins=torch.from_numpy(np.stack(bins)),
            frustum=Frustum.of(cameras, pictures),
        )

    def forward(self, batch: ImagesBatch) -> CameraMaps:
        """The maps of a batch."""
        features, depth = self.pictured(batch.images)
        shares = self._shares(depth, batch.depth_bins) * batch.camera_mask[:, :, None, None, None].to(depth.dtype)
        maps = self._collapsed(self._added_up(features, shares, batch.lift_pixels, batch.lift_depths))
        return CameraMaps(features, depth, shares, maps.fused, batch.frustum, maps.visual, maps.spatial)

    def map_from_images(self, images: Tensor, camera_mask: Tensor, pixels: Tensor, depths: Tensor) -> Tensor:
        """The `(1, C, H', W')` map of one frame's `(N, H, W, 3)` pictures: the form that is exported.

        The pictures are cast before anything else: TensorRT takes uint8 as an input of the network and nowhere else.
        """
        features, depth = self.pictured(images.to(torch.float32)[None])
        shares = torch.softmax(depth, 2) * camera_mask[None, :, None, None, None].to(depth.dtype)
        return self.lifted(features, shares, pixels[None], depths[None])

    def pictured(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, N, H, W, 3)` uint8 to `(B, N, C, h, w)` features and `(B, N, D, h, w)` logits of depth."""
        batch, number = images.shape[:2]
        weights = self.image.stem[0].weight
        pixels = (images.flatten(0, 1).permute(0, 3, 1, 2).to(torch.float32) - _MIDDLE_GRAY) * (1.0 / _GRAY_SPREAD)
        said = self.head(self.image(pixels.to(weights.dtype).contiguous(memory_format=torch.channels_last)))
        bins = self.config.pictures.depth.count
        depth, features = torch.split(said.unflatten(0, (batch, number)), [bins, self.config.feature_channels], 2)
        return features, depth

    def lifted(self, features: Tensor, shares: Tensor, pixels: Tensor, depths: Tensor) -> Tensor:
        """The map of features and shares of depth, gathered by the rows of a table.

        Args:
            features: `(B, N, C, h, w)`.
            shares: `(B, N, D, h, w)`.
            pixels: `(B, S, V)` rows of the features.
            depths: `(B, S, V)` rows of the shares.
        """
        return self._collapsed(self._looked_up(features, shares, pixels, depths)).fused

    def _collapsed(self, looked_up: Tensor) -> BranchMaps:
        maps = self.collapse(looked_up)
        return maps if isinstance(maps, BranchMaps) else BranchMaps(maps, maps, None)

    def _added_up(self, features: Tensor, shares: Tensor, pixels: Tensor, depths: Tensor) -> Tensor:
        """What `_looked_up` finds, in the form that trains faster: empty slots cost nothing, one pass sums the others.

        An `EmbeddingBag` is no operator of ONNX, so the exported graph has the other form.
        """
        (batch, slots, places), channels = pixels.shape, features.shape[2]
        heights = len(self.config.pictures.heights_m)
        # in float32: on the way back a pixel adds up what hundreds of places ask of it
        kind = torch.promote_types(features.dtype, torch.float32)
        by_pixel = features.permute(0, 1, 3, 4, 2).reshape(-1, channels).to(kind)
        by_depth = shares.permute(0, 1, 3, 4, 2).reshape(-1).to(kind)
        by_place = (batch, heights, slots // heights, places)
        number = pixels.view(by_place).permute(0, 3, 1, 2).reshape(-1, slots // heights)
        depth = depths.view(by_place).permute(0, 3, 1, 2).reshape(-1, slots // heights)
        filled = number < len(by_pixel)
        hits = filled.sum(1)
        summed = functional.embedding_bag(
            number[filled],
            by_pixel,
            offsets=(hits.cumsum(0) - hits).to(number.dtype),
            mode="sum",
            per_sample_weights=torch.index_select(by_depth, 0, depth[filled]),
        )
        rows, columns = lifted_size(self.grid, self.config.pictures)
        return summed.to(features.dtype).view(batch, rows, columns, heights * channels).permute(0, 3, 1, 2)

    def _looked_up(self, features: Tensor, shares: Tensor, pixels: Tensor, depths: Tensor) -> Tensor:
        """`(B, Z * C, H', W')`: of each height what the table finds; arguments as for `lifted`."""
        heights, (rows, columns) = len(self.config.pictures.heights_m), lifted_size(self.grid, self.config.pictures)
        by_pixel = features.permute(0, 1, 3, 4, 2).reshape(-1, features.shape[2])
        by_depth = shares.permute(0, 1, 3, 4, 2).reshape(-1)
        by_pixel = torch.cat([by_pixel, by_pixel.new_zeros(1, by_pixel.shape[1])])
        by_depth = torch.cat([by_depth, by_depth.new_zeros(1)])
        seen = _rows(by_pixel, pixels) * _rows(by_depth, depths)[..., None]
        summed = seen.unflatten(1, (heights, self.config.pictures.hits)).sum(2)
        return summed.permute(0, 1, 3, 2).reshape(pixels.shape[0], -1, rows, columns)

    def _shares(self, depth: Tensor, depth_bins: Tensor) -> Tensor:
        """`(B, N, D, h, w)` weights over depth, by what the network may know of it."""
        own = torch.softmax(depth, 2)
        if self.config.depth == "predicted":
            return own
        hit = depth_bins >= 0
        if self.config.depth == "expert" and self.training:
            hit = hit & _kept(hit, self.config.kept_range)
        true = one_hot_depth(torch.where(hit, depth_bins, -1), depth.shape[2]).to(own.dtype)
        if self.config.depth == "assistant":
            return true
        return torch.where(hit[:, :, None], true, own)


def _kept(hit: Tensor, share: tuple[float, float]) -> Tensor:
    """`(B, N, h, w)` bool: the hits that stay, of each frame a share drawn between two."""
    low, high = share
    by_frame = low + (high - low) * torch.rand(len(hit), 1, 1, 1, device=hit.device)
    return torch.rand(hit.shape, device=hit.device) < by_frame


def one_hot_depth(depth_bins: Tensor, num_bins: int) -> Tensor:
    """`(B, N, h, w)` bins to `(B, N, D, h, w)` float32, all zero where the bin is -1."""
    numbers = torch.arange(num_bins, device=depth_bins.device)
    return (depth_bins[:, :, None] == numbers[:, None, None]).to(torch.float32)


def _rows(table: Tensor, numbers: Tensor) -> Tensor:
    """Rows of a `(R, C)` or `(R,)` table: `Gather` in ONNX, where indexing would be `GatherND`."""
    return torch.index_select(table, 0, numbers.flatten()).unflatten(0, numbers.shape)


def _rows_of_batch(tables: Sequence[np.ndarray], num_rows: int) -> Tensor:
    """`(B, S, V)` int32: each frame's rows counted over the batch, "one past" as one past all of them."""
    stacked = torch.from_numpy(np.stack(tables))
    moved = stacked + (torch.arange(len(tables), dtype=torch.int32) * num_rows)[:, None, None]
    return torch.where(stacked == num_rows, len(tables) * num_rows, moved)
