"""What an exported graph is fed to prove that it says the same as PyTorch: clouds and pictures that nobody took."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.bundle.manifest import Contract, Grid, ImagesInput, Pictures, PillarsInput
from understudy.feeding import PicturesFeeder
from understudy.frame import Frame, Image
from understudy.pillars import group_points
from understudy.rig import Camera, Rig
from understudy.testing import cameras_around


def made_up_feeds(contract: Contract, seed: int) -> dict[str, NDArray[Any]]:
    """Feeds of a made-up frame: `seed` points, and pictures of rectangles where the network takes any."""
    generator = np.random.default_rng(seed)
    feeds = _of_cloud(contract, made_up_cloud(contract.grid, seed, generator))
    if contract.pictures is None:
        return feeds
    rig = made_up_rig(contract.pictures)
    images = {name: Image(_picture(camera, generator), 0) for name, camera in rig.cameras.items()}
    feeder = PicturesFeeder(contract.pictures, contract.grid, rig, needed=False)
    return feeds | feeder(Frame(0, images=images))


def made_up_rig(pictures: Pictures) -> Rig:
    """Cameras of the network's own size, looking all around."""
    return Rig(name="made up", sensors=dict(cameras_around(pictures)))


def made_up_cloud(grid: Grid, size: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """`(size, 4)` points in ego: half on the road, half in 20 clumps of a car's or a person's size, one in 100 NaN."""
    low, high = np.array([grid.x_range_m, grid.y_range_m, grid.z_range_m]).T
    places = generator.uniform(low, high, (size, 3))
    places[:, 2] = generator.normal(0.0, 0.03, size)
    centers = generator.uniform(low, high, (20, 3))
    centers[:, 2] = 0.8
    extents = np.where(np.arange(20)[:, None] % 2, (4.0, 1.8, 1.6), (0.6, 0.6, 1.6))
    clump = generator.integers(0, 40, size)
    inside = clump < len(centers)
    offsets = generator.uniform(-0.5, 0.5, (size, 3))
    places[inside] = centers[clump[inside]] + offsets[inside] * extents[clump[inside]]
    cloud = np.column_stack([places, generator.random(size)]).astype(np.float32)
    cloud[generator.random(size) < 0.01, 0] = np.nan
    return cloud


def _of_cloud(contract: Contract, cloud: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """What the pipeline feeds for a LiDAR that sits at the ego frame's origin; nothing without a LiDAR."""
    if isinstance(contract.input, ImagesInput):
        return {}
    if isinstance(contract.input, PillarsInput):
        per_pillar, pillars = contract.input.max_points_per_pillar, contract.input.max_pillars
        grouped = group_points(cloud, contract.grid, per_pillar, pillars)
        return {"pillars": grouped.points, "num_points": grouped.num_points, "cells": grouped.cells}
    identity = np.eye(3, 4, dtype=np.float32)
    return {"points": cloud, "ego_from_sensor": identity, "intensity_factor": np.ones(1, np.float32)}


def _picture(camera: Camera, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Sky, road and twenty rectangles of one color each, with noise."""
    height, width = camera.height_px, camera.width_px
    pixels = np.where(np.arange(height)[:, None, None] < height / 2, (180, 200, 230), (70, 70, 75))
    pixels = np.broadcast_to(pixels, (height, width, 3)).astype(np.float64)
    for row, column in zip(generator.integers(0, height, 20), generator.integers(0, width, 20), strict=True):
        tall, wide = generator.integers(4, 40, 2)
        pixels[row : row + tall, column : column + wide] = generator.uniform(0, 255, 3)
    made: NDArray[np.uint8] = np.clip(pixels + generator.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
    return made
