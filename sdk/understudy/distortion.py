"""What a lens does to rays, and undoes: the three models of ROS' CameraInfo, on normalized image coordinates.

Normalized coordinates are x / z and y / z in the optical frame. Sources: D. C. Brown, "Decentering distortion of
lenses" (1966) and the camera model of OpenCV's documentation (`calib3d`) for plumb_bob and rational_polynomial;
J. Kannala and S. Brandt, "A generic camera model and calibration method" (PAMI 2006) for equidistant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

DistortionModel = Literal["plumb_bob", "rational_polynomial", "equidistant"]
"""Names as in CameraInfo."""

NUM_COEFFICIENTS: Mapping[DistortionModel, tuple[int, ...]] = {
    "plumb_bob": (0, 4, 5),
    "rational_polynomial": (0, 8),
    "equidistant": (0, 4),
}
"""How many a camera may have; none says that its pictures are rectified.

k1, k2, p1, p2, k3 for plumb_bob, k4, k5, k6 of the denominator after them for rational_polynomial, k1 to k4 for
equidistant.
"""

_NEWTON_STEPS = 20
_DIFFERENCE = 1e-6
Points = NDArray[np.float64]


def distort(points: Points, model: DistortionModel, coefficients: Sequence[float]) -> Points:
    """`(N, 2)` normalized coordinates of rays to where the lens puts them.

    Beyond the radius from which the polynomial folds back (rays that no calibration has seen) a ray is left where a
    pinhole would put it: outside of the picture, instead of at a wrong place within.
    """
    if not any(coefficients):
        return points
    if model == "equidistant":
        return _distort_equidistant(points, coefficients)
    inside = (points**2).sum(axis=1) < _fold_radius2(coefficients)
    bent = np.array(points, np.float64)
    bent[inside] = _distort_polynomial(bent[inside], coefficients)
    return bent


def undistort(points: Points, model: DistortionModel, coefficients: Sequence[float]) -> Points:
    """`(N, 2)` distorted normalized coordinates to those of the rays: the inverse of `distort`, to 1e-9.

    NaN where no ray within the model's range leads there.
    """
    if not any(coefficients):
        return points
    if model == "equidistant":
        return _undistort_equidistant(points, coefficients)
    return _undistort_polynomial(points, coefficients)


def turned_lens(
    model: DistortionModel, coefficients: Sequence[float], target_from_source: NDArray[np.float64]
) -> tuple[float, ...]:
    """Coefficients of the same lens in picture axes that are rolled or mirrored about the optical axis.

    `target_from_source` is `(2, 2)` and orthogonal. Only the tangential pair of the polynomial models has a direction:
    (p2, p1) turns like a vector.
    """
    if model == "equidistant" or not coefficients:
        return tuple(coefficients)
    p2, p1 = target_from_source @ np.array([coefficients[3], coefficients[2]])
    return (*coefficients[:2], float(p1), float(p2), *coefficients[4:])


def _distort_polynomial(points: Points, coefficients: Sequence[float]) -> Points:
    k1, k2, p1, p2, k3, k4, k5, k6 = _padded(coefficients)
    x, y = points.T
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    moved_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    moved_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([moved_x, moved_y], axis=1)


def _undistort_polynomial(points: Points, coefficients: Sequence[float]) -> Points:
    """Newton's method with a Jacobian from differences."""
    limit2 = _fold_radius2(coefficients)
    rays = points.copy()
    for _ in range(_NEWTON_STEPS):
        missing = points - _distort_polynomial(rays, coefficients)
        along_x = _slope(rays, np.array([_DIFFERENCE, 0.0]), coefficients)
        along_y = _slope(rays, np.array([0.0, _DIFFERENCE]), coefficients)
        determinant = along_x[:, 0] * along_y[:, 1] - along_y[:, 0] * along_x[:, 1]
        determinant = np.where(np.abs(determinant) < 1e-12, np.nan, determinant)
        step_x = (along_y[:, 1] * missing[:, 0] - along_y[:, 0] * missing[:, 1]) / determinant
        step_y = (along_x[:, 0] * missing[:, 1] - along_x[:, 1] * missing[:, 0]) / determinant
        rays = _pulled_within(rays + np.stack([step_x, step_y], axis=1), limit2)
    reached = np.abs(_distort_polynomial(rays, coefficients) - points).max(axis=1, initial=0.0) < 1e-9
    return np.where(reached[:, None], rays, np.nan)


def _slope(rays: Points, step: NDArray[np.float64], coefficients: Sequence[float]) -> Points:
    ahead, behind = _distort_polynomial(rays + step, coefficients), _distort_polynomial(rays - step, coefficients)
    slope: Points = (ahead - behind) / (2 * _DIFFERENCE)
    return slope


def _pulled_within(rays: Points, limit2: float) -> Points:
    """Rays beyond the fold back onto it, so that no step ends on the branch that folds back."""
    r2 = (rays**2).sum(axis=1)
    beyond = r2 > limit2
    rays[beyond] *= np.sqrt(limit2 / r2[beyond])[:, None] * 0.999
    return rays


def _fold_radius2(coefficients: Sequence[float]) -> float:
    """Squared radius at which the distorted radius stops to grow with it; infinite when it never does."""
    k1, k2, _, _, k3, k4, k5, k6 = _padded(coefficients)
    above, below = np.array([k3, k2, k1, 1.0]), np.array([k6, k5, k4, 1.0])
    # d/dr of r * above(s) / below(s) with s = r^2, times below^2.
    growth = np.polymul(np.polyadd(above, 2 * np.polymul([1.0, 0.0], np.polyder(above))), below)
    growth = np.polysub(growth, 2 * np.polymul([1.0, 0.0], np.polymul(above, np.polyder(below))))
    roots = np.roots(np.polymul(growth, below))
    turning = roots[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)].real
    return float(turning.min()) if len(turning) else np.inf


def _padded(coefficients: Sequence[float]) -> tuple[float, ...]:
    return (*coefficients, *(0.0,) * (8 - len(coefficients)))


def _distort_equidistant(points: Points, coefficients: Sequence[float]) -> Points:
    radius = np.hypot(points[:, 0], points[:, 1])
    distorted = _bent(np.arctan(radius), coefficients)
    return points * np.where(radius > 1e-8, distorted / np.maximum(radius, 1e-8), 1.0)[:, None]


def _undistort_equidistant(points: Points, coefficients: Sequence[float]) -> Points:
    radius = np.hypot(points[:, 0], points[:, 1])
    angle = np.clip(radius, 0.0, np.pi / 2 - 1e-6)
    powers = np.array([3.0, 5.0, 7.0, 9.0]) * coefficients
    for _ in range(_NEWTON_STEPS):
        slope = 1 + sum(power * angle ** (2 * number + 2) for number, power in enumerate(powers))
        angle = np.clip(angle - (_bent(angle, coefficients) - radius) / slope, 0.0, np.pi / 2 - 1e-6)
    reached = np.abs(_bent(angle, coefficients) - radius) < 1e-9
    stretched = np.where(radius > 1e-8, np.tan(angle) / np.maximum(radius, 1e-8), 1.0)
    return points * np.where(reached, stretched, np.nan)[:, None]


def _bent(angle: NDArray[np.float64], coefficients: Sequence[float]) -> NDArray[np.float64]:
    """The distorted radius of a ray at an angle from the optical axis."""
    k1, k2, k3, k4 = coefficients
    squared = angle * angle
    bent: NDArray[np.float64] = angle * (1 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4))))
    return bent
