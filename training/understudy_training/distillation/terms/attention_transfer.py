"""Attention transfer (Zagoruyko and Komodakis 2017, arXiv 1612.03928): where a map is strong, whatever its channels.

Each map becomes its mean square over the channels, divided by its length; the term is `beta/2` times the mean squared
difference. The paper writes the plain norm and says that beta is 1000 divided by the number of the map's elements and
the batch size; the release (szagoruyko/attention-transfer) takes the mean square, as here, without the half.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.asking import of_length_one
from understudy_training.distillation.sampling import on_grid_of
from understudy_training.distillation.terms.term import Level, Losses, TermSettings, Widths, divided


class AttentionTransferConfig(TermSettings):
    """Agreement of where a feature map is strong (activation-based attention transfer); widths may differ."""

    kind: Literal["attention_transfer"] = "attention_transfer"
    beta: float = Field(1000.0, ge=0)
    level: Level = "high"

    @property
    def asks(self) -> tuple[Asked, ...]:
        """The attention only: one number for each cell."""
        return ("low_attention",) if self.level == "low" else ("high_attention",)

    def build(self, teacher: Widths, student: Widths) -> AttentionTransferTerm:
        """The term; it learns nothing."""
        return AttentionTransferTerm(self)


class AttentionTransferTerm(nn.Module):
    """See `AttentionTransferConfig`."""

    def __init__(self, config: AttentionTransferConfig) -> None:
        super().__init__()
        self.config = config

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of cells."""
        said: Tensor = getattr(teacher, f"{self.config.level}_attention")
        return centres.new_tensor(float(said.numel()))

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """Compares the attention, the student's on the teacher's cells."""
        own: Tensor = getattr(student, f"{self.config.level}_attention")
        said: Tensor = getattr(teacher, f"{self.config.level}_attention")
        own = of_length_one(on_grid_of(own[:, None], said)[:, 0])
        total = (own - said).square().sum() / 2
        count = self.count(teacher, student.valid, centres)
        return {self.config.label: self.config.beta * divided(total, count, divisor)}
