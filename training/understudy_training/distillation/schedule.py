"""How much a term counts as the training goes on."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from understudy.configuration import Config


class TermSchedule(Config):
    """A term's share of its weight over the epochs; what is left out leaves it constant.

    `{stop_epoch: 2}` makes a first stage of a term (as FitNets' hints are meant), `{start_epoch: 2, warmup_epochs: 1}`
    lets it come in later, `{decay: cosine}` lets go of the teacher towards the end.
    """

    start_epoch: float = Field(0.0, ge=0)
    """Before it the term counts nothing."""
    stop_epoch: float | None = Field(None, gt=0)
    """From it on the term counts nothing; None is the end of the training."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Over so many epochs after the start the share grows linearly from 0 to 1."""
    decay: Literal["constant", "cosine"] = "constant"
    """After the warm-up: stay, or fall along half a cosine until the stop."""
    decay_to: float = Field(0.0, ge=0, le=1)
    """Share at the end of the cosine."""

    @model_validator(mode="after")
    def _stops_after_it_starts(self) -> TermSchedule:
        begun = self.start_epoch + self.warmup_epochs
        if self.stop_epoch is not None and self.stop_epoch <= begun:
            raise ValueError(f"stop_epoch: {self.stop_epoch} is not after start and warm-up, which end at {begun}")
        return self

    def share(self, progress: float, epochs: int) -> float:
        """The share, 0 to 1.

        Args:
            progress: how much of the training is done, 0 to 1.
            epochs: how many the whole training has.
        """
        epoch, stop = progress * epochs, epochs if self.stop_epoch is None else min(self.stop_epoch, epochs)
        if epoch < self.start_epoch or (self.stop_epoch is not None and epoch >= self.stop_epoch):
            return 0.0
        begun = self.start_epoch + self.warmup_epochs
        if epoch < begun:
            return (epoch - self.start_epoch) / self.warmup_epochs
        if self.decay == "constant":
            return 1.0
        done = min((epoch - begun) / max(stop - begun, 1e-9), 1.0)
        return self.decay_to + (1 - self.decay_to) * (1 + math.cos(math.pi * done)) / 2
