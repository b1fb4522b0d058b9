"""Parameters over DDS and from files: what wins, what is refused with which words, what a change does while active."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros` or `make test-jazzy`")

from lifecycle_msgs.msg import State
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter

from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import NodeProcess, Nodes
from understudy.configuration import write_yaml
from understudy.testing import simple_rig

MODULE, NAME = "tests.ros_nodes.slow_node", "slow_node"


@pytest.fixture
def rig_file(tmp_path: Path) -> Path:
    write_yaml(tmp_path / "rig.yaml", simple_rig())
    return tmp_path / "rig.yaml"


def params_file(tmp_path: Path, sections: dict[str, dict[str, Any]]) -> Path:
    path = tmp_path / f"params-{len(list(tmp_path.glob('params-*')))}.yaml"
    path.write_text(yaml.safe_dump({name: {"ros__parameters": values} for name, values in sections.items()}))
    return path


def values(observer: Observer, node: str, *names: str) -> list[Any]:
    answer = observer.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=names))
    return [
        value.string_value if value.type == ParameterType.PARAMETER_STRING else value.integer_value
        for value in answer.values
    ]


def test_the_command_line_beats_the_file_and_the_nearest_section_the_wildcard(
    observer: Observer, nodes: Nodes, tmp_path: Path
) -> None:
    sections = {"/**": {"run_ms": 1, "open_ms": 1, "threads": 2}, "/car/roof": {"run_ms": 2}}
    file = params_file(tmp_path, sections)
    nodes.start(MODULE, name="roof", namespace="/car", params_file=file, open_ms=3)
    assert values(observer, "/car/roof", "run_ms", "open_ms", "threads", "hang_while") == [2, 3, 2, ""]


def test_a_file_that_does_not_reach_the_node_is_reported(observer: Observer, nodes: Nodes, tmp_path: Path) -> None:
    file = params_file(tmp_path, {"roof": {"run_ms": 7}, "/lorry/roof": {"run_ms": 8}})
    process = nodes.start(MODULE, name="roof", namespace="/car", params_file=file)
    status = observer.diagnosis("/car/roof", lambda status: file.name in status.message, file.name)
    assert status.level == b"\x01"
    for text in (status.message, process.log):
        assert f"{file}: of its sections (/lorry/roof, /roof) none reaches /car/roof; write /car/roof or /**" in text
    assert values(observer, "/car/roof", "run_ms") == [0]


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("/**:\n  ros__parameters:\n    threads: many\n", ("threads",)),
        ("/**:\n  ros__parameters:\n    threads: 0\n", ("threads",)),
        ("/**:\n  ros__parameters:\n    run_ms: 1.5\n", ("run_ms",)),
        ("/**:\n  ros__parameters:\n  threads: [1\n", ("params.yaml",)),
        (None, ("params.yaml",)),
    ],
)
def test_a_file_that_does_not_fit_ends_the_start_with_its_reason(
    nodes: Nodes, tmp_path: Path, text: str | None, reasons: tuple[str, ...]
) -> None:
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    process = nodes.start(MODULE, name=NAME, params_file=path)
    assert process.wait() == 1
    assert "Traceback" not in process.log
    assert all(reason in process.log for reason in reasons), process.log


@pytest.fixture
def active(observer: Observer, nodes: Nodes, rig_file: Path) -> Iterator[NodeProcess]:
    process = nodes.start(MODULE, name=NAME, rig=rig_file, run_ms=1)
    observer.bring_up(f"/{NAME}")
    yield process
    assert observer.state(f"/{NAME}") == State.PRIMARY_STATE_ACTIVE
    assert process.stop() == 0
    assert "Traceback" not in process.log


def test_parameters_of_an_active_node(observer: Observer, active: NodeProcess) -> None:
    node = f"/{NAME}"
    listed = observer.call(ListParameters, f"{node}/list_parameters", ListParameters.Request()).result.names
    assert {"rig", "run_ms", "threads", "use_sim_time"} <= set(listed)
    request = DescribeParameters.Request(names=["threads", "run_ms"])
    threads, run_ms = observer.call(DescribeParameters, f"{node}/describe_parameters", request).descriptors
    assert (threads.integer_range[0].from_value, threads.integer_range[0].to_value) == (1, 64)
    assert run_ms.description.startswith("How long a sweep takes.")
    assert observer.set_parameters(node, [Parameter("run_ms", value=5)]) == [True]
    assert values(observer, node, "run_ms") == [5]
    wrong = [Parameter("threads", value=0), Parameter("threads", value="two"), Parameter("thraeds", value=2)]
    request = SetParameters.Request(parameters=[entry.to_parameter_msg() for entry in wrong])
    results = observer.call(SetParameters, f"{node}/set_parameters", request).results
    assert [result.successful for result in results] == [False, False, False]
    assert all(result.reason for result in results)
    assert values(observer, node, "threads") == [1]
