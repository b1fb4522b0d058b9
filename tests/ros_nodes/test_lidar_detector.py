"""`lidar_detector`, started as on a vehicle and spoken to over DDS from another process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from rclpy.parameter import Parameter

from tests.ros_nodes.observer import Observer, assign_bytes
from tests.ros_nodes.processes import Nodes
from tests.ros_nodes.running_detector import (
    ERROR,
    OK,
    WARN,
    Running,
    assert_counts_add_up,
    assert_same,
    at_fault,
    message_of,
    road,
    values_of,
    written,
)
from understudy.datasets.kitti import KittiDataset
from understudy.datasets.pandaset import PandasetSequence
from understudy.frame import Frame, PointCloud
from understudy.messages.headers import stamp_ns_from_message
from understudy.pipeline import open_pipeline
from understudy.rig import Rig
from understudy.testing import CLASS_NAMES, frame_of, simple_rig, tiny_bundle

MODULE, NODE = "understudy_ros.lidar_detector", "/lidar_detector"
NAN = float("nan")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("student") / "bundle").folder


@pytest.fixture(scope="module")
def rig_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(simple_rig(), tmp_path_factory.mktemp("rig") / "rig.yaml")


@pytest.fixture
def running(observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path) -> Iterator[Running]:
    # Silent at every look, the usual case in a test: what was refused must be said all the same.
    given = {"bundle": bundle, "rig": rig_file, "reliable": True, "silent_ms": 100}
    process = nodes.start(MODULE, name="lidar_detector", **given)
    made = Running(observer, process, road(-20), NODE)
    yield made
    made.close()


def road_markers(running: Running) -> list[Any]:
    """Of the first road, by the stamp that all markers of an array share."""
    wanted = road().stamp_ns
    return [array for array in running.markers.messages if stamp_ns_from_message(array.markers[0]) == wanted]


def test_life_from_start_to_sigint(running: Running, bundle: Path) -> None:
    observer, cloud = running.observer, road()
    with open_pipeline(bundle, simple_rig()) as pipeline:
        wanted = pipeline(frame_of(cloud))
    assert len(wanted) > 0
    assert_same(running.ask(message_of(cloud)), wanted, cloud.stamp_ns)
    observer.until(lambda: road_markers(running), "markers")
    texts = [marker.text for marker in road_markers(running)[-1].markers if marker.text]
    assert {text.split()[0] for text in texts} <= set(CLASS_NAMES)
    assert len(texts) == len(wanted)
    status = observer.diagnosis(NODE, lambda status: int(values_of(status).get("results", 0)) >= 2, "two results")
    assert status.level == OK or at_fault(status) == {"lidar"}
    assert values_of(status)["state"] == "active"
    assert float(values_of(status)["run_ms"]) > 0

    assert observer.change(NODE, "deactivate")
    known = len(running.detections.messages)
    running.publisher.publish(message_of(road(1)))
    observer.spin(0.5)
    assert len(running.detections.messages) == known, "an inactive node is silent"
    observer.until(lambda: running.publisher.get_subscription_count() == 0, "the end of the subscription")
    assert observer.change(NODE, "activate")
    assert stamp_ns_from_message(running.ask(message_of(road(2)))) == road(2).stamp_ns
    assert running.process.stop(signal.SIGINT) == 0
    assert "Traceback" not in running.process.log


def test_sigterm_ends_an_unconfigured_node_that_survived_a_forbidden_transition(
    observer: Observer, nodes: Nodes
) -> None:
    process = nodes.start(MODULE, name="lidar_detector")
    assert not observer.change(NODE, "activate")
    assert observer.state(NODE) == 1
    assert process.stop(signal.SIGTERM) == 0
    assert "Traceback" not in process.log


def test_the_shutdown_transition_ends_the_process(running: Running) -> None:
    running.observer.shut_down(NODE)
    assert running.process.wait() == 0
    assert "Traceback" not in running.process.log


def test_a_topic_that_is_none_refuses_to_activate(
    observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path
) -> None:
    process = nodes.start(MODULE, name="lidar_detector", bundle=bundle, rig=rig_file, points_topic="no topic!")
    assert observer.change(NODE, "configure")
    assert not observer.change(NODE, "activate")
    assert observer.state(NODE) == 2
    status = observer.diagnosis(NODE, lambda status: "no topic!" in status.message, "the refusal")
    assert status.level == ERROR
    assert "\n" not in status.message
    assert observer.set_parameters(NODE, [Parameter("points_topic", value="points")]) == [True]
    assert observer.change(NODE, "activate")
    assert process.stop() == 0
    assert "Traceback" not in process.log


def test_two_types_on_one_topic_are_refused(observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path) -> None:
    given = {"bundle": bundle, "rig": rig_file, "detections_topic": "~/boxes", "markers_topic": "~/boxes"}
    process = nodes.start(MODULE, name="lidar_detector", **given, class_names_topic="no name")
    assert not observer.change(NODE, "configure")
    assert "refused: topic 'no name': found" in process.log
    assert observer.set_parameters(NODE, [Parameter("class_names_topic", value="~/class_names")]) == [True]
    assert not observer.change(NODE, "configure")
    assert "refused: topic ~/boxes: found" in process.log
    remapped = [Parameter("markers_topic", value="~/markers"), Parameter("points_topic", value="~/markers")]
    assert observer.set_parameters(NODE, remapped) == [True, True]
    assert observer.change(NODE, "configure")
    assert not observer.change(NODE, "activate")
    assert "refused: topic ~/markers: found" in process.log
    assert process.stop() == 0
    assert "Traceback" not in process.log


def test_what_cannot_be_used_is_counted_and_the_next_is_used(running: Running) -> None:
    observer, good = running.observer, message_of(road(6))
    truncated, empty, other_frame = (message_of(road(-number)) for number in (3, 2, 1))
    assign_bytes(truncated, bytes(truncated.data[:1000]))
    empty.width = empty.row_step = 0
    assign_bytes(empty, b"")
    points = np.full((50, 4), NAN, np.float32)
    nothing_finite = message_of(PointCloud(points, road(3).stamp_ns, "lidar"))
    other_frame.header.frame_id = "somewhere_else"
    bads = ((truncated, "point cloud data"), (empty, "0 x 1 points"), (other_frame, "somewhere_else"))
    for bad, reason in (*bads, (nothing_finite, "finite")):
        running.publisher.publish(bad)
        status = observer.diagnosis(NODE, lambda status: reason in status.message, reason)  # noqa: B023
        assert status.level in (ERROR, WARN)
        assert at_fault(status) == {"lidar"}
        assert "not used; the last: " in status.message
    some = road(5).points.copy()
    some[::7] = NAN
    running.publisher.publish(message_of(PointCloud(some, road(5).stamp_ns, "lidar")))
    heard = running.detections.messages
    observer.until(lambda: stamp_ns_from_message(heard[-1]) == road(5).stamp_ns, "the cloud with some NaN")
    assert stamp_ns_from_message(running.ask(good)) == road(6).stamp_ns
    status = observer.diagnosis(NODE, lambda status: int(values_of(status)["results"]) >= 3, "results")
    assert_counts_add_up(status, "lidar")
    assert int(values_of(status)["rejected/lidar"]) == 4
    assert running.process.is_alive


def test_params_file_namespace_and_remap(
    observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path, tmp_path: Path
) -> None:
    parameters = {"bundle": str(bundle), "rig": str(rig_file), "reliable": True, "treads": 2, "color": "blue"}
    params_file = tmp_path / "params.yaml"
    params_file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
    node = "/car/roof_detector"
    process = nodes.start(
        MODULE, name="roof_detector", namespace="/car", remap={"points": "/roof/points"}, params_file=params_file
    )
    made = Running(observer, process, road(-20), node, "/roof/points")
    assert stamp_ns_from_message(made.ask(message_of(road(3), "shuffled"))) == road(3).stamp_ns
    status = observer.diagnosis(node, lambda status: bool(values_of(status)["unknown_parameters"]), "unknown")
    unknown = values_of(status)["unknown_parameters"]
    assert "treads (did you mean threads?)" in unknown
    assert "color" in unknown
    assert unknown in process.log
    made.close()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"bundle": "/nowhere/bundle"}, "/nowhere/bundle"),
        ({"bundle": ""}, "parameter bundle: found nothing"),
        ({"rig": "/nowhere/rig.yaml"}, "/nowhere/rig.yaml"),
        ({"lidar": "front_left"}, "front_left"),
        ({"precision": "fp7"}, "fp7"),
        ({"output": "speech"}, "parameter output: found speech"),
    ],
)
def test_what_does_not_fit_refuses_to_configure_and_may_be_mended(
    observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path, wrong: dict[str, str], reason: str
) -> None:
    right = {"bundle": str(bundle), "rig": str(rig_file), "lidar": "", "precision": "", "output": "both"}
    given = {name: value for name, value in {**right, **wrong}.items() if value}
    process = nodes.start(MODULE, name="lidar_detector", **given)
    assert not observer.change(NODE, "configure")
    assert observer.state(NODE) == 1
    status = observer.diagnosis(NODE, lambda status: reason in status.message, "the refusal")
    assert status.level == ERROR
    assert "refused: " in process.log
    assert reason in process.log
    mended = [Parameter(name, value=right[name]) for name in wrong]
    assert observer.set_parameters(NODE, mended) == [True]
    assert observer.change(NODE, "configure")
    assert process.stop() == 0


def test_a_value_of_the_wrong_type_ends_the_start_with_its_name(nodes: Nodes) -> None:
    process = nodes.start(MODULE, name="lidar_detector", threads="many")
    assert process.wait() == 1
    assert "threads" in process.log
    assert "Traceback" not in process.log


def real_drive(data_root: Path, kind: str) -> tuple[list[Frame], Rig]:
    """Sweeps of one rig."""
    if kind == "kitti":
        sample = KittiDataset(data_root / "kitti" / "object")[0]
        return [sample.frame], sample.rig
    samples = list(PandasetSequence(data_root / "pandaset" / "002"))
    return [sample.frame for sample in samples], samples[0].rig


@pytest.mark.data
@pytest.mark.parametrize("kind", ["kitti", "pandaset"])
def test_real_sweeps_give_what_the_pipeline_gives_in_process(
    observer: Observer, nodes: Nodes, bundle: Path, data_root: Path, tmp_path: Path, kind: str
) -> None:
    frames, rig = real_drive(data_root, kind)
    with open_pipeline(bundle, rig, lidar=next(iter(rig.lidars))) as pipeline:
        wanted = [pipeline(frame) for frame in frames]
        lidar = pipeline.lidar
    assert sum(map(len, wanted)) > 0
    rig_file = written(rig, tmp_path / "rig.yaml")
    process = nodes.start(MODULE, name="lidar_detector", bundle=bundle, rig=rig_file, lidar=lidar, reliable=True)
    clouds = [frame.clouds[lidar] for frame in frames]
    messages = [message_of(cloud, intensity_scale=rig.lidars[lidar].intensity_scale) for cloud in clouds]
    made = Running(observer, process, replace(clouds[0], stamp_ns=clouds[0].stamp_ns - 10**9), NODE)
    for message, cloud, boxes in zip(messages, clouds, wanted, strict=True):
        assert_same(made.ask(message), boxes, cloud.stamp_ns)
    made.close()
    assert process.stop() == 0
