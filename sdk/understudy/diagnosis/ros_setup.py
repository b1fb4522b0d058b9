"""What ROS 2 will be like for a process started from here, as far as that can be told without starting any of it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from understudy.diagnosis.card import version_of
from understudy.diagnosis.dds import (
    DEFAULT_SEGMENT_BYTES,
    NEW_VARIABLE,
    OLD_VARIABLE,
    DdsProfile,
    profile_in_use,
    profile_variable,
    shared_memory_bytes,
    shipped_profile,
)
from understudy.diagnosis.findings import Finding, Purpose, missing, ok, unknown, warn
from understudy.diagnosis.machine import ROOT
from understudy.diagnosis.probe import file_number

_NODES: tuple[Purpose, ...] = ("lidar", "fusion", "camera")
_PICTURES: tuple[Purpose, ...] = ("fusion", "camera")
_MIB = 2**20
_SEGMENT_BYTES = 128 * _MIB
_RECEIVE_BYTES, _FRAGMENT_BYTES = 4 * _MIB, 64 * _MIB
_SYSCTL = "sudo sysctl -w net.core.rmem_max=2147483647 net.ipv4.ipfrag_high_thresh=134217728 net.ipv4.ipfrag_time=3"
"""As docs.ros.org recommends in 'DDS tuning information'."""


def ros_setup_findings(root: Path = ROOT, environment: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """All of them, in the order in which they are told."""
    given = os.environ if environment is None else environment
    yield distribution(root, given)
    yield from packages()
    yield jpeg()
    yield middleware(given)
    yield dds_profile(given)
    yield shared_memory()
    yield receive_buffers(root)


def distribution(root: Path, environment: Mapping[str, str]) -> Finding:
    """ROS_DISTRO, and whether this very Python has its rclpy."""
    name, has_rclpy = environment.get("ROS_DISTRO", ""), importlib.util.find_spec("rclpy") is not None
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    if has_rclpy:
        return ok("ros", f"{name or 'ROS_DISTRO unset'}, rclpy {version_of('rclpy') or '?'} in {python}", _NODES)
    installed = sorted(path.name for path in (root / "opt/ros").glob("*") if path.is_dir())
    if name in installed:
        of_ros = [path.name for path in (root / "opt/ros" / name).glob("lib/python3*")]
        remedy = (
            f"source /opt/ros/{name}/setup.bash, and install understudy into that Python: it is {', '.join(of_ros)}"
        )
        return missing("ros", f"ROS_DISTRO is {name}, but {python} at {sys.executable} has no rclpy", remedy, _NODES)
    if installed:
        remedy = f"source /opt/ros/{installed[-1]}/setup.bash"
        return missing("ros", f"{', '.join(installed)} installed, not sourced", remedy, _NODES)
    return missing("ros", "no ROS 2: no /opt/ros, no rclpy", "install ROS 2; replay of bags needs none", _NODES)


def packages() -> Iterator[Finding]:
    """Packages of messages that the nodes import."""
    if importlib.util.find_spec("rclpy") is None:
        yield unknown("messages", "without rclpy there is nothing to look for")
        return
    always = ("sensor_msgs", "visualization_msgs", "diagnostic_msgs", "lifecycle_msgs", "nav_msgs")
    absent = [name for name in (*always, "vision_msgs", "tf2_msgs") if importlib.util.find_spec(name) is None]
    if not absent:
        yield ok("messages", "sensor_msgs, vision_msgs, tf2_msgs and the others are importable", _NODES)
        return
    apt = " ".join(f"ros-$ROS_DISTRO-{name.replace('_', '-')}" for name in absent)
    remedy = f"sudo apt install {apt}"
    if absent == ["tf2_msgs"]:
        yield warn("messages", "tf2_msgs is not installed: /tf_static is not compared with the rig", remedy)
    else:
        more = "; or run the nodes with output: markers" if absent == ["vision_msgs"] else ""
        yield missing("messages", f"{', '.join(absent)} not installed", remedy + more, _NODES)


def jpeg() -> Finding:
    """What decodes compressed pictures."""
    found = [name for name in ("simplejpeg", "PIL") if importlib.util.find_spec(name) is not None]
    remedy = "pip install 'understudy[bags]'"
    if "simplejpeg" in found:
        return ok("jpeg", f"simplejpeg {version_of('simplejpeg')}", _PICTURES)
    if found:
        return warn("jpeg", "Pillow only: three times as slow as simplejpeg", remedy, _PICTURES)
    return missing("jpeg", "neither simplejpeg nor Pillow: no compressed pictures", remedy, _PICTURES)


def middleware(environment: Mapping[str, str]) -> Finding:
    """What RMW_IMPLEMENTATION asks for, where it can be told whether it is installed."""
    name = environment.get("RMW_IMPLEMENTATION", "")
    if not name:
        return ok("middleware", "RMW_IMPLEMENTATION unset: the distribution's own, Fast DDS in Jazzy and Kilted")
    if "fastrtps" in name:
        return ok("middleware", name)
    remedy = "unset RMW_IMPLEMENTATION, or raise its own limits for large messages: Fast DDS's profile does not count"
    return warn("middleware", f"{name}: the nodes were tried with Fast DDS alone", remedy)


def dds_profile(environment: Mapping[str, str]) -> Finding:
    """Whether processes started from here can send large clouds with best effort."""
    name = environment.get("RMW_IMPLEMENTATION", "")
    if name and "fastrtps" not in name:
        return ok("dds profile", f"not used by {name}")
    profile = profile_in_use(environment)
    remedy = f"export {profile_variable()}={shipped_profile()} here and for the drivers"
    if profile.trouble:
        return missing("dds profile", f"{profile.path}: {profile.trouble}", remedy, _NODES)
    if profile.segment_bytes <= DEFAULT_SEGMENT_BYTES:
        seen = f"{_source(profile)}: clouds above {DEFAULT_SEGMENT_BYTES / 1e6:.1f} MB get lost with best effort"
        return warn("dds profile", seen, remedy)
    return ok("dds profile", f"{profile.path}, segment of {profile.segment_bytes / _MIB:.0f} MiB")


def _source(profile: DdsProfile) -> str:
    return str(profile.path) if profile.path else f"no profile ({NEW_VARIABLE}, {OLD_VARIABLE})"


def shared_memory() -> Finding:
    """/dev/shm must hold a segment for each process that publishes."""
    sizes = shared_memory_bytes()
    if sizes is None:
        return unknown("/dev/shm", "not there: Fast DDS falls back to UDP, which loses large clouds")
    total, free = sizes
    seen = f"{free / _MIB:.0f} of {total / _MIB:.0f} MiB free"
    if total < _SEGMENT_BYTES:
        return missing("/dev/shm", f"{seen}: no room for one segment", "Docker: --shm-size=1g, or --ipc=host", _NODES)
    if free < 2 * _SEGMENT_BYTES:
        remedy = "fastdds shm clean removes what killed processes left; Docker: --shm-size=1g"
        return warn("/dev/shm", f"{seen}: a publishing process takes 128 MiB", remedy)
    return ok("/dev/shm", seen)


def receive_buffers(root: Path = ROOT) -> Finding:
    """The kernel's limits for large messages over UDP; they count for sensors on other machines."""
    receive, fragments = (
        file_number(root / "proc/sys/net" / name) for name in ("core/rmem_max", "ipv4/ipfrag_high_thresh")
    )
    if receive is None or fragments is None:
        return unknown("udp buffers", "/proc/sys/net does not tell", "sysctl net.core.rmem_max")
    seen = f"rmem_max {receive / _MIB:.1f} MiB, ipfrag_high_thresh {fragments / _MIB:.1f} MiB"
    if receive < _RECEIVE_BYTES or fragments < _FRAGMENT_BYTES:
        return warn("udp buffers", f"{seen}: small, if clouds come from another machine", f"then {_SYSCTL}")
    return ok("udp buffers", seen)
