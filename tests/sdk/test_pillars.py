from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.bundle.manifest import Grid
from understudy.errors import FrameError
from understudy.pillars import Pillars, group_points, numba_is_installed

GRID = Grid(x_range_m=(0.0, 3.2), y_range_m=(-1.6, 1.6), z_range_m=(-1.0, 3.0), cell_m=0.4)
BOTH = [False, pytest.param(True, marks=pytest.mark.skipif(not numba_is_installed(), reason="numba not installed"))]


def grouped_by_loop(points: np.ndarray, max_points: int, max_pillars: int) -> dict[int, list[np.ndarray]]:
    """The rule, said once more, point by point."""
    pillars: dict[int, list[np.ndarray]] = {}
    scale = np.float32(1 / 0.4)
    for point in points:
        if not np.abs(point[:2]).max() < 1e6:
            continue
        column, row = (point[0] - np.float32(0)) * scale, (point[1] - np.float32(-1.6)) * scale
        if not (0 <= column < 8 and 0 <= row < 8 and -1 <= point[2] < 3):
            continue
        pillars.setdefault(int(row) * 8 + int(column), []).append(point)
    fullest = sorted(pillars, key=lambda cell: (-len(pillars[cell]), cell))[:max_pillars]
    return {cell: pillars[cell][:max_points] for cell in sorted(fullest)}


def assert_same(one: Pillars, other: Pillars) -> None:
    for name in ("points", "num_points", "cells"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


def cloud(seed: int, size: int, nans: bool = False) -> np.ndarray:
    generator = np.random.default_rng(seed)
    points = generator.uniform(-2.5, 4.5, (size, 4)).astype(np.float32)
    if nans and size:
        points[generator.integers(0, size, size // 5 + 1), generator.integers(0, 3)] = np.nan
        points[generator.integers(0, size), 1] = np.inf
        points[generator.integers(0, size), 0] = -3e38
    return points


@pytest.mark.parametrize("compiled", BOTH)
@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), size=st.integers(0, 300), cap=st.integers(1, 6), most=st.integers(1, 70))
def test_groups_as_the_rule_says(compiled: bool, seed: int, size: int, cap: int, most: int) -> None:
    points = cloud(seed, size, nans=True)
    found = group_points(points, GRID, cap, most, compiled=compiled)
    wanted = grouped_by_loop(points, cap, most)
    if not wanted:
        assert (found.num_points.tolist(), found.cells.tolist(), found.points.any()) == ([0], [0], False)
        return
    assert found.cells.tolist() == list(wanted)
    for row, members in enumerate(wanted.values()):
        assert found.num_points[row] == len(members)
        assert np.array_equal(found.points[row, : len(members)], np.array(members))
        assert not found.points[row, len(members) :].any()


@pytest.mark.skipif(not numba_is_installed(), reason="numba not installed")
@pytest.mark.parametrize("size", [0, 1, 17, 20_000])
def test_same_bits_with_numba_and_without(size: int) -> None:
    points = cloud(size, size, nans=True)
    for cap, most in ((20, 12_000), (3, 10)):
        assert_same(
            group_points(points, GRID, cap, most, compiled=True), group_points(points, GRID, cap, most, compiled=False)
        )


@pytest.mark.skipif(not numba_is_installed(), reason="numba not installed")
def test_same_bits_on_cell_borders() -> None:
    steps = np.arange(-20, 60, dtype=np.float32) * np.float32(0.1)
    x, y = np.meshgrid(np.nextafter(steps, np.float32(9)), np.nextafter(steps, np.float32(-9)))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size), np.ones(x.size)], 1).astype(np.float32)
    assert_same(group_points(points, GRID, 4, 100, compiled=True), group_points(points, GRID, 4, 100, compiled=False))


@pytest.mark.data
@pytest.mark.skipif(not numba_is_installed(), reason="numba not installed")
def test_same_bits_on_a_real_sweep(data_root) -> None:
    path = data_root / "kitti/object/training/velodyne/000000.bin"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    points = np.fromfile(path, np.float32).reshape(-1, 4)
    grid = Grid(x_range_m=(0.0, 69.12), y_range_m=(-39.68, 39.68), z_range_m=(-3.0, 1.0), cell_m=0.16)
    found = group_points(points, grid, 20, 12_000, compiled=True)
    assert_same(found, group_points(points, grid, 20, 12_000, compiled=False))
    assert len(found.cells) == 8236  # counted by another program: deploy.md, section 1.2


@pytest.mark.parametrize("bad", [np.zeros((3, 3), np.float32), np.zeros((3, 4)), np.zeros(4, np.float32)])
def test_refuses_what_is_no_cloud(bad: np.ndarray) -> None:
    with pytest.raises(FrameError, match=r"points: found .* wanted float32 \(N, 4\)"):
        group_points(bad, GRID, 4, 100)
