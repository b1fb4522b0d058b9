"""What a node without our converter does with a PointCloud2: the readers of ROS's `sensor_msgs_py`, written anew.

Our own code, from the documented behavior, because `sensor_msgs_py` is not on PyPI. `read_points` gives a structured
view of the message's bytes, `read_points_numpy` one unstructured array of fields that all have one type, and
`read_points_list` named tuples on top of `read_points`. `unpack_points_list` unpacks each point by itself, as ROS 1 did
and as nodes still do by hand. Rows must not be padded, as there.
"""

from __future__ import annotations

import struct
from collections import namedtuple
from typing import Any

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured
from numpy.typing import NDArray

NUMPY_FORMATS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
STRUCT_FORMATS = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 8: "d"}


def read_points(message: Any, names: tuple[str, ...]) -> NDArray[Any]:
    """A structured array over the message's bytes; a copy only where bytes have to be swapped."""
    fields = {field.name: field for field in message.fields}
    dtype = np.dtype(
        {
            "names": list(fields),
            "formats": [f"<{NUMPY_FORMATS[field.datatype]}" for field in fields.values()],
            "offsets": [field.offset for field in fields.values()],
            "itemsize": int(message.point_step),
        }
    )
    points = np.ndarray((message.width * message.height,), dtype, message.data)[list(names)]
    return points.byteswap() if message.is_bigendian else points


def read_points_numpy(message: Any, names: tuple[str, ...]) -> NDArray[Any]:
    """An unstructured `(N, F)` copy; the fields must be of one type.

    Raises:
        ValueError: when they are not.
    """
    types = {field.datatype for field in message.fields if field.name in names}
    if len(types) != 1:
        raise ValueError(f"fields of {len(types)} types; read_points_numpy wants one")
    points: NDArray[Any] = structured_to_unstructured(read_points(message, names))
    return points


def read_points_list(message: Any, names: tuple[str, ...]) -> list[Any]:
    """A list of named tuples."""
    point = namedtuple("Point", names)
    return [point._make(row) for row in read_points(message, names)]


def unpack_points_list(message: Any, names: tuple[str, ...]) -> list[Any]:
    """A list of named tuples; each point is unpacked by itself."""
    unpacker = struct.Struct(_point_format(message, names))
    point = namedtuple("Point", sorted(names, key=lambda name: _offset_of(message, name)))
    data, step = memoryview(message.data), int(message.point_step)
    starts = range(0, message.width * message.height * step, step)
    return [point._make(unpacker.unpack_from(data, start)) for start in starts]


def _offset_of(message: Any, name: str) -> int:
    return int(next(field.offset for field in message.fields if field.name == name))


def _point_format(message: Any, names: tuple[str, ...]) -> str:
    """As `struct` has it: pad bytes before each wanted field."""
    text, position = ">" if message.is_bigendian else "<", 0
    for field in sorted(message.fields, key=lambda field: field.offset):
        if field.name in names:
            letter = STRUCT_FORMATS[field.datatype]
            text += f"{field.offset - position}x{letter}"
            position = field.offset + struct.calcsize(f"<{letter}")
    return text
