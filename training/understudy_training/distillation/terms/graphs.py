"""Graphs of nearest rows in a feature space, frame by frame, as flat lists of pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Graphs:
    """G graphs with P pairs altogether.

    Attributes:
        center: `(G,)` int64, row in the middle of each.
        frame: `(G,)` int64, its frame.
        neighbor: `(P,)` int64, row of each pair.
        owner: `(P,)` int64, graph of each pair.
    """

    center: Tensor
    frame: Tensor
    neighbor: Tensor
    owner: Tensor


@torch.no_grad()
def graphs_of(rows: Tensor, importance: Tensor, frame: Tensor, numbers: list[int], num_neighbors: int) -> Graphs:
    """The graphs around each frame's most important rows; a row is its own nearest neighbor.

    Args:
        rows: `(M, C)` features that say what is near.
        importance: `(M,)`.
        frame: `(M,)` int64, frame of each row.
        numbers: graphs of each frame, its rows at most.
        num_neighbors: of each graph, the frame's rows at most.
    """
    centers, neighbors = [], []
    for number, wanted in enumerate(numbers):
        members = (frame == number).nonzero()[:, 0]
        chosen = members[importance[members].topk(wanted).indices]
        among = rows[members]
        away = torch.addmm(among.square().sum(1), rows[chosen], among.T, alpha=-2.0)  # the chosen's own length left out
        centers.append(chosen)
        neighbors.append(members[away.topk(min(num_neighbors, len(members)), largest=False).indices])
    owned = [torch.full((len(near),), near.shape[1], device=rows.device) for near in neighbors]
    center = torch.cat(centers)
    return Graphs(
        center=center,
        frame=frame[center],
        neighbor=torch.cat([near.flatten() for near in neighbors]),
        owner=torch.arange(len(center), device=rows.device).repeat_interleave(torch.cat(owned)),
    )


def pairs_of(graphs: Graphs, rows: Tensor) -> Tensor:
    """`(P, 2C)`: each pair's neighbor, then its center."""
    return torch.cat([rows[graphs.neighbor], rows[graphs.center[graphs.owner]]], dim=1)


def compacted(graphs: Graphs, num_rows: int) -> tuple[Tensor, Graphs]:
    """`(R,)` the rows that are in any graph, ascending, and the same graphs over those alone.

    Args:
        graphs: over all rows.
        num_rows: how many those are.
    """
    there = torch.zeros(num_rows, dtype=torch.bool, device=graphs.center.device)
    there[graphs.neighbor] = True
    there[graphs.center] = True
    place = there.cumsum(0) - 1
    return there.nonzero()[:, 0], replace(graphs, center=place[graphs.center], neighbor=place[graphs.neighbor])


def mean_over_graph(graphs: Graphs, values: Tensor) -> Tensor:
    """`(G,)` mean of `(P,)` values."""
    empty = values.new_zeros(len(graphs.center))
    sizes = empty.index_add(0, graphs.owner, torch.ones_like(values))
    return empty.index_add(0, graphs.owner, values) / sizes


def softmax_in_frames(graphs: Graphs, values: Tensor) -> Tensor:
    """`(G,)` softmax over each frame's graphs times their number, so that its mean is 1."""
    weights = torch.ones_like(values)
    for number in set(graphs.frame.tolist()):
        members = graphs.frame == number
        weights[members] = values[members].softmax(dim=0) * members.sum()
    return weights
