"""Answers of a made-up detector, with everything that any term may ask for."""

from __future__ import annotations

from dataclasses import replace

import torch

from understudy_training.distillation.answers import Answers
from understudy_training.distillation.asking import attention
from understudy_training.distillation.terms import Widths

TEACHER, STUDENT = Widths(low=6, high=5, pillar=4), Widths(low=4, high=3, pillar=3)


def whole_answers(
    seed: int = 0,
    widths: Widths = TEACHER,
    *,
    stride: int = 1,
    boxes: int = 3,
    grad: bool = False,
    encoded: bool = False,
) -> Answers:
    """Two frames: heatmaps of 2 classes on 8 x 8 cells, maps of `8 / stride`, 12 and 9 pillars on 16 x 16 cells."""
    generator = torch.Generator().manual_seed(seed)
    places, size = max(boxes, 1), 8 // stride

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_(grad)

    low_map, high_map = draw(2, widths.low, size, size), draw(2, widths.high, size, size)
    cells = torch.stack([torch.arange(12) * 19, torch.arange(12) * 17])
    cells[1, 9:] = -1
    points = torch.tensor([[9, 1, 4, 2, 7, 3, 5, 8, 6, 12, 11, 10], [3, 1, 2, 5, 4, 7, 6, 9, 8, 0, 0, 0]])
    answers = Answers(
        heatmap=draw(2, 2, 8, 8),
        regression=draw(2, 8, 8, 8),
        low=draw(2, places, 9, widths.low),
        high=draw(2, places, 9, widths.high),
        valid=torch.full((2, places), boxes > 0),
        low_map=low_map,
        high_map=high_map,
        low_attention=attention(low_map),
        high_attention=attention(high_map),
    )
    if encoded:
        return replace(answers, encoded=draw(2, widths.pillar, 16, 16))
    return replace(answers, pillars=draw(2, 12, widths.pillar), pillar_points=points.int(), pillar_cells=cells)


def as_student(teacher: Answers) -> Answers:
    """The teacher's own answers as a student would give them: its pillars scattered to a map."""
    assert teacher.pillars is not None
    assert teacher.pillar_cells is not None
    encoded = torch.zeros(2, teacher.pillars.shape[2], 256)
    for frame in range(2):
        real = teacher.pillar_cells[frame] >= 0
        encoded[frame][:, teacher.pillar_cells[frame][real]] = teacher.pillars[frame][real].T
    return replace(teacher, pillars=None, pillar_points=None, pillar_cells=None, encoded=encoded.unflatten(2, (16, 16)))


def centres() -> torch.Tensor:
    """`(2, 2, 8, 8)` target heatmap with a center in each frame, one with a Gaussian around it."""
    heatmap = torch.zeros(2, 2, 8, 8)
    heatmap[0, 0, 2, 3], heatmap[1, 1, 5, 5], heatmap[1, 1, 5, 6], heatmap[1, 1, 5, 7] = 1.0, 1.0, 0.6, 0.2
    return heatmap
