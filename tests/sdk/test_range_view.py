from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from understudy.errors import FrameError, GeometryError
from understudy.frame import PointCloud
from understudy.range_view import RangeGrid, cloud_from_range_image, range_image_from_cloud

ELEVATIONS = tuple(np.radians([10.0, 3.0, 0.0, -4.0, -15.0]))
coordinates = st.floats(-60, 60, width=32).map(lambda value: np.float32(round(value, 2)))
clouds = arrays(np.float32, st.tuples(st.integers(1, 60), st.just(4)), elements=coordinates)


def brute_force(points, grid):
    """Cell by cell, in plain loops: number of the nearest point, the first of equal ones."""
    winners = np.full((grid.num_rows, grid.num_columns), -1)
    table = np.array(grid.elevations_rad)
    for number, (x, y, z, _) in enumerate(points.astype(np.float64)):
        distance = np.sqrt(x * x + y * y + z * z)
        if distance == 0:
            continue
        elevation = np.arcsin(z / distance)
        row = int(np.abs(table - elevation).argmin())
        gap = abs(table[row] - table[1 if row == 0 else row - 1]) / 2
        if abs(elevation - table[row]) > gap and row in {0, len(table) - 1}:
            continue
        column = int((np.pi - np.arctan2(y, x)) % (2 * np.pi) / (2 * np.pi) * grid.num_columns)
        held = winners[row, column]
        if held < 0 or distance < np.linalg.norm(points[held, :3].astype(np.float64)):
            winners[row, column] = number
    return winners


@given(clouds, st.integers(1, 40))
@settings(max_examples=60)
def test_the_nearest_return_of_each_cell_wins(points, num_columns):
    grid = RangeGrid(num_columns=num_columns, elevations_rad=ELEVATIONS)
    image = range_image_from_cloud(PointCloud(points, 0), grid)
    ranges = np.linalg.norm(points[:, :3].astype(np.float64), axis=1)
    wanted = brute_force(points, grid)
    np.testing.assert_array_equal(image.filled, wanted >= 0)
    np.testing.assert_array_equal(ranges[image.numbers[image.filled]], ranges[wanted[wanted >= 0]])
    np.testing.assert_allclose(image.ranges_m[image.filled], ranges[wanted[wanted >= 0]], rtol=1e-6)
    assert (image.ranges_m[~image.filled] == 0).all()


@given(clouds, st.integers(1, 40), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_way_back_keeps_the_nearest_points_and_changes_nothing_twice(points, num_columns, random):
    rings = np.array([random.randrange(6) for _ in points], np.int16)
    cloud = PointCloud(points, 5, "top", time_offset_s=np.linspace(0, 0.1, len(points)).astype(np.float32), ring=rings)
    grid = RangeGrid(num_columns=num_columns, rings=(4, 3, 2, 1, 0))
    image = range_image_from_cloud(cloud, grid)
    back = cloud_from_range_image(image, 5, "top")
    kept = image.numbers[image.filled]
    np.testing.assert_array_equal(back.points, points[kept])
    np.testing.assert_array_equal(back.time_offset_s, cloud.time_offset_s[kept])
    np.testing.assert_array_equal(np.array(grid.rings)[back.ring], rings[kept])
    again = range_image_from_cloud(back, RangeGrid(num_columns=num_columns, rings=(0, 1, 2, 3, 4)))
    np.testing.assert_array_equal(again.points, image.points)
    np.testing.assert_array_equal(again.ranges_m, image.ranges_m)


@given(clouds, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_order_of_points_does_not_show(points, random):
    grid = RangeGrid(num_columns=16, elevations_rad=ELEVATIONS)
    order = list(range(len(points)))
    random.shuffle(order)
    images = [range_image_from_cloud(PointCloud(chosen, 0), grid) for chosen in (points, points[order])]
    np.testing.assert_array_equal(images[0].ranges_m, images[1].ranges_m)


def test_left_is_left_and_up_is_up():
    points = np.float32([[0, 5, 0, 1], [0, -5, 0, 2], [5, 0, 1.8, 3], [-5, -0.1, -0.7, 4]])
    grid = RangeGrid(num_columns=4, left_rad=np.pi, elevations_rad=tuple(np.radians([20, 0, -8])))
    image = range_image_from_cloud(PointCloud(points, 0), grid)
    rows, columns = np.nonzero(image.filled)
    places = {int(image.points[row, column, 3]): (row, column) for row, column in zip(rows, columns, strict=True)}
    assert places == {1: (1, 1), 2: (1, 3), 3: (0, 2), 4: (2, 3)}
    front = RangeGrid(num_columns=10, left_rad=0.3, span_rad=0.6, elevations_rad=(0.1, 0.0, -0.1))
    assert range_image_from_cloud(PointCloud(points, 0), front).filled.sum() == 0


def test_an_empty_cloud_is_an_empty_image():
    grid = RangeGrid(num_columns=4, elevations_rad=ELEVATIONS)
    image = range_image_from_cloud(PointCloud(np.zeros((0, 4), np.float32), 0), grid)
    assert not image.filled.any()
    assert len(cloud_from_range_image(image, 0)) == 0


def test_a_full_circle_has_no_seam():
    points = np.float32([[-5, 1e-45, 0, 0], [-5, -1e-45, 0, 0], [-5, -0.0, 0, 0]])
    grid = RangeGrid(num_columns=7, left_rad=np.pi, elevations_rad=(0.1, 0.0, -0.1))
    for point in points:
        assert range_image_from_cloud(PointCloud(point[None], 0), grid).filled.sum() == 1


def test_points_that_are_not_finite_or_of_other_rings_are_left_out():
    points = np.float32([[np.nan, 5, 0, 1], [5, np.inf, 0, 1], [0, 0, 0, 1], [5, 0, 0, 1], [5, 0, 0, 2], [4, 0, 0, 3]])
    rings = np.int16([0, 0, 0, 0, 0, 9])
    image = range_image_from_cloud(PointCloud(points, 0, ring=rings), RangeGrid(num_columns=8, rings=(0, 1)))
    assert image.numbers[image.filled].tolist() == [3], "the first of two at the same range"


def test_grids_that_cannot_be_are_refused():
    cloud = PointCloud(np.ones((3, 4), np.float32), 0)
    with pytest.raises(GeometryError, match="range grid: found neither, wanted either rings or elevations_rad"):
        range_image_from_cloud(cloud, RangeGrid(num_columns=4))
    with pytest.raises(GeometryError, match="range grid: found both"):
        range_image_from_cloud(cloud, RangeGrid(num_columns=4, rings=(0,), elevations_rad=(0.0,)))
    with pytest.raises(FrameError, match="point cloud: found no rings"):
        range_image_from_cloud(cloud, RangeGrid(num_columns=4, rings=(0, 1)))
    with pytest.raises(ValidationError, match="falling elevations"):
        RangeGrid(num_columns=4, elevations_rad=(0.0, 0.1))
