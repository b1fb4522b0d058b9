"""What a teacher said about a batch, as the terms take it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Answers:
    """A detector's outputs on a batch, reduced to what the terms look at.

    Attributes:
        heatmap: `(B, K, h, w)` logits.
        regression: `(B, 8, h, w)` residuals.
        low: `(B, N, 9, C)` first-stage features at the nine places of each labelled box.
        high: `(B, N, 9, C')` neck features at the same places.
        valid: `(B, N)` bool, boxes whose features count.
    """

    heatmap: Tensor
    regression: Tensor
    low: Tensor
    high: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> Answers:
        """The same answers on another device."""
        return Answers(*(part.to(device) for part in self.parts()))

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The tensors in the order of the attributes."""
        return self.heatmap, self.regression, self.low, self.high, self.valid
