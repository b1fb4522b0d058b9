"""`sensor_msgs/PointCloud2` to `PointCloud`: any field order, padding, dtype, byte order and organization."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.errors import FrameError
from understudy.frame import PointCloud
from understudy.messages.headers import stamp_ns_from_message

TimeUnit = Literal["s", "ms", "us", "ns"]
INTENSITY_NAMES = ("intensity", "i", "reflectivity", "reflectance")
"""Fields taken for the intensity: the first of these that a message has."""
TIME_NAMES = ("time", "t", "timestamp", "time_stamp", "time_offset", "offset_time")
RING_NAMES = ("ring", "channel", "line")

_FORMATS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_SECONDS: dict[str, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_EPOCH_FROM: tuple[tuple[float, float], ...] = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3), (1e8, 1.0))
"""Values from which a time can only count from 1970, and the seconds one unit then has."""
_LONGEST_SWEEP_S = 1.0


@dataclass(frozen=True)
class _Field:
    name: str
    offset: int
    dtype: str


def _first_of(names: tuple[str, ...], fields: tuple[_Field, ...]) -> _Field | None:
    by_name = {field.name: field for field in reversed(fields)}
    return next((by_name[name] for name in names if name in by_name), None)


@dataclass(frozen=True)
class _Layout:
    """What the header of a cloud says about one point."""

    fields: tuple[_Field, ...]
    xyzi: tuple[_Field | None, ...]
    point_step: int

    @cached_property
    def num_adjacent(self) -> int:
        """How many of x, y, z, intensity are float32 of one byte order, each four bytes after the one before.

        0 unless 16 bytes can be read there from every point.
        """
        first = self.xyzi[0]
        if first is None or first.dtype[1:] != "f4" or first.offset + 16 > self.point_step:
            return 0
        wanted = [(first.offset + 4 * place, first.dtype) for place in range(4)]
        found = [None if field is None else (field.offset, field.dtype) for field in self.xyzi]
        return next((place for place in range(4) if found[place] != wanted[place]), 4)


@dataclass(frozen=True, eq=False)
class _Rows:
    """A cloud's bytes and how its points lie in them."""

    data: NDArray[np.uint8]
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def packed(self, offset: int, dtype: str) -> NDArray[Any]:
        """The values at one place of every point, contiguous `(N,)`; always a copy.

        Copied as opaque items: for unaligned points numpy is ten times as fast as with numbers.
        """
        items = np.dtype(dtype)
        values: NDArray[Any] = self._view(offset, f"V{items.itemsize}").copy().reshape(-1).view(items)
        return values

    def fill(self, column: NDArray[np.float32], offset: int, dtype: str) -> None:
        """Writes the values at one place of every point into a column `(N,)`; without a copy between where aligned."""
        view = self._view(offset, dtype)
        is_direct = view.ndim == 1 and view.flags.aligned
        column[:] = view if is_direct else self.packed(offset, dtype)

    def _view(self, offset: int, dtype: str) -> NDArray[Any]:
        view: NDArray[Any] = np.ndarray(self.shape, dtype, self.data.data, offset, self.strides)
        return view


def cloud_from_message(
    message: Any, *, extras: bool = True, time_unit: TimeUnit | None = None, require_intensity: bool = False
) -> PointCloud:
    """The sweep of a `sensor_msgs/PointCloud2`, in the sensor's frame, with its raw intensity.

    Reads attributes only and copies, so the message may be reused by who sent it. Points that are not finite stay. A
    cloud without an intensity field gets zeros, unless `require_intensity`. An organized cloud is read row by row.

    Args:
        message: an rclpy or rosbags message, or anything with the same attributes.
        extras: also read the time and ring fields where there are any.
        time_unit: unit of the time field. None: integers count nanoseconds, floats seconds, and values too large for
            that count from 1970 in the unit that fits; offsets beyond one second are dropped as not understood.
        require_intensity: refuse a cloud without intensity.

    Raises:
        FrameError: when there is no point, x, y or z is missing, a datatype is unknown, or the sizes contradict.
    """
    layout, rows = _layout_of(message), _rows_of(message)
    if require_intensity and layout.xyzi[3] is None:
        found = ", ".join(field.name for field in layout.fields)
        raise FrameError("point cloud fields", found=found, wanted="an intensity, which the student needs")
    stamp_ns = stamp_ns_from_message(message)
    return PointCloud(
        _points(layout, rows),
        stamp_ns,
        str(message.header.frame_id),
        time_offset_s=_time_offsets(layout, rows, stamp_ns, time_unit) if extras else None,
        ring=_rings(layout, rows) if extras else None,
    )


def _layout_of(message: Any) -> _Layout:
    try:
        fields = tuple((str(field.name), int(field.offset), int(field.datatype)) for field in message.fields)
        return _parse_layout(fields, int(message.point_step), bool(message.is_bigendian))
    except (AttributeError, TypeError) as error:
        raise FrameError("point cloud", found=str(error), wanted="a sensor_msgs/PointCloud2") from None


@lru_cache(maxsize=64)
def _parse_layout(fields: tuple[tuple[str, int, int], ...], point_step: int, is_bigendian: bool) -> _Layout:
    order = ">" if is_bigendian else "<"
    known = tuple(
        _Field(name, offset, order + _FORMATS[datatype]) for name, offset, datatype in fields if datatype in _FORMATS
    )
    unknown = {name: datatype for name, _, datatype in fields if datatype not in _FORMATS}
    xyzi = tuple(_first_of(names, known) for names in (("x",), ("y",), ("z",), INTENSITY_NAMES))
    for name, field in zip(("x", "y", "z"), xyzi, strict=False):
        if field is None:
            _refuse_without(name, fields, unknown)
    for field in known:
        _refuse_outside(field, point_step)
    return _Layout(known, xyzi, point_step)


def _refuse_without(name: str, fields: tuple[tuple[str, int, int], ...], unknown: dict[str, int]) -> None:
    if name in unknown:
        raise FrameError(f"point field {name}", found=f"datatype {unknown[name]}", wanted="1 (INT8) to 8 (FLOAT64)")
    found = ", ".join(entry[0] for entry in fields) or "no field"
    raise FrameError("point cloud fields", found=found, wanted=f"x, y and z; {name} is missing")


def _refuse_outside(field: _Field, point_step: int) -> None:
    end = field.offset + np.dtype(field.dtype).itemsize
    if field.offset < 0 or end > point_step:
        raise FrameError(
            f"point field {field.name}",
            found=f"bytes {field.offset} to {end}",
            wanted=f"within point_step {point_step}",
        )


def _rows_of(message: Any) -> _Rows:
    height, width, point_step = int(message.height), int(message.width), int(message.point_step)
    row_step = int(message.row_step)
    if height < 1 or width < 1:
        raise FrameError("point cloud", found=f"{width} x {height} points", wanted="at least one")
    if row_step < width * point_step:
        raise FrameError("point cloud row_step", found=row_step, wanted=f"{width} points of {point_step} bytes or more")
    data = _bytes_of(message.data)
    if len(data) < row_step * height:
        raise FrameError(
            "point cloud data",
            found=f"{len(data)} bytes",
            wanted=f"row_step {row_step} x height {height} = {row_step * height}",
            remedy="the message was cut or its header is wrong",
        )
    if row_step == width * point_step:
        return _Rows(data, (width * height,), (point_step,))
    return _Rows(data, (height, width), (row_step, point_step))


def _bytes_of(data: Any) -> NDArray[np.uint8]:
    """A message's bytes (array.array, ndarray, bytes) without a copy."""
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise FrameError("point cloud data", found=str(error), wanted="bytes") from None


def _points(layout: _Layout, rows: _Rows) -> NDArray[np.float32]:
    """`(N, 4)`; what is adjacent in one copy, with whatever follows it, the rest field by field."""
    first, num_adjacent = layout.xyzi[0], layout.num_adjacent
    if first is not None and num_adjacent >= 3:
        points = rows.packed(first.offset, "V16").view(first.dtype).reshape(-1, 4).astype(np.float32, copy=False)
    else:
        points, num_adjacent = np.empty((int(np.prod(rows.shape)), 4), np.float32), 0
    with np.errstate(over="ignore", invalid="ignore"):
        for place in range(num_adjacent, 4):
            field = layout.xyzi[place]
            if field is None:
                points[:, place] = 0.0
            else:
                rows.fill(points[:, place], field.offset, field.dtype)
    return points


def _rings(layout: _Layout, rows: _Rows) -> NDArray[np.int16] | None:
    field = _first_of(RING_NAMES, layout.fields)
    if field is None or np.dtype(field.dtype).kind not in "iu":
        return None
    return rows.packed(field.offset, field.dtype).astype(np.int16)


def _time_offsets(layout: _Layout, rows: _Rows, stamp_ns: int, unit: TimeUnit | None) -> NDArray[np.float32] | None:
    field = _first_of(TIME_NAMES, layout.fields)
    if field is None:
        return None
    values = rows.packed(field.offset, field.dtype).astype(np.float64)
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    default: TimeUnit = "s" if np.dtype(field.dtype).kind == "f" else "ns"
    since_epoch = next((seconds for least, seconds in _EPOCH_FROM if largest >= least), None)
    if since_epoch is not None and unit is None and default == "s":
        offsets_s = (values - stamp_ns / 1e9 / since_epoch) * since_epoch
        longest_s = float(np.nanmax(np.abs(offsets_s), initial=0.0))
    else:
        offsets_s = values * _SECONDS[unit or default]
        longest_s = largest * _SECONDS[unit or default]
    if not longest_s <= _LONGEST_SWEEP_S:
        return None
    return offsets_s.astype(np.float32)
