"""What a LiDAR teacher's map has beyond a camera assistant's, in the assistant's units (MonoTAKD, arXiv 2404.04910).

Two networks' channels have different scales, so the teacher's map is brought to the assistant's before anything is
subtracted. Both are frozen, so what is known of them is summed over the first maps that come by in training, and stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from understudy_training.loop import ranks

ResidualMode = Literal["top", "binary", "max"]
"""top: the cells where teacher and assistant differ most; max: entries from 0.6 of the largest on (the release);
binary: the same entries as ones (what the paper calls binarized)."""


@dataclass(frozen=True, eq=False)
class Matched:
    """Two maps that may be subtracted, and the unit of each channel.

    Attributes:
        teacher: `(B, C, H, W)` the teacher's map in the assistant's channels and scale.
        unit: `(1, C, 1, 1)` what counts as a difference of 1: the spread of the assistant's channels.
    """

    teacher: Tensor
    unit: Tensor


Scale = Callable[[Tensor, Tensor], Matched]
"""Takes the teacher's and the assistant's maps."""

TOP_CELLS = 0.1
FIT_MAPS = 256
OF_LARGEST = 0.6
_FEWEST_VARIANCE = 1e-6


def unscaled(f_t: Tensor, f_a: Tensor) -> Matched:
    """The teacher's map as it is."""
    return Matched(f_t, f_a.new_ones((1, f_a.shape[1], 1, 1)))


def residual_target(f_t: Tensor, f_a: Tensor, mode: ResidualMode, *, top: float = TOP_CELLS) -> Tensor:
    """What the student's residual branch should hold, frame by frame; 0 where both maps are equal.

    Args:
        f_t: `(B, C, H, W)` the teacher's map, matched.
        f_a: `(B, C, H, W)` the assistant's.
        mode: see `ResidualMode`.
        top: share of a frame's cells that "top" keeps.
    """
    away = f_t - f_a
    if mode == "top":
        return away * _top_cells(away.square().sum(dim=1, keepdim=True), top)
    size = away.abs()
    kept = (size >= OF_LARGEST * size.amax(dim=(1, 2, 3), keepdim=True)) & (size > 0)
    return torch.where(kept, size if mode == "max" else torch.ones_like(size), torch.zeros_like(size))


def _top_cells(strength: Tensor, top: float) -> Tensor:
    """`(B, 1, H, W)` 1 in the strongest cells of each frame, and in those that are as strong as the last of them."""
    flat = strength.flatten(1)
    weakest = flat.topk(max(1, round(top * flat.shape[1])), dim=1).values[:, -1]
    return (strength >= weakest[:, None, None, None]).to(strength.dtype)


class ChannelStatistics(nn.Module):
    """Mean and spread of each channel over all cells of the maps that it was shown."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("maps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("average", torch.zeros(1, channels, 1, 1))
        self.register_buffer("square", torch.ones(1, channels, 1, 1))

    @property
    def num_maps(self) -> int:
        """How many it was shown."""
        return int(cast(Tensor, self.maps))

    def see(self, dense: Tensor) -> None:
        """Counts `(B, C, H, W)` maps in, and as many of every process that trains along."""
        maps, dense, processes = cast(Tensor, self.maps), dense.detach(), ranks.world_size()
        maps.add_(len(dense) * processes)
        share = len(dense) * processes / int(maps)
        moments = torch.stack(
            [dense.mean(dim=(0, 2, 3), keepdim=True), dense.square().mean(dim=(0, 2, 3), keepdim=True)]
        )
        average, square = ranks.summed(moments) / processes
        self.mean.lerp_(average, share)
        cast(Tensor, self.square).lerp_(square, share)

    @property
    def mean(self) -> Tensor:
        """`(1, C, 1, 1)`; 0 before anything was seen."""
        return cast(Tensor, self.average)

    @property
    def spread(self) -> Tensor:
        """`(1, C, 1, 1)` standard deviation; 1 before anything was seen, and in channels that never vary."""
        variance = cast(Tensor, self.square) - self.mean.square()
        return torch.where(variance > _FEWEST_VARIANCE, variance, torch.ones_like(variance)).sqrt()


class Standardization(nn.Module):
    """Each of the teacher's channels moved and stretched to the mean and spread of the assistant's same channel."""

    def __init__(self, channels: int, *, fit_maps: int = FIT_MAPS) -> None:
        super().__init__()
        self.fit_maps = fit_maps
        self.teacher, self.assistant = ChannelStatistics(channels), ChannelStatistics(channels)

    def forward(self, f_t: Tensor, f_a: Tensor) -> Matched:
        """See `Scale`; in training the first maps are counted in."""
        if self.training and self.teacher.num_maps < self.fit_maps:
            self.teacher.see(f_t)
            self.assistant.see(f_a)
        unit = self.assistant.spread
        return Matched((f_t - self.teacher.mean) / self.teacher.spread * unit + self.assistant.mean, unit)


class FittedProjection(nn.Module):
    """The 1x1 convolution that carries the teacher's map closest to the assistant's, fitted and then frozen.

    Least squares with a small ridge over the first `fit_maps` maps that come by in training; the fit so far serves
    meanwhile. Unlike `Standardization` it does not ask that channels of the same number mean the same.
    """

    def __init__(self, teacher_channels: int, channels: int, *, fit_maps: int = FIT_MAPS, ridge: float = 1e-3) -> None:
        super().__init__()
        self.assistant = ChannelStatistics(channels)
        self.fit_maps, self.ridge = fit_maps, ridge
        rows = teacher_channels + 1
        self.register_buffer("inner", torch.zeros(rows, rows, dtype=torch.float64))
        self.register_buffer("outer", torch.zeros(rows, channels, dtype=torch.float64))
        self.register_buffer("weight", torch.zeros(rows, channels))

    def forward(self, f_t: Tensor, f_a: Tensor) -> Matched:
        """See `Scale`; in training the first maps are fitted to."""
        if self.training and self.assistant.num_maps < self.fit_maps:
            self.assistant.see(f_a)
            self._fit(f_t, f_a)
        weight = cast(Tensor, self.weight)
        projected: Tensor = torch.einsum("bchw,cd->bdhw", f_t, weight[:-1]) + _by_channel(weight[-1])
        return Matched(projected, self.assistant.spread)

    def _fit(self, f_t: Tensor, f_a: Tensor) -> None:
        rows, wanted = (dense.detach().movedim(1, -1).flatten(0, -2) for dense in (f_t, f_a))
        rows, inner, outer = _with_ones(rows), cast(Tensor, self.inner), cast(Tensor, self.outer)
        inner.add_(ranks.summed(rows.T @ rows))
        outer.add_(ranks.summed(rows.T @ wanted))
        ridge = self.ridge * inner.diagonal().mean() * torch.eye(len(inner), dtype=inner.dtype, device=inner.device)
        cast(Tensor, self.weight).copy_(torch.linalg.solve(inner + ridge, outer).float())


def _with_ones(rows: Tensor) -> Tensor:
    return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)


def _by_channel(values: Tensor) -> Tensor:
    return values.float()[None, :, None, None]
