"""The ground of a cloud as one plane, found by chance and consensus (RANSAC); what stands is above it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.configuration import Config

_MOST_POINTS = 4000
_BATCH = 50


class GroundRules(Config):
    """How the plane is searched, and what counts as above it."""

    margin_m: float = Field(0.05, gt=0)
    """Points higher above the plane than this stand. The paper's 0.05 leaves sidewalks standing, 0.2 does not."""
    inlier_m: float = Field(0.1, gt=0)
    """Distance from the plane within which a point speaks for it."""
    trials: int = Field(200, gt=0)
    reach_m: float = Field(40.0, gt=0)
    """Points farther from ego are not asked."""
    height_m: float = Field(1.5, gt=0)
    """Points farther above or below ego's own ground are not asked."""
    max_tilt_deg: float = Field(10.0, gt=0, lt=90)


@dataclass(frozen=True)
class Plane:
    """z = x_slope * x + y_slope * y + z_m, in ego."""

    x_slope: float = 0.0
    y_slope: float = 0.0
    z_m: float = 0.0

    def at(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """`(N,)` height of the plane below `(N, 2+)` places."""
        heights: NDArray[np.float64] = self.x_slope * points[:, 0] + self.y_slope * points[:, 1] + self.z_m
        return heights

    def above(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """`(N,)` height of `(N, 3+)` points above the plane, along z."""
        heights: NDArray[np.float64] = points[:, 2] - self.at(points)
        return heights


def find_ground(points: NDArray[np.floating], generator: np.random.Generator, rules: GroundRules) -> Plane:
    """The plane that most points near ego lie on; ego's own ground (z = 0) where too few are seen.

    Args:
        points: `(N, 3+)` in ego.
        generator: decides the trials.
        rules: the search.
    """
    near = (np.hypot(points[:, 0], points[:, 1]) < rules.reach_m) & (np.abs(points[:, 2]) < rules.height_m)
    asked = points[near, :3].astype(np.float64)
    if len(asked) < 3:
        return Plane()
    asked = asked[np.sort(generator.permutation(len(asked))[:_MOST_POINTS])]
    triples = asked[generator.integers(0, len(asked), (rules.trials, 3))]
    candidates = _planes_through(triples, rules.max_tilt_deg)
    if len(candidates) == 0:
        return Plane()
    votes = np.concatenate([_votes(part, asked, rules.inlier_m) for part in _batches(candidates)])
    best = candidates[votes.argmax()]
    agreeing = np.abs(asked[:, 2] - asked[:, :2] @ best[:2] - best[2]) < rules.inlier_m
    return _fitted(asked[agreeing])


def _planes_through(triples: NDArray[np.float64], max_tilt_deg: float) -> NDArray[np.float64]:
    """`(K, 3)` slopes and heights of the planes through `(T, 3, 3)` points that are not too steep."""
    normal = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    upright = np.abs(normal[:, 2]) > np.cos(np.radians(max_tilt_deg)) * np.linalg.norm(normal, axis=1)
    normal, origin = normal[upright], triples[upright, 0]
    slopes = -normal[:, :2] / normal[:, 2:]
    return np.column_stack([slopes, origin[:, 2] - (slopes * origin[:, :2]).sum(axis=1)])


def _batches(planes: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    return [planes[start : start + _BATCH] for start in range(0, len(planes), _BATCH)]


def _votes(planes: NDArray[np.float64], points: NDArray[np.float64], inlier_m: float) -> NDArray[np.int64]:
    residuals = points[:, 2][None] - planes[:, :2] @ points[:, :2].T - planes[:, 2:]
    return np.asarray((np.abs(residuals) < inlier_m).sum(axis=1), np.int64)


def _fitted(points: NDArray[np.float64]) -> Plane:
    """Least squares."""
    matrix = np.column_stack([points[:, :2], np.ones(len(points))])
    x_slope, y_slope, z_m = np.linalg.lstsq(matrix, points[:, 2], rcond=None)[0]
    return Plane(float(x_slope), float(y_slope), float(z_m))
