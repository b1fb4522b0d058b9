"""A sensor's messages at the door: what cannot be used is refused here, with its reason, before it is matched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.errors import FrameError, GeometryError
from understudy.frame import PointCloud
from understudy.live.clock import LEAP_NS
from understudy.live.options import StreamOptions
from understudy.messages.clouds import cloud_from_message
from understudy.messages.headers import is_other_frame, stamp_ns_from_message
from understudy.plausibility import refuse_impossible_cloud
from understudy.rig import Camera, Lidar

_SAMPLES = 4096


@dataclass(eq=False)
class Read:
    """What could be read of a message.

    Attributes:
        stamp_ns: of its header.
        content: the cloud; of a picture the message itself, which nobody decodes before it is matched.
    """

    stamp_ns: int
    content: Any


class Reader:
    """Reads the messages of one sensor of the rig.

    Args:
        name: of the sensor.
        sensor: its entry in the rig.
        options: what is refused.
    """

    def __init__(self, name: str, sensor: Lidar | Camera, options: StreamOptions) -> None:
        self._name, self._sensor, self._options = name, sensor, options
        self._repeats = Repeats(options.refuse_frozen_after)

    def read(self, message: Any, now_ns: int) -> Read:
        """The cloud of a `sensor_msgs/PointCloud2`, or an `Image` or `CompressedImage` as it is.

        Raises:
            FrameError: when it is none of these, empty, truncated, from the future or frozen, when no point is finite,
                or the picture has another size than the rig's camera.
            GeometryError: when its frame id, units or intensity are not the rig's.
        """
        stamp_ns = stamp_ns_from_message(message)
        self._refuse_other_frame(str(message.header.frame_id))
        self._refuse_future(stamp_ns, now_ns)
        if isinstance(self._sensor, Lidar):
            cloud = self._cloud(message, self._sensor)
            self._repeats.refuse(f"cloud of {self._name}", stamp_ns, cloud.points.reshape(-1).view(np.uint8))
            return Read(stamp_ns, cloud)
        self._repeats.refuse(f"picture of {self._name}", stamp_ns, self._picture_bytes(message, self._sensor))
        return Read(stamp_ns, message)

    def _cloud(self, message: Any, sensor: Lidar) -> PointCloud:
        needed = self._options.require_intensity
        cloud = cloud_from_message(message, extras=False, require_intensity=needed)
        refuse_impossible_cloud(cloud, self._name, sensor.intensity_scale if needed else None)
        return cloud

    def _picture_bytes(self, message: Any, camera: Camera) -> NDArray[np.uint8]:
        if not (hasattr(message, "format") or hasattr(message, "encoding")):
            found, wanted = type(message).__name__, "a sensor_msgs/Image or CompressedImage"
            raise FrameError(f"picture of {self._name}", found=found, wanted=wanted)
        if hasattr(message, "encoding"):
            refuse_other_size(self._name, camera, int(message.width), int(message.height))
        data = np.frombuffer(message.data, np.uint8) if len(message.data) else np.zeros(0, np.uint8)
        if not data.size:
            raise FrameError(f"picture of {self._name}", found="no bytes", wanted="a picture")
        return data

    def _refuse_other_frame(self, frame_id: str) -> None:
        wanted = self._sensor.frame_id
        if is_other_frame(frame_id, wanted):
            remedy = "correct the topic or the rig's frame_id"
            raise GeometryError(f"message of {self._name}: frame_id", found=frame_id, wanted=wanted, remedy=remedy)

    def _refuse_future(self, stamp_ns: int, now_ns: int) -> None:
        """Where stamps and clock can be compared: such a message would hide all that come after it."""
        deadline_ns = self._options.deadline_ns
        if deadline_ns is None:
            return
        ahead_ns = stamp_ns + self._sensor.time_offset_ns - now_ns
        if ahead_ns > max(deadline_ns, LEAP_NS):
            found, wanted = f"{ahead_ns / 1e9:.1f} s ahead of the clock", "the same clock"
            raise FrameError(f"stamp of {self._name}", found=found, wanted=wanted, remedy="synchronize the clocks")


def refuse_other_size(name: str, camera: Camera, width_px: int, height_px: int) -> None:
    """Raises FrameError when a picture is not as large as the rig says: its intrinsics would be wrong."""
    if (width_px, height_px) != (camera.width_px, camera.height_px):
        found, wanted = f"{width_px} x {height_px} pixels", f"{camera.width_px} x {camera.height_px}, as in the rig"
        raise FrameError(f"picture of {name}", found=found, wanted=wanted)


class Repeats:
    """Tells a sensor that is frozen: its content stays the very same while stamps go on.

    A look at some thousand bytes tells nearly every message from the one before; only where they agree, all of both is
    compared.

    Args:
        limit: how many repeats with new stamps are refused from the last of them on; 0 refuses none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stamp_ns: int | None = None
        self._content = self._sample = np.zeros(0, np.uint8)
        self._num_repeats = 0

    def refuse(self, what: str, stamp_ns: int, content: NDArray[np.uint8]) -> None:
        """Takes `(N,)` bytes that nobody changes any more.

        Raises:
            FrameError: when they are the same for too long.
        """
        if not self._limit or stamp_ns == self._stamp_ns:
            return
        sample = content[:: (len(content) // _SAMPLES) | 1].copy()
        is_same = np.array_equal(sample, self._sample) and np.array_equal(content, self._content)
        self._num_repeats = self._num_repeats + 1 if is_same else 0
        self._stamp_ns, self._content, self._sample = stamp_ns, content, sample
        if self._num_repeats >= self._limit:
            found = f"the very same content with {self._num_repeats + 1} stamps in a row"
            raise FrameError(f"{what}: frozen", found=found, wanted="new data", remedy="restart the driver")
