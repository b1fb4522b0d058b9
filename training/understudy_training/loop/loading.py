"""Batches for the loop, read by workers ahead of time, and the parts that a step is taken in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader

from understudy_training.batches import Batch, Collate, Views
from understudy_training.loop.order import StepSampler


@dataclass(frozen=True, eq=False)
class Part:
    """One part of an optimizer step, as a process sees it.

    Attributes:
        batch: what is looked at now.
        number: which part it is.
        step: with the first part, all parts of this process; else empty.
    """

    batch: Batch
    number: int
    step: tuple[Batch, ...]

    def to(self, device: torch.device) -> Part:
        """The same part on another device; of the later ones only the labels, which say what a loss is divided by."""
        batch = self.batch.to(device)
        labels = tuple(replace(later, boxes=later.boxes.to(device)) for later in self.step)
        return Part(batch, self.number, labels)


class StepLoader:
    """Parts of the steps that are left of the epoch in which the run stands.

    The workers begin when the first part is asked for, because only then is it known where the run stands.

    Args:
        views: the frames as the run sees them.
        collate: makes a batch of them.
        sampler: which ones, when.
        workers: processes that read ahead; 0 reads in between.
        prefetch: batches that each worker reads ahead.
    """

    def __init__(
        self, views: Views, collate: Collate, sampler: StepSampler, *, workers: int = 0, prefetch: int = 2
    ) -> None:
        self.steps, self.parts = sampler, sampler.division.parts
        self._batches: DataLoader[Any] = DataLoader(
            views,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            prefetch_factor=prefetch if workers else None,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its own, so that making an iterator moves nobody else's
        )

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Part]:
        batches = iter(self._batches)
        while step := tuple(islice(batches, self.parts)):
            for number, batch in enumerate(step):
                yield Part(batch, number, () if number else step)
