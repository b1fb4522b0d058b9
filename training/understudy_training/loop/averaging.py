"""An exponential moving average of the weights, kept beside those that are trained."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn


class WeightAverage(Callback):
    """After each optimizer step: average = d * average + (1 - d) * weights, d = min(decay, (1 + n) / (10 + n)).

    n counts the steps; so the first averages follow the weights closely and the initial ones are soon forgotten.
    Running statistics of batch normalization are averaged like weights; integer buffers are copied.

    Args:
        module: whose parameters and buffers are averaged.
        decay: how much of the average stays after many steps.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.num_steps = 0
        self.average: dict[str, Tensor] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begins with the initial weights, or goes on with what a checkpoint held."""
        state = self.module.state_dict()
        self.average = {name: self.average.get(name, now).to(now.device, copy=True) for name, now in state.items()}

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Averages when the optimizer has stepped."""
        if trainer.global_step > self.num_steps:
            self.update()

    @torch.no_grad()
    def update(self) -> None:
        """One step of the average."""
        decay = min(self.decay, (1 + self.num_steps) / (10 + self.num_steps))
        for name, now in self.module.state_dict().items():
            kept = self.average[name]
            if now.is_floating_point():
                kept.lerp_(now, 1 - decay)
            else:
                kept.copy_(now)
        self.num_steps += 1

    def put_into(self, module: nn.Module) -> None:
        """Gives a module the averaged weights."""
        module.load_state_dict(self.average)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"num_steps": self.num_steps, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's hook."""
        self.num_steps, self.average = int(state_dict["num_steps"]), dict(state_dict["average"])
