"""X-Ray Distillation (arXiv 2404.00679): a student on raw frames behaves like a teacher that sees objects whole.

The paper names what is compared (heads, embeddings, detections) and releases no training code, so the formulas are
ours: `xray_head` where a label's Gaussian lies or the teacher sees a center, `xray_embedding` in the cells of labeled
boxes alone (elsewhere the two see the same, inside they do not), `xray_box` the detection loss against the teacher's
confident boxes, each as heavy as its score. What the teacher sees is decided by its frames, not here.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from understudy.bundle.manifest import Grid
from understudy_training.distillation.adapters import Adapter
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.terms.term import Level, Losses, TermSettings, Widths, dense_maps, divided
from understudy_training.losses import cells_where, gather_cells, residual_error
from understudy_training.models.decoding import decode
from understudy_training.targets import BoxBatch, Targets, make_targets


class XRayHeadConfig(TermSettings):
    """Agreement in probability and residuals under the labels and wherever the teacher sees a center."""

    kind: Literal["xray_head"] = "xray_head"
    weight: float = Field(1.0, ge=0)
    seen_from: float = Field(0.1, gt=0, lt=1)
    """Cells count in full where the teacher's strongest class has at least this probability."""

    def build(self, teacher: Widths, student: Widths) -> XRayHeadTerm:
        """The term; it learns nothing."""
        return XRayHeadTerm(self)


class XRayEmbeddingConfig(TermSettings):
    """Agreement of a feature map in the cells of labeled boxes."""

    kind: Literal["xray_embedding"] = "xray_embedding"
    weight: float = Field(1.0, ge=0)
    level: Level = "high"

    @property
    def asks(self) -> tuple[Asked, ...]:
        """The whole map and the labels: the teacher does not know which cells."""
        return ("boxes", "low_map" if self.level == "low" else "high_map")

    def build(self, teacher: Widths, student: Widths) -> XRayEmbeddingTerm:
        """The term, with an adapter where the widths differ."""
        widths = getattr(student, self.level), getattr(teacher, self.level)
        adapter = nn.Identity() if widths[0] == widths[1] else Adapter(*widths)
        return XRayEmbeddingTerm(self, adapter, _grid_of(student))


class XRayBoxConfig(TermSettings):
    """The detection loss against the teacher's boxes, each weighted by its score."""

    kind: Literal["xray_box"] = "xray_box"
    weight: float = Field(0.5, ge=0)
    regression_weight: float = Field(0.25, ge=0)
    min_score: float = Field(0.3, gt=0, lt=1)
    """The teacher's boxes below are not looked at."""
    gaussian_overlap: float = Field(0.1, gt=0, lt=1)
    min_radius: int = Field(2, ge=0)

    def build(self, teacher: Widths, student: Widths) -> XRayBoxTerm:
        """The term; it learns nothing."""
        return XRayBoxTerm(self, _grid_of(student))


class XRayHeadTerm(nn.Module):
    """See `XRayHeadConfig`."""

    def __init__(self, config: XRayHeadConfig) -> None:
        super().__init__()
        self.config = config

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Sum of the mask."""
        return head_mask(teacher.heatmap, centres, self.config.seen_from).sum()

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """`centres` is the `(B, K, h, w)` target heat-map."""
        mask = head_mask(teacher.heatmap, centres, self.config.seen_from)
        return {
            self.config.label: self.config.weight * divided(head_distance(student, teacher, mask), mask.sum(), divisor)
        }


class XRayEmbeddingTerm(nn.Module):
    """See `XRayEmbeddingConfig`."""

    def __init__(self, config: XRayEmbeddingConfig, adapter: nn.Module, grid: Grid) -> None:
        super().__init__()
        self.config, self.adapter, self.grid = config, adapter, grid

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of cells in labeled boxes; the labels stand in the teacher's answers too."""
        return self._cells(teacher, valid, teacher).sum()

    def _cells(self, labeled: Answers, valid: Tensor, teacher: Answers) -> Tensor:
        said: Tensor = getattr(teacher, f"{self.config.level}_map")
        assert labeled.boxes is not None
        return box_cells(labeled.boxes, valid, self.grid, (said.shape[-2], said.shape[-1]))

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """Compares the maps on the teacher's cells."""
        own, said = dense_maps(student, teacher, self.config.level)
        cells = self._cells(student, student.valid, teacher)
        seen = self.adapter(cells_where(own, cells))  # the adapter sees these alone: few of many
        total = embedding_distance(seen, cells_where(said, cells))
        return {self.config.label: self.config.weight * divided(total, cells.sum(), divisor)}


class XRayBoxTerm(nn.Module):
    """See `XRayBoxConfig`."""

    def __init__(self, config: XRayBoxConfig, grid: Grid) -> None:
        super().__init__()
        self.config, self.grid = config, grid

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Sum of the scores of the teacher's boxes that count."""
        return self._lesson(teacher)[1].sum()

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """`centres`: what a label calls an object is no background, whatever the teacher misses."""
        targets, scores = self._lesson(teacher)
        by_class, by_residual = box_distances(student, targets, scores, centres)
        weight, label, count = self.config.weight, self.config.label, scores.sum()
        return {
            f"{label}_class": weight * divided(by_class, count, divisor),
            f"{label}_regression": weight * self.config.regression_weight * divided(by_residual, count, divisor),
        }

    def _lesson(self, teacher: Answers) -> tuple[Targets, Tensor]:
        config = self.config
        return teacher_targets(
            teacher, self.grid, config.min_score, overlap=config.gaussian_overlap, min_radius=config.min_radius
        )


def xray_losses(
    teacher: Answers, student: Answers, centres: Tensor, grid: Grid, adapter: nn.Module | None = None
) -> Losses:
    """All three with their first weights (1, 1, 0.5), each over its own mask: `head`, `embedding` and `box`.

    Args:
        teacher: with `high_map`.
        student: with `high_map` and `boxes`, of which `valid` counts.
        centres: `(B, K, h, w)` target heat-map.
        grid: the area of all maps.
        adapter: from the student's width to the teacher's; None where they agree.
    """
    head = XRayHeadTerm(XRayHeadConfig())(student, teacher, centres)
    embedding = XRayEmbeddingTerm(XRayEmbeddingConfig(), adapter or nn.Identity(), grid)(student, teacher, centres)
    box = XRayBoxTerm(XRayBoxConfig(), grid)(student, teacher, centres)
    parts = {"head": head, "embedding": embedding, "box": box}
    return {name: torch.stack([*part.values()]).sum() for name, part in parts.items()}


def head_mask(teacher: Tensor, centres: Tensor, seen_from: float) -> Tensor:
    """`(B, h, w)`: the labels' Gaussians, and 1 where the teacher's `(B, K, h, w)` logits see a center."""
    seen = (teacher.sigmoid().amax(dim=1) >= seen_from).to(centres.dtype)
    return torch.maximum(centres.amax(dim=1), seen)


def head_distance(student: Answers, teacher: Answers, mask: Tensor) -> Tensor:
    """Sum under the mask of the classes' differences in probability (summed) and of the residuals' (averaged)."""
    by_class = (teacher.heatmap.sigmoid() - student.heatmap.sigmoid()).abs().sum(dim=1)
    by_residual = (teacher.regression - student.regression).abs().mean(dim=1)
    return (mask * (by_class + by_residual)).sum()


def embedding_distance(own: Tensor, said: Tensor) -> Tensor:
    """Sum over `(P, C)` cells of the mean square difference of their features."""
    return (own - said).square().mean(dim=1).sum()


def box_cells(boxes: Tensor, valid: Tensor, grid: Grid, size: tuple[int, int]) -> Tensor:
    """`(B, h, w)` bool: cells whose center lies in a box, and the cell that holds a box's center.

    Args:
        boxes: `(B, N, 7)` in ego.
        valid: `(B, N)`, the boxes that count.
        grid: the maps' area.
        size: (h, w) of the map.
    """
    height, width = size
    (x_low, x_high), (y_low, y_high) = grid.x_range_m, grid.y_range_m
    step_x, step_y = (x_high - x_low) / width, (y_high - y_low) / height
    frames, chosen = torch.nonzero(valid, as_tuple=True)
    hits = torch.zeros((len(boxes), height, width), dtype=torch.bool, device=boxes.device)
    if len(frames) == 0:
        return hits
    x, y, _, length, width_m, _, yaw = boxes[frames, chosen].float()[:, :, None, None].unbind(1)
    reach = int(torch.hypot(length, width_m).max().item() / 2 / min(step_x, step_y)) + 1
    steps = torch.arange(-reach, reach + 1, device=boxes.device)
    columns = ((x - x_low) / step_x).floor() + steps[None, None, :]
    rows = ((y - y_low) / step_y).floor() + steps[None, :, None]
    dx, dy = x_low + step_x * (columns + 0.5) - x, y_low + step_y * (rows + 0.5) - y
    along, across = yaw.cos() * dx + yaw.sin() * dy, yaw.cos() * dy - yaw.sin() * dx
    inside = (along.abs() <= length / 2) & (across.abs() <= width_m / 2)
    inside |= (steps[None, None, :] == 0) & (steps[None, :, None] == 0)
    inside &= (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    places = (frames[:, None, None] * height + rows) * width + columns
    hits.view(-1)[places[inside].long()] = True
    return hits


def teacher_targets(
    teacher: Answers, grid: Grid, min_score: float, *, overlap: float, min_radius: int
) -> tuple[Targets, Tensor]:
    """What a head should say if the teacher's confident boxes were labels, and `(B, M)` their scores, else 0.

    Args:
        teacher: its heatmap and residuals.
        grid: its grid.
        min_score: boxes below do not count.
        overlap: for the Gaussians' radius.
        min_radius: least radius in output cells.
    """
    stride = grid.width // teacher.heatmap.shape[3]
    found = decode(teacher.heatmap, teacher.regression, grid, stride)
    confident = found.scores > min_score
    boxes = BoxBatch(found.boxes, found.labels.long(), confident, torch.zeros_like(confident))
    classes = teacher.heatmap.shape[1]
    targets = make_targets(boxes, grid, stride, classes, overlap=overlap, min_radius=min_radius)
    return targets, found.scores * targets.mask


def box_distances(student: Answers, targets: Targets, scores: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Focal loss and the residuals' error, summed: each box weighs as much as its `(B, M)` score, background 1."""
    probability, center = student.heatmap.sigmoid(), targets.heatmap.eq(1)
    hit = (1 - probability) ** 2 * functional.logsigmoid(student.heatmap)
    object_or_so = torch.maximum(targets.heatmap, centres)
    miss = (1 - object_or_so) ** 4 * probability**2 * functional.logsigmoid(-student.heatmap)
    by_class = -torch.where(center, hit * _strongest_at(scores, targets), miss).sum()
    error = residual_error(gather_cells(student.regression, targets.cells), targets.regression)
    return by_class, (scores * error).sum()


def _strongest_at(scores: Tensor, targets: Targets) -> Tensor:
    """`(B, 1, h, w)`: the score of the box that is centered on each cell."""
    batch, _, height, width = targets.heatmap.shape
    strongest = scores.new_zeros((batch, height * width))
    strongest.scatter_reduce_(1, targets.cells, scores, reduce="amax")
    return strongest.view(batch, 1, height, width)


def _grid_of(widths: Widths) -> Grid:
    assert widths.grid is not None
    return widths.grid
