"""Which samples of a data set to take when not all are wanted."""

from __future__ import annotations

import numpy as np


def spread_evenly(num_samples: int, num_taken: int) -> list[int]:
    """Numbers of at most `num_taken` samples, first and last among them, evenly spread; the same every time."""
    places = np.linspace(0, max(num_samples - 1, 0), max(min(num_taken, num_samples), 0))
    return [int(place) for place in places.round()]
