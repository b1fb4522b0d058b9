"""What a network may look at in one frame, as its encoder collates it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from understudy.rig import Camera


def no_points() -> NDArray[np.float32]:
    """`(0, 4)`: nothing seen."""
    return np.zeros((0, 4), np.float32)


@dataclass(frozen=True, eq=False)
class Observed:
    """One frame without its labels.

    Attributes:
        points: `(N, 4)` float32 x, y, z in ego and intensity in [0, 1].
        images: `(H, W, 3)` uint8 RGB by camera; a camera that did not deliver is absent.
        cameras: the cameras, in the network's order, those included that did not deliver.
    """

    points: NDArray[np.float32] = field(default_factory=no_points)
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    cameras: Mapping[str, Camera] = field(default_factory=dict)
