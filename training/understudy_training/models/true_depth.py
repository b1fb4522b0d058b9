"""The depth that MonoTAKD's assistant sees (arXiv 2404.04910): the mean over the points of each feature's cell.

The release fills it by loops over pixels. `understudy.lifting.depth_targets` takes the nearest point instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from understudy.bundle.inputs import Pictures
from understudy.lifting import cells_and_depths
from understudy.rig import Camera


def mean_depth_bins(points: NDArray[np.floating], cameras: Sequence[Camera], pictures: Pictures) -> NDArray[np.int16]:
    """`(N, h, w)` bin of the mean depth of the points in each cell of the pictures' features, -1 where there is none.

    Points nearer or farther than the bins reach do not count.

    Args:
        points: `(P, 3)` or more columns, in ego.
        cameras: in the network's order.
        pictures: what the network takes.
    """
    rows, columns = pictures.feature_size
    total, hits = np.zeros((len(cameras), rows * columns)), np.zeros((len(cameras), rows * columns))
    for number, camera in enumerate(cameras):
        _, cell, depth_m = cells_and_depths(points[:, :3], camera, pictures)
        near = pictures.depth.bin_of(depth_m) >= 0
        total[number] = np.bincount(cell[near], depth_m[near], rows * columns)
        hits[number] = np.bincount(cell[near], minlength=rows * columns)
    bins = np.where(hits > 0, pictures.depth.bin_of(total / np.maximum(hits, 1)), -1)
    return bins.reshape(len(cameras), rows, columns).astype(np.int16)
