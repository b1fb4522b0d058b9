"""Sums over the processes that train together; with one process, the value itself."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process among them."""
    return distributed.get_rank() if world_size() > 1 else 0


def summed(values: Tensor) -> Tensor:
    """Sum over all processes, without gradient."""
    if world_size() == 1:
        return values
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total


def gathered(values: Tensor) -> Tensor:
    """`(R, ...)`: the values of all processes, which must have equal shapes."""
    if world_size() == 1:
        return values.detach()[None]
    parts = [torch.empty_like(values) for _ in range(world_size())]
    distributed.all_gather(parts, values.detach().contiguous())
    return torch.stack(parts)
