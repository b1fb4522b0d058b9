"""`Segments` to a `sensor_msgs/PointCloud2` whose points carry their class, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Segments
from understudy.errors import FrameError
from understudy.frame import PointCloud
from understudy.messages.headers import Make, header_message
from understudy.messages.outputs import COLORS_RGB

SEGMENTS_TYPE = "sensor_msgs/msg/PointCloud2"
_UNKNOWN_RGB = (0.35, 0.35, 0.35)
_POINT = np.dtype(
    {
        "names": ["x", "y", "z", "rgb", "label"],
        "formats": ["<f4", "<f4", "<f4", "<u4", "<i2"],
        "offsets": [0, 4, 8, 12, 16],
        "itemsize": 20,
    }
)
_DATATYPES = {"<f4": 7, "<u4": 6, "<i2": 3}


def segments_message(make: Make, segments: Segments, cloud: PointCloud) -> Any:
    """`sensor_msgs/msg/PointCloud2` of the same points in the same order, in the sensor's frame with the sweep's stamp.

    Fields: x, y, z (float32), rgb (a color for each class, as viewers read it), label (int16; -1 where nothing is
    known).

    Raises:
        FrameError: when there are not as many labels as points.
    """
    if len(segments) != len(cloud):
        raise FrameError("segments", found=f"{len(segments)} labels", wanted=f"{len(cloud)}, one for each point")
    rows = np.zeros(len(cloud), _POINT)
    for place, name in enumerate(("x", "y", "z")):
        rows[name] = cloud.points[:, place]
    rows["rgb"] = _colors(len(segments.class_names))[segments.labels]
    rows["label"] = segments.labels
    assert _POINT.fields is not None
    fields = [
        make("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=_DATATYPES[kind.str], count=1)
        for name, (kind, offset, *_) in _POINT.fields.items()
    ]
    return make(
        SEGMENTS_TYPE,
        header=header_message(make, cloud.stamp_ns, cloud.frame_id),
        height=1,
        width=len(cloud),
        fields=fields,
        is_bigendian=False,
        point_step=_POINT.itemsize,
        row_step=_POINT.itemsize * len(cloud),
        data=rows.view(np.uint8).reshape(-1),
        is_dense=bool(np.isfinite(cloud.points[:, :3]).all()),
    )


def segments_from_message(message: Any, class_names: tuple[str, ...]) -> Segments:
    """The labels of a message that `segments_message` made.

    Raises:
        FrameError: when the cloud has no labels of ours, or fewer bytes than points.
        UnderstudyError: when a label is none of the classes.
    """
    found = [(str(field.name), int(field.offset)) for field in message.fields]
    if ("label", 16) not in found or int(message.point_step) != _POINT.itemsize:
        raise FrameError("segmented cloud", found=f"fields {found}", wanted="a label at byte 16 of 20")
    data = np.frombuffer(message.data, np.uint8)
    if len(data) != int(message.width) * _POINT.itemsize:
        raise FrameError("segmented cloud", found=f"{len(data)} bytes", wanted=f"{message.width} points of 20 bytes")
    return Segments(data.view(_POINT)["label"].astype(np.int16), class_names)


def _colors(num_classes: int) -> NDArray[np.uint32]:
    """`(num_classes + 1,)` packed 0x00RRGGBB; the last one is that of label -1."""
    chosen = [COLORS_RGB[label % len(COLORS_RGB)] for label in range(num_classes)]
    red, green, blue = np.rint(np.array([*chosen, _UNKNOWN_RGB]) * 255).astype(np.uint32).T
    packed: NDArray[np.uint32] = (red << 16) | (green << 8) | blue
    return packed
