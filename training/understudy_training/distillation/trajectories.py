"""Where labeled objects are and were, as one mask over the bird's-eye map (VCD, arXiv 2310.15670).

Past boxes are carried into the current ego frame before they are drawn. The release draws them in the ego frames of
their own time when frames are loaded one by one, so that a parked car leaves a trail under a moving ego.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.bundle.manifest import Grid
from understudy_training.targets import draw_gaussians, gaussian_radius


@dataclass(frozen=True, eq=False)
class FrameBoxes:
    """Boxes of one instant for each frame of a batch, padded.

    Attributes:
        geometry: `(B, N, 7)` x, y, z, length, width, height (meters), yaw (radians) in the ego frame of that instant.
        valid: `(B, N)` bool.
    """

    geometry: Tensor
    valid: Tensor


def warped(geometry: Tensor, target_from_source: Tensor) -> Tensor:
    """`(B, N, 7)` boxes in another frame, whose z axis is parallel.

    Args:
        geometry: in the source frame.
        target_from_source: `(B, 4, 4)`.
    """
    pose = target_from_source.to(geometry.dtype)
    centers = geometry[..., :3] @ pose[:, :3, :3].transpose(1, 2) + pose[:, None, :3, 3]
    turn_rad = torch.atan2(pose[:, 1, 0], pose[:, 0, 0])
    return torch.cat([centers, geometry[..., 3:6], geometry[..., 6:] + turn_rad[:, None, None]], dim=-1)


def trajectory_mask(
    boxes_per_frame: Sequence[FrameBoxes],
    ego_poses: Tensor,
    grid: Grid,
    *,
    stride: int = 1,
    overlap: float = 0.1,
    min_radius: int = 2,
) -> Tensor:
    """`(B, 1, H, W)`: the largest of the boxes' Gaussians over all instants, 0 far from any.

    Args:
        boxes_per_frame: the current boxes first, then those of earlier instants.
        ego_poses: `(B, F, 4, 4)` world from ego at each of the instants; equal ones where boxes are warped already.
        grid: the area.
        stride: grid cells per cell of the mask.
        overlap: how much a shifted box must still overlap, for the Gaussians' radius.
        min_radius: least radius in cells of the mask.
    """
    poses = ego_poses.double()
    now_from_then = torch.linalg.inv(poses[:, :1]) @ poses
    geometry = torch.cat(
        [warped(boxes.geometry.double(), now_from_then[:, k]) for k, boxes in enumerate(boxes_per_frame)], dim=1
    ).float()
    cell_m, height, width = grid.cell_m * stride, grid.height // stride, grid.width // stride
    column = ((geometry[..., 0] - grid.x_range_m[0]) / cell_m).floor()
    row = ((geometry[..., 1] - grid.y_range_m[0]) / cell_m).floor()
    on_map = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    drawn = torch.cat([boxes.valid for boxes in boxes_per_frame], dim=1) & on_map
    radius = gaussian_radius(geometry[..., 3] / cell_m, geometry[..., 4] / cell_m, overlap).clamp(min=min_radius)
    channels = torch.zeros_like(row, dtype=torch.int64)
    return draw_gaussians(row, column, radius, channels, drawn, (len(geometry), 1, height, width))
