"""What colcon and launch read: the executables exist, the config fits the node, the launch file starts a real one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from tests.ros_nodes.launch_record import Made, described_by
from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import Nodes
from understudy.configuration import write_yaml
from understudy.testing import simple_rig, tiny_bundle
from understudy_ros.lidar_detector import PARAMETERS
from understudy_ros.parameters import LIDAR_PARAMETERS

PACKAGE = Path(__file__).resolve().parents[2] / "ros_nodes"
LAUNCH = PACKAGE / "launch" / "lidar.launch.py"
EXECUTABLES = dict(re.findall(r"(\w+) = \{NAME\}\.(\w+):main", (PACKAGE / "setup.py").read_text()))


def of_kind(entries: list[Made], kind: str) -> list[Made]:
    return [entry for entry in entries if entry.kind == kind]


def test_config_holds_every_parameter_with_its_default() -> None:
    values = yaml.safe_load((PACKAGE / "config" / "lidar_detector.yaml").read_text())["/**"]["ros__parameters"]
    assert values == {parameter.name: parameter.default for parameter in (*LIDAR_PARAMETERS, *PARAMETERS)}


def test_every_package_that_is_imported_is_depended_on() -> None:
    depends = {str(entry.text) for entry in ElementTree.parse(PACKAGE / "package.xml").iter("exec_depend")}
    sources = [*PACKAGE.glob("understudy_ros/*.py"), *PACKAGE.glob("launch/*.py")]
    imported = {name for path in sources for name in re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.M)}
    assert {name for name in imported if name.startswith(("rcl", "launch")) or name.endswith("_msgs")} <= depends
    assert {"vision_msgs", "visualization_msgs"} <= depends


def test_launch_file_is_whole() -> None:
    entries = described_by(LAUNCH)
    [node] = of_kind(entries, "LifecycleNode")
    assert node.named["package"] == "understudy_ros"
    assert node.named["executable"] in EXECUTABLES
    declared = {entry.given[0] for entry in of_kind(entries, "DeclareLaunchArgument")}
    assert set(re.findall(r'LaunchConfiguration\("(\w+)"\)', LAUNCH.read_text())) <= declared
    handlers = [entry.given[0] for entry in of_kind(entries, "RegisterEventHandler")]
    assert [handler.kind for handler in handlers] == ["OnProcessStart", "OnStateTransition"]
    targets = [handler.named.get("target_action") or handler.named["target_lifecycle_node"] for handler in handlers]
    assert targets == [node, node]
    events = [(*handlers[0].named["on_start"], *handlers[1].named["entities"])]
    assert [emitted.named["event"].named["transition_id"] for emitted in events[0]] == [1, 3]


def test_launch_file_starts_a_real_node(observer: Observer, nodes: Nodes, tmp_path: Path) -> None:
    write_yaml(tmp_path / "rig.yaml", simple_rig())
    bundle = tiny_bundle(tmp_path / "bundle").folder
    entries = described_by(LAUNCH)
    defaults = {entry.given[0]: entry.named.get("default_value") for entry in of_kind(entries, "DeclareLaunchArgument")}
    arguments = {**defaults, "bundle": str(bundle), "rig": str(tmp_path / "rig.yaml"), "namespace": "/car"}

    def filled(value: Any) -> Any:
        return arguments[value.given[0]] if isinstance(value, Made) else value

    [node] = of_kind(entries, "LifecycleNode")
    params_file, parameters = node.named["parameters"]
    process = nodes.start(
        f"understudy_ros.{EXECUTABLES[node.named['executable']]}",
        name=node.named["name"],
        namespace=filled(node.named["namespace"]),
        remap={source: filled(target) for source, target in node.named["remappings"]},
        params_file=Path(filled(params_file)),
        **{name: filled(value) for name, value in parameters.items()},
    )
    observer.bring_up("/car/lidar_detector")
    assert observer.state("/car/lidar_detector") == 3
    assert process.stop() == 0
    assert "unknown parameters" not in process.log
