"""VCD (arXiv 2310.15670): a vision-centric expert, the student's own network with LiDAR depth, teaches it.

`traj`: the bird's-eye map before the head like the expert's, where labeled objects are and were. `occ`: the depth
distributions, as voxels near labeled objects, like the expert's. The published `w / sum M` counts the sum over channels
(w = 0.4 for 256); here the mean over channels counts w * 256 = 102.4, the same at 256 and no larger for wider maps.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from understudy.errors import RecipeError
from understudy_training.distillation.adapters import Adapter
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.occupancy import OccupancyGeometry, occupancy
from understudy_training.distillation.terms.term import Losses, TermSettings, Widths, dense_maps, divided
from understudy_training.losses import cells_where, wide

TRAJECTORY_WEIGHT = 102.4
OCCUPANCY_WEIGHT = 4.0
_ADDED_VARIANCE = 1e-5


class VCDConfig(TermSettings):
    """Agreement with an expert that sees the LiDAR's depth, along objects' trajectories and in voxels (VCD)."""

    kind: Literal["vcd"] = "vcd"
    trajectory_weight: float = Field(TRAJECTORY_WEIGHT, ge=0)
    occupancy_weight: float = Field(OCCUPANCY_WEIGHT, ge=0)
    """0 leaves the voxels out, as the release does."""
    past_frames: int = Field(4, ge=0)
    """Samples before the current one whose boxes count too; the data set must be one of drives, with poses."""

    @property
    def asks(self) -> tuple[Asked, ...]:
        """The map before the head, where objects were, and what is occupied."""
        return ("high_map", "trajectory", *(("occupancy",) if self.occupancy_weight else ()))

    def build(self, teacher: Widths, student: Widths) -> VCDTerm:
        """The term, with an adapter where the widths differ.

        Raises:
            RecipeError: when voxels are asked of a network without cameras.
        """
        for name, widths in (("a teacher", teacher), ("a student", student)):
            if self.occupancy_weight and not widths.camera:
                remedy = "occupancy_weight: 0 compares trajectories alone"
                raise RecipeError("term vcd", found=f"{name} without cameras", wanted="one with", remedy=remedy)
        same = teacher.high == student.high
        return VCDTerm(self, nn.Identity() if same else Adapter(student.high, teacher.high))


class VCDTerm(nn.Module):
    """See `VCDConfig`.

    The mask's sum is that of the part of the batch at hand, as is the variance that the expert's map is divided by.
    """

    widens_maps = True
    """Only cells within the mask are looked at."""

    def __init__(self, config: VCDConfig, adapter: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.adapter = adapter

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of frames."""
        return centres.new_tensor(float(len(centres)))

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """`centres` is not looked at: the mask of trajectories holds the current boxes as well."""
        assert student.trajectory is not None
        frames = self.count(teacher, student.valid, centres)
        own, said = dense_maps(student, teacher, "high")
        along = trajectory_loss(wide(said), own, student.trajectory, self.adapter)
        parts = {"vcd_traj": self.config.trajectory_weight * along}
        if self.config.occupancy_weight:
            assert student.occupancy is not None and teacher.occupancy is not None  # noqa: PT018
            assert student.voxel_weight is not None
            away = occupancy_loss(teacher.occupancy, student.occupancy, student.voxel_weight)
            parts["vcd_occ"] = self.config.occupancy_weight * away
        return {name: divided(frames * part, frames, divisor) for name, part in parts.items()}


def normalized(cells: Tensor, dense: Tensor) -> Tensor:
    """BN0 of some cells `(P, C)` of a map `(B, C, H, W)`: each channel has mean 0 and variance 1 over the whole map."""
    variance, mean = torch.var_mean(dense, dim=(0, 2, 3), correction=0)
    return (cells - mean) / (variance + _ADDED_VARIANCE).sqrt()


def trajectory_loss(f_t: Tensor, f_s: Tensor, mask: Tensor, adapter: nn.Module | None = None) -> Tensor:
    """Mean over channels of the squared difference, summed with `M^2` and divided by `max(sum M, 1)`.

    Args:
        f_t: `(B, C, H, W)` the expert's map, without gradient.
        f_s: `(B, C', H, W)` the student's, not normalized.
        mask: `(B, 1, H, W)` of `trajectory_mask`.
        adapter: `(P, C')` features to `(P, C)`; None where they are as wide.
    """
    own, said = (cells_where(dense, mask[:, 0]) for dense in (f_s, f_t))
    own, said = wide(own), normalized(said, f_t)
    away = (own if adapter is None else adapter(own)) - said
    weight = mask[mask != 0].square()
    return (weight * away.square().mean(dim=1)).sum() / mask.sum().clamp(min=1)


def occupancy_loss(said: Tensor, own: Tensor, weight: Tensor) -> Tensor:
    """Sum over voxels of `G |sigmoid(O^S) - sigmoid(O^T)|`, divided by `max(sum G, 1)`.

    Args:
        said: `(B, Z, H, W)` the expert's occupancy.
        own: `(B, Z, H, W)` the student's.
        weight: `(B, Z, H, W)` of `box_gaussians`.
    """
    away = weight * (own.sigmoid() - 0.5) - weight * (said.sigmoid() - 0.5)
    return away.abs().sum() / weight.sum().clamp(min=1)


def vcd(
    f_t: Tensor,
    f_s: Tensor,
    mask: Tensor,
    depth_t: Tensor | None,
    depth_s: Tensor | None,
    geom: OccupancyGeometry | None,
    *,
    trajectory_weight: float = TRAJECTORY_WEIGHT,
    occupancy_weight: float = OCCUPANCY_WEIGHT,
) -> dict[str, Tensor]:
    """The loss's parts `traj` and, with depths, `occ` by itself.

    Args:
        f_t: `(B, C, H, W)` the expert's map, without gradient.
        f_s: `(B, C, H, W)` the student's, not normalized.
        mask: `(B, 1, H, W)` of `trajectory_mask`.
        depth_t: `(B, N, D, h, w)` the expert's depth probabilities, true ones where the LiDAR hit.
        depth_s: the student's.
        geom: where the bins fall and which voxels count.
        trajectory_weight: w'.
        occupancy_weight: w_o.
    """
    assert not f_t.requires_grad
    parts = {"traj": trajectory_weight * trajectory_loss(f_t, f_s, mask)}
    if geom is not None and depth_t is not None and depth_s is not None:
        assert not depth_t.requires_grad
        said, own = (occupancy(depth, geom.voxels, geom.shape) for depth in (depth_t, depth_s))
        parts["occ"] = occupancy_weight * occupancy_loss(said, own, geom.weight)
    return parts
