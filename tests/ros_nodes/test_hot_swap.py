"""Another student in the same process, a student that hangs, one that sees several sweeps, time that jumps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import Nodes
from tests.ros_nodes.running_detector import (
    ERROR,
    PERIOD_NS,
    START_NS,
    Running,
    assert_counts_add_up,
    assert_same,
    at_fault,
    message_of,
    road,
    values_of,
    written,
)
from understudy.boxes import Boxes
from understudy.frame import Frame
from understudy.live.options import StreamOptions
from understudy.live.stream import SensorStream
from understudy.messages.headers import stamp_ns_from_message, time_message
from understudy.messages.transforms import odometry_message
from understudy.pipeline import open_pipeline
from understudy.pose import Pose
from understudy.testing import frame_of, simple_rig, tiny_bundle
from understudy_ros.make import make_message
from understudy_ros.student import bundle_student

MODULE, NODE = "understudy_ros.lidar_detector", "/lidar_detector"
RIG = simple_rig()


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of a careless student, a careful one, one that sees three sweeps, and a damaged one."""
    folder = tmp_path_factory.mktemp("students")
    tiny_bundle(folder / "careless", score_threshold=0.05)
    tiny_bundle(folder / "careful", score_threshold=0.4)
    tiny_bundle(folder / "three", sweeps=3)
    damaged = tiny_bundle(folder / "damaged").folder
    [model] = damaged.glob("*.onnx")
    model.write_bytes(model.read_bytes()[:-1])
    return folder


@pytest.fixture
def rig_file(tmp_path: Path) -> Path:
    return written(RIG, tmp_path / "rig.yaml")


@pytest.fixture
def careless(observer: Observer, nodes: Nodes, students: Path, rig_file: Path) -> Iterator[Running]:
    given = {"bundle": students / "careless", "rig": rig_file, "reliable": True, "silent_ms": 60_000}
    process = nodes.start(MODULE, name="lidar_detector", **given)
    running = Running(observer, process, road(-20), NODE)
    yield running
    running.close()
    assert process.stop() == 0
    assert "Traceback" not in process.log


def boxes_of(bundle: Path, number: int) -> Boxes:
    with open_pipeline(bundle, RIG) as pipeline:
        return pipeline(frame_of(road(number)))


def set_bundle(observer: Observer, path: Path) -> None:
    assert observer.set_parameters(NODE, [Parameter("bundle", value=str(path))]) == [True]


def test_another_student_in_the_same_process(careless: Running, students: Path) -> None:
    observer = careless.observer
    before, after = boxes_of(students / "careless", 1), boxes_of(students / "careful", 3)
    assert len(before) > len(after) > 0
    assert_same(careless.ask(message_of(road(1))), before, road(1).stamp_ns)
    set_bundle(observer, students / "careful")
    observer.diagnosis(NODE, lambda status: values_of(status)["pending_parameters"] == "bundle", "what does not count")
    assert "parameter bundle has changed: it counts from the next configure" in careless.process.log
    careless.ask(message_of(road(2)))
    for transition in ("deactivate", "cleanup"):
        assert observer.change(NODE, transition)
    observer.bring_up(NODE)
    observer.connect(careless.publisher, careless.detections, careless.markers)
    assert_same(careless.ask(message_of(road(3))), after, road(3).stamp_ns)


def test_a_runtime_that_cannot_run_here_is_refused(careless: Running) -> None:
    """TensorRT: no driver, or no engine in the bundle."""
    observer = careless.observer
    for transition in ("deactivate", "cleanup"):
        assert observer.change(NODE, transition)
    assert observer.set_parameters(NODE, [Parameter("runtime", value="abacus")]) == [False]
    assert observer.set_parameters(NODE, [Parameter("runtime", value="tensorrt")]) == [True]
    assert not observer.change(NODE, "configure")
    status = observer.diagnosis(
        NODE, lambda status: "cuda" in status.message.lower() or "engine" in status.message, "why"
    )
    assert status.level == ERROR
    assert observer.set_parameters(NODE, [Parameter("runtime", value="onnxruntime")]) == [True]
    observer.bring_up(NODE)


def test_a_refused_student_leaves_the_way_back_open(careless: Running, students: Path) -> None:
    observer = careless.observer
    for transition in ("deactivate", "cleanup"):
        assert observer.change(NODE, transition)
    for wrong, reason in (("damaged", "sha256"), ("nowhere", "nowhere")):
        set_bundle(observer, students / wrong)
        assert not observer.change(NODE, "configure")
        status = observer.diagnosis(NODE, lambda status: reason in status.message, "the refusal")  # noqa: B023
        assert status.level == ERROR
    set_bundle(observer, students / "careless")
    observer.bring_up(NODE)
    observer.connect(careless.publisher, careless.detections, careless.markers)
    assert_same(careless.ask(message_of(road(3))), boxes_of(students / "careless", 3), road(3).stamp_ns)
    names: list[String] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    late = observer.node.create_subscription(String, f"{NODE}/class_names", names.append, latched)
    observer.until(lambda: names, "class names of the student that runs")
    assert len(json.loads(names[0].data)) == 4
    observer.node.destroy_subscription(late)


def test_a_student_that_hangs_is_named_and_left_behind(
    observer: Observer, nodes: Nodes, rig_file: Path, tmp_path: Path
) -> None:
    node, hang = "/slow_node", tmp_path / "hang"
    given = {"rig": rig_file, "reliable": True, "hang_while": hang, "silent_ms": 500}
    process = nodes.start("tests.ros_nodes.slow_node", name="slow_node", **given)
    publisher, heard = observer.publisher(PointCloud2, "/points"), observer.hear(Header, f"{node}/answers")
    observer.bring_up(node)
    observer.connect(publisher, heard)
    hang.touch()
    publisher.publish(message_of(road(1)))
    status = observer.diagnosis(node, lambda status: "student" in at_fault(status), "the student at fault")
    assert status.level == ERROR
    assert "student: busy for" in status.message
    assert observer.change(node, "deactivate"), "nobody waits for a student that hangs"
    assert "left behind" in process.log
    assert not observer.change(node, "activate"), "two frames at once are not what it was made for"
    assert "still busy with a frame from before" in process.log
    assert observer.change(node, "cleanup")
    observer.bring_up(node)
    hang.unlink()
    observer.connect(publisher, heard)
    publisher.publish(message_of(road(2)))
    observer.until(lambda: heard.messages, "an answer of the next student")
    observer.spin(0.3)
    stamps_ns = [message.stamp.sec * 10**9 + message.stamp.nanosec for message in heard.messages]
    assert stamps_ns == [road(2).stamp_ns], "what the other one still said is not sent"
    observer.node.destroy_publisher(publisher)
    observer.forget(heard)
    assert process.stop() == 0


def odometry(number: int) -> Any:
    """Five meters per second ahead, at each sweep's stamp."""
    return odometry_message(make_message, Pose.from_yaw(0.0, (0.5 * number, 0.0, 0.0)), road(number).stamp_ns)


def transform(number: int) -> Any:
    """The same pose on `/tf`, beside one of a wheel that nobody asks for."""
    ego, wheel = TransformStamped(child_frame_id="base_link"), TransformStamped(child_frame_id="wheel")
    ego.header.frame_id, wheel.header.frame_id = "odom", "base_link"
    ego.header.stamp = wheel.header.stamp = odometry(number).header.stamp
    ego.transform.translation.x = float(0.5 * number)
    return TFMessage(transforms=[wheel, ego])


def in_process(bundle: Path, num: int) -> list[Boxes]:
    """What the same messages lead to in a stream that is stepped by hand."""
    student = bundle_student(bundle, RIG)
    results: list[Boxes] = []

    def publish(boxes: Boxes, frame: Frame) -> None:
        results.append(boxes)

    stream = SensorStream(RIG, StreamOptions("lidar", num_sweeps=student.num_sweeps), student.run, publish)
    for number in range(num):
        stream.push_motion(odometry(number))
        stream.push("lidar", message_of(road(number)))
        assert stream.work()
    student.close()
    return results


@pytest.mark.parametrize(
    ("source", "kind", "topic", "told"),
    [("odometry", Odometry, "/odometry", odometry), ("tf", TFMessage, "/tf", transform)],
)
def test_several_sweeps_with_ego_motion(
    observer: Observer,
    nodes: Nodes,
    students: Path,
    rig_file: Path,
    source: str,
    kind: Any,
    topic: str,
    told: Callable[[int], Any],
) -> None:
    wanted = in_process(students / "three", 4)
    assert any(len(boxes) for boxes in wanted)
    assert len({len(boxes) for boxes in wanted} | {boxes.geometry.tobytes() for boxes in wanted}) > 1
    given = {"bundle": students / "three", "rig": rig_file, "reliable": True, "silent_ms": 1000}
    process = nodes.start(MODULE, name="lidar_detector", motion=source, **given)
    motion, points = observer.publisher(kind, topic), observer.publisher(PointCloud2, "/points")
    heard = observer.hear(Detection3DArray, f"{NODE}/detections")
    observer.bring_up(NODE)
    status = observer.diagnosis(NODE, lambda status: "ego motion" in at_fault(status), "nobody tells the motion")
    assert "no message for" in status.message
    observer.connect(motion)
    observer.connect(points, heard)

    def answered(number: int, timeout_s: float = 20.0) -> Any:
        motion.publish(told(number))
        points.publish(message_of(road(number)))
        stamp_ns = road(number).stamp_ns
        observer.happens(lambda: stamp_ns in map(stamp_ns_from_message, heard.messages), timeout_s)
        return heard.messages[-1] if heard.messages else None

    # Until both ends have found each other; after more than a second what was seen before is forgotten.
    assert any(answered(number, timeout_s=3.0) for number in range(-40, -30))
    for number, boxes in enumerate(wanted):
        assert_same(answered(number), boxes, road(number).stamp_ns)
    status = observer.diagnosis(NODE, lambda status: int(values_of(status).get("results", 0)) >= 5, "results")
    assert_counts_add_up(status, "lidar", "ego_motion")
    for publisher in (motion, points):
        observer.node.destroy_publisher(publisher)
    observer.forget(heard)
    assert process.stop() == 0


def test_a_simulation_that_starts_over_is_followed(
    observer: Observer, nodes: Nodes, students: Path, rig_file: Path
) -> None:
    given = {"bundle": students / "careless", "rig": rig_file, "reliable": True, "deadline_ms": 2000}
    process = nodes.start(MODULE, name="lidar_detector", use_sim_time=True, silent_ms=60_000, **given)
    clock, told = observer.publisher(Clock, "/clock"), observer.hear(DiagnosticArray, "/diagnostics")

    def show(now_ns: int) -> None:
        """Until the node's own messages are of that time."""
        told.messages.clear()
        wanted = time_message(make_message, now_ns)

        def is_shown() -> bool:
            clock.publish(Clock(clock=wanted))
            return any(message.header.stamp == wanted for message in told.messages)

        observer.until(is_shown, "the node's clock")

    show(START_NS)
    running = Running(observer, process, replace(road(-20), stamp_ns=START_NS), NODE)
    running.ask(message_of(road(10)))
    show(START_NS - 500 * PERIOD_NS)
    running.ask(message_of(replace(road(1), stamp_ns=START_NS - 500 * PERIOD_NS)))
    status = observer.diagnosis(NODE, lambda status: "clock" in at_fault(status), "the clock")
    assert "clock: jumped back" in status.message
    running.close()
    observer.forget(told)
    observer.node.destroy_publisher(clock)
    assert process.stop() == 0


def test_with_a_deadline_old_sweeps_are_not_used(
    observer: Observer, nodes: Nodes, students: Path, rig_file: Path
) -> None:
    given = {"bundle": students / "careless", "rig": rig_file, "reliable": True, "deadline_ms": 500}
    process = nodes.start(MODULE, name="lidar_detector", silent_ms=60_000, **given)
    publisher = observer.publisher(PointCloud2, "/points")
    observer.bring_up(NODE)
    observer.connect(publisher)
    publisher.publish(message_of(road(1)))
    status = observer.diagnosis(NODE, lambda status: values_of(status).get("stale/lidar") == "1", "an old sweep")
    assert "1 too old" in status.message
    observer.node.destroy_publisher(publisher)
    assert process.stop() == 0
