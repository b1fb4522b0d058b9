"""Channel-wise distillation (Shu et al. 2021, arXiv 2011.13256): where each channel is strong, as a distribution.

`T^2/(B C) sum over frames and channels of KL(softmax_hw(t/T) || softmax_hw(s/T))`, T = 4, weight 3 on logits. For
features the paper takes a far larger weight (50): set one with `level: low` or `high`. As there, a 1x1 convolution on
the student only where widths differ.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from understudy_training.distillation.adapters import DenseAdapter
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.terms.term import Losses, TermSettings, Widths, dense_maps, divided


class CWDConfig(TermSettings):
    """Agreement of where each channel is strong (channel-wise distillation), of the heatmap's logits or of features."""

    kind: Literal["cwd"] = "cwd"
    weight: float = Field(3.0, ge=0)
    temperature: float = Field(4.0, gt=0)
    level: Literal["logits", "low", "high"] = "logits"

    @property
    def asks(self) -> tuple[Asked, ...]:
        """Nothing for the logits, which are always there; else the whole map."""
        asked: dict[str, tuple[Asked, ...]] = {"logits": (), "low": ("low_map",), "high": ("high_map",)}
        return asked[self.level]

    def build(self, teacher: Widths, student: Widths) -> CWDTerm:
        """The term, with an adapter where the widths differ."""
        if self.level == "logits":
            return CWDTerm(self, nn.Identity())
        own, said = getattr(student, self.level), getattr(teacher, self.level)
        return CWDTerm(self, nn.Identity() if own == said else DenseAdapter(own, said))


class CWDTerm(nn.Module):
    """See `CWDConfig`."""

    def __init__(self, config: CWDConfig, adapter: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.adapter = adapter

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of frames times channels."""
        level = self.config.level
        said: Tensor = teacher.heatmap if level == "logits" else getattr(teacher, f"{level}_map")
        return centres.new_tensor(float(said.shape[0] * said.shape[1]))

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """Compares the channels' distributions."""
        if self.config.level == "logits":
            own, said = student.heatmap, teacher.heatmap
        else:
            own, said = dense_maps(student, teacher, self.config.level)
        total = channel_divergence(said, self.adapter(own), self.config.temperature)
        count = self.count(teacher, student.valid, centres)
        return {self.config.label: self.config.weight * divided(total, count, divisor)}


def channel_divergence(wanted: Tensor, found: Tensor, temperature: float) -> Tensor:
    """Sum over frames and channels of `T^2 KL` between the distributions over the cells of `(B, C, h, w)` maps."""
    wanted, found = ((dense.flatten(2) / temperature).log_softmax(dim=2) for dense in (wanted, found))
    return temperature**2 * (wanted.exp() * (wanted - found)).sum()
