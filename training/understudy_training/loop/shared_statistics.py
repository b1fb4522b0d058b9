"""Batch normalization over the batches of all processes.

torch's own SyncBatchNorm does the same for GPUs only. This one is made of plain operations and one sum over the
processes each way, so it runs wherever torch does, and two processes compute what one would with both batches.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from understudy_training.loop.ranks import summed, world_size
from understudy_training.losses import wide


class SharedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics are those of all processes' batches together; in evaluation, the same."""

    def forward(self, input: Tensor) -> Tensor:
        """`(B, C, H, W)` normalized."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        assert self.weight is not None
        assert self.bias is not None
        mean, variance, count = shared_moments(input)
        self._remember(mean, variance, count)
        normalized: Tensor = _Normalize.apply(input, self.weight, self.bias, mean, variance, count, self.eps)  # type: ignore[no-untyped-call]
        return normalized

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        unbiased = variance.double() * (count / (count - 1).clamp(min=1))
        self.running_var.lerp_(unbiased.to(variance.dtype), self.momentum)


@torch.no_grad()
def shared_moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean `(C,)`, biased variance `(C,)` and number of values for each channel, over all processes.

    Each process contributes number, sum and sum of squares, added in float64, where the difference that gives the
    variance loses nothing that float32 could hold.
    """
    count = values.numel() // values.shape[1]
    variance, mean = torch.var_mean(wide(values), dim=(0, 2, 3), correction=0)
    mean, variance = mean.double(), variance.double()
    number = mean.new_tensor([float(count)])
    totals = summed(torch.cat([number, count * mean, count * (variance + mean.square())]))
    total_mean, total_square = (totals[1:] / totals[0]).chunk(2)
    total_variance = (total_square - total_mean.square()).clamp(min=0)
    dtype = wide(values[:0]).dtype
    return total_mean.to(dtype), total_variance.to(dtype), totals[0]


class _Normalize(torch.autograd.Function):
    """Normalization by given moments that depend on the input: its gradient goes through them, over all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(values, weight, mean, (variance + eps).rsqrt(), count)
        return functional.batch_norm(values, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, scale, count = ctx.saved_tensors
        gradient = wide(gradients[0])
        centered = wide(values) - _by_channel(mean)
        by_bias = gradient.sum((0, 2, 3))
        by_weight = (gradient * centered).sum((0, 2, 3)) * scale
        means = (summed(torch.cat([by_bias, by_weight]).double()) / count).to(gradient.dtype)
        mean_gradient, mean_projected = means.chunk(2)
        inner = gradient - _by_channel(mean_gradient) - centered * _by_channel(scale * mean_projected)
        by_values = (inner * _by_channel(weight * scale)).to(values.dtype)
        return by_values, by_weight.to(weight.dtype), by_bias.to(weight.dtype), None, None, None, None


def _by_channel(values: Tensor) -> Tensor:
    return values[None, :, None, None]


def share_statistics(module: nn.Module) -> nn.Module:
    """Replaces every batch normalization inside by one over all processes, with the same parameters and buffers."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(module, name, _shared(child))
        else:
            share_statistics(child)
    return module


def _shared(original: nn.BatchNorm2d) -> SharedBatchNorm2d:
    replacement = SharedBatchNorm2d(original.num_features, original.eps, original.momentum)
    for name, parameter in original.named_parameters():
        setattr(replacement, name, parameter)
    for name, buffer in original.named_buffers():
        setattr(replacement, name, buffer)
    return replacement.train(original.training)
