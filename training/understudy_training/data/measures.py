"""What one frame contributes to a data set's statistics."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.datasets.dataset import Sample
from understudy.interior import count_points_inside
from understudy.pose import Pose
from understudy_training.data.weather import CloudProxies, PictureProxies, cloud_proxies, picture_proxies

RING_EDGES_M = (0.0, 10.0, 20.0, 40.0, 60.0, 100.0)
"""Rings around the sensor in which the density of returns is counted."""


@dataclass(frozen=True, eq=False)
class CloudMeasures:
    """One LiDAR's sweep.

    Attributes:
        num_points: finite returns.
        num_broken: returns with a coordinate that is not finite.
        per_ring: `(R,)` returns in each ring of `RING_EDGES_M`, distances from above.
        num_beams: different ring numbers, or None when the sweep does not tell.
        proxies: of the weather.
    """

    num_points: int
    num_broken: int
    per_ring: NDArray[np.int64]
    num_beams: int | None
    proxies: CloudProxies


@dataclass(frozen=True, eq=False)
class FrameMeasures:
    """One frame.

    Attributes:
        key: of the sample.
        stamp_ns: its stamp.
        boxes: its labels with `num_points` counted, or None.
        clouds: by LiDAR.
        pictures: by camera.
        world_from_ego: where the ego was, or None.
    """

    key: str
    stamp_ns: int
    boxes: Boxes | None
    clouds: dict[str, CloudMeasures]
    pictures: dict[str, PictureProxies] = field(default_factory=dict)
    world_from_ego: Pose | None = None


def measure(sample: Sample, *, images: bool = True) -> FrameMeasures:
    """Reads a sample through: every cloud, and every picture unless told not to.

    Raises:
        UnderstudyError: when a picture cannot be read.
    """
    pictures = {name: picture_proxies(image.pixels) for name, image in sample.frame.images.items()} if images else {}
    return FrameMeasures(
        key=sample.key,
        stamp_ns=sample.frame.stamp_ns,
        boxes=counted(sample),
        clouds={name: _measure_cloud(sample, name) for name in sample.frame.clouds},
        pictures=pictures,
        world_from_ego=sample.frame.world_from_ego,
    )


def points_in_ego(sample: Sample, lidar: str) -> NDArray[np.float32]:
    """`(N, 3)` finite points of a LiDAR in ego."""
    points = sample.frame.clouds[lidar].points[:, :3]
    return sample.rig.lidars[lidar].ego_from_sensor.pose().apply(points[np.isfinite(points).all(axis=1)])


def counted(sample: Sample) -> Boxes | None:
    """The labels with the returns of all LiDARs counted in them where the data set does not say it."""
    boxes = sample.boxes
    if boxes is None or boxes.num_points is not None:
        return boxes
    counts = np.zeros(len(boxes), np.int32)
    for lidar in sample.frame.clouds:
        counts += count_points_inside(boxes, points_in_ego(sample, lidar))
    return Boxes(
        boxes.geometry, boxes.labels, boxes.class_names, boxes.scores, boxes.track_ids, counts, boxes.velocities_mps
    )


def _measure_cloud(sample: Sample, lidar: str) -> CloudMeasures:
    cloud, sensor = sample.frame.clouds[lidar], sample.rig.lidars[lidar]
    finite = np.isfinite(cloud.points[:, :3]).all(axis=1)
    points = cloud.points[finite]
    intensity = np.nan_to_num(points[:, 3]) / np.float32(sensor.intensity_scale)
    ranges_m = np.linalg.norm(points[:, :3], axis=1)
    flat_m = np.hypot(points[:, 0], points[:, 1])
    return CloudMeasures(
        num_points=len(points),
        num_broken=int((~finite).sum()),
        per_ring=np.histogram(flat_m, RING_EDGES_M)[0],
        num_beams=None if cloud.ring is None else len(np.unique(cloud.ring[finite])),
        proxies=cloud_proxies(sensor.ego_from_sensor.pose().apply(points[:, :3]), ranges_m, intensity),
    )
