"""RViz and Foxglove files: they can be read, and show topics that a node has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from understudy_ros.outputs import TIMING_STAGES

pytestmark = pytest.mark.any_distribution

PACKAGE = Path(__file__).resolve().parents[2] / "ros_nodes"
NODES = ("lidar_detector", "fusion_detector", "camera_detector")
INPUTS = {"/points"}
OUTPUTS = {"detections", "markers", "timing", "class_names"}
DISPLAYS = {f"rviz_default_plugins/{name}" for name in ("Grid", "TF", "PointCloud2", "MarkerArray", "Image")}
"""Of those that RViz 2 ships; a name that it does not know is shown as an error in its place."""
TOOLS = {f"rviz_default_plugins/{name}" for name in ("MoveCamera", "Select", "FocusCamera", "Measure")}
PANELS = {"3D", "Plot", "Image", "DiagnosticSummary", "DiagnosticStatusPanel", "RawMessages"}


def topics_of(node: str) -> set[str]:
    """Those that a layout may show; of cameras any name will do."""
    return inputs_of(node) | {"/diagnostics"} | {f"/{node}/{name}" for name in OUTPUTS}


def inputs_of(node: str) -> set[str]:
    """Beside cameras."""
    return set() if node == "camera_detector" else INPUTS


def is_camera(topic: str) -> bool:
    return re.fullmatch(r"/\w+/(image|image/compressed|camera_info)", topic) is not None


def rviz(node: str) -> dict[str, Any]:
    content = yaml.safe_load((PACKAGE / "rviz" / f"{node}.rviz").read_text())
    assert isinstance(content, dict)
    return content


def foxglove(node: str) -> dict[str, Any]:
    content = json.loads((PACKAGE / "foxglove" / f"{node}.json").read_text())
    assert isinstance(content, dict)
    return content


def panels_of(layout: Any) -> Iterator[str]:
    """Ids at the leaves of Foxglove's tree."""
    if isinstance(layout, str):
        yield layout
    else:
        assert 0 < layout["splitPercentage"] < 100
        assert layout["direction"] in ("row", "column")
        yield from (*panels_of(layout["first"]), *panels_of(layout["second"]))


def topics_in(config: Any) -> Iterator[str]:
    """All that begins with a slash, less the path into the message."""
    for key, value in config.items() if isinstance(config, dict) else ():
        if key == "topics":
            yield from value
        yield from topics_in(value)
    if isinstance(config, list):
        for value in config:
            yield from topics_in(value)
    if isinstance(config, str) and config.startswith("/"):
        yield re.split(r"[.\[]", config)[0]


@pytest.mark.parametrize("node", NODES)
def test_rviz_shows_what_the_node_takes_and_says(node: str) -> None:
    manager = rviz(node)["Visualization Manager"]
    assert {display["Class"] for display in manager["Displays"]} <= DISPLAYS
    assert {tool["Class"] for tool in manager["Tools"]} <= TOOLS
    shown = {display["Topic"]["Value"] for display in manager["Displays"] if "Topic" in display}
    assert inputs_of(node) | {f"/{node}/markers"} <= shown
    assert all(topic in topics_of(node) or is_camera(topic) for topic in shown)
    assert manager["Global Options"]["Fixed Frame"] == "base_link"


@pytest.mark.parametrize("node", NODES)
def test_foxglove_shows_what_the_node_takes_and_says(node: str) -> None:
    content = foxglove(node)
    assert set(panels_of(content["layout"])) == content["configById"].keys()
    assert {name.split("!")[0] for name in content["configById"]} <= PANELS
    shown = set(topics_in(content["configById"]))
    outputs = {f"/{node}/{name}" for name in ("markers", "timing", "detections")}
    assert inputs_of(node) | outputs | {"/diagnostics"} <= shown
    assert all(topic in topics_of(node) or is_camera(topic) for topic in shown)


@pytest.mark.parametrize("node", NODES)
def test_foxglove_plots_each_stage_under_its_name(node: str) -> None:
    paths = foxglove(node)["configById"]["Plot!timing"]["paths"]
    wanted = [(f"/{node}/timing.data[{number}]", f"{stage}_ms") for number, stage in enumerate(TIMING_STAGES)]
    assert [(path["value"], path["label"]) for path in paths] == wanted


def test_the_node_with_cameras_shows_them() -> None:
    assert not any(is_camera(topic) for topic in topics_in(foxglove("lidar_detector")["configById"]))
    shown = [f"/camera_{number}/image/compressed" for number in (1, 2, 3)]
    for node in ("fusion_detector", "camera_detector"):
        assert any(is_camera(topic) for topic in topics_in(foxglove(node)["configById"]))
        displays = rviz(node)["Visualization Manager"]["Displays"]
        pictures = [display for display in displays if display["Class"].endswith("/Image")]
        assert [display["Topic"]["Value"] for display in pictures] == shown
