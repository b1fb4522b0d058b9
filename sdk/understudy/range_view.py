"""Between point clouds and range images: a row per laser, a column per slice of azimuth, the nearest return wins."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from understudy.configuration import Config
from understudy.errors import FrameError, GeometryError
from understudy.frame import PointCloud

_NO_POINT = -1


class RangeGrid(Config):
    """Rows and columns of a range image, as the sensor sees them: up is up, left is left.

    Row 0 is the highest laser. Column 0 begins at `left_rad` and columns follow to the right (azimuth falls).
    """

    num_columns: int = Field(gt=0)
    left_rad: float = float(np.pi)
    """Azimuth of the left edge, counter-clockwise from the sensor's x axis."""
    span_rad: float = Field(float(2 * np.pi), gt=0, le=2 * np.pi + 1e-9)
    """How far the columns reach to the right of the left edge."""
    elevations_rad: tuple[float, ...] = ()
    """Elevation of each row, from the highest down; empty where rows come from rings."""
    rings: tuple[int, ...] = ()
    """Ring of each row, from the highest down; empty where rows come from elevations."""

    @field_validator("elevations_rad")
    @classmethod
    def _fall(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(below >= above for above, below in pairwise(values)):
            raise ValueError("falling elevations, the highest first")
        return values

    @property
    def num_rows(self) -> int:
        """Number of lasers."""
        return len(self.rings) or len(self.elevations_rad)


@dataclass(frozen=True, eq=False)
class RangeImage:
    """What one cell after the other sees.

    Attributes:
        points: `(H, W, 4)` float32 x, y, z, raw intensity in the sensor's frame; zeros where nothing returned.
        ranges_m: `(H, W)` float32 distance from the sensor; 0 where nothing returned.
        numbers: `(H, W)` int64 which point of the cloud it is; -1 where nothing returned.
        time_offset_s: `(H, W)` float32 from the cloud's stamp, or None where the cloud has no times.
    """

    points: NDArray[np.float32]
    ranges_m: NDArray[np.float32]
    numbers: NDArray[np.int64]
    time_offset_s: NDArray[np.float32] | None = None

    @property
    def filled(self) -> NDArray[np.bool_]:
        """`(H, W)`: which cells hold a return."""
        filled: NDArray[np.bool_] = self.numbers != _NO_POINT
        return filled


def range_image_from_cloud(cloud: PointCloud, grid: RangeGrid) -> RangeImage:
    """The nearest return of each cell; of two at the same range the first in the cloud, so that the result is certain.

    Points that are not finite, lie in the origin or outside the grid are left out: those of a ring that the grid does
    not list, or more than half a row above the highest or below the lowest elevation.

    Raises:
        GeometryError: when the grid has neither rings nor elevations, or both.
        FrameError: when rows come from rings and the cloud has none.
    """
    ranges_m = np.linalg.norm(cloud.points[:, :3].astype(np.float64), axis=1)
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(cloud.points[:, :3]).all(axis=1) & (ranges_m > 0)
    numbers = np.flatnonzero(usable)
    rows = _rows(cloud, grid, numbers, ranges_m)
    columns = _columns(cloud.points[numbers], grid)
    inside = (rows >= 0) & (columns >= 0)
    cells = rows[inside] * grid.num_columns + columns[inside]
    winners = _nearest(cells, numbers[inside], ranges_m, grid.num_rows * grid.num_columns)
    return _image(cloud, winners.reshape(grid.num_rows, grid.num_columns), ranges_m)


def cloud_from_range_image(image: RangeImage, stamp_ns: int, frame_id: str = "") -> PointCloud:
    """The returns of an image row by row, each with its row as ring.

    Of a cloud that was made an image, these are the nearest points of each cell, unchanged; the rings count from the
    highest laser down.
    """
    filled = image.filled
    rows = np.broadcast_to(np.arange(len(filled), dtype=np.int16)[:, None], filled.shape)
    times = None if image.time_offset_s is None else image.time_offset_s[filled]
    return PointCloud(image.points[filled], stamp_ns, frame_id, time_offset_s=times, ring=rows[filled])


def _rows(
    cloud: PointCloud, grid: RangeGrid, numbers: NDArray[np.int64], ranges_m: NDArray[np.float64]
) -> NDArray[np.int64]:
    if bool(grid.rings) == bool(grid.elevations_rad):
        found = "both" if grid.rings else "neither"
        raise GeometryError("range grid", found=found, wanted="either rings or elevations_rad")
    if not grid.rings:
        sines = np.clip(cloud.points[numbers, 2] / ranges_m[numbers], -1.0, 1.0)
        return _rows_from_elevations(np.arcsin(sines), np.array(grid.elevations_rad))
    if cloud.ring is None:
        raise FrameError("point cloud", found="no rings", wanted="rings", remedy="give the grid elevations_rad")
    listed = np.array(grid.rings)
    table = np.full(max(listed.max(), int(cloud.ring.max(initial=0))) + 1, -1, np.int64)
    table[listed] = np.arange(len(listed))
    rings = cloud.ring[numbers].astype(np.int64)
    rows: NDArray[np.int64] = np.where(rings >= 0, table[rings], -1)
    return rows


def _rows_from_elevations(elevations_rad: NDArray[np.floating], table_rad: NDArray[np.float64]) -> NDArray[np.int64]:
    """Nearest row of each elevation; -1 more than half a row outside."""
    rising = table_rad[::-1]
    if len(rising) == 1:
        return np.zeros(len(elevations_rad), np.int64)
    edges = (rising[1:] + rising[:-1]) / 2
    lowest, highest = rising[0] - (edges[0] - rising[0]), rising[-1] + (rising[-1] - edges[-1])
    rows: NDArray[np.int64] = len(rising) - 1 - np.searchsorted(edges, elevations_rad, side="right")
    rows[(elevations_rad < lowest) | (elevations_rad > highest)] = -1
    return rows


def _columns(points: NDArray[np.float32], grid: RangeGrid) -> NDArray[np.int64]:
    """Column of each point; -1 outside the span."""
    azimuths_rad = np.arctan2(points[:, 1].astype(np.float64), points[:, 0].astype(np.float64))
    shares = ((grid.left_rad - azimuths_rad) % (2 * np.pi)) / grid.span_rad
    columns: NDArray[np.int64] = (shares * grid.num_columns).astype(np.int64)
    if grid.span_rad >= 2 * np.pi - 1e-9:
        # A hair left of the left edge, the remainder rounds to a whole turn.
        columns %= grid.num_columns
    columns[columns >= grid.num_columns] = -1
    return columns


def _nearest(
    cells: NDArray[np.int64], numbers: NDArray[np.int64], ranges_m: NDArray[np.float64], num_cells: int
) -> NDArray[np.int64]:
    """`(num_cells,)` number of the nearest point in each cell, -1 where there is none."""
    # By descending range; assigning to a cell twice keeps what came last, the nearest.
    order = np.argsort(ranges_m[numbers], kind="stable")[::-1]
    winners = np.full(num_cells, _NO_POINT, np.int64)
    winners[cells[order]] = numbers[order]
    return winners


def _image(cloud: PointCloud, winners: NDArray[np.int64], ranges_m: NDArray[np.float64]) -> RangeImage:
    filled = winners != _NO_POINT
    chosen = winners[filled]
    points = np.zeros((*winners.shape, 4), np.float32)
    points[filled] = cloud.points[chosen]
    ranges = np.zeros(winners.shape, np.float32)
    ranges[filled] = ranges_m[chosen]
    times = None
    if cloud.time_offset_s is not None:
        times = np.zeros(winners.shape, np.float32)
        times[filled] = cloud.time_offset_s[chosen]
    return RangeImage(points, ranges, winners, times)
