"""What is true of each pixel, for data sets that know it: distance and class, read only when someone looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from understudy.errors import InputError
from understudy.images import read_channel

_M_PER_MM = 0.001


@dataclass(frozen=True, eq=False)
class PixelTruth:
    """Truth of one picture.

    Attributes:
        depth_m: `(H, W)` float32 along the optical axis; infinite in the sky and where it was too far to be written.
        classes: `(H, W)` uint8, as the data set counts them.
    """

    depth_m: NDArray[np.float32]
    classes: NDArray[np.uint8]


@runtime_checkable
class WithPixelTruth(Protocol):
    """A data set that knows depth and class of its pictures' pixels."""

    def pixel_truth(self, index: int) -> Mapping[str, PixelTruth]:
        """Truth of a sample's pictures by camera name."""


@dataclass(frozen=True)
class PixelTruthFile:
    """Where the truth of one picture lies: PNG of 16 bit with millimeters (0: none), and of 8 bit with classes."""

    depth: Path
    classes: Path


class PixelTruthFiles(Mapping[str, PixelTruth]):
    """Truth by camera name, decoded at each access."""

    def __init__(self, files: Mapping[str, PixelTruthFile]) -> None:
        self._files = dict(files)

    def __getitem__(self, name: str) -> PixelTruth:
        """The truth of that camera's picture, read now.

        Raises:
            InputError: when a file is missing or not what it should be, or the two differ in size.
        """
        file = self._files[name]
        depth_mm, classes = read_channel(file.depth), read_channel(file.classes)
        if depth_mm.dtype != np.uint16:
            raise InputError(f"{file.depth}", found="8 bit", wanted="depths in 16 bit")
        if classes.dtype != np.uint8 or classes.shape != depth_mm.shape:
            found, wanted = f"{classes.dtype} {classes.shape}", f"uint8 {depth_mm.shape}, one class for each depth"
            raise InputError(f"{file.classes}", found=found, wanted=wanted)
        depth_m = np.where(depth_mm == 0, np.float32(np.inf), depth_mm.astype(np.float32) * np.float32(_M_PER_MM))
        return PixelTruth(depth_m, classes.astype(np.uint8, copy=False))

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
