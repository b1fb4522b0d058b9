"""Boxes lifted from pictures: the points behind a 2D box, grown to a segment, with a rectangle around it.

Source: Y. Wei et al., "FGR: frustum-aware geometric reasoning for weakly supervised 3D vehicle detection" (ICRA 2021),
as LiSe uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from understudy.configuration import Config
from understudy.rig import Camera
from understudy_training.label_free.cues import PictureBoxes
from understudy_training.label_free.rectangles import HOLLOW_STEP_DEG, box_around, hollowness

_AROUND = 1.0
"""Points are grown into up to so many widths and heights of the 2D box beside it: enough to see that they leave it."""
_MOST_POINTS = 3000


class GrowingRules(Config):
    """How a segment is grown, and when it is taken."""

    links_m: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    """A trial for each: points nearer to each other than this are linked."""
    min_share_inside: float = Field(0.8, gt=0, le=1)
    """Part of a segment that must lie in the 2D box: what reaches out of it is something larger behind or below."""
    min_points: int = Field(10, ge=3)
    min_top_m: float = 0.5
    """Above the ground."""
    max_bottom_m: float = 1.0
    """Above the ground."""
    max_size_m: tuple[float, float, float] = (16.0, 4.0, 5.0)
    """Length, width and height beyond which no box is believed. The release has a car's, so others are lost there."""

    @field_validator("links_m")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) <= 0:
            raise ValueError("links_m: one or more, above 0")
        return value


@dataclass(frozen=True, eq=False)
class Lifted:
    """Boxes of one picture.

    Attributes:
        boxes: `(L, 7)` in ego.
        cues: `(L,)` row of the 2D box each came from.
    """

    boxes: NDArray[np.float32]
    cues: NDArray[np.int64]


def lifted_boxes(
    cues: PictureBoxes,
    camera: Camera,
    points: NDArray[np.float32],
    stands: NDArray[np.bool_],
    above_ground_m: NDArray[np.floating],
    rules: GrowingRules,
) -> Lifted:
    """A 3D box for each 2D box behind which a segment is found.

    Args:
        cues: the 2D boxes.
        camera: that took the picture.
        points: `(N, 3+)` the cloud in ego.
        stands: `(N,)` points above the ground that are near enough to count.
        above_ground_m: `(N,)` heights of the points.
        rules: of the growing.
    """
    rows = np.flatnonzero(stands)
    pixels, depth_m = camera.project(points[rows, :3])
    before = depth_m > 0
    rows, pixels = rows[before], pixels[before]
    boxes, sources = [], []
    for number, corners in enumerate(cues.corners_px):
        segment = rows[segment_behind(corners, pixels, points[rows, :3], rules)]
        if len(segment) < rules.min_points or not _stands_on_ground(above_ground_m[segment], rules):
            continue
        box = box_around(points[segment], points, hollowness, HOLLOW_STEP_DEG)
        if (box[3:6] <= rules.max_size_m).all():
            boxes.append(box)
            sources.append(number)
    return Lifted(np.array(boxes, np.float32).reshape(-1, 7), np.array(sources, np.int64))


def segment_behind(
    corners_px: NDArray[np.float64],
    pixels: NDArray[np.float64],
    points: NDArray[np.floating],
    rules: GrowingRules,
) -> NDArray[np.int64]:
    """Rows of the largest segment, over all trials, that lies in a 2D box for the most part; empty without one.

    Args:
        corners_px: `(4,)` left, top, right, bottom.
        pixels: `(N, 2)` where the points are in the picture.
        points: `(N, 3)` that stand, before the camera.
        rules: of the growing.
    """
    size = np.maximum(corners_px[2:] - corners_px[:2], 1.0)
    near = (pixels >= corners_px[:2] - _AROUND * size).all(axis=1) & (pixels <= corners_px[2:] + _AROUND * size).all(
        axis=1
    )
    rows = np.flatnonzero(near)
    rows = rows[:: -(-len(rows) // _MOST_POINTS)] if len(rows) else rows
    inside = (pixels[rows] >= corners_px[:2]).all(axis=1) & (pixels[rows] <= corners_px[2:]).all(axis=1)
    best = np.zeros(0, np.int64)
    if inside.sum() < rules.min_points:
        return best
    pairs, lengths_m = _shortest_links(points[rows], max(rules.links_m))
    for link_m in sorted(rules.links_m):
        labels = _linked(pairs[lengths_m < link_m], len(rows))
        sizes, own = np.bincount(labels), np.bincount(labels[inside], minlength=labels.max() + 1)
        sizes[own < rules.min_share_inside * sizes] = 0
        if sizes.max() > len(best):
            best = rows[labels == sizes.argmax()]
    return best


def _shortest_links(points: NDArray[np.floating], longest_m: float) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """`(E, 2)` pairs of a minimum spanning forest and their lengths: at any length it links what all pairs link."""
    pairs = cKDTree(points).query_pairs(longest_m, output_type="ndarray")
    lengths_m = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    weights = np.maximum(lengths_m, 1e-9)  # 0 would be no link
    graph = coo_matrix((weights, (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points)))
    forest = minimum_spanning_tree(graph).tocoo()
    return np.stack([forest.row, forest.col], axis=1), np.asarray(forest.data, np.float64)


def _linked(pairs: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _stands_on_ground(above_ground_m: NDArray[np.floating], rules: GrowingRules) -> bool:
    return bool(above_ground_m.max() >= rules.min_top_m and above_ground_m.min() <= rules.max_bottom_m)
