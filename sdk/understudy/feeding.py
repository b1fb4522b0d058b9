"""What an engine is fed for a frame: raw points, grouped points, pictures, each from its sensors of the rig."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.bundle.manifest import Contract, Grid, Pictures, PillarsInput
from understudy.errors import FrameError, GeometryError
from understudy.frame import Frame, PointCloud
from understudy.lifting import lift_table
from understudy.network_pictures import SamplingRoom, chosen_cameras, network_images, refuse_other_picture
from understudy.pillars import group_points
from understudy.plausibility import Scratch, refuse_impossible_cloud, refuse_impossible_mounting
from understudy.rig import Lidar, Rig

Feeds = dict[str, NDArray[Any]]


class CloudFeeder:
    """The feeds that a LiDAR's cloud makes; refuses clouds that cannot be the rig's.

    Args:
        contract: what the network takes.
        rig: the vehicle's sensors.
        lidar: which LiDAR of the rig; None where there is one.

    Raises:
        GeometryError: when the rig has no such LiDAR, or it sits where no LiDAR sits.
    """

    def __init__(self, contract: Contract, rig: Rig, lidar: str | None) -> None:
        self.lidar, sensor = rig.lidar(lidar)
        refuse_impossible_mounting(rig, self.lidar, sensor)
        self._max_points = contract.input.max_points
        self._frame_id = sensor.frame_id
        self._intensity_scale = sensor.intensity_scale if contract.input.uses_intensity else None
        self._scratch = Scratch()
        grouped = isinstance(contract.input, PillarsInput)
        self._points = _GroupedPoints(contract.input, contract.grid, sensor) if grouped else _RawPoints(sensor)  # type: ignore[arg-type]

    def __call__(self, frame: Frame) -> Feeds:
        """The feeds of a frame; raw points are passed on without a copy.

        Raises:
            FrameError: when the frame has no such cloud, or one that cannot be used.
            GeometryError: when its frame id, units or intensity are not the rig's.
        """
        cloud = frame.clouds.get(self.lidar)
        if cloud is None:
            seen = ", ".join(frame.clouds) or "no cloud"
            raise FrameError("frame", found=seen, wanted=f"a cloud of {self.lidar}")
        self._refuse_unusable(cloud)
        return self._points(cloud)

    def _refuse_unusable(self, cloud: PointCloud) -> None:
        if cloud.frame_id and self._frame_id and cloud.frame_id != self._frame_id:
            raise GeometryError(
                f"cloud of {self.lidar}: frame_id",
                found=cloud.frame_id,
                wanted=self._frame_id,
                remedy="correct the topic or the rig's frame_id",
            )
        if not 0 < len(cloud) <= self._max_points:
            raise FrameError(
                f"cloud of {self.lidar}",
                found=f"{len(cloud)} points",
                wanted=f"1 to {self._max_points} (max_points of the student)",
            )
        refuse_impossible_cloud(cloud, self.lidar, self._intensity_scale, self._scratch)


class PicturesFeeder:
    """The feeds that the cameras' pictures make, and the rig's look-up table, computed once.

    Args:
        pictures: what the network takes.
        grid: its grid.
        rig: the vehicle's sensors.
        needed: refuse a frame without any picture, which a network with a LiDAR can do without.

    Raises:
        GeometryError: when the rig has not the cameras.
    """

    def __init__(self, pictures: Pictures, grid: Grid, rig: Rig, *, needed: bool) -> None:
        self.cameras = {name: rig.cameras[name] for name in chosen_cameras(rig, pictures)}
        self._pictures, self._needed = pictures, needed
        self._room = SamplingRoom()
        table = lift_table(tuple(self.cameras.values()), pictures, grid)
        self._table: Feeds = {"lift_pixels": table.pixels, "lift_depths": table.depths}

    def __call__(self, frame: Frame) -> Feeds:
        """The feeds of a frame; cameras that did not deliver are masked.

        Raises:
            FrameError: when no camera delivered and pictures are needed.
            GeometryError: when a picture's size or frame id is not the rig's.
        """
        delivered = {name: frame.images[name] for name in self.cameras if name in frame.images}
        if self._needed and not delivered:
            seen = ", ".join(frame.images) or "no picture"
            raise FrameError("frame", found=seen, wanted=f"a picture of {', '.join(self.cameras)}")
        for name, image in delivered.items():
            refuse_other_picture(name, image, self.cameras[name])
        pixels = {name: image.pixels for name, image in delivered.items()}
        images, mask = network_images(pixels, self.cameras, self._pictures, self._room)
        return {"images": images, "camera_mask": mask, **self._table}


class _RawPoints:
    """Points as they come, with the transform and the intensity's factor beside them."""

    def __init__(self, lidar: Lidar) -> None:
        self._ego_from_sensor = _ego_from_sensor(lidar)
        self._intensity_factor = np.array([1.0 / lidar.intensity_scale], np.float32)

    def __call__(self, cloud: PointCloud) -> Feeds:
        return {
            "points": cloud.points,
            "ego_from_sensor": self._ego_from_sensor,
            "intensity_factor": self._intensity_factor,
        }


class _GroupedPoints:
    """Points moved to ego and grouped into pillars, in memory that is kept."""

    def __init__(self, pillars_input: PillarsInput, grid: Grid, lidar: Lidar) -> None:
        self._input, self._grid = pillars_input, grid
        self._ego_from_sensor = _ego_from_sensor(lidar)
        self._intensity_factor = np.float32(1.0 / lidar.intensity_scale)
        self._room = np.empty((pillars_input.max_points, 4), np.float32)

    def __call__(self, cloud: PointCloud) -> Feeds:
        points_ego, ego_from_sensor = self._room[: len(cloud)], self._ego_from_sensor
        np.matmul(cloud.points[:, :3], ego_from_sensor[:, :3].T, out=points_ego[:, :3])
        points_ego[:, :3] += ego_from_sensor[:, 3]
        np.multiply(cloud.points[:, 3], self._intensity_factor, out=points_ego[:, 3])
        np.clip(points_ego[:, 3], 0.0, 1.0, out=points_ego[:, 3])
        np.nan_to_num(points_ego[:, 3], copy=False, nan=0.0)
        limits = self._input.max_points_per_pillar, self._input.max_pillars
        grouped = group_points(points_ego, self._grid, *limits)
        return {"pillars": grouped.points, "num_points": grouped.num_points, "cells": grouped.cells}


def _ego_from_sensor(lidar: Lidar) -> NDArray[np.float32]:
    """`(3, 4)` float32."""
    return np.ascontiguousarray(lidar.ego_from_sensor.pose().matrix[:3], dtype=np.float32)
