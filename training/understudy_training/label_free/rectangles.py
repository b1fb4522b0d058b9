"""Upright boxes around clusters: the rectangle seen from above whose edges the points lie on.

Sources: X. Zhang et al., "Efficient L-shape fitting for vehicle detection using laser scanners" (IV 2017), closeness
criterion; Y. Wei et al., "FGR: frustum-aware geometric reasoning" (ICRA 2021), the rectangle that is hollow inside.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Criterion = Callable[[Array, Array], Array]
"""`(N, 2)` points and `(A,)` angles to `(A,)` merits: the largest decides."""

CLOSENESS_STEP_DEG, HOLLOW_STEP_DEG = 0.1, 0.5
_NEAREST_M = 0.01
_SHRINK = 0.1
_MOST_POINTS = 256
"""More are thinned evenly: the edges show in them as well."""


def closeness(points: Array, angles_rad: Array) -> Array:
    """Sum over the points of 1 / max(d, 0.01), d meters to the nearest edge of the rectangle at each angle."""
    to_edges = np.minimum(*_to_edges(points, angles_rad))
    merit: Array = (1.0 / np.maximum(to_edges, _NEAREST_M)).sum(axis=1)
    return merit


def hollowness(points: Array, angles_rad: Array) -> Array:
    """Minus the points inside the rectangle shrunk by a tenth about its middle; of equals the smaller one is better."""
    along, across = _projections(points, angles_rad)
    inside, area_m2 = np.ones(along.shape, bool), np.ones(len(angles_rad))
    for values in (along, across):
        low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
        inside &= np.abs(values - (low + high) / 2) < (1 - _SHRINK) * (high - low) / 2
        area_m2 = area_m2 * (high - low)[:, 0]
    merit: Array = -inside.sum(axis=1) - area_m2 / (area_m2.max() + 1.0)
    return merit


def fit_rectangle(
    points: NDArray[np.floating], criterion: Criterion = closeness, step_deg: float = CLOSENESS_STEP_DEG
) -> Array:
    """`(5,)` x, y of the center, length, width and yaw in [0, pi) of the best rectangle around `(N, 2+)` points."""
    places = np.asarray(points[:, :2], np.float64)
    angles_rad: Array = np.radians(np.arange(0.0, 90.0, step_deg))
    shown = places[:: -(-len(places) // _MOST_POINTS)]
    angle = angles_rad[[int(criterion(shown, angles_rad).argmax())]]
    (along,), (across,) = _projections(places, angle)
    middle = np.array([along.min() + along.max(), across.min() + across.max()]) / 2
    length, width = np.ptp(along), np.ptp(across)
    cos, sin = np.cos(angle[0]), np.sin(angle[0])
    x, y = cos * middle[0] - sin * middle[1], sin * middle[0] + cos * middle[1]
    if length < width:
        return np.array([x, y, width, length, angle[0] + np.pi / 2])
    return np.array([x, y, length, width, angle[0]])


def box_around(
    cluster: NDArray[np.floating],
    cloud: NDArray[np.floating],
    criterion: Criterion = closeness,
    step_deg: float = CLOSENESS_STEP_DEG,
    min_size_m: float = 0.1,
) -> NDArray[np.float32]:
    """`(7,)` box around a `(N, 3+)` cluster, from its top down to the lowest point of the cloud in its footprint.

    Args:
        cluster: points of one object.
        cloud: `(M, 3+)` the whole cloud, in the same frame.
        criterion: which rectangle is best.
        step_deg: of the angles that are tried, 0 to 90 degrees.
        min_size_m: least length and width: a face seen straight on has no depth.
    """
    x, y, length, width, yaw = fit_rectangle(cluster, criterion, step_deg)
    length, width = max(length, min_size_m), max(width, min_size_m)
    top_m = float(cluster[:, 2].max())
    dx, dy = cloud[:, 0] - x, cloud[:, 1] - y
    along, across = np.abs(np.cos(yaw) * dx + np.sin(yaw) * dy), np.abs(np.cos(yaw) * dy - np.sin(yaw) * dx)
    below = cloud[(along <= length / 2) & (across <= width / 2), 2]
    bottom_m = min(float(below.min(initial=np.inf)), float(cluster[:, 2].min()))
    return np.array([x, y, (top_m + bottom_m) / 2, length, width, top_m - bottom_m, yaw], np.float32)


def _projections(points: Array, angles_rad: Array) -> tuple[Array, Array]:
    """`(A, N)` along and across the axes at each angle."""
    cos, sin = np.cos(angles_rad)[:, None], np.sin(angles_rad)[:, None]
    x, y = points[:, 0][None], points[:, 1][None]
    return cos * x + sin * y, cos * y - sin * x


def _to_edges(points: Array, angles_rad: Array) -> tuple[Array, Array]:
    """`(A, N)` to the nearer edge of either pair."""
    along, across = (
        np.minimum(values - values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True) - values)
        for values in _projections(points, angles_rad)
    )
    return along, across
