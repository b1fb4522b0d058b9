"""What MonoTAKD and VCD look at besides maps: the residual branch, where objects were, and what is occupied."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from understudy.bundle.manifest import Grid
from understudy_training.distillation.answers import Asked
from understudy_training.distillation.occupancy import VoxelGrid, box_gaussians, occupancy
from understudy_training.distillation.trajectories import FrameBoxes, trajectory_mask
from understudy_training.losses import wide
from understudy_training.models.camera import CameraMaps
from understudy_training.models.detector import DetectorOutputs
from understudy_training.targets import BoxBatch


def vision_answers(
    outputs: DetectorOutputs, boxes: BoxBatch, grid: Grid, asked: Collection[Asked], *, student: bool
) -> dict[str, Tensor]:
    """The parts of `Answers` by attribute; what is known from the labels only for a student.

    Args:
        outputs: on the batch.
        boxes: the labels, with those of earlier frames where there are any.
        grid: the detector's.
        asked: what the terms look at.
        student: whether it is one.
    """
    stride = grid.height // outputs.heatmap.shape[2]
    found = {}
    if "trajectory" in asked and student:
        found["trajectory"] = _trajectory(boxes, grid, stride)
    if "occupancy" in asked and outputs.camera is not None:
        voxel_grid = VoxelGrid(grid, stride)
        found["occupancy"] = _occupancy(outputs.camera, voxel_grid)
        if student:
            found["voxel_weight"] = box_gaussians(boxes.geometry, boxes.valid, voxel_grid)
    if "camera_map" in asked and outputs.camera is not None and outputs.camera.residual is not None:
        found["camera_residual"] = outputs.camera.residual
    return found


def _trajectory(boxes: BoxBatch, grid: Grid, stride: int) -> Tensor:
    """`(B, 1, h, w)` Gaussians of the boxes now and, carried into the current frame before, earlier."""
    entries = [boxes] if boxes.past is None else [boxes, boxes.past]
    standing = torch.eye(4, dtype=torch.float64, device=boxes.geometry.device)
    poses = standing.expand(len(boxes.geometry), len(entries), 4, 4)
    instants = [FrameBoxes(entry.geometry, entry.valid) for entry in entries]
    return trajectory_mask(instants, poses, grid, stride=stride)


def _occupancy(camera: CameraMaps, voxel_grid: VoxelGrid) -> Tensor:
    voxels = voxel_grid.voxels(camera.frustum.places())
    return occupancy(wide(camera.shares), voxels, voxel_grid.shape)
