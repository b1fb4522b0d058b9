"""How much oriented boxes overlap: intersection over union from above and in 3D, for all pairs at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from understudy.errors import UnderstudyError

_CORNER_SIGNS = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])


def bev_iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Overlap of the footprints, `(N, M)` in [0, 1].

    Args:
        a: `(N, 7)` boxes: x, y, z, length, width, height, yaw.
        b: `(M, 7)` boxes in the same frame.

    Returns:
        Intersection over union of the footprints; 0 where both footprints are empty or a value is not finite.

    Raises:
        UnderstudyError: when a shape is not `(N, 7)`.
    """
    first, second, shared_m2 = _intersections(a, b)
    areas_m2 = (first[:, 3] * first[:, 4])[:, None] + (second[:, 3] * second[:, 4])[None]
    return _ratio(shared_m2, areas_m2)


def iou_3d(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Overlap of the volumes, `(N, M)` in [0, 1]; arguments and errors as in `bev_iou`."""
    first, second, shared_m2 = _intersections(a, b)
    tops_m = np.minimum((first[:, 2] + first[:, 5] / 2)[:, None], (second[:, 2] + second[:, 5] / 2)[None])
    bottoms_m = np.maximum((first[:, 2] - first[:, 5] / 2)[:, None], (second[:, 2] - second[:, 5] / 2)[None])
    shared_m3 = shared_m2 * np.maximum(tops_m - bottoms_m, 0.0)
    volumes_m3 = np.prod(first[:, 3:6], axis=1)[:, None] + np.prod(second[:, 3:6], axis=1)[None]
    return _ratio(shared_m3, volumes_m3)


def bev_intersection_m2(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Area that the footprints share, `(N, M)` square meters; arguments and errors as in `bev_iou`."""
    return _intersections(a, b)[2]


def paired_intersections_m2(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Area that each footprint of a shares with the one of b in the same row, `(P,)` square meters.

    Args:
        a: `(P, 7)` boxes.
        b: `(P, 7)` boxes in the same frame.

    Raises:
        UnderstudyError: when a shape is not `(P, 7)` or the lengths differ.
    """
    first, second = _checked(a, "first boxes"), _checked(b, "second boxes")
    if len(first) != len(second):
        raise UnderstudyError("second boxes", found=f"{len(second)}", wanted=f"{len(first)}, one for each of the first")
    distances_m = np.hypot(first[:, 0] - second[:, 0], first[:, 1] - second[:, 1])
    near = np.flatnonzero(distances_m < _circumradius_m(first) + _circumradius_m(second))
    shared_m2 = np.zeros(len(first))
    shared_m2[near] = _clipped_areas_m2(first[near], second[near])
    return shared_m2


def _intersections(
    a: NDArray[np.floating], b: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Both sets as float64 and the area that each pair shares; only pairs whose circles meet are clipped."""
    first, second = _checked(a, "first boxes"), _checked(b, "second boxes")
    offsets_m = first[:, None, :2] - second[None, :, :2]
    reach_m = _circumradius_m(first)[:, None] + _circumradius_m(second)[None]
    rows, columns = np.nonzero(np.hypot(offsets_m[..., 0], offsets_m[..., 1]) < reach_m)
    shared_m2 = np.zeros((len(first), len(second)))
    shared_m2[rows, columns] = _clipped_areas_m2(first[rows], second[columns])
    return first, second, shared_m2


def _checked(boxes: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    values = np.asarray(boxes, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 7:
        raise UnderstudyError(name, found=f"shape {values.shape}", wanted="(N, 7): x, y, z, l, w, h, yaw")
    return np.where(np.isfinite(values).all(axis=1, keepdims=True), values, 0.0)


def _circumradius_m(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    radius_m: NDArray[np.float64] = np.hypot(boxes[:, 3], boxes[:, 4]) / 2
    return radius_m


def _clipped_areas_m2(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(P,)` areas that the footprints of `(P, 7)` pairs share.

    In the frame of b, b is an upright rectangle. Projecting the outline of a onto that rectangle (clamping x and y)
    leaves what is inside in place and lays what is outside onto the rectangle's edge, so the projected closed curve
    winds once around exactly the shared area, which Green's theorem reads off. No case distinctions and continuous in
    every argument: touching, identical and degenerate boxes need no care.
    """
    starts = _corners_in_frame_of(a, b)
    steps = np.roll(starts, -1, axis=1) - starts
    half = b[:, None, None, 3:5] / 2
    limits = np.concatenate([-half, half], axis=2)
    fractions = _crossings((limits - starts[:, :, None]), steps[:, :, None])
    curve = np.clip(starts[:, :, None] + fractions[..., None] * steps[:, :, None], -half, half)
    here, there = curve[:, :, :-1], curve[:, :, 1:]
    doubled = (here[..., 0] * there[..., 1] - here[..., 1] * there[..., 0]).sum(axis=(1, 2))
    areas_m2: NDArray[np.float64] = np.maximum(doubled / 2, 0.0)
    return areas_m2


def _corners_in_frame_of(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(P, 4, 2)` corners of a's footprint, counter-clockwise, in the frame of b's footprint."""
    offsets = _rotated(a[:, :2] - b[:, :2], -b[:, 6])
    local = _CORNER_SIGNS[None] * a[:, None, 3:5] / 2
    corners: NDArray[np.float64] = _rotated(local, (a[:, 6] - b[:, 6])[:, None]) + offsets[:, None]
    return corners


def _rotated(points: NDArray[np.float64], angle_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    x, y = points[..., 0], points[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def _crossings(distances: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(P, 4, 6)` fractions of each edge, ascending from 0 to 1, between which it meets no edge line of the rectangle.

    Args:
        distances: `(P, 4, 2, 2)` from the edge's start to the lower and upper limit, in x and y.
        steps: `(P, 4, 1, 2)` from the edge's start to its end.
    """
    moves = np.broadcast_to(np.abs(steps) > 1e-300, distances.shape)
    with np.errstate(over="ignore"):
        fractions = np.divide(distances, steps, out=np.zeros_like(distances), where=moves)
    inner = np.sort(np.clip(fractions, 0.0, 1.0).reshape(*distances.shape[:2], 4), axis=2)
    ends = np.zeros((*distances.shape[:2], 1))
    return np.concatenate([ends, inner, ends + 1.0], axis=2)


def _ratio(shared: NDArray[np.float64], summed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shared over united; 0 where there is nothing."""
    united = summed - shared
    ratio = np.divide(shared, united, out=np.zeros_like(shared), where=united > 0)
    return np.minimum(ratio, 1.0)
