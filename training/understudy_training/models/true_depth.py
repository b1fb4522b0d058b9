"""The depth that MonoTAKD's assistant sees (arXiv 2404.04910): the mean over the points of each feature's cell.

The release fills it by loops over pixels. `understudy.lifting.depth_targets` takes the nearest point instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from understudy.bundle.inputs import Pictures
from understudy.network_pictures import network_camera
from understudy.rig import Camera

_FARTHEST_PX = 1e6


def mean_depth_bins(points: NDArray[np.floating], cameras: Sequence[Camera], pictures: Pictures) -> NDArray[np.int16]:
    """`(N, h, w)` bin of the mean depth of the points in each cell of the pictures' features, -1 where there is none.

    Points nearer or farther than the bins reach do not count.

    Args:
        points: `(P, 3)` or more columns, in ego.
        cameras: in the network's order.
        pictures: what the network takes.
    """
    (rows, columns), stride = pictures.feature_size, pictures.feature_stride
    total, hits = np.zeros((len(cameras), rows * columns)), np.zeros((len(cameras), rows * columns))
    for number, camera in enumerate(cameras):
        seen_by = network_camera(camera, pictures.width_px, pictures.height_px)
        pixel, depth_m = seen_by.project(points[:, :3])
        seen = np.flatnonzero((depth_m > 0) & (np.abs(pixel) < _FARTHEST_PX).all(axis=1))
        column, row = ((pixel[seen, axis] + 0.5) // stride for axis in (0, 1))
        scaled_m = depth_m[seen] * (pictures.focal_px / seen_by.fx_px)
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows) & (pictures.depth.bin_of(scaled_m) >= 0)
        cell = (row * columns + column)[inside].astype(np.int64)
        total[number] += np.bincount(cell, scaled_m[inside], rows * columns)
        hits[number] += np.bincount(cell, minlength=rows * columns)
    bins = np.where(hits > 0, pictures.depth.bin_of(total / np.maximum(hits, 1)), -1)
    return bins.reshape(len(cameras), rows, columns).astype(np.int16)
