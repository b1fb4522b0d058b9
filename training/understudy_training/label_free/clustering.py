"""Points that stand together and are alike persistent, as clusters: DBSCAN on a graph of mutual neighbors.

The graph is MODEST's (Y. You et al., CVPR 2022): an edge joins points that are among each other's nearest, its length
is the difference of their persistency. DBSCAN: M. Ester et al., KDD 1996.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from understudy.configuration import Config

NOISE = -1


class ClusterSettings(Config):
    """The graph and what counts as dense on it."""

    neighbors: int = Field(70, gt=0)
    """An edge joins points each of which is among so many nearest of the other."""
    radius_m: float = Field(2.0, gt=0)
    """The longest edge."""
    eps: float = Field(0.1, gt=0)
    """Difference of persistency up to which two joined points are close to each other."""
    min_points: int = Field(10, gt=0)
    """Close points, itself counted, from which a point is a cluster's core."""


def clusters(
    points: NDArray[np.floating], persistency: NDArray[np.floating], settings: ClusterSettings
) -> NDArray[np.int64]:
    """`(N,)` number of each point's cluster, `NOISE` where it has none, of `(N, 3)` points with their persistency."""
    edges = mutual_edges(points, settings.neighbors, settings.radius_m)
    lengths = np.abs(persistency[edges[:, 0]] - persistency[edges[:, 1]])
    return dbscan(len(points), edges[lengths <= settings.eps], settings.min_points)


def mutual_edges(points: NDArray[np.floating], neighbors: int, radius_m: float) -> NDArray[np.int64]:
    """`(E, 2)` pairs, the lower number first, of points among each other's `neighbors` nearest within a radius."""
    if len(points) < 2:
        return np.zeros((0, 2), np.int64)
    count = min(neighbors + 1, len(points))
    lengths_m, nearest = cKDTree(points).query(points, k=count, distance_upper_bound=radius_m)
    rows, columns = np.nonzero(nearest < len(points))
    others = nearest[rows, columns]
    # each is among the other's nearest when it is no farther than the farthest of them
    mutual = (rows < others) & (lengths_m[rows, columns] <= lengths_m[others, -1])
    return np.stack([rows[mutual], others[mutual]], axis=1).astype(np.int64)


def dbscan(num_points: int, edges: NDArray[np.int64], min_points: int) -> NDArray[np.int64]:
    """`(num_points,)` clusters of the graph of close pairs, numbered by their first point; `NOISE` for none.

    A point that is close to cores of several clusters belongs to the one of lowest number.
    """
    degree = np.bincount(edges.ravel(), minlength=num_points) + 1
    core = degree >= min_points
    inner = edges[core[edges].all(axis=1)]
    graph = coo_matrix((np.ones(len(inner), np.int8), (inner[:, 0], inner[:, 1])), shape=(num_points, num_points))
    component = connected_components(graph, directed=False)[1].astype(np.int64)
    labels = np.where(core, component, num_points)
    both_ways = np.concatenate([edges, edges[:, ::-1]])
    at_border = both_ways[~core[both_ways[:, 0]] & core[both_ways[:, 1]]]
    np.minimum.at(labels, at_border[:, 0], component[at_border[:, 1]])
    return _renumbered(labels, num_points)


def _renumbered(labels: NDArray[np.int64], nothing: int) -> NDArray[np.int64]:
    found, first = np.unique(labels, return_index=True)
    real = found != nothing
    in_order = found[real][np.argsort(first[real], kind="stable")]
    numbers = np.full(nothing + 1, NOISE, np.int64)
    numbers[in_order] = np.arange(len(in_order))
    result: NDArray[np.int64] = numbers[labels]
    return result
