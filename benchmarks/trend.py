"""Does a series rise? A line through it, and how sure its slope is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_Z = 1.96


@dataclass(frozen=True)
class Trend:
    """A line through samples over time.

    Attributes:
        per_hour: its slope.
        low, high: the slope's 95 % interval.
        first, last: the samples' own.
        smallest, largest: the samples' own.
    """

    per_hour: float
    low: float
    high: float
    first: float
    last: float
    smallest: float
    largest: float

    def is_flat(self, bound_per_hour: float) -> bool:
        """Whether the slope is surely below the bound."""
        return self.high < bound_per_hour


def trend_of(elapsed_s: Sequence[float], values: Sequence[float]) -> Trend:
    """Least squares.

    Neighboring samples of memory are alike, so fewer than n of them are independent: `n (1 - r) / (1 + r)` with the
    residuals' first autocorrelation r, as B. Santer et al. do for temperatures (Journal of Geophysical Research, 2000).
    """
    hours, y = np.asarray(elapsed_s, np.float64) / 3600, np.asarray(values, np.float64)
    centered = hours - hours.mean()
    slope = float(centered @ y / (centered @ centered))
    residuals = y - y.mean() - slope * centered
    power = float(residuals @ residuals)
    autocorrelation = max(0.0, float(residuals[1:] @ residuals[:-1]) / power) if power else 0.0
    independent = max(4.0, len(y) * (1 - autocorrelation) / (1 + autocorrelation))
    error = np.sqrt(power / (independent - 2) / (centered @ centered))
    student = _Z + (_Z**3 + _Z) / (4 * (independent - 2))
    half = float(student * error)
    return Trend(slope, slope - half, slope + half, float(y[0]), float(y[-1]), float(y.min()), float(y.max()))
