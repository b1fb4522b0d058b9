"""A sample of a data set as a scene to augment, with pictures where they are wanted."""

from __future__ import annotations

import numpy as np

from understudy.datasets.dataset import Sample
from understudy_training.augmentation.scene import Scene
from understudy_training.batches import labelled_frame


def scene_of(
    sample: Sample, lidar: str | None = None, *, reach_m: float = np.inf, cameras: tuple[str, ...] = ()
) -> Scene:
    """The labeled cloud of a sample in ego, and the pictures of the named cameras that delivered one.

    Raises:
        InputError: when the sample has no labels or no such cloud.
        GeometryError: when the rig has several LiDARs and none was named.
    """
    cloud = labelled_frame(sample, lidar, reach_m)
    taken = [name for name in cameras if name in sample.frame.images]
    images = {name: sample.frame.images[name].pixels for name in taken}
    by_name = {name: sample.rig.cameras[name] for name in taken}
    return Scene(cloud.points, cloud.boxes, cloud.ego_from_lidar, cloud.ring, images=images, cameras=by_name)
