"""The picture of a camera that sends its raw mosaic of red, green and blue pixels, by `sensor_msgs/Image`'s names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from understudy.errors import FrameError

RED_AT: Mapping[str, tuple[int, int]] = {
    "bayer_rggb8": (0, 0),
    "bayer_grbg8": (0, 1),
    "bayer_gbrg8": (1, 0),
    "bayer_bggr8": (1, 1),
}
"""Row and column, in each square of two by two pixels, of the red one; blue is diagonal to it, the others are green."""


def demosaiced(mosaic: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """`(H, W)` mosaic to `(H, W, 3)` RGB: what a pixel did not measure is the mean of its nearest neighbors that did.

    This is the bilinear rule; at the border the picture is mirrored about its outermost pixels.

    Raises:
        FrameError: when the mosaic is smaller than two by two pixels.
        KeyError: when the encoding is none of `RED_AT`.
    """
    if min(mosaic.shape) < 2:
        raise FrameError("bayer picture", found=f"shape {mosaic.shape}", wanted="at least 2 x 2 pixels")
    red_row, red_column = RED_AT[encoding]
    padded = np.pad(mosaic, 1, mode="reflect").astype(np.uint16)
    rgb = np.empty((*mosaic.shape, 3), np.uint8)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        site = _Site(padded, row, column)
        on_red_row, on_red_column = row == red_row, column == red_column
        if on_red_row == on_red_column:
            own, opposite = (0, 2) if on_red_row else (2, 0)
            channels = {own: site.own(), 1: site.beside(), opposite: site.diagonal()}
        else:
            across, along = (0, 2) if on_red_row else (2, 0)
            channels = {1: site.own(), across: site.left_and_right(), along: site.above_and_below()}
        for channel, values in channels.items():
            rgb[row::2, column::2, channel] = values
    return rgb


class _Site:
    """Every second pixel of every second row, and what surrounds them."""

    def __init__(self, padded: NDArray[np.uint16], row: int, column: int) -> None:
        self._padded, self._row, self._column = padded, row, column

    def own(self) -> NDArray[np.uint16]:
        return self._shifted(0, 0)

    def left_and_right(self) -> NDArray[np.uint16]:
        return self._mean_of(((0, -1), (0, 1)))

    def above_and_below(self) -> NDArray[np.uint16]:
        return self._mean_of(((-1, 0), (1, 0)))

    def beside(self) -> NDArray[np.uint16]:
        return self._mean_of(((0, -1), (0, 1), (-1, 0), (1, 0)))

    def diagonal(self) -> NDArray[np.uint16]:
        return self._mean_of(((-1, -1), (-1, 1), (1, -1), (1, 1)))

    def _mean_of(self, shifts: tuple[tuple[int, int], ...]) -> NDArray[np.uint16]:
        num = len(shifts)
        total = sum(self._shifted(down, right) for down, right in shifts)
        mean: NDArray[np.uint16] = (total + np.uint16(num // 2)) // np.uint16(num)
        return mean

    def _shifted(self, down: int, right: int) -> NDArray[np.uint16]:
        height, width = self._padded.shape
        return self._padded[
            self._row + 1 + down : height - 1 + down : 2, self._column + 1 + right : width - 1 + right : 2
        ]
