"""The launch files: whole, and each starts real nodes as it says. `launch` itself is not on PyPI, see launch_record."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from tests.ros_nodes.launch_record import Context, Launched, Process, evaluated, launched
from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import NodeProcess, Nodes
from understudy.configuration import write_yaml
from understudy.testing import simple_rig, tiny_bundle

PACKAGE = Path(__file__).resolve().parents[2] / "ros_nodes"
LAUNCH = PACKAGE / "launch"
EXECUTABLES = dict(re.findall(r"(\w+) = \{NAME\}\.(\w+):main", (PACKAGE / "setup.py").read_text()))
ALWAYS = {"bundle": "/students/2026", "rig": "/vehicle/rig.yaml"}
ACTIVE = 3


@pytest.fixture(scope="module")
def vehicle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The two arguments that a vehicle must give."""
    folder = tmp_path_factory.mktemp("vehicle")
    write_yaml(folder / "rig.yaml", simple_rig(camera=True))
    return {"bundle": str(tiny_bundle(folder / "2026").folder), "rig": str(folder / "rig.yaml")}


def student(made: Launched) -> Process:
    [node] = [process for process in made.processes if process.action.kind == "LifecycleNode"]
    return node


def start(nodes: Nodes, process: Process) -> NodeProcess:
    [params_file] = process.params_files or [None]
    return nodes.start(
        f"understudy_ros.{EXECUTABLES[process.executable]}",
        name=process.name,
        namespace=process.namespace,
        remap=process.remappings,
        params_file=params_file,
        **process.parameters,
    )


def test_a_vehicle_is_told_what_it_must_give() -> None:
    with pytest.raises(AssertionError, match="required launch argument bundle"):
        launched(LAUNCH / "lidar.launch.py", rig="rig.yaml")
    with pytest.raises(AssertionError, match="valid are"):
        launched(LAUNCH / "lidar.launch.py", **ALWAYS, rviz="yes")


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.launch.py")), ids=lambda path: path.name)
def test_every_argument_is_declared_and_described(path: Path, vehicle: dict[str, str]) -> None:
    made = launched(path, **vehicle, **({"bag": "/bags/drive"} if path.name == "replay.launch.py" else {}))
    assert set(re.findall(r'LaunchConfiguration\("(\w+)"\)', path.read_text())) <= made.declared.keys()
    assert all(len(entry.named["description"]) > 10 for entry in made.declared.values())


def transitions(made: Launched) -> list[tuple[str, int]]:
    """Handlers of the student, with the transition that each asks for."""
    node = student(made).action
    found = []
    for handler in made.handlers:
        if node in (handler.named.get("target_action"), handler.named.get("target_lifecycle_node")):
            [emitted] = handler.named.get("on_start") or handler.named["entities"]
            found.append((handler.kind, emitted.named["event"].named["transition_id"]))
    return found


def test_lidar_launch_file_is_whole() -> None:
    made = launched(LAUNCH / "lidar.launch.py", **ALWAYS)
    node = student(made)
    assert [process.executable for process in made.processes] == ["lidar_detector"]
    assert node.action.named["package"] == "understudy_ros"
    assert node.executable in EXECUTABLES
    assert all(path.is_file() for path in node.params_files)
    known = yaml.safe_load((PACKAGE / "config" / "lidar_detector.yaml").read_text())["/**"]["ros__parameters"]
    assert node.parameters.keys() <= {*known, "use_sim_time"}
    assert node.parameters == {"bundle": "/students/2026", "rig": "/vehicle/rig.yaml", "use_sim_time": False}
    assert transitions(made) == [("OnProcessStart", 1), ("OnStateTransition", 3)]


def test_launch_ends_with_a_node_that_is_required() -> None:
    [end] = student(launched(LAUNCH / "lidar.launch.py", **ALWAYS)).action.named["on_exit"]
    [wanted] = end.named["condition"].given
    assert (end.kind, wanted.given) == ("Shutdown", ("required",))


def test_fast_dds_gets_the_shipped_profile_by_its_old_and_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    shipped = launched(LAUNCH / "lidar.launch.py", **ALWAYS).environment
    assert shipped.keys() == {"FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"}
    assert all(Path(path).is_file() for path in shipped.values())
    assert launched(LAUNCH / "lidar.launch.py", **ALWAYS, shared_memory="false").environment == {}
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/etc/fleet.xml")
    assert set(launched(LAUNCH / "lidar.launch.py", **ALWAYS).environment.values()) == {"/etc/fleet.xml"}


def test_rviz_hears_the_node_under_its_namespace_and_topics() -> None:
    made = launched(LAUNCH / "lidar.launch.py", **ALWAYS, rviz="true", namespace="/car", points="/roof/points")
    rviz = made.process("rviz2")
    assert rviz.namespace == "/car"
    assert rviz.remappings["/points"] == "/roof/points"
    assert rviz.remappings["/lidar_detector/markers"] == "lidar_detector/markers"
    assert Path(rviz.command[1]).is_file()


def test_lidar_launch_file_starts_a_real_node(observer: Observer, nodes: Nodes, vehicle: dict[str, str]) -> None:
    made = launched(LAUNCH / "lidar.launch.py", **vehicle, namespace="/car", points="/roof/points")
    process = start(nodes, student(made))
    observer.bring_up("/car/lidar_detector")
    assert observer.state("/car/lidar_detector") == ACTIVE
    heard = dict(observer.node.get_subscriber_names_and_types_by_node("lidar_detector", "/car"))
    assert "/roof/points" in heard
    assert process.stop() == 0
    assert "unknown parameters" not in process.log


def play_command(made: Launched, **arguments: str) -> tuple[str, ...]:
    """What the replay's launch file runs once a student is active."""
    [handler] = [one for one in made.handlers if one.named.get("goal_state") == "active"]
    [player] = handler.named["entities"]
    assert player.kind == "ExecuteProcess"
    defaults = {name: entry.named.get("default_value") for name, entry in made.declared.items()}
    return evaluated(player, Context({**defaults, **arguments})).command


def test_replay_plays_the_bag_when_the_student_is_active_and_ends_with_it() -> None:
    made = launched(LAUNCH / "replay.launch.py", **ALWAYS, bag="/bags/drive", rate="0.5")
    assert student(made).parameters["use_sim_time"] is True
    command = play_command(made, bag="/bags/drive", rate="0.5")
    assert command[:4] == ("ros2", "bag", "play", "/bags/drive")
    assert {"--clock", "--rate", "--delay", "--disable-keyboard-controls"} <= set(command)
    assert command[command.index("--rate") + 1] == "0.5"
    [ended] = [one for one in made.handlers if one.kind == "OnProcessExit"]
    [timer] = ended.named["on_exit"]
    assert [action.kind for action in timer.named["actions"]] == ["Shutdown"]
    assert transitions(made) == [("OnProcessStart", 1), ("OnStateTransition", 3)]
