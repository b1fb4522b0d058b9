"""A training whose loss is no number any more ends, with the last good checkpoint where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from understudy.errors import UnderstudyError
from understudy_training.loop import ranks

CHECK_STEPS = 50
"""Optimizer steps between two looks, because each makes the processor wait for the GPU."""


class Finite(Callback):
    """Ends a training soon after a loss that is not finite; must be the first of the callbacks.

    It looks every few steps, where a row of metrics is written, and before each checkpoint, at all processes' losses
    since the last look; before a checkpoint also at the weights, which a finite loss with an infinite gradient spoils.

    Args:
        folder: the run's, for the message.
        rows_every: a row of metrics after so many optimizer steps; 0 is none within epochs.
    """

    def __init__(self, folder: Path, rows_every: int = 0) -> None:
        self.folder, self.rows_every = folder, rows_every
        self.first: Tensor | None = None
        """Scalar: the first step with a loss that was not finite, counted from 1; 0 without."""

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Notes a loss without waiting for it; looks when it is time."""
        loss = outputs["loss"].detach()
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        step = trainer.global_step if stepped else trainer.global_step + 1
        now = torch.where(loss.isfinite(), torch.zeros_like(loss), torch.full_like(loss, step))
        self.first = now if self.first is None else torch.where(self.first > 0, self.first, now)
        if stepped and (step % CHECK_STEPS == 0 or (self.rows_every and step % self.rows_every == 0)):
            self._look(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Looks before the epoch's row is written."""
        self._look(trainer)

    def before_checkpoint(self, trainer: lightning.Trainer) -> None:
        """Looks at the losses and the weights; in every process.

        Raises:
            UnderstudyError: when one of them is not finite.
        """
        self._look(trainer)
        values = [value for value in trainer.lightning_module.state_dict().values() if value.is_floating_point()]
        if not bool(torch.stack([value.isfinite().all() for value in values]).all()):
            raise self._error(f"weights that are not finite after step {trainer.global_step}")

    def _look(self, trainer: lightning.Trainer) -> None:
        if self.first is None:
            return
        spoiled = float(ranks.summed((self.first > 0).float()))
        if spoiled:
            step = int(self.first) or trainer.global_step
            raise self._error(f"a loss that is not finite in step {step}")

    def _error(self, found: str) -> UnderstudyError:
        remedy = "lower schedule.peak_learning_rate or gradient_clip, or see understudy dataset check"
        wanted = "finite numbers; the last checkpoint before is kept"
        return UnderstudyError(f"training {self.folder}", found=found, wanted=wanted, remedy=remedy)
