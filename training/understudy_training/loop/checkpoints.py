"""Checkpoints to go on from: at each epoch's end and, when asked for, within epochs; each replaces the one before."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from understudy_training.loop import ranks
from understudy_training.loop.options import Interval
from understudy_training.loop.random_states import random_states, restore_random_states

LAST = "last.ckpt"


class Checkpoints(Callback):
    """Writes `last.ckpt` at the boundaries of optimizer steps; must be the last of the callbacks.

    A checkpoint is written under another name, brought to disk and renamed, so that there is a whole one at any time.
    Beside what Lightning keeps (weights, optimizer, schedule, loss scale, progress) it holds the random generators of
    every process and the time spent.

    Args:
        folder: where it lies.
        every: how often within an epoch; None is only at its end.
        before: called before each one; what it raises leaves the last one where it is.
    """

    def __init__(
        self,
        folder: Path,
        every: Interval | None,
        before: Callable[[lightning.Trainer], None] = lambda trainer: None,
    ) -> None:
        self.folder, self.every, self.before = folder, every or Interval(), before
        self.begun_s = self.saved_s = time.perf_counter()
        self.saved_step = 0
        self.earlier_s = 0.0
        self.states: dict[str, torch.Tensor] = {}

    @property
    def spent_s(self) -> float:
        """Wall time of the training, including what was spent before an interruption."""
        return self.earlier_s + time.perf_counter() - self.begun_s

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Sets the random generators to where they were."""
        self.saved_step = trainer.global_step
        if self.states and len(self.states["torch"]) == ranks.world_size():
            restore_random_states({name: state[ranks.rank()] for name, state in self.states.items()})

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Saves within an epoch when it is time."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and batch_idx + 1 < trainer.num_training_batches and self._is_time(trainer):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves at the end of an epoch."""
        self.save(trainer)

    def save(self, trainer: lightning.Trainer) -> None:
        """Replaces the last checkpoint."""
        self.before(trainer)
        unfinished = self.folder / f"{LAST}.part"
        trainer.save_checkpoint(unfinished, weights_only=False)
        if trainer.is_global_zero:
            with unfinished.open("rb") as stream:
                os.fsync(stream.fileno())
            unfinished.replace(self.folder / LAST)
        self.saved_s, self.saved_step = time.perf_counter(), trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback; called by every process."""
        states = {name: self._gathered(state) for name, state in random_states().items()}
        return {"random_states": states, "spent_s": self.spent_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's hook."""
        self.states, self.earlier_s = state_dict["random_states"], float(state_dict["spent_s"])

    def _gathered(self, state: torch.Tensor) -> torch.Tensor:
        device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
        return ranks.gathered(state.to(device)).cpu()

    def _is_time(self, trainer: lightning.Trainer) -> bool:
        if self.every.steps is not None:
            return trainer.global_step - self.saved_step >= self.every.steps
        if self.every.seconds is None:
            return False
        late = time.perf_counter() - self.saved_s >= self.every.seconds
        # clocks differ: it is time for all when it is for one
        return bool(ranks.summed(torch.tensor(float(late), device=trainer.strategy.root_device)) > 0)
