"""What weather and light leave in the data: simple measures that stand in for labels nobody made.

They are proxies. Rain, fog and snow scatter returns close to the sensor and take far ones away (M. Bijelic et al.,
"Seeing through fog without seeing fog", CVPR 2020); haze lifts the dark channel of a picture (K. He et al., "Single
image haze removal using dark channel prior", CVPR 2009); drops on the lens and night lower sharpness and brightness.
Compare drives of one vehicle with each other, not numbers of different sensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NEAR_M = (1.5, 10.0)
_ABOVE_ROAD_M = 0.5
_CELL_M = 0.5
_FEWEST_NEIGHBORS = 3
_FAR_M = 50.0
_DARK = 0.01
_HAZE_WIDTH_PX = 320
_PATCH_PX = 8


@dataclass(frozen=True)
class CloudProxies:
    """Of one sweep.

    Attributes:
        scattered_share: of all returns, those 1.5 to 10 m away and 0.5 m above the road with next to nothing around.
        far_share: of all returns, those beyond 50 m.
        reach_m: 99th percentile of the distance.
        dark_share: of all returns, those with less than 1 % of full intensity.
    """

    scattered_share: float
    far_share: float
    reach_m: float
    dark_share: float


@dataclass(frozen=True)
class PictureProxies:
    """Of one picture, all in 0 to 1 but for sharpness.

    Attributes:
        brightness: mean luma.
        contrast: standard deviation of luma.
        haze: mean dark channel over patches.
        sharpness: standard deviation of the Laplacian of luma, in gray levels of 255.
    """

    brightness: float
    contrast: float
    haze: float
    sharpness: float


def cloud_proxies(
    points_ego: NDArray[np.floating], ranges_m: NDArray[np.floating], intensity: NDArray[np.floating]
) -> CloudProxies:
    """Of `(N, 3+)` finite points in ego, with their `(N,)` distances from the sensor and intensities in [0, 1]."""
    if not len(points_ego):
        return CloudProxies(0.0, 0.0, 0.0, 0.0)
    near = (ranges_m > _NEAR_M[0]) & (ranges_m < _NEAR_M[1])
    around = np.flatnonzero(ranges_m < _NEAR_M[1] + 2 * _CELL_M)
    lonely = np.zeros(len(points_ego), bool)
    lonely[around] = _neighbors(points_ego[around, :3]) < _FEWEST_NEIGHBORS
    scattered = near & lonely & (points_ego[:, 2] > _ABOVE_ROAD_M)
    return CloudProxies(
        scattered_share=float(scattered.mean()),
        far_share=float((ranges_m > _FAR_M).mean()),
        reach_m=float(np.percentile(ranges_m, 99)),
        dark_share=float((intensity < _DARK).mean()),
    )


def _neighbors(points: NDArray[np.floating]) -> NDArray[np.int64]:
    """`(N,)` other points in the 27 cells of half a meter around each point's own."""
    if not len(points):
        return np.zeros(0, np.int64)
    cells = np.floor(points / _CELL_M).astype(np.int64)
    cells -= cells.min(axis=0) - 1
    size = cells.max(axis=0) + 2
    counts = np.zeros(size, np.int64)
    np.add.at(counts, tuple(cells.T), 1)
    around: NDArray[np.int64] = np.full(len(points), -1)
    for x in (-1, 0, 1):
        for y in (-1, 0, 1):
            for z in (-1, 0, 1):
                around += counts[cells[:, 0] + x, cells[:, 1] + y, cells[:, 2] + z]
    return around


def picture_proxies(pixels: NDArray[np.uint8]) -> PictureProxies:
    """Of `(H, W, 3)` RGB pixels."""
    luma = pixels.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
    laplacian = 4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    return PictureProxies(
        brightness=float(luma.mean() / 255),
        contrast=float(luma.std() / 255),
        haze=_dark_channel(pixels),
        sharpness=float(laplacian.std()) if laplacian.size else 0.0,
    )


def _dark_channel(pixels: NDArray[np.uint8]) -> float:
    """Mean over patches of the darkest value of any channel, at about 320 pixels' width."""
    stride = max(1, pixels.shape[1] // _HAZE_WIDTH_PX)
    darkest = pixels[::stride, ::stride].min(axis=2)
    rows, columns = (size // _PATCH_PX * _PATCH_PX for size in darkest.shape)
    if not rows or not columns:
        return float(darkest.min() / 255)
    patches = darkest[:rows, :columns].reshape(rows // _PATCH_PX, _PATCH_PX, columns // _PATCH_PX, _PATCH_PX)
    return float(patches.min(axis=(1, 3)).mean() / 255)
