"""Which frames are shown in which step: decided by seed and step, whatever number of processes shares the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from understudy.errors import InputError, RecipeError

WINDOW_SHARDS = 4
"""Shards whose frames are mixed with each other."""


@runtime_checkable
class Sharded(Protocol):
    """A data set in files of many frames each, slow to read here and there, fast to read one file after the other."""

    def shard_of(self, index: int) -> int:
        """Number of the file that holds a frame, cheaply."""


def shards_of(dataset: object, num_samples: int) -> NDArray[np.int64] | None:
    """`(num_samples,)` shard of each sample; None where the data set has none."""
    if not isinstance(dataset, Sharded):
        return None
    return np.array([dataset.shard_of(index) for index in range(num_samples)], np.int64)


def epoch_order(num_samples: int, seed: int, epoch: int, shards: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """`(num_samples,)` the samples in the order of an epoch.

    With shards, these are shuffled, and within windows of a few of them the frames; so only a few are open at a time.
    """
    generator = np.random.default_rng([seed, epoch])
    if shards is None:
        return generator.permutation(num_samples)
    names = generator.permutation(np.unique(shards))
    windows = [names[start : start + WINDOW_SHARDS] for start in range(0, len(names), WINDOW_SHARDS)]
    return np.concatenate([generator.permutation(np.flatnonzero(np.isin(shards, window))) for window in windows])


@dataclass(frozen=True)
class Division:
    """How a step's frames are divided.

    Attributes:
        batch_size: frames of one optimizer step, all processes and parts together.
        parts: how many times each process computes gradients before the optimizer steps.
        world_size: processes.
        rank: this one.
    """

    batch_size: int
    parts: int = 1
    world_size: int = 1
    rank: int = 0

    @property
    def part_size(self) -> int:
        """Frames that a process looks at at once."""
        return self.batch_size // (self.parts * self.world_size)

    def mine(self, part: int) -> slice:
        """Where this process's frames for a part lie among those of a step."""
        start = (self.rank * self.parts + part) * self.part_size
        return slice(start, start + self.part_size)


def divide(batch_size: int, num_samples: int, parts: int, world_size: int, rank: int = 0) -> Division:
    """Divides the recipe's batch; with fewer frames than a batch, all of them are one.

    Raises:
        RecipeError: when the batch cannot be divided evenly.
        InputError: when there are too few frames.
    """
    shares = parts * world_size
    if batch_size % shares:
        found = f"{batch_size} frames over {world_size} processes in {parts} parts"
        remedy = f"make it a multiple of {shares}, or change schedule.accumulate or --devices"
        raise RecipeError("data.batch_size", found=found, wanted="equal shares", remedy=remedy)
    if num_samples < shares:
        raise InputError("training data", found=f"{num_samples} frames", wanted=f"at least {shares}, one a share")
    if num_samples < batch_size and num_samples % shares:
        # Dropping the rest would make the batch, and so the run, depend on the number of processes.
        found, wanted = f"{num_samples} frames, fewer than a batch", f"a multiple of {shares}, for equal shares"
        raise InputError("training data", found=found, wanted=wanted, remedy="choose a smaller data.batch_size")
    return Division(min(batch_size, num_samples), parts, world_size, rank)


def steps_of_epoch(num_samples: int, batch_size: int) -> int:
    """Optimizer steps of an epoch: those of a last, smaller step are left out; fewer frames than a batch are one."""
    return num_samples // min(batch_size, num_samples)


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Lists of (epoch, index), one for each part of each step that is left of the epoch in which the run stands.

    Args:
        num_samples: frames of an epoch; those of a last, smaller step are left out.
        seed: decides the order with the epoch.
        division: this process's share.
        steps_done: optimizer steps of the whole run so far; asked when an epoch's iteration begins.
        shards: shard of each sample, or None.
    """

    def __init__(
        self,
        num_samples: int,
        seed: int,
        division: Division,
        steps_done: Callable[[], int],
        shards: NDArray[np.int64] | None = None,
    ) -> None:
        self.num_samples, self.seed, self.division = num_samples, seed, division
        self.steps_done, self.shards = steps_done, shards

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return steps_of_epoch(self.num_samples, self.division.batch_size)

    def __len__(self) -> int:
        return self.steps_per_epoch * self.division.parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, done = divmod(self.steps_done(), self.steps_per_epoch)
        order = epoch_order(self.num_samples, self.seed, epoch, self.shards)
        for step in range(done, self.steps_per_epoch):
            start = step * self.division.batch_size
            frames = order[start : start + self.division.batch_size]
            for part in range(self.division.parts):
                yield [(epoch, int(index)) for index in frames[self.division.mine(part)]]
