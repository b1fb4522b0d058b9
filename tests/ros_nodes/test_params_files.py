"""Which sections of a params file reach a node: as rcl itself has it, under every distribution that is tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros` or `make test-jazzy`")

import rclpy

from understudy_ros.params_files import reaches, unreached_files

SECTIONS = (
    *("/**", "**", "/*", "*", "roof", "/roof", "/car", "/a/b", "car/roof", "/car/roof", "/lorry/roof"),
    *("/*/roof", "/**/roof", "/car/*", "/car/**", "/a/**", "/a/**/roof", "/**/b/roof", "/a/*/roof", "/*/*/roof"),
)


def given(file: Path, namespace: str) -> dict[str, Any]:
    """The parameters that rcl takes from a file for a node named roof."""
    context = rclpy.Context()
    rclpy.init(context=context, args=["--ros-args", "--params-file", str(file), "-r", f"__ns:={namespace}"])
    node = rclpy.create_node("roof", context=context)
    parameters: dict[str, Any] = dict(node._parameter_overrides)
    node.destroy_node()
    rclpy.shutdown(context=context)
    return parameters


@pytest.mark.parametrize("namespace", ["/", "/car", "/a/b"])
def test_reaches_as_rcl_does(tmp_path: Path, namespace: str) -> None:
    file = tmp_path / "params.yaml"
    names = {section: f"p{number}" for number, section in enumerate(SECTIONS)}
    file.write_text(yaml.safe_dump({name: {"ros__parameters": {key: 1}} for name, key in names.items()}))
    parameters = given(file, namespace)
    node = f"{namespace.rstrip('/')}/roof"
    assert {section for section in SECTIONS if names[section] in parameters} == {
        section for section in SECTIONS if reaches(section, node)
    }
    assert 0 < len(parameters) < len(SECTIONS)


def test_a_namespace_may_be_a_level_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({"/car": {"roof": {"ros__parameters": {"run_ms": 1}}}}))
    assert "run_ms" in given(file, "/car")
    assert unreached_files(["--params-file", str(file)], "/car/roof") == ""
    assert "/car/roof" in unreached_files(["--params-file", str(file)], "/lorry/roof")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    texts = {
        "right": "roof: {ros__parameters: {a: 1}}",
        "wrong": "/car/roof: {ros__parameters: {a: 1}}\nside: {ros__parameters: {a: 1}}",
        "empty": "",
        "broken": "[",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return {name: str(tmp_path / f"{name}.yaml") for name in (*texts, "missing")}


def test_files_that_reach_nothing_are_named_with_what_would(files: dict[str, str]) -> None:
    assert unreached_files(["node", "--ros-args", "--params-file", files["right"]], "/roof") == ""
    line = unreached_files(["--params-file", files["right"], "--params-file", files["wrong"]], "/roof")
    assert line == (
        f"params file {files['wrong']}: of its sections (/car/roof, /side) none reaches /roof; write /roof or /**"
    )
    for name in ("empty", "broken", "missing"):
        assert files[name] in unreached_files(["--params-file", files[name]], "/roof")
    assert unreached_files(["--params-file"], "/roof") == ""
