"""What `make ros` built: our own build of the message packages is the real ones' equal."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from rclpy.serialization import deserialize_message, serialize_message
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3D, Detection3DArray


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
