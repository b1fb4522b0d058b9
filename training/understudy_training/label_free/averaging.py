"""Aggregation of weak models: a running average of the weights over the steps of the last rounds.

Source: LiSe (arXiv 2407.08569), whose average of whole rounds with a decay of 0.999 would keep the first round's
weights; over the optimizer's steps it averages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from understudy.errors import InputError
from understudy_training.batches import TrainingFrames
from understudy_training.models.detector import BevDetector

_STEPS = "num_steps"


class WeightAverager:
    """average = d * average + (1 - d) * weights after each step of the rounds from `start_round` on.

    The average begins as the first weights it is shown. d = min(decay, (1 + k) / (10 + k)) with k steps averaged
    so far; without the `ramp`, d = decay. So a decay of 0 ends with the last weights, and one of 1, without the ramp,
    stays with the first. Running statistics of batch normalization are not averaged: `reestimate` makes them anew.

    Args:
        start_round: rounds before it are passed over.
        decay: how much of the average stays after a step.
        ramp: whether the first steps keep less.
    """

    def __init__(self, start_round: int, decay: float, *, ramp: bool = True) -> None:
        self.start_round, self.decay, self.ramp = start_round, decay, ramp
        self.num_steps = 0
        self.average: list[Tensor] = []

    @torch.no_grad()
    def update(self, round_number: int, weights: list[Tensor]) -> None:
        """One step of a round: the weights after it."""
        if round_number < self.start_round:
            return
        if not self.average:
            self.average = [value.detach().clone() for value in weights]
            self.num_steps = 1
            return
        decay = min(self.decay, (1 + self.num_steps) / (10 + self.num_steps)) if self.ramp else self.decay
        for kept, now in zip(self.average, weights, strict=True):
            kept.lerp_(now.detach().to(kept.device), 1 - decay)
        self.num_steps += 1

    @contextmanager
    def following(self, round_number: int) -> Iterator[None]:
        """Within it, every optimizer's steps are averaged; train one model in it, with one optimizer."""

        def after_step(optimizer: Optimizer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            self.update(round_number, [weight for group in optimizer.param_groups for weight in group["params"]])

        handle = register_optimizer_step_post_hook(after_step)
        try:
            yield
        finally:
            handle.remove()

    @torch.no_grad()
    def put_into(self, module: nn.Module) -> None:
        """Gives a module the averaged weights; its parameters must be those that were averaged."""
        for weight, kept in zip(module.parameters(), self.average, strict=True):
            weight.copy_(kept)

    def write(self, path: Path) -> None:
        """Keeps the average for a later round."""
        tensors = {f"{number:05d}": value.cpu().contiguous() for number, value in enumerate(self.average)}
        unfinished = path.with_name(f"{path.name}.part")
        save_file({**tensors, _STEPS: torch.tensor(self.num_steps)}, unfinished)
        unfinished.replace(path)

    def read(self, path: Path) -> None:
        """Goes on with what was kept.

        Raises:
            InputError: when the file is missing or damaged.
        """
        try:
            tensors = load_file(path)
            self.num_steps = int(tensors.pop(_STEPS))
        except (OSError, KeyError, SafetensorError) as error:
            raise InputError(f"{path}", found=str(error), wanted="averaged weights") from error
        self.average = [tensors[name] for name in sorted(tensors)]


@torch.no_grad()
def reestimate(detector: BevDetector, frames: TrainingFrames, batch_size: int) -> None:
    """Makes the running statistics of batch normalization those of the frames, seen with the present weights.

    Each batch counts alike; a last one that is not full is left out where there are others.
    """
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    detector.train()
    last = max(len(frames) - batch_size, 0)
    for start in range(0, last + 1, batch_size):
        shown = [frames[index] for index in range(start, min(start + batch_size, len(frames)))]
        detector(detector.collate([frame.observed for frame in shown]))
    detector.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
