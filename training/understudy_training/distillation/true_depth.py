"""True depth for a lifting network: LiDAR hits as bins of its depth distribution.

MonoTAKD's assistant (arXiv 2404.04910) takes the mean depth of each block of pixels that a feature stands for, one-hot,
and nothing where no point fell; VCD's expert (arXiv 2310.15670) the nearest hit (`understudy.lifting.depth_targets`),
and its own estimate elsewhere. The releases fill the first by loops over pixels; here whole maps are computed at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from understudy.bundle.inputs import Pictures
from understudy.network_pictures import network_camera
from understudy.rig import Camera


def mean_of_blocks(depth_m: NDArray[np.floating], block: int) -> NDArray[np.float64]:
    """Mean of the depths in each block of pixels: `(..., H, W)` to `(..., H / block, W / block)`.

    Pixels without depth (0, NaN or infinite) do not count; a block without any is 0.
    """
    *more, height, width = depth_m.shape
    known = np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, 0.0)
    blocks = known.reshape(*more, height // block, block, width // block, block)
    mean: NDArray[np.float64] = blocks.sum((-3, -1)) / np.maximum((blocks > 0).sum((-3, -1)), 1)
    return mean


def mean_depth_bins(points: NDArray[np.floating], cameras: Sequence[Camera], pictures: Pictures) -> NDArray[np.int16]:
    """`(N, h, w)` bin of the mean depth of the points in each cell of the pictures' features, -1 where there is none.

    Args:
        points: `(P, 3)` or more columns, in ego.
        cameras: in the network's order.
        pictures: what the network takes.
    """
    (rows, columns), stride = pictures.feature_size, pictures.feature_stride
    total, hits = np.zeros((len(cameras), rows * columns)), np.zeros((len(cameras), rows * columns))
    for number, camera in enumerate(cameras):
        seen_by = network_camera(camera, pictures.width_px, pictures.height_px)
        pixel, depth_m = seen_by.project(points[:, :3])
        seen = np.flatnonzero((depth_m > 0) & (np.abs(pixel) < 1e6).all(axis=1))
        column, row = ((pixel[seen, axis] + 0.5) // stride for axis in (0, 1))
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        cell = (row * columns + column)[inside].astype(np.int64)
        scaled_m = depth_m[seen][inside] * (pictures.focal_px / seen_by.fx_px)
        total[number] += np.bincount(cell, scaled_m, rows * columns)
        hits[number] += np.bincount(cell, minlength=rows * columns)
    bins = np.where(hits > 0, pictures.depth.bin_of(total / np.maximum(hits, 1)), -1)
    return bins.reshape(len(cameras), rows, columns).astype(np.int16)


def drop_hits(
    bins: NDArray[np.int16], generator: np.random.Generator, *, keep: tuple[float, float] = (0.3, 0.7)
) -> NDArray[np.int16]:
    """Bins of a frame of which a part stays, the share drawn from `keep`; the rest become -1.

    A made-up LiDAR gives exact depth everywhere it looks, which would make an expert trivially perfect.
    """
    kept = generator.random(bins.shape) < generator.uniform(*keep)
    return np.where(kept, bins, np.int16(-1))


def one_hot_depth(bins: Tensor, count: int) -> Tensor:
    """`(..., h, w)` bins as `(..., D, h, w)` float32 distributions; all 0 where the bin is -1."""
    return functional.one_hot(bins.long() + 1, count + 1)[..., 1:].movedim(-1, -3).float()


def overridden_depth(logits: Tensor, bins: Tensor) -> Tensor:
    """VCD's `m onehot(d) + (1 - m) softmax(logits)`, m = 1 where something was hit.

    Args:
        logits: `(..., D, h, w)` of the network's own estimate.
        bins: `(..., h, w)` true bins, -1 where nothing was hit.
    """
    own = logits.softmax(dim=-3)
    return torch.where((bins >= 0).unsqueeze(-3), one_hot_depth(bins, logits.shape[-3]).to(own.dtype), own)
