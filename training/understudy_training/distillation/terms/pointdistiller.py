"""PointDistiller (Zhang et al. 2023, arXiv 2205.11098): local graph distillation, important places counting more.

Around each of the N most important rows (pillars, or cells of a map) the K nearest rows *in the teacher's feature
space* make a graph, the row itself included; the student's graph has the same indices. One layer per network encodes
each (neighbor, center) pair; encoded graphs are compared by their mean square, weighted by a softmax of mean 1, times
2. Both layers are trained, as the paper says, and stay behind.

What the release (RunpeiDong/PointDistiller) does otherwise: its softmax runs over an axis of size 1 for SECOND and
nuScenes and is not multiplied in for PointRCNN, so only PointPillars is reweighted; N, K and tau of its recipes are
ignored there; pillars of all frames share their graphs; its teacher probably normalizes by batch. Graphs here never
mix frames.

`mode: paper` has its numbers: tau 0.01 on raw counts, which weighs the fullest pillars alone (32, 32, 31 points: 1.5,
1.5, 0). `mode: corrected` weighs by `log(1 + points)` with tau 1, takes graphs that fit a small student, and keeps
both layers from collapsing to 0 by a normalization without scale. On maps, where there are no points, importance is a
cell's strongest channel and the weight its graph's strongest encoding.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from understudy.errors import RecipeError
from understudy_training.distillation.answers import Answers, Asked
from understudy_training.distillation.terms.graphs import (
    Graphs,
    compacted,
    graphs_of,
    mean_over_graph,
    pairs_of,
    softmax_in_frames,
)
from understudy_training.distillation.terms.term import Losses, TermSettings, Widths, dense_maps, divided
from understudy_training.losses import rows_of, wide

Mode = Literal["corrected", "paper"]


class PointDistillerConfig(TermSettings):
    """Agreement of encoded local graphs, the important ones weighing more (PointDistiller)."""

    kind: Literal["pointdistiller"] = "pointdistiller"
    weight: float = Field(1.0, ge=0)
    level: Literal["pillar", "low", "high"] = "low"
    """Pillar features (both encoders learned and grouping alike), or cells of a backbone map: the dense variant. The
    first sends no gradient to the backbone."""
    mode: Mode = "corrected"
    num_graphs: int | None = Field(None, gt=0)
    """N of each frame; None: at most 256 and a quarter of the rows, in paper mode 6000 pillars or 256 cells."""
    num_neighbors: int | None = Field(None, gt=0)
    """K; None: 16, in paper mode 128."""
    temperature: float | None = Field(None, gt=0)
    """tau; None: 1, in paper mode 0.01."""

    @property
    def asks(self) -> tuple[Asked, ...]:
        """The pillars, or the whole map."""
        asked: dict[str, tuple[Asked, ...]] = {"pillar": ("pillars",), "low": ("low_map",), "high": ("high_map",)}
        return asked[self.level]

    def graphs_among(self, num_rows: int) -> int:
        """N for a frame of so many rows."""
        wanted = self.num_graphs
        if wanted is None and self.mode == "paper":
            wanted = 6000 if self.level == "pillar" else 256
        elif wanted is None:
            wanted = min(256, max(1, num_rows // 4))
        return min(wanted, num_rows)

    def neighbors(self) -> int:
        """K."""
        return self.num_neighbors or (128 if self.mode == "paper" else 16)

    def tau(self) -> float:
        """Temperature of the weights."""
        return self.temperature or (0.01 if self.mode == "paper" else 1.0)

    def build(self, teacher: Widths, student: Widths) -> PointDistillerTerm:
        """The term with its two graph layers, as wide as the student.

        Raises:
            RecipeError: for pillar features that one of the two does not learn.
        """
        own, said = getattr(student, self.level), getattr(teacher, self.level)
        if min(own, said) == 0:
            who = "student" if own == 0 else "teacher"
            found = f"a {who} whose encoder learns no pillar features"
            raise RecipeError(f"term {self.label}", found=found, wanted="two of kind learned", remedy="use level low")
        affine = self.mode == "paper"
        return PointDistillerTerm(self, GraphLayer(said, own, affine=affine), GraphLayer(own, own, affine=affine))


class GraphLayer(nn.Module):
    """Encodes `(P, 2C)` pairs: linear (a 1x1 convolution), batch normalization, ReLU."""

    def __init__(self, channels: int, encoded: int, *, affine: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * channels, encoded, bias=False)
        self.normalization = nn.BatchNorm1d(encoded, affine=affine)

    def forward(self, pairs: Tensor) -> Tensor:
        """`(P, C')`."""
        return torch.relu(self.normalization(self.linear(pairs)))

    def of_graphs(self, graphs: Graphs, rows: Tensor) -> Tensor:
        """`(P, C')` of all pairs of the graphs: each row is multiplied once, not once for each pair it is in."""
        as_neighbor, as_center = self.linear.weight.chunk(2, dim=1)
        near = (rows @ as_neighbor.T).index_select(0, graphs.neighbor)
        centers = (rows.index_select(0, graphs.center) @ as_center.T).index_select(0, graphs.owner)
        return torch.relu(self.normalization(near + centers))


class PointDistillerTerm(nn.Module):
    """See `PointDistillerConfig`."""

    widens_maps = True

    def __init__(self, config: PointDistillerConfig, teacher_layer: nn.Module, student_layer: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.teacher_layer, self.student_layer = teacher_layer, student_layer

    def count(self, teacher: Answers, valid: Tensor, centres: Tensor) -> Tensor:
        """Number of graphs in all frames."""
        rows = self._rows_of_frames(teacher)
        return centres.new_tensor(float(sum(self.config.graphs_among(number) for number in rows)))

    def _rows_of_frames(self, teacher: Answers) -> list[int]:
        if self.config.level == "pillar":
            assert teacher.pillar_cells is not None
            return [int(number) for number in (teacher.pillar_cells >= 0).sum(dim=1)]
        said: Tensor = getattr(teacher, f"{self.config.level}_map")
        return [said.shape[2] * said.shape[3]] * said.shape[0]

    def forward(self, student: Answers, teacher: Answers, centres: Tensor, divisor: Tensor | None = None) -> Losses:
        """Compares the graphs; nothing without two pairs to normalize over."""
        said, frame, cell, points = self._rows(teacher)
        importance = said.amax(dim=1) if points is None else points
        numbers = [self.config.graphs_among(number) for number in self._rows_of_frames(teacher)]
        graphs = graphs_of(said, importance, frame, numbers, self.config.neighbors())
        rows, graphs = compacted(graphs, len(said))
        own_map = self._students_map(student, teacher)
        area = own_map.shape[2] * own_map.shape[3]
        own = wide(rows_of(own_map).index_select(0, frame[rows] * area + cell[rows]))
        total = own.sum() * 0
        if len(graphs.neighbor) > 1:
            points = None if points is None else points[rows].to(own.dtype)
            layers = self.teacher_layer, self.student_layer
            total = graph_distance(graphs, said[rows], own, points, *layers, self.config.tau(), self.config.mode)
        count = self.count(teacher, student.valid, centres)
        return {self.config.label: self.config.weight * divided(total, count, divisor)}

    def _students_map(self, student: Answers, teacher: Answers) -> Tensor:
        """`(B, C, h, w)` what the student made of the teacher's cells."""
        if self.config.level != "pillar":
            return dense_maps(student, teacher, self.config.level)[0]
        assert student.encoded is not None
        return student.encoded

    def _rows(self, teacher: Answers) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """`(M, C')` the teacher's rows of all frames, `(M,)` frame and cell of each, and pillars' points."""
        if self.config.level != "pillar":
            said = getattr(teacher, f"{self.config.level}_map")
            area = said.shape[2] * said.shape[3]
            frame = torch.arange(len(said), device=said.device).repeat_interleave(area)
            cell = torch.arange(area, device=said.device).repeat(len(said))
            return wide(rows_of(said)), frame, cell, None
        cells, points = teacher.pillar_cells, teacher.pillar_points
        assert cells is not None and points is not None and teacher.pillars is not None  # noqa: PT018
        frame, place = (cells >= 0).nonzero(as_tuple=True)
        return teacher.pillars[frame, place], frame, cells[frame, place], points[frame, place]


def graph_distance(
    graphs: Graphs,
    z_t: Tensor,
    z_s: Tensor,
    points: Tensor | None,
    gamma_t: nn.Module,
    gamma_s: nn.Module,
    tau: float,
    mode: Mode,
) -> Tensor:
    """Twice the sum over graphs of weight times mean squared difference of the encodings.

    Args:
        graphs: over the rows.
        z_t: `(M, C_T)` the teacher's.
        z_s: `(M, C_S)` the student's.
        points: `(M,)` points in each pillar; None weighs by the teacher's strongest encoding.
        gamma_t: the teacher's graph layer, `(P, 2 C_T)` to `(P, C')`.
        gamma_s: the student's.
        tau: temperature of the weights.
        mode: weight pillars by their points (`paper`) or the logarithm of 1 + points.
    """
    encoded_t, encoded_s = _encoded(graphs, z_t, gamma_t), _encoded(graphs, z_s, gamma_s)
    away = mean_over_graph(graphs, (encoded_t - encoded_s).square().mean(dim=1))
    if points is None:
        strongest = encoded_t.detach().amax(dim=1)
        said = torch.full_like(away, -torch.inf).scatter_reduce(0, graphs.owner, strongest, "amax")
    else:
        said = points[graphs.center] if mode == "paper" else points[graphs.center].log1p()
    return 2 * (softmax_in_frames(graphs, said / tau) * away).sum()


def _encoded(graphs: Graphs, rows: Tensor, gamma: nn.Module) -> Tensor:
    return gamma.of_graphs(graphs, rows) if isinstance(gamma, GraphLayer) else gamma(pairs_of(graphs, rows))


def pointdistiller(
    z_t: Tensor,
    z_s: Tensor,
    importance: Tensor,
    frame: Tensor,
    gamma_t: nn.Module,
    gamma_s: nn.Module,
    *,
    n: int,
    k: int,
    tau: float,
    mode: Mode,
) -> Tensor:
    """The loss of pillars by itself, the paper's symbols for names.

    Args:
        z_t: `(M, C_T)` the teacher's features.
        z_s: `(M, C_S)` the student's.
        importance: `(M,)` points in each pillar.
        frame: `(M,)` int64, frame of each pillar, ascending.
        gamma_t: the teacher's graph layer.
        gamma_s: the student's.
        n: graphs of a frame, all its pillars at most.
        k: neighbors, all pillars of the frame at most.
        tau: temperature of the weights.
        mode: see `graph_distance`.
    """
    numbers = [min(n, int(rows)) for rows in torch.bincount(frame)]
    graphs = graphs_of(z_t, importance, frame, numbers, k)
    total = graph_distance(graphs, z_t, z_s, importance, gamma_t, gamma_s, tau, mode)
    return total / max(len(graphs.center), 1)
