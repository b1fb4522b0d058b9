"""Reducing a detector's outputs to what the terms ask for."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from understudy.bundle.manifest import Grid
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.sampling import sample_boxes
from understudy_training.distillation.vision_answers import vision_answers
from understudy_training.losses import wide_kind
from understudy_training.models.detector import DetectorOutputs, EncoderInput
from understudy_training.models.encoders import PillarsBatch
from understudy_training.models.fusion import FusionBatch
from understudy_training.targets import BoxBatch

_SMALLEST = 1e-8


def answers_of(
    outputs: DetectorOutputs,
    boxes: BoxBatch,
    grid: Grid,
    asked: Collection[Asked],
    inputs: EncoderInput | None = None,
) -> Answers:
    """A detector's outputs reduced to what the terms take; what none asks for stays away.

    Args:
        outputs: on the batch.
        boxes: the labels.
        grid: the detector's.
        asked: what the terms look at.
        inputs: a teacher's, whose pillars are listed with their points; without, the encoder's whole map is there
            for "pillars", to be read wherever the teacher has one.
    """
    maps = {"low": outputs.low, "high": outputs.high}
    sampled = {
        name: sample_boxes(dense if name in asked else dense[:, :0], boxes.geometry, grid)
        for name, dense in maps.items()
    }
    more = {f"{name}_map": dense for name, dense in maps.items() if f"{name}_map" in asked}
    more |= {f"{name}_attention": attention(dense) for name, dense in maps.items() if f"{name}_attention" in asked}
    more |= _of_cameras(outputs, asked)
    more |= vision_answers(outputs, boxes, grid, asked, student=inputs is None)
    if "boxes" in asked and inputs is None:
        more |= {"boxes": boxes.geometry, "labels": boxes.labels}
    if "pillars" in asked:
        more |= {"encoded": outputs.encoded} if inputs is None else pillars_of(inputs, outputs.encoded)
    return Answers(outputs.heatmap, outputs.regression, sampled["low"], sampled["high"], boxes.valid, **more)


def _of_cameras(outputs: DetectorOutputs, asked: Collection[Asked]) -> dict[str, Tensor]:
    """What the terms ask of the pictures' part; nothing of a detector without cameras."""
    if outputs.camera is None or "camera_map" not in asked:
        return {}
    return {"camera_map": outputs.camera.visual}


def attention(dense: Tensor) -> Tensor:
    """Mean square over the channels of `(B, C, h, w)`, of length 1 in each frame: `(B, h, w)` float32."""
    return of_length_one(torch.linalg.vector_norm(dense, dim=1, dtype=wide_kind(dense)).square() / dense.shape[1])


def of_length_one(maps: Tensor) -> Tensor:
    """`(B, h, w)` maps divided by their Euclidean length; an empty one stays 0."""
    return functional.normalize(maps.flatten(1), eps=_SMALLEST).view_as(maps)


def pillars_of(inputs: EncoderInput, encoded: Tensor) -> dict[str, Tensor]:
    """Features, points and cells of each frame's pillars, as in `Answers`.

    Args:
        inputs: what the encoder took; only grouped points have pillars.
        encoded: `(B, C, H, W)` what it made of them.
    """
    inputs = inputs.lidar if isinstance(inputs, FusionBatch) else inputs
    assert isinstance(inputs, PillarsBatch)
    area = encoded.shape[2] * encoded.shape[3]
    frame = torch.div(inputs.cells, area, rounding_mode="floor")
    rows = [torch.nonzero(frame == number)[:, 0] for number in range(inputs.batch_size)]
    cells = pad_sequence([inputs.cells[row] % area for row in rows], batch_first=True, padding_value=-1)
    points = pad_sequence([inputs.num_points[row] for row in rows], batch_first=True)
    features = [encoded[number].flatten(1).T[inputs.cells[row] % area] for number, row in enumerate(rows)]
    return {
        "pillars": pad_sequence(features, batch_first=True),
        "pillar_points": points,
        "pillar_cells": cells,
    }
