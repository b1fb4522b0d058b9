"""VCD (arXiv 2310.15670): a vision-centric expert, the student's own network with LiDAR depth, teaches it.

`traj`: the bird's-eye map before the head like the expert's, where labeled objects are and were. `occ`: the depth
distributions, as voxels near labeled objects, like the expert's. The published `w / sum M` counts the sum over channels
(w = 0.4 for 256); here the mean over channels counts w * 256 = 102.4, the same at 256 and no larger for wider maps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from understudy_training.distillation.occupancy import OccupancyGeometry, occupancy

TRAJECTORY_WEIGHT = 102.4
OCCUPANCY_WEIGHT = 4.0
_ADDED_VARIANCE = 1e-5


def normalized(dense: Tensor) -> Tensor:
    """BN0: each channel of `(B, C, H, W)` to mean 0 and variance 1 over the batch's cells, nothing learned or kept."""
    variance, mean = torch.var_mean(dense, dim=(0, 2, 3), correction=0, keepdim=True)
    return (dense - mean) / (variance + _ADDED_VARIANCE).sqrt()


def trajectory_sum(f_t: Tensor, f_s: Tensor, mask: Tensor) -> Tensor:
    """Sum over cells of `M^2` times the mean over channels of the squared difference; arguments as for `vcd`."""
    away = mask * f_s - mask * normalized(f_t)
    return away.square().mean(dim=1).sum()


def occupancy_sum(depth_t: Tensor, depth_s: Tensor, geom: OccupancyGeometry) -> Tensor:
    """Sum over voxels of `G |sigmoid(O^S) - sigmoid(O^T)|`; arguments as for `vcd`."""
    shape = (geom.weight.shape[1], geom.weight.shape[2], geom.weight.shape[3])
    own, said = (occupancy(depth, geom.voxels, shape).sigmoid() - 0.5 for depth in (depth_s, depth_t))
    return (geom.weight * own - geom.weight * said).abs().sum()


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
    parts = {"traj": trajectory_weight * trajectory_sum(f_t, f_s, mask) / mask.sum().clamp(min=1)}
    if geom is not None and depth_t is not None and depth_s is not None:
        assert not depth_t.requires_grad
        parts["occ"] = occupancy_weight * occupancy_sum(depth_t, depth_s, geom) / geom.weight.sum().clamp(min=1)
    return parts
