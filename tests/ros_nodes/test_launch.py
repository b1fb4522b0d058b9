"""The launch files: whole, and each starts real nodes as it says. `launch` itself is not on PyPI, see launch_record."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Detection3DArray

from tests.ros_nodes.bag_player import BagPlayer
from tests.ros_nodes.launch_record import Context, Launched, Process, evaluated, launched
from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import NodeProcess, Nodes
from understudy.bags.types import make_message as make_bag_message
from understudy.bags.writer import BagWriter
from understudy.configuration import write_yaml
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.testing import road_cloud, simple_rig, surround_rig, tiny_bundle
from understudy_ros.make import make_message

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


@pytest.fixture(scope="module")
def of_cameras(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same of a vehicle without a LiDAR."""
    folder = tmp_path_factory.mktemp("cameras")
    write_yaml(folder / "rig.yaml", surround_rig(lidar=False))
    return {"bundle": str(tiny_bundle(folder / "student", "images").folder), "rig": str(folder / "rig.yaml")}


def student(made: Launched) -> Process:
    [node] = [process for process in made.processes if process.action.kind == "LifecycleNode"]
    return node


def start(nodes: Nodes, process: Process) -> NodeProcess:
    """As launch does; a text is quoted, for on the command line it would be read as YAML."""
    [params_file] = process.params_files or [None]
    values = {key: json.dumps(value) if isinstance(value, str) else value for key, value in process.parameters.items()}
    return nodes.start(
        f"understudy_ros.{EXECUTABLES[process.executable]}",
        name=process.name,
        namespace=process.namespace,
        remap=process.remappings,
        params_file=params_file,
        **values,
    )


def bring_up(observer: Observer, process: NodeProcess, name: str) -> None:
    """Configured and active; the node's log says why not."""
    try:
        observer.bring_up(name)
        assert observer.state(name) == ACTIVE
    except AssertionError as error:
        raise AssertionError(f"{error}\n{process.log}") from error


def test_a_vehicle_is_told_what_it_must_give() -> None:
    with pytest.raises(AssertionError, match="required launch argument bundle"):
        launched(LAUNCH / "lidar.launch.py", rig="rig.yaml")
    with pytest.raises(AssertionError, match="valid are"):
        launched(LAUNCH / "lidar.launch.py", **ALWAYS, rviz="yes")


def arguments_of(path: Path, vehicle: dict[str, str]) -> dict[str, str]:
    return {**vehicle, **({"bag": "/bags/drive"} if path.name == "replay.launch.py" else {})}


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.launch.py")), ids=lambda path: path.name)
def test_every_argument_is_declared_and_described(path: Path, vehicle: dict[str, str]) -> None:
    made = launched(path, **arguments_of(path, vehicle))
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


@pytest.mark.parametrize("task", ["lidar", "fusion", "camera"])
def test_a_students_launch_file_is_whole(task: str) -> None:
    made = launched(LAUNCH / f"{task}.launch.py", **ALWAYS)
    node = student(made)
    assert [process.executable for process in made.processes] == [f"{task}_detector"]
    assert node.action.named["package"] == "understudy_ros"
    assert node.executable in EXECUTABLES
    [params_file] = node.params_files
    known = yaml.safe_load(params_file.read_text())["/**"]["ros__parameters"]
    assert node.parameters.keys() <= {*known, "use_sim_time"}
    assert node.parameters.items() >= {"bundle": "/students/2026", "use_sim_time": False}.items()
    assert transitions(made) == [("OnProcessStart", 1), ("OnStateTransition", 3)]


def test_the_page_names_every_launch_file_and_argument() -> None:
    page = (PACKAGE.parent / "docs" / "deployment.md").read_text()
    assert all(f"`{path.name}" in page for path in LAUNCH.glob("*.launch.py"))
    assert all(f"`{name}`" in page for name in launched(LAUNCH / "lidar.launch.py", **ALWAYS).declared)


def test_launching_needs_no_library_that_only_the_node_has() -> None:
    # `ros2 launch` runs in ROS's own Python, the node perhaps in a virtual environment.
    sources = [PACKAGE / "understudy_ros" / "launching.py", *LAUNCH.glob("*.launch.py")]
    imported = {name for path in sources for name in re.findall(r"^(?:from|import) ([\w.]+)", path.read_text(), re.M)}
    ours = {name for name in imported if name.startswith("understudy")}
    assert ours == {"understudy_ros.launching"}
    assert (PACKAGE / "understudy_ros" / "__init__.py").read_text().count("import ") <= 1


def test_cameras_of_the_rig_are_found_where_their_drivers_say(vehicle: dict[str, str]) -> None:
    arguments = {"image": "/cam/{camera}/image_raw", "camera_info": "/cam/{camera}/info", "rviz": "true"}
    made = launched(LAUNCH / "fusion.launch.py", **vehicle, **arguments)
    assert student(made).remappings == {
        "points": "points",
        "odometry": "odometry",
        "front/image": "/cam/front/image_raw",
        "front/image/compressed": "/cam/front/image_raw/compressed",
        "front/camera_info": "/cam/front/info",
    }
    assert made.process("rviz2").remappings["/camera_1/image/compressed"] == "/cam/front/image_raw/compressed"


def test_several_cameras_on_one_topic_are_refused(vehicle: dict[str, str], tmp_path: Path) -> None:
    rig = simple_rig(camera=True)
    write_yaml(tmp_path / "two.yaml", rig.model_copy(update={"sensors": {**rig.sensors, "rear": rig.cameras["front"]}}))
    with pytest.raises(ValueError, match=r"image: found /image_raw, wanted \{camera\} in it: the rig has front, rear"):
        launched(
            LAUNCH / "fusion.launch.py", bundle=vehicle["bundle"], rig=str(tmp_path / "two.yaml"), image="/image_raw"
        )
    one = launched(LAUNCH / "fusion.launch.py", **vehicle, image="/image_raw")
    assert student(one).remappings["front/image"] == "/image_raw"


@pytest.mark.parametrize("content", ["", "sensors: [1]", "sensors: {a: b}", "[", "\x00"])
def test_a_rig_that_cannot_be_read_is_left_to_the_node_to_refuse(content: str, tmp_path: Path) -> None:
    rig = tmp_path / "rig.yaml"
    rig.write_text(content)
    made = launched(LAUNCH / "fusion.launch.py", bundle="bundle", rig=str(rig))
    assert student(made).remappings.keys() == {"points", "odometry"}


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


@pytest.mark.parametrize("task", ["lidar", "fusion", "camera"])
def test_a_students_launch_file_starts_a_real_node(
    task: str, observer: Observer, nodes: Nodes, vehicle: dict[str, str], of_cameras: dict[str, str]
) -> None:
    topics = {"points": "/roof/points"} if task != "camera" else {}
    topics |= {"image": "/cam/{camera}/image_raw"} if task != "lidar" else {}
    given = of_cameras if task == "camera" else vehicle
    made = launched(LAUNCH / f"{task}.launch.py", **given, **topics, namespace="/car")
    process = start(nodes, student(made))
    bring_up(observer, process, f"/car/{task}_detector")
    wanted = {"/roof/points"} if task != "camera" else set()
    wanted |= {"/cam/front/image_raw/compressed", "/car/front/camera_info"} if task != "lidar" else set()

    def heard() -> set[str]:
        """Of an active node, as soon as the graph has it: it is told after the transition's answer."""
        return {name for name, _ in observer.node.get_subscriber_names_and_types_by_node(f"{task}_detector", "/car")}

    observer.until(lambda: wanted <= heard(), f"subscriptions to {wanted}")
    assert process.stop() == 0
    assert "unknown parameters" not in process.log


def play_command(made: Launched, **arguments: str) -> tuple[str, ...]:
    """What the replay's launch file runs once a student is active."""
    [handler] = [one for one in made.handlers if one.named.get("goal_state") == "active"]
    assert handler.named["handle_once"], "launch refuses to start one action twice"
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


def write_drive(path: Path, num: int = 4) -> Path:
    """A drive of long ago: only who takes the time from /clock finds its sweeps young."""
    rng = np.random.default_rng(0)
    with BagWriter(path) as writer:
        for number in range(num):
            stamp_ns = 1_600_000_000_000_000_000 + number * 100_000_000
            cloud = road_cloud(rng, stamp_ns=stamp_ns)
            message = cloud_message(make_bag_message, cloud, LAYOUTS["plain"], 1.0)
            writer.write("/points", message, stamp_ns + 20_000_000)
    return path


def test_replay_launch_file_starts_a_node_that_lives_in_the_bags_time(
    observer: Observer, nodes: Nodes, vehicle: dict[str, str], tmp_path: Path
) -> None:
    young = tmp_path / "young.yaml"
    write_params(young, deadline_ms=1000, reliable=True)
    bag = write_drive(tmp_path / "bag")
    made = launched(LAUNCH / "replay.launch.py", **vehicle, bag=str(bag), params_file=str(young))
    process = start(nodes, student(made))
    player = BagPlayer(observer, bag, {"/points": "/points"})
    heard = observer.hear(Detection3DArray, "/lidar_detector/detections")
    bring_up(observer, process, "/lidar_detector")
    observer.connect(player.publishers["/points"], heard)
    for _ in range(5):
        player.play()
        if observer.happens(lambda: heard.messages, timeout_s=1.0):
            break
    assert heard.messages, process.log
    assert {message.header.stamp.sec for message in heard.messages} == {1_600_000_000}
    player.close()
    observer.forget(heard)
    assert process.stop() == 0


def write_params(path: Path, **parameters: object) -> None:
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))


def test_latency_launch_file_starts_a_node_and_a_recorder_of_its_times(
    observer: Observer, nodes: Nodes, vehicle: dict[str, str], tmp_path: Path
) -> None:
    reliable, out = tmp_path / "reliable.yaml", tmp_path / "times.json"
    write_params(reliable, reliable=True)
    arguments = {"namespace": "/timed", "results": "3", "out": str(out), "params_file": str(reliable)}
    made = launched(LAUNCH / "latency.launch.py", **vehicle, **arguments)
    node, recorder = start(nodes, student(made)), start(nodes, made.process("timing_recorder"))
    publisher = observer.publisher(PointCloud2, "/timed/points")
    bring_up(observer, node, "/timed/lidar_detector")
    observer.connect(publisher)
    rng = np.random.default_rng(0)

    def send() -> bool:
        cloud = road_cloud(rng, stamp_ns=observer.node.get_clock().now().nanoseconds)
        publisher.publish(cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0))
        observer.spin(0.2)
        return not recorder.is_alive

    observer.until(send, "the recorder to have enough")
    assert recorder.wait() == 0, recorder.log
    samples_ms = json.loads(out.read_text())["samples_ms"]
    assert {"age_ms", "run_ms"} <= samples_ms.keys()
    assert all(len(values) == 3 for values in samples_ms.values())
    assert samples_ms["age_ms"][0] > samples_ms["run_ms"][0] > 0
    assert "p50" in recorder.log
    [ended] = [one for one in made.handlers if one.kind == "OnProcessExit"]
    assert ended.named["target_action"] is made.process("timing_recorder").action
    observer.node.destroy_publisher(publisher)
    assert node.stop() == 0


def test_recorder_says_when_nothing_came(observer: Observer, nodes: Nodes) -> None:
    recorder = nodes.start("understudy_ros.timing_recorder", name="timing_recorder", results=3)
    appears = observer.happens(lambda: "timing_recorder" in observer.node.get_node_names())
    assert appears, recorder.log
    assert recorder.stop() == 1, recorder.log
    assert "no result was heard; is the student active" in recorder.log


@pytest.mark.parametrize("parameters", [{"results": -1}, {"results": "many"}, {"out": "/dev/null/times.json"}])
def test_recorder_refuses_wrong_parameters_in_one_line(parameters: dict[str, object], nodes: Nodes) -> None:
    recorder = nodes.start("understudy_ros.timing_recorder", name="timing_recorder", **parameters)
    assert recorder.wait() == 1, recorder.log
    assert "Traceback" not in recorder.log, recorder.log


def test_recorder_refuses_a_remapping_that_is_none(nodes: Nodes) -> None:
    recorder = nodes.start("understudy_ros.timing_recorder", name="timing_recorder", remap={"timing": "a b"})
    assert recorder.wait() == 1, recorder.log
    assert "a b" in recorder.log
    assert "Traceback" not in recorder.log, recorder.log
