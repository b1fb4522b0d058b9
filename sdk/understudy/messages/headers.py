"""Stamps, frame ids, and how a message is made without knowing who makes it."""

from __future__ import annotations

from typing import Any, Protocol

from understudy.errors import FrameError

_NS_PER_S = 1_000_000_000
BASE_FRAME = "base_link"
"""Name of the ego frame in messages (REP 105)."""


def is_other_frame(found: str, wanted: str) -> bool:
    """Whether a message's frame id contradicts the one that is wanted.

    One that is empty says nothing, on either side; a leading slash is ROS 1's.
    """
    return bool(found and wanted) and found.lstrip("/") != wanted.lstrip("/")


class Make(Protocol):
    """Makes a message of a type from all its fields: of rosbags' classes for a bag, of rclpy's in a node."""

    def __call__(self, type_name: str, /, **fields: Any) -> Any:
        """The message; `type_name` is written `package/msg/Name`."""


def stamp_ns_from_message(message: Any) -> int:
    """Integer nanoseconds of a message's header.

    Raises:
        FrameError: when the message has no header or its nanoseconds are not below one second.
    """
    try:
        seconds, nanoseconds = int(message.header.stamp.sec), int(message.header.stamp.nanosec)
    except AttributeError as error:
        raise FrameError("message header", found=str(error), wanted="a stamped message") from None
    if not 0 <= nanoseconds < _NS_PER_S:
        raise FrameError("message stamp", found=f"{nanoseconds} nanoseconds", wanted="0..999999999")
    return seconds * _NS_PER_S + nanoseconds


def time_message(make: Make, stamp_ns: int) -> Any:
    """`builtin_interfaces/msg/Time` of integer nanoseconds."""
    seconds, nanoseconds = divmod(int(stamp_ns), _NS_PER_S)
    return make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)


def header_message(make: Make, stamp_ns: int, frame_id: str) -> Any:
    """`std_msgs/msg/Header`."""
    return make("std_msgs/msg/Header", stamp=time_message(make, stamp_ns), frame_id=frame_id)
