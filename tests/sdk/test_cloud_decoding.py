"""Every way through the cloud converter gives the same bits as reading each number by itself."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.messages.clouds import cloud_from_message

FORMATS = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 8: "d"}
NUMPY = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
XYZ = (("x", 0, 7), ("y", 4, 7), ("z", 8, 7))
ODD_FLOATS = (float("nan"), float("inf"), float("-inf"), -0.0, 1e-42, 3.5e38)


def message_of(
    fields: tuple[tuple[str, int, int], ...], point_step: int, data: bytes, height: int, row_step: int, big: bool
) -> Any:
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=2), frame_id="lidar"),
        height=height,
        width=len(data) // height // point_step,
        fields=[SimpleNamespace(name=name, offset=offset, datatype=kind, count=1) for name, offset, kind in fields],
        is_bigendian=big,
        point_step=point_step,
        row_step=row_step,
        data=b"".join(
            data[row * len(data) // height : (row + 1) * len(data) // height]
            + bytes([0xFF]) * (row_step - len(data) // height)
            for row in range(height)
        ),
    )


def one_by_one(fields: tuple[tuple[str, int, int], ...], point_step: int, data: bytes, big: bool) -> np.ndarray:
    """`(N, 4)` float32 of rows without padding, each number unpacked by itself, then given float32 bits by numpy."""
    order, rows = ">" if big else "<", np.zeros((len(data) // point_step, 4), np.float32)
    places = {"x": 0, "y": 1, "z": 2, "intensity": 3}
    for name, offset, kind in fields:
        width = struct.calcsize(f"<{FORMATS[kind]}")
        for row, start in enumerate(range(0, len(data), point_step)):
            raw = data[start + offset : start + offset + width]
            with np.errstate(over="ignore", invalid="ignore"):
                rows[row, places[name]] = np.frombuffer(raw, order + NUMPY[kind])[0]
    return rows


@st.composite
def clouds(draw: st.DrawFn) -> tuple[Any, np.ndarray]:
    """A cloud of any layout, numbers that are any bits, and what it holds."""
    names = draw(st.sampled_from([("x", "y", "z", "intensity"), ("x", "y", "z"), ("z", "intensity", "y", "x")]))
    all_float32 = draw(st.booleans())
    fields, position = [], draw(st.integers(0, 5))
    for name in names:
        kind = 7 if all_float32 or draw(st.booleans()) else draw(st.integers(1, 8))
        fields.append((name, position, kind))
        position += struct.calcsize(f"<{FORMATS[kind]}") + draw(st.sampled_from([0, 0, 0, 1, 4]))
    point_step = position + draw(st.sampled_from([0, 0, 4, 7]))
    height, width, big = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.booleans())
    data = draw(st.binary(min_size=point_step * height * width, max_size=point_step * height * width))
    row_step = point_step * width + draw(st.sampled_from([0, 3, 16]))
    message = message_of(tuple(fields), point_step, data, height, row_step, big)
    return message, one_by_one(tuple(fields), point_step, data, big)


@settings(max_examples=400)
@given(clouds())
def test_any_layout_gives_the_bits_of_reading_number_by_number(case: tuple[Any, np.ndarray]) -> None:
    message, expected = case

    points = cloud_from_message(message).points

    assert points.dtype == np.float32
    assert points.flags.c_contiguous
    assert points.view(np.uint32).tolist() == expected.view(np.uint32).tolist()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("intensity", "point_step"),
    [(("intensity", 12, 7), 16), (("intensity", 12, 7), 22), (("intensity", 16, 7), 32), (("intensity", 12, 2), 16)],
    ids=["16 B", "22 B", "32 B, padded as by PCL", "16 B, intensity a byte"],
)
def test_not_a_number_and_infinite_points_keep_their_bits(
    intensity: tuple[str, int, int], point_step: int, big: bool
) -> None:
    fields, order = (*XYZ, intensity), ">" if big else "<"
    rng = np.random.default_rng(3)
    data = bytearray(rng.integers(0, 256, 6 * point_step, np.uint8).tobytes())
    for point, odd in enumerate(ODD_FLOATS):
        with np.errstate(over="ignore"):
            data[point * point_step : point * point_step + 12] = np.full(3, odd).astype(f"{order}f4").tobytes()
    message = message_of(fields, point_step, bytes(data), 1, len(data), big)

    points = cloud_from_message(message).points

    expected = one_by_one(fields, point_step, bytes(data), big)
    assert points.view(np.uint32).tolist() == expected.view(np.uint32).tolist()


def test_points_are_the_callers_own() -> None:
    data = np.arange(32, dtype=np.float32).tobytes()
    message = message_of((*XYZ, ("intensity", 16, 7)), 32, data, 1, len(data), False)

    points = cloud_from_message(message).points
    points[:] = -1

    assert message.data == data
