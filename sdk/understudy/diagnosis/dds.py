"""How ROS 2 processes started from here will send large messages: the Fast DDS profile and the shared memory.

Fast DDS sends between processes of one machine through a segment of shared memory, by default of 512 KiB. A cloud that
does not fit into it goes over loopback UDP in fragments, of which best effort loses some: measured here, none of 40
clouds of 1.9 MB arrived, and 40 of 40 with a segment that holds them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.etree import ElementTree

PROFILE_NAME = "fastdds_shm.xml"
NEW_VARIABLE, OLD_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
DEFAULT_SEGMENT_BYTES = 512 * 1024
SHARED_MEMORY = Path("/dev/shm")
_FIRST_RCLPY_WITH_NEW = 9
"""Kilted, with Fast DDS 3; Jazzy's rclpy is 7."""


@dataclass(frozen=True)
class DdsProfile:
    """What Fast DDS reads at the start of a process, and what it makes of it.

    Attributes:
        path: the file that is named; None when none is.
        segment_bytes: shared memory of a process that starts like this; 0 when it uses none.
        trouble: why the file does not count, or not as it was meant; empty when nothing is wrong with it.
    """

    path: Path | None = None
    segment_bytes: int = DEFAULT_SEGMENT_BYTES
    trouble: str = ""


def profile_in_use(environment: Mapping[str, str] | None = None) -> DdsProfile:
    """The profile that the environment names, read as Fast DDS reads it; the process's own environment by default."""
    given = os.environ if environment is None else environment
    wanted = profile_variable()
    # Kilted still reads the old name, with a warning; Jazzy knows no other.
    name = wanted if given.get(wanted) or wanted == OLD_VARIABLE else OLD_VARIABLE
    if given.get(name):
        return read_profile(Path(given[name]))
    if given.get(NEW_VARIABLE):
        return DdsProfile(Path(given[NEW_VARIABLE]), trouble=f"this Fast DDS reads {wanted}, not {NEW_VARIABLE}")
    builtin = given.get("FASTDDS_BUILTIN_TRANSPORTS", "DEFAULT").upper()
    return DdsProfile(segment_bytes=0 if builtin.startswith(("UDP", "TCP")) else DEFAULT_SEGMENT_BYTES)


def profile_variable() -> str:
    """The environment variable that the installed Fast DDS reads; by rclpy's version, the newer name without one."""
    try:
        major = int(version("rclpy").partition(".")[0])
    except (PackageNotFoundError, ValueError):
        return OLD_VARIABLE if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy") else NEW_VARIABLE
    return NEW_VARIABLE if major >= _FIRST_RCLPY_WITH_NEW else OLD_VARIABLE


def read_profile(path: Path) -> DdsProfile:
    """What a profile file gives the participant that is made without naming a profile, as ROS 2 makes them."""
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        return DdsProfile(path, trouble="no such file: Fast DDS takes its defaults")
    except (OSError, ElementTree.ParseError) as error:
        return DdsProfile(path, trouble=f"cannot be read ({error}): Fast DDS takes its defaults")
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # without the namespace, which has had several names
    participant = next((each for each in root.iter("participant") if each.get("is_default_profile") == "true"), None)
    if participant is None:
        return DdsProfile(path, trouble="no participant in it has is_default_profile='true': ROS 2 takes the defaults")
    return _of_participant(path, root, participant)


def _of_participant(path: Path, root: ElementTree.Element, participant: ElementTree.Element) -> DdsProfile:
    keeps_builtin = participant.findtext("rtps/useBuiltinTransports", "true").strip() != "false"
    named = [(each.text or "").strip() for each in participant.iterfind("rtps/userTransports/transport_id")]
    transports = {(each.findtext("transport_id") or "").strip(): each for each in root.iter("transport_descriptor")}
    unknown = [name for name in named if name not in transports]
    if unknown:
        return DdsProfile(path, trouble=f"transport {unknown[0]} is used and not described in it")
    segments = [_segment_bytes(transports[name]) for name in named if _kind(transports[name]) == "SHM"]
    if None in segments:
        return DdsProfile(path, trouble="segment_size is no number")
    sizes = [size for size in segments if size is not None]
    if not sizes:
        return DdsProfile(path, DEFAULT_SEGMENT_BYTES if keeps_builtin else 0, "it sets no shared memory")
    return DdsProfile(path, max(sizes))


def _kind(transport: ElementTree.Element) -> str:
    return (transport.findtext("type") or "").strip().upper()


def _segment_bytes(transport: ElementTree.Element) -> int | None:
    text = (transport.findtext("segment_size") or "0").strip()
    return (int(text) or DEFAULT_SEGMENT_BYTES) if text.isdigit() else None


def shared_memory_bytes() -> tuple[int, int] | None:
    """Size and free space of /dev/shm; None where there is none."""
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError:
        return None
    return usage.total, usage.free


def shipped_profile() -> str:
    """Where the profile lies on this machine: installed by colcon, by pip, or in the checkout; else its name."""
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    package = Path(__file__).resolve().parents[2]
    shares = [prefix / "share" / "understudy_ros" / "config" for prefix in (*prefixes, *_python_prefixes())]
    found = (folder / PROFILE_NAME for folder in (*shares, package / "ros_nodes" / "config"))
    return next((str(path) for path in found if path.is_file()), f"/path/to/{PROFILE_NAME}")


def _python_prefixes() -> tuple[Path, ...]:
    import site
    import sys

    return Path(sys.prefix), Path(site.USER_BASE or sys.prefix)
