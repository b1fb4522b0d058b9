"""What `make ros` and `make jazzy` built: our own messages are the real ones' equal, the DDS profile is read."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros` or `make test-jazzy`")

from rclpy.serialization import deserialize_message, serialize_message
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3D, Detection3DArray

from tests.ros_nodes import environment
from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import NodeProcess, Nodes
from understudy.diagnosis.dds import (
    DEFAULT_SEGMENT_BYTES,
    NEW_VARIABLE,
    OLD_VARIABLE,
    profile_variable,
    shipped_profile,
)


def type_hash(package: str, name: str) -> str:
    described = json.loads((Path(sys.prefix) / f"share/{package}/msg/{name}.json").read_text())
    return next(entry["hash_string"] for entry in described["type_hashes"] if entry["type_name"].endswith(f"/{name}"))


def test_type_hashes_are_upstreams() -> None:
    # Of ros-perception/vision_msgs 4.1.1: another hash would not be matched by a real subscriber.
    assert type_hash("vision_msgs", "Detection3DArray").startswith("RIHS01_793f5eab")
    assert type_hash("vision_msgs", "Detection3D").startswith("RIHS01_ddd703be")


def test_messages_survive_the_wire() -> None:
    sent = Detection3DArray(detections=[Detection3D(id="7")])
    sent.detections[0].bbox.size.x = 4.5
    assert deserialize_message(serialize_message(sent), Detection3DArray) == sent
    assert deserialize_message(serialize_message(TFMessage()), TFMessage) == TFMessage()


def test_discovery_stays_on_this_machine() -> None:
    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_only_what_nobody_holds_any_more_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "SHARED_MEMORY", tmp_path)
    dead, held, young = (f"fastdds_{number:016x}" for number in range(3))
    for name in (dead, f"{dead}_el", held, f"{held}_el", young, f"{young}_el", "fastdds_port7000_el", "fastdds_el"):
        (tmp_path / name).touch()
        if not name.startswith(young):
            os.utime(tmp_path / name, (0, 0))
    with (tmp_path / f"{held}_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment.remove_shared_memory_of_the_dead()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {held, f"{held}_el", young, f"{young}_el", "fastdds_port7000_el", "fastdds_el"}


def largest_segment_bytes(process: NodeProcess) -> int:
    """Of the shared memory that a process of Fast DDS has mapped; 0 before there is any."""
    mapped = re.findall(r"/dev/shm/fast(?:dds|rtps)_\S+", Path(f"/proc/{process.pid}/maps").read_text())
    return max((Path(path).stat().st_size for path in set(mapped) if Path(path).exists()), default=0)


@pytest.mark.parametrize("variable", [NEW_VARIABLE, OLD_VARIABLE])
def test_the_shipped_profile_counts_under_the_variable_that_is_named_for_this_distribution(
    observer: Observer, nodes: Nodes, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in (NEW_VARIABLE, OLD_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(shipped_profile()))
    process = nodes.start("tests.ros_nodes.slow_node", name="slow_node")
    assert observer.state("/slow_node") == 1
    is_large = largest_segment_bytes(process) > 32 * DEFAULT_SEGMENT_BYTES
    # Kilted still reads the old name, with a warning; Jazzy does not know the new one.
    assert is_large == (variable in (profile_variable(), OLD_VARIABLE))
    assert process.stop() == 0
