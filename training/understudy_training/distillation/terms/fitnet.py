"""Hints (FitNets, Romero et al. 2015, arXiv 1412.6550): the student's map, through a regressor, like the teacher's.

`1/2 ||T - r(S)||^2`, averaged over cells and channels so that the map's size does not decide the weight. In the paper
this is a first stage of its own; here that is `schedule: {stop_epoch: N}`, otherwise it goes on beside the labels.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from understudy_training.distillation.adapters import DenseAdapter
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.terms.term import Level, Losses, TermSettings, Widths, dense_maps, divided


class FitNetConfig(TermSettings):
    """Agreement of whole feature maps through a 1x1 regressor on the student (FitNets' hints)."""

    kind: Literal["fitnet"] = "fitnet"
    weight: float = Field(1.0, ge=0)
    level: Level = "low"
    """The paper's hint comes from the middle of the network."""

    @property
    def asks(self) -> tuple[Asked, ...]:
        """The whole map."""
        return ("low_map",) if self.level == "low" else ("high_map",)

    def build(self, teacher: Widths, student: Widths) -> FitNetTerm:
        """The term with its regressor."""
        return FitNetTerm(self, DenseAdapter(getattr(student, self.level), getattr(teacher, self.level)))


class FitNetTerm(nn.Module):
    """See `FitNetConfig`."""

    def __init__(self, config: FitNetConfig, adapter: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.adapter = adapter

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of cells times channels."""
        said: Tensor = getattr(teacher, f"{self.config.level}_map")
        return centres.new_tensor(float(said.numel()))

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """Compares the maps."""
        own, said = dense_maps(student, teacher, self.config.level)
        total = (self.adapter(own) - said).square().sum() / 2  # channels last, a third of the time of mse_loss
        count = self.count(teacher, student.valid, centres)
        return {self.config.label: self.config.weight * divided(total, count, divisor)}
