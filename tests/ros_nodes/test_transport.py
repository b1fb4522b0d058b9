"""Large clouds between two real processes, with the profile and without it, and what the node says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2

from tests.ros_nodes.doctor_cases import Drivers, started_drivers
from tests.ros_nodes.observer import Observer
from understudy.diagnosis.dds import (
    DEFAULT_SEGMENT_BYTES,
    NEW_VARIABLE,
    OLD_VARIABLE,
    PROFILE_NAME,
    DdsProfile,
    read_profile,
)
from understudy_ros.transport import LARGE_BYTES, CloudTraffic, profile_in_use, transport_warning

PROFILE = Path(__file__).resolve().parents[2] / "ros_nodes" / "config" / PROFILE_NAME
POINTS, SENT = 150_000, 20
"""Of 2.4 MB each."""


@pytest.fixture
def drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drivers]:
    for name in (NEW_VARIABLE, OLD_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with started_drivers(tmp_path) as start:
        yield start


def num_arriving(observer: Observer, topic: str) -> int:
    """Clouds with best effort in the time of `SENT` at 10 Hz, once the two ends know each other."""
    heard: list[bytes] = []
    profile = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    subscription = observer.node.create_subscription(PointCloud2, topic, heard.append, profile, raw=True)
    observer.until(lambda: observer.node.count_publishers(topic), "the driver")
    observer.happens(lambda: heard, timeout_s=2.0)
    heard.clear()
    observer.spin(SENT / 10.0)
    observer.node.destroy_subscription(subscription)
    return len(heard)


def test_best_effort_carries_large_clouds_with_the_profile_on_the_publishers_side(
    drivers: Drivers,
    observer: Observer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drivers(f"--points {POINTS} --topic /without")
    without = num_arriving(observer, "/without")
    for name in (NEW_VARIABLE, OLD_VARIABLE):
        monkeypatch.setenv(name, str(PROFILE))
    drivers(f"--points {POINTS} --topic /with --node other")
    arrived = num_arriving(observer, "/with")
    print(f"of {SENT} clouds of {POINTS * 16 / 1e6:.1f} MB: {without} without the profile, {arrived} with it")  # noqa: T201
    assert arrived >= SENT - 4
    assert arrived >= without


def test_the_profile_is_what_it_says() -> None:
    assert read_profile(PROFILE) == DdsProfile(PROFILE, 128 * 2**20)
    assert profile_in_use({NEW_VARIABLE: str(PROFILE), OLD_VARIABLE: str(PROFILE)}) == read_profile(PROFILE)
    assert profile_in_use({}) == DdsProfile(None, DEFAULT_SEGMENT_BYTES)


LOST = CloudTraffic("/points", reliable=False, received=40, largest_bytes=2_000_000, gaps=3)
GOOD = DdsProfile(PROFILE, 128 * 2**20)


@pytest.mark.any_distribution
class TestWarning:
    @pytest.mark.parametrize(
        ("changes", "parts"),
        [
            ({}, ("3 clouds of 2.0 MB lost", "no Fast DDS profile is set", PROFILE_NAME, "or set reliable: true")),
            ({"gaps": 0}, ("clouds of 2.0 MB with best effort may be lost",)),
            ({"reliable": True}, ("3 clouds of 2.0 MB lost with reliable",)),
            ({"received": 0, "largest_bytes": 0}, ("nothing arrives", "though it has a publisher")),
            ({"profile": DdsProfile(Path("/p.xml"), 2**20)}, ("/p.xml: segment of 1.0 MB is too small",)),
            ({"profile": DdsProfile(Path("/p.xml"), trouble="no such file")}, ("profile /p.xml: no such file",)),
            ({"profile": GOOD, "shm_free_bytes": 64_000_000}, ("/dev/shm has 64 MB free, a process takes 134",)),
        ],
    )
    def test_says_what_is_lost_and_what_to_do(self, changes: dict[str, object], parts: tuple[str, ...]) -> None:
        text = transport_warning(replace(LOST, **changes))
        assert all(part in text for part in parts), text
        assert "\n" not in text
        assert ("or set reliable" in text) == (not changes.get("reliable", False))

    @pytest.mark.parametrize(
        "changes",
        [
            {"profile": GOOD},
            {"profile": GOOD, "shm_free_bytes": 10**9},
            {"largest_bytes": LARGE_BYTES},
            {"reliable": True, "gaps": 0},
            {"received": 0, "publishers": 0},
            {"middleware": "rmw_cyclonedds_cpp"},
        ],
    )
    def test_is_silent_where_there_is_nothing_to_say(self, changes: dict[str, object]) -> None:
        assert transport_warning(replace(LOST, **changes)) == ""
