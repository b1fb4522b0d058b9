"""What a detector said about a batch, as the terms take it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

Asked = Literal[
    "low",
    "high",
    "low_map",
    "high_map",
    "low_attention",
    "high_attention",
    "pillars",
    "camera_map",
    "boxes",
    "trajectory",
    "occupancy",
]
"""What a term may look at besides heatmap, residuals and valid boxes; nothing else is computed or kept."""

WHOLE_MAPS = frozenset({"low_map", "high_map"})
"""What is large; a term that looks at a few cells only takes them as they are (`widens_maps`)."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A detector's outputs on a batch, reduced to what the terms look at.

    Attributes:
        heatmap: `(B, K, h, w)` logits.
        regression: `(B, 8, h, w)` residuals.
        low: `(B, N, 9, C)` first-stage features at the nine places of each labelled box.
        high: `(B, N, 9, C')` neck features at the same places.
        valid: `(B, N)` bool, boxes whose features count.
        low_map: `(B, C, h', w')` the first stage, or None where no term looks at it; so are all that follow.
        high_map: `(B, C', h, w)` the neck's output.
        low_attention: `(B, h', w')` the first stage's mean square over channels, of length 1 in each frame.
        high_attention: `(B, h, w)` the neck's.
        encoded: `(B, C, H, W)` the encoder's map; a student's.
        pillars: `(B, M, C)` features of the pillars that hold a point; a teacher's.
        pillar_points: `(B, M)` int32, points of each.
        pillar_cells: `(B, M)` int64, `row * W + column` of each; -1 in padded rows.
        camera_map: `(B, C, h', w')` the map lifted from the pictures.
        boxes: `(B, N, 7)` the labels, of which `valid` says whether they count; a student's.
        labels: `(B, N)` int64, their classes; a student's.
        camera_residual: `(B, C, h', w')` what a student's residual branch holds, if it has one, beside `camera_map`.
        trajectory: `(B, 1, h, w)` Gaussians where labeled objects are and were; a student's.
        occupancy: `(B, Z, h, w)` sum of the depth shares that fall into each voxel.
        voxel_weight: `(B, Z, h, w)` Gaussians of the labeled boxes in 3D; a student's.
    """

    heatmap: Tensor
    regression: Tensor
    low: Tensor
    high: Tensor
    valid: Tensor
    low_map: Tensor | None = None
    high_map: Tensor | None = None
    low_attention: Tensor | None = None
    high_attention: Tensor | None = None
    encoded: Tensor | None = None
    pillars: Tensor | None = None
    pillar_points: Tensor | None = None
    pillar_cells: Tensor | None = None
    camera_map: Tensor | None = None
    boxes: Tensor | None = None
    labels: Tensor | None = None
    camera_residual: Tensor | None = None
    trajectory: Tensor | None = None
    occupancy: Tensor | None = None
    voxel_weight: Tensor | None = None

    def to(self, device: torch.device) -> Answers:
        """The same answers on another device."""
        return Answers(**{name: part.to(device) for name, part in self.named().items()})

    def named(self) -> dict[str, Tensor]:
        """The tensors that are there, by attribute, in the order of the attributes."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def parts(self) -> tuple[Tensor, ...]:
        """The tensors that are there, in the order of the attributes."""
        return tuple(self.named().values())
