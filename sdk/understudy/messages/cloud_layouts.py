"""`PointCloud` to `sensor_msgs/PointCloud2`, in the field layouts that recorded bags have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.errors import InputError
from understudy.frame import PointCloud
from understudy.messages.headers import Make, header_message

LayoutName = Literal["plain", "shuffled"]
_DATATYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


@dataclass(frozen=True)
class CloudLayout:
    """Which field lies where in a point.

    Attributes:
        fields: name, little-endian numpy format and byte offset of each.
        point_step: bytes of a point, padding included.
        full_intensity: raw intensity that means 1 in this layout; None keeps the sensor's own scale.
    """

    fields: tuple[tuple[str, str, int], ...]
    point_step: int
    full_intensity: float | None = None

    def for_cloud(self, cloud: PointCloud) -> CloudLayout:
        """Without the fields that the cloud does not know."""
        unknown = {"time"} if cloud.time_offset_s is None else set()
        unknown |= {"ring"} if cloud.ring is None else set()
        return CloudLayout(
            tuple(field for field in self.fields if field[0] not in unknown), self.point_step, self.full_intensity
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """The structured dtype of one point."""
        names, formats, offsets = zip(*self.fields, strict=True)
        layout = {"names": names, "formats": [f"<{kind}" for kind in formats], "offsets": offsets}
        return np.dtype({**layout, "itemsize": self.point_step})  # type: ignore[call-overload, no-any-return]


LAYOUTS: dict[LayoutName, CloudLayout] = {
    "plain": CloudLayout(
        (
            ("x", "f4", 0),
            ("y", "f4", 4),
            ("z", "f4", 8),
            ("intensity", "f4", 12),
            ("time", "f4", 16),
            ("ring", "u2", 20),
        ),
        point_step=22,
    ),
    "shuffled": CloudLayout(
        (
            ("intensity", "u1", 1),
            ("ring", "u2", 2),
            ("z", "f4", 5),
            ("time", "f4", 11),
            ("y", "f8", 16),
            ("x", "f4", 26),
        ),
        point_step=32,
        full_intensity=255.0,
    ),
}
"""`plain` is what most drivers write; `shuffled` breaks all a reader may assume: order, padding, alignment, types."""


def layout_named(name: str) -> LayoutName:
    """The layout of that name.

    Raises:
        InputError: when there is none.
    """
    for known in LAYOUTS:
        if name == known:
            return known
    raise InputError("--layout", found=name, wanted=" or ".join(LAYOUTS))


def cloud_message(make: Make, cloud: PointCloud, layout: CloudLayout, intensity_scale: float) -> Any:
    """`sensor_msgs/msg/PointCloud2`, little-endian, one row.

    Args:
        make: makes the message.
        cloud: the sweep, in the sensor's frame.
        layout: where the fields lie.
        intensity_scale: the raw intensity that means 1 in the cloud, as in its rig.
    """
    used = layout.for_cloud(cloud)
    rows = _rows(cloud, used, intensity_scale)
    fields = [
        make("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=_DATATYPES[kind], count=1)
        for name, kind, offset in used.fields
    ]
    return make(
        "sensor_msgs/msg/PointCloud2",
        header=header_message(make, cloud.stamp_ns, cloud.frame_id),
        height=1,
        width=len(cloud),
        fields=fields,
        is_bigendian=False,
        point_step=used.point_step,
        row_step=used.point_step * len(cloud),
        data=rows.view(np.uint8).reshape(-1),
        is_dense=bool(np.isfinite(cloud.points).all()),
    )


def _rows(cloud: PointCloud, layout: CloudLayout, intensity_scale: float) -> NDArray[Any]:
    intensity = cloud.points[:, 3]
    if layout.full_intensity is not None:
        scaled = np.nan_to_num(intensity) * (layout.full_intensity / intensity_scale)
        intensity = np.clip(np.rint(scaled), 0, layout.full_intensity)
    columns: dict[str, NDArray[Any]] = {
        "x": cloud.points[:, 0],
        "y": cloud.points[:, 1],
        "z": cloud.points[:, 2],
        "intensity": intensity,
    }
    columns |= {} if cloud.time_offset_s is None else {"time": cloud.time_offset_s}
    columns |= {} if cloud.ring is None else {"ring": cloud.ring}
    rows = np.frombuffer(bytearray(len(cloud) * layout.point_step), layout.dtype)
    for name, _, _ in layout.fields:
        rows[name] = columns[name]
    return rows
