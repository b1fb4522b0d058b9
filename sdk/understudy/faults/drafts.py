"""A message before anybody made it: what is in it, when it was taken, when it arrives. Faults change drafts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.frame import PointCloud
from understudy.messages.cloud_layouts import LAYOUTS, CloudLayout, cloud_message
from understudy.messages.headers import Make, header_message


@dataclass(frozen=True, eq=False)
class CloudDraft:
    """What a `sensor_msgs/PointCloud2` will hold.

    Attributes:
        points: `(N, 4)` float32, in the sensor's frame, with raw intensity.
        frame_id: of its header.
        intensity_scale: raw intensity that means 1.
        layout: where the fields lie.
        kept: share of its bytes that is there.
    """

    points: NDArray[np.float32]
    frame_id: str
    intensity_scale: float = 1.0
    layout: CloudLayout = LAYOUTS["plain"]
    kept: float = 1.0

    def message(self, make: Make, stamp_ns: int) -> Any:
        """The message, of the classes of `make`."""
        cloud = PointCloud(self.points, stamp_ns=stamp_ns, frame_id=self.frame_id)
        message = cloud_message(make, cloud, self.layout, self.intensity_scale)
        if self.kept < 1.0:
            message.data = message.data[: int(len(message.data) * self.kept)]
        return message


@dataclass(frozen=True, eq=False)
class PictureDraft:
    """What a `sensor_msgs/CompressedImage` will hold.

    Attributes:
        jpeg: `(B,)` uint8, the file's bytes.
        frame_id: of its header.
    """

    jpeg: NDArray[np.uint8]
    frame_id: str

    def message(self, make: Make, stamp_ns: int) -> Any:
        """The message, of the classes of `make`."""
        header = header_message(make, stamp_ns, self.frame_id)
        return make("sensor_msgs/msg/CompressedImage", header=header, format="jpeg", data=self.jpeg)


Draft = CloudDraft | PictureDraft


@dataclass(frozen=True, eq=False)
class Sent:
    """One message of a sensor. Times are nanoseconds since the scenario began, on a clock that never jumps.

    Attributes:
        sensor: name in the rig.
        taken_ns: when the sensor took it; the stamp follows from it and from the clock of the stamps.
        arrival_ns: when it arrives.
        draft: what is in it.
        content: number of the content; two messages of a sensor with one number hold the same.
        shift_ns: how far the sensor's own clock is off.
        faulty: whether a fault has touched it.
    """

    sensor: str
    taken_ns: int
    arrival_ns: int
    draft: Draft
    content: int
    shift_ns: int = 0
    faulty: bool = False

    def but(self, **changes: Any) -> Sent:
        """The same message after a fault."""
        return replace(self, faulty=True, **changes)

    def drafted(self, **changes: Any) -> Sent:
        """The same message with something else in it."""
        return self.but(draft=replace(self.draft, **changes))
