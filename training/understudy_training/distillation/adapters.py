"""Bridges between a student's and a teacher's widths; they are trained with the student and stay behind."""

from __future__ import annotations

from torch import Tensor, nn


class Adapter(nn.Module):
    """A 1x1 convolution, written as a matrix because features arrive sampled at places: `(..., C)` to `(..., C')`."""

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(student_channels, teacher_channels)

    def forward(self, features: Tensor) -> Tensor:
        """The student's features in the teacher's width."""
        projected: Tensor = self.project(features)
        return projected


class DenseAdapter(Adapter):
    """A 1x1 convolution over a whole map: `(B, C, h, w)` to `(B, C', h, w)`, both channels last in memory.

    As a matrix over the cells: on one core oneDNN's gradient of the convolution takes three times as long.
    """

    def forward(self, features: Tensor) -> Tensor:
        """The student's map in the teacher's width."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
