from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from understudy.bundle.manifest import Grid
from understudy_training.models.detector import BevDetector
from understudy_training.models.sizes import Size, detector_config

Build = Callable[..., BevDetector]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks are slower on several threads, and far slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_grid() -> Grid:
    """64 x 48 cells, so that rows and columns cannot be mistaken for each other."""
    return Grid(x_range_m=(-12.8, 12.8), y_range_m=(-9.6, 9.6), z_range_m=(-1.0, 3.0), cell_m=0.4)


@pytest.fixture
def build(small_grid: Grid) -> Build:
    """A seeded detector of a size on the small grid."""

    def make(size: Size, **options: object) -> BevDetector:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return BevDetector(detector_config(size, small_grid, ("car", "pedestrian"), **options))

    return make


@pytest.fixture
def cloud(small_grid: Grid) -> np.ndarray:
    """`(2000, 4)` points over the grid and beyond, a few of them NaN or infinite."""
    generator = np.random.default_rng(7)
    points = generator.uniform((-15, -12, -1.5, 0), (15, 12, 3.5, 1), (2000, 4)).astype(np.float32)
    points[:3, 0] = np.nan, np.inf, -np.inf
    points[3, 1], points[4, 2] = np.nan, np.nan
    return points
