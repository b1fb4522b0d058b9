"""Raw mosaics, against the rule written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from understudy.bags.types import make_message
from understudy.errors import FrameError
from understudy.messages.bayer import RED_AT
from understudy.messages.headers import header_message
from understudy.messages.images import image_from_message


def message_of(mosaic: NDArray[np.uint8], encoding: str, padding: int = 3) -> object:
    lines = np.pad(mosaic, ((0, 0), (0, padding)))
    return make_message(
        "sensor_msgs/msg/Image",
        header=header_message(make_message, 5, "front"),
        height=mosaic.shape[0],
        width=mosaic.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=lines.shape[1],
        data=lines.reshape(-1),
    )


def channel_at(encoding: str, row: int, column: int) -> int:
    red_row, red_column = RED_AT[encoding]
    if (row % 2, column % 2) == (red_row, red_column):
        return 0
    return 2 if (row % 2, column % 2) == (1 - red_row, 1 - red_column) else 1


def mirrored(place: int, size: int) -> int:
    return -place if place < 0 else 2 * (size - 1) - place if place >= size else place


def by_the_rule(mosaic: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """Of the eight neighbors, those that measured the channel and are nearest: the mean, halves rounded up."""
    height, width = mosaic.shape
    rgb = np.zeros((height, width, 3), np.uint8)
    around = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                values: dict[int, list[int]] = {}
                for down, right in around:
                    y, x = mirrored(row + down, height), mirrored(column + right, width)
                    if channel_at(encoding, y, x) == channel:
                        values.setdefault(down * down + right * right, []).append(int(mosaic[y, x]))
                nearest = values[min(values)]
                rgb[row, column, channel] = int(np.floor(np.mean(nearest) + 0.5))
    return rgb


@pytest.mark.parametrize("encoding", list(RED_AT))
@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (2, 2), (3, 2)])
def test_every_pixel_is_what_the_rule_says(encoding: str, shape: tuple[int, int]) -> None:
    mosaic = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    image = image_from_message(message_of(mosaic, encoding))
    np.testing.assert_array_equal(image.pixels, by_the_rule(mosaic, encoding))
    assert (image.stamp_ns, image.frame_id) == (5, "front")


@pytest.mark.parametrize("encoding", list(RED_AT))
def test_an_even_color_stays_that_color(encoding: str) -> None:
    color = (200, 120, 40)
    mosaic = np.array([[color[channel_at(encoding, y, x)] for x in range(9)] for y in range(6)], np.uint8)
    pixels = image_from_message(message_of(mosaic, encoding)).pixels
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.array(color, np.uint8), (6, 9, 3)))


def test_one_row_is_no_mosaic() -> None:
    with pytest.raises(FrameError, match="2 x 2"):
        image_from_message(message_of(np.zeros((1, 8), np.uint8), "bayer_rggb8"))
