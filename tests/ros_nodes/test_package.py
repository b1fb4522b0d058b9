"""What colcon reads: the config fits the node, what is imported is depended on."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from understudy_ros.camera_node import CameraNode
from understudy_ros.lidar_node import LidarNode
from understudy_ros.outputs import DETECTION_PARAMETERS
from understudy_ros.student_node import StudentNode

pytestmark = pytest.mark.any_distribution

PACKAGE = Path(__file__).resolve().parents[2] / "ros_nodes"
SHARED = ("launch", "config", "rviz", "foxglove")


@pytest.mark.parametrize(("node", "base"), [("lidar", LidarNode), ("fusion", StudentNode), ("camera", CameraNode)])
def test_config_holds_every_parameter_with_its_default(node: str, base: type[StudentNode]) -> None:
    values = yaml.safe_load((PACKAGE / "config" / f"{node}_detector.yaml").read_text())["/**"]["ros__parameters"]
    declared = (*base.base_parameters, *DETECTION_PARAMETERS)
    assert values == {parameter.name: parameter.default for parameter in declared}


def test_every_package_that_is_imported_is_depended_on() -> None:
    depends = {str(entry.text) for entry in ElementTree.parse(PACKAGE / "package.xml").iter("exec_depend")}
    sources = [*PACKAGE.glob("understudy_ros/**/*.py"), *PACKAGE.glob("launch/*.py")]
    imported = {name for path in sources for name in re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.M)}
    assert {name for name in imported if name.startswith(("rcl", "launch")) or name.endswith("_msgs")} <= depends
    assert {"vision_msgs", "visualization_msgs"} <= depends


def test_colcon_installs_all_that_launch_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr("setuptools.setup", made.update)
    monkeypatch.chdir(PACKAGE)
    runpy.run_path("setup.py")
    installed = {path for _, paths in made["data_files"] for path in paths}
    there = {str(path.relative_to(PACKAGE)) for name in SHARED for path in (PACKAGE / name).iterdir() if path.is_file()}
    assert there == {path for path in installed if path.split("/")[0] in SHARED}
    folders = {path.parent for path in PACKAGE.glob("understudy_ros/**/__init__.py")}
    assert set(made["packages"]) == {str(folder.relative_to(PACKAGE)).replace("/", ".") for folder in folders}
    modules = [entry.split(" = ")[1].split(":")[0] for entry in made["entry_points"]["console_scripts"]]
    assert all((PACKAGE / f"{module.replace('.', '/')}.py").is_file() for module in modules)
