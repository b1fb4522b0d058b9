"""What a LiDAR teacher's map has beyond a camera assistant's, in the assistant's units (MonoTAKD, arXiv 2404.04910).

Two networks' channels have different scales, so the teacher's map is brought to the assistant's before anything is
subtracted. Both are frozen: their statistics are sums over what was seen so far, not moving averages, and settle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

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
    """Mean and spread of each channel over all cells seen in training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("cells", torch.zeros((), dtype=torch.float64))
        self.register_buffer("total", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(channels, dtype=torch.float64))

    def see(self, dense: Tensor) -> None:
        """Adds the cells of a `(B, C, H, W)` map."""
        rows = dense.detach().double().movedim(1, -1).flatten(0, -2)
        cast(Tensor, self.cells).add_(len(rows))
        cast(Tensor, self.total).add_(rows.sum(0))
        cast(Tensor, self.squares).add_(rows.square().sum(0))

    @property
    def mean(self) -> Tensor:
        """`(1, C, 1, 1)` float32; 0 before anything was seen."""
        return _by_channel(self._mean)

    @property
    def spread(self) -> Tensor:
        """`(1, C, 1, 1)` float32 standard deviation; 1 before anything was seen, and in channels that never vary."""
        cells, squares = cast(Tensor, self.cells), cast(Tensor, self.squares)
        variance = squares / cells.clamp(min=1) - self._mean.square()
        return _by_channel(torch.where(variance > _FEWEST_VARIANCE, variance, torch.ones_like(variance)).sqrt())

    @property
    def _mean(self) -> Tensor:
        return cast(Tensor, self.total) / cast(Tensor, self.cells).clamp(min=1)


class Standardization(nn.Module):
    """Each of the teacher's channels moved and stretched to the mean and spread of the assistant's same channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.teacher, self.assistant = ChannelStatistics(channels), ChannelStatistics(channels)

    def forward(self, f_t: Tensor, f_a: Tensor) -> Matched:
        """See `Scale`; in training both maps are counted in first."""
        if self.training:
            self.teacher.see(f_t)
            self.assistant.see(f_a)
        unit = self.assistant.spread
        return Matched((f_t - self.teacher.mean) / self.teacher.spread * unit + self.assistant.mean, unit)


class FittedProjection(nn.Module):
    """The 1x1 convolution that carries the teacher's map closest to the assistant's, fitted and then frozen.

    Least squares with a small ridge over the first `fit_maps` maps that come by in training; the fit so far serves
    meanwhile. Unlike `Standardization` it does not ask that channels of the same number mean the same.
    """

    def __init__(self, teacher_channels: int, channels: int, *, fit_maps: int = 256, ridge: float = 1e-3) -> None:
        super().__init__()
        self.assistant = ChannelStatistics(channels)
        self.fit_maps, self.ridge = fit_maps, ridge
        rows = teacher_channels + 1
        self.register_buffer("seen_maps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("inner", torch.zeros(rows, rows, dtype=torch.float64))
        self.register_buffer("outer", torch.zeros(rows, channels, dtype=torch.float64))
        self.register_buffer("weight", torch.zeros(rows, channels))

    def forward(self, f_t: Tensor, f_a: Tensor) -> Matched:
        """See `Scale`; in training the first maps are fitted to."""
        if self.training:
            self.assistant.see(f_a)
            if int(cast(Tensor, self.seen_maps)) < self.fit_maps:
                self._fit(f_t, f_a)
        weight = cast(Tensor, self.weight)
        projected: Tensor = torch.einsum("bchw,cd->bdhw", f_t, weight[:-1]) + _by_channel(weight[-1])
        return Matched(projected, self.assistant.spread)

    def _fit(self, f_t: Tensor, f_a: Tensor) -> None:
        rows = _with_ones(f_t.detach().double().movedim(1, -1).flatten(0, -2))
        inner, outer = cast(Tensor, self.inner), cast(Tensor, self.outer)
        inner.add_(rows.T @ rows)
        outer.add_(rows.T @ f_a.detach().double().movedim(1, -1).flatten(0, -2))
        cast(Tensor, self.seen_maps).add_(len(f_t))
        ridge = self.ridge * inner.diagonal().mean() * torch.eye(len(inner), dtype=inner.dtype, device=inner.device)
        cast(Tensor, self.weight).copy_(torch.linalg.solve(inner + ridge, outer).float())


def _with_ones(rows: Tensor) -> Tensor:
    return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)


def _by_channel(values: Tensor) -> Tensor:
    return values.float()[None, :, None, None]
