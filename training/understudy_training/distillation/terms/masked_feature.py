"""Fine-grained feature imitation (Wang et al. 2019, arXiv 1906.03609): features near objects, the rest left alone.

`1/(2 N_p) sum over cells and channels of I (r(S) - T)^2` with `N_p` the number of cells in the mask, and the released
weight 0.01. The paper's mask are the anchors whose IoU with an object is above half of the largest; a center head has
no anchors, so ours are the cells whose Gaussian of a label is at least that half. The paper's adaptation layer is a
3x3 convolution with ReLU; ours is 1x1 as for the other terms.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from understudy_training.distillation.adapters import Adapter
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.terms.term import Level, Losses, TermSettings, Widths, dense_maps, divided
from understudy_training.losses import cells_where, wide


class MaskedFeatureConfig(TermSettings):
    """Agreement of features near the labeled objects (fine-grained feature imitation)."""

    kind: Literal["masked_feature"] = "masked_feature"
    weight: float = Field(0.01, ge=0)
    level: Level = "high"
    near_from: float = Field(0.5, gt=0, le=1)
    """A cell is near an object where a label's Gaussian (1 at its center) is at least this."""

    @property
    def asks(self) -> tuple[Asked, ...]:
        """The whole map: the teacher does not know the student's mask."""
        return ("low_map",) if self.level == "low" else ("high_map",)

    def build(self, teacher: Widths, student: Widths) -> MaskedFeatureTerm:
        """The term with an adapter between the two widths."""
        return MaskedFeatureTerm(self, Adapter(getattr(student, self.level), getattr(teacher, self.level)))


class MaskedFeatureTerm(nn.Module):
    """See `MaskedFeatureConfig`."""

    widens_maps = True
    """Only the cells near objects are looked at: few of many."""

    def __init__(self, config: MaskedFeatureConfig, adapter: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.adapter = adapter

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of cells near an object."""
        return self._near(teacher, centres).sum()

    def _near(self, teacher: Answers, centres: Tensor) -> Tensor:
        """`(B, 1, h, w)` bool on the teacher's map: a coarser cell is near where any finer one is."""
        said: Tensor = getattr(teacher, f"{self.config.level}_map")
        size = (said.shape[-2], said.shape[-1])
        return functional.adaptive_max_pool2d(centres.amax(dim=1, keepdim=True), size) >= self.config.near_from

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """`centres` is the `(B, K, h, w)` target heat-map, whose Gaussians make the mask."""
        own, said = dense_maps(student, teacher, self.config.level)
        near = self._near(teacher, centres)
        away = self.adapter(wide(cells_where(own, near[:, 0]))) - wide(cells_where(said, near[:, 0]))
        total = away.square().sum() / 2
        return {self.config.label: self.config.weight * divided(total, near.sum(), divisor)}
