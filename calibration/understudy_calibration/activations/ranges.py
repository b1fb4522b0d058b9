"""Ranges of activations over real frames: what the scales are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from understudy.engines.engine import Engine
from understudy.errors import InputError
from understudy.pipeline import Feeds

Method = Literal["minmax", "percentile"]

PERCENTILE = 99.99
_BINS = 8192


@dataclass(frozen=True)
class Range:
    """Lowest and highest value that a tensor's quantization must hold."""

    low: float
    high: float

    @property
    def magnitude(self) -> float:
        """The larger of the two, without sign."""
        return max(abs(self.low), abs(self.high))

    def clipped(self, magnitude: float) -> Range:
        """The same range, cut to +-`magnitude`."""
        return Range(max(self.low, -magnitude), min(self.high, magnitude))


def measure_extremes(engine: Engine, tensors: tuple[str, ...], feeds: Iterable[Feeds]) -> dict[str, Range]:
    """Lowest and highest value of each tensor over all frames; `engine` puts the tensors out.

    Raises:
        InputError: when there is no frame, or a value is not finite.
    """
    ranges: dict[str, Range] = {}
    for frame_feeds in feeds:
        outputs = engine(frame_feeds)
        for name in tensors:
            ranges[name] = _merged(ranges.get(name), _extremes(name, outputs[name]))
    if not ranges:
        raise InputError("calibration", found="no frame", wanted="at least one")
    return ranges


def clip_to_percentile(
    engine: Engine, extremes: dict[str, Range], feeds: Iterable[Feeds], percentile: float = PERCENTILE
) -> dict[str, Range]:
    """Cuts each range to the magnitude that `percentile` % of the values stay below: a second pass over the frames.

    Values are counted in bins of 1/8192 of the magnitude, whose upper edge is taken.
    """
    counts = {name: np.zeros(_BINS, np.int64) for name in extremes}
    for frame_feeds in feeds:
        outputs = engine(frame_feeds)
        for name, limits in extremes.items():
            counts[name] += np.histogram(np.abs(outputs[name]), bins=_BINS, range=(0.0, limits.magnitude or 1.0))[0]
    return {
        name: limits.clipped(limits.magnitude * _percentile_bin(counts[name], percentile) / _BINS)
        for name, limits in extremes.items()
    }


def _percentile_bin(counts: NDArray[np.int64], percentile: float) -> int:
    reached = np.cumsum(counts) >= counts.sum() * (percentile / 100.0)
    return int(np.argmax(reached)) + 1


def _merged(old: Range | None, new: Range) -> Range:
    return new if old is None else Range(min(old.low, new.low), max(old.high, new.high))


def _extremes(name: str, values: NDArray[np.float32]) -> Range:
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"activation {name}", found="values that are not finite", wanted="finite activations")
    return Range(low, high)
