"""Whether the transport carries the clouds that arrive here, and the words to say so."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.diagnosis.dds import (
    DdsProfile,
    profile_in_use,
    profile_variable,
    shared_memory_bytes,
    shipped_profile,
)

__all__ = ["LARGE_BYTES", "CloudTraffic", "profile_in_use", "transport_warning"]

LARGE_BYTES = 512_000
"""From here on a cloud no longer fits into Fast DDS's own shared memory."""
_CLOUDS_IN_SEGMENT = 4
"""A segment holds what is on its way of all topics of a process; measured, one cloud's size is just enough for one."""


_NONE = DdsProfile()


@dataclass(frozen=True)
class CloudTraffic:
    """What a node knows of its clouds and of how it gets them.

    Attributes:
        topic: as it is subscribed.
        reliable: how it is subscribed.
        received: clouds so far.
        largest_bytes: of these.
        gaps: clouds that the stamps show to be lost.
        publishers: of the topic.
        profile: of this process; the driver's, which counts, cannot be seen from here.
        shm_free_bytes: None when /dev/shm cannot be looked at.
        middleware: as `rclpy.get_rmw_implementation_identifier()` names it.
    """

    topic: str
    reliable: bool
    received: int
    largest_bytes: int
    gaps: int
    publishers: int = 1
    profile: DdsProfile = _NONE
    shm_free_bytes: int | None = None
    middleware: str = "rmw_fastrtps_cpp"


def transport_warning(traffic: CloudTraffic) -> str:
    """One line with what is lost and what to do; empty while there is nothing to say.

    Said when large clouds are lost, or could be with best effort, and when nothing arrives of a topic that has a
    publisher, while the profile of this process would not carry them.
    """
    if "fastrtps" not in traffic.middleware:
        return ""
    lost, fault = _what_is_lost(traffic), _fault(traffic)
    if not lost or not fault:
        return ""
    remedy = f"export {profile_variable()}={shipped_profile()} for the driver's process and this one"
    return f"{traffic.topic}: {lost}; {fault}; {remedy}" + ("" if traffic.reliable else ", or set reliable: true")


def _what_is_lost(traffic: CloudTraffic) -> str:
    how = "reliable" if traffic.reliable else "best effort"
    size = f"{traffic.largest_bytes / 1e6:.1f} MB"
    if not traffic.received:
        silent = traffic.publishers > 0 and not traffic.reliable
        return f"nothing arrives with {how} though it has a publisher, as when clouds are large" if silent else ""
    if traffic.largest_bytes <= LARGE_BYTES:
        return ""
    if traffic.gaps:
        return f"{traffic.gaps} clouds of {size} lost with {how}"
    return "" if traffic.reliable else f"clouds of {size} with {how} may be lost"


def _fault(traffic: CloudTraffic) -> str:
    """What is wrong with the profile of this process for such clouds; empty when nothing is."""
    profile = traffic.profile
    if profile.path is None:
        return "no Fast DDS profile is set"
    if profile.trouble:
        return f"profile {profile.path}: {profile.trouble}"
    if profile.segment_bytes < _CLOUDS_IN_SEGMENT * traffic.largest_bytes:
        return f"profile {profile.path}: segment of {profile.segment_bytes / 1e6:.1f} MB is too small"
    free_bytes = traffic.shm_free_bytes
    if free_bytes is not None and free_bytes < profile.segment_bytes:
        return f"/dev/shm has {free_bytes / 1e6:.0f} MB free, a process takes {profile.segment_bytes / 1e6:.0f}"
    return ""


def shm_free_bytes() -> int | None:
    """Free space of /dev/shm."""
    sizes = shared_memory_bytes()
    return None if sizes is None else sizes[1]
