"""Students that look at pictures, over DDS: the same boxes as in the pipeline, and cameras that are dead or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from rclpy.parameter import Parameter
from vision_msgs.msg import Detection3DArray

from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import NodeProcess, Nodes
from tests.ros_nodes.running_detector import (
    ERROR,
    PERIOD_NS,
    START_NS,
    assert_counts_add_up,
    assert_same,
    at_fault,
    road,
    values_of,
    written,
)
from tests.ros_nodes.sensor_rack import SensorRack, raw_message
from understudy.frame import Frame, Image
from understudy.messages.headers import stamp_ns_from_message
from understudy.pipeline import Pipeline, open_pipeline
from understudy.rig import Rig
from understudy.testing import marked_pictures, surround_rig, tiny_bundle

RIG, CAMERAS_ALONE = surround_rig(), surround_rig(lidar=False)
AHEAD, BEHIND = (8.5, 1.5, 0.1), (-8.5, -1.5, 0.1)
KINDS = ("points", "images", "points_and_images")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("students")
    return {kind: tiny_bundle(folder / kind, kind, score_threshold=0.1).folder for kind in KINDS}


@pytest.fixture(scope="module")
def rig_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(RIG, tmp_path_factory.mktemp("rig") / "rig.yaml")


def pictures(number: int) -> dict[str, Image]:
    """Of the sweep of that number: marks that move on, so that no camera seems frozen."""
    shift_m = 0.3 * number
    marks = [(AHEAD[0] - shift_m, *AHEAD[1:]), (BEHIND[0] + shift_m, *BEHIND[1:])]
    return marked_pictures(RIG, marks, stamp_ns=START_NS + number * PERIOD_NS)


def messages(of: dict[str, Image]) -> dict[str, Any]:
    return {name: raw_message(image.pixels, "rgb8", image.stamp_ns, image.frame_id) for name, image in of.items()}


class Looking:
    """An active detector of pictures behind a rack of sensors that it has heard."""

    def __init__(self, observer: Observer, process: NodeProcess, node: str, rig: Rig) -> None:
        self.observer, self.process, self.node = observer, process, node
        self.rack = SensorRack(observer, rig, raw=True)
        self.detections = observer.hear(Detection3DArray, f"{node}/detections")
        observer.bring_up(node)
        self.rack.connect(infos=True, points=bool(rig.lidars))
        observer.connect(next(iter(self.rack._pictures.values())), self.detections)

    def stamps(self) -> list[int]:
        return [stamp_ns_from_message(message) for message in self.detections.messages]

    def send(self, number: int) -> int:
        if self.rack.rig.lidars:
            self.rack.send(road(number), messages(pictures(number)))
        else:
            self.rack.send_pictures(messages(pictures(number)))
        return START_NS + number * PERIOD_NS

    def answer(self, stamp_ns: int) -> Any:
        self.observer.until(lambda: stamp_ns in self.stamps(), "detections")
        return self.detections.messages[self.stamps().index(stamp_ns)]

    def diagnosis(self, wanted: Any, what: str) -> Any:
        return self.observer.diagnosis(self.node, wanted, what)

    def close(self) -> None:
        self.rack.close()
        self.observer.forget(self.detections)
        assert self.process.stop() == 0
        assert "Traceback" not in self.process.log


GIVEN = {"cameras_reliable": True, "image_transport": "raw", "max_wait_ms": 3000, "silent_ms": 3000}


@pytest.fixture
def fused(observer: Observer, nodes: Nodes, bundles: dict[str, Path], rig_file: Path) -> Iterator[Looking]:
    process = nodes.start(
        "understudy_ros.fusion_detector",
        name="fusion_detector",
        bundle=bundles["points_and_images"],
        rig=rig_file,
        reliable=True,
        **GIVEN,
    )
    looking = Looking(observer, process, "/fusion_detector", RIG)
    yield looking
    looking.close()


@pytest.fixture
def watching(observer: Observer, nodes: Nodes, bundles: dict[str, Path], tmp_path: Path) -> Iterator[Looking]:
    process = nodes.start(
        "understudy_ros.camera_detector",
        name="camera_detector",
        bundle=bundles["images"],
        rig=written(CAMERAS_ALONE, tmp_path / "rig.yaml"),
        **GIVEN,
    )
    looking = Looking(observer, process, "/camera_detector", CAMERAS_ALONE)
    yield looking
    looking.close()


def said(pipeline: Pipeline, number: int, *, without: tuple[str, ...] = ()) -> Any:
    """What the pipeline says of that sweep."""
    images = {name: image for name, image in pictures(number).items() if name not in without}
    cloud = road(number)
    return pipeline(Frame(cloud.stamp_ns, {"lidar": cloud} if pipeline.lidar else {}, images))


def test_a_fusion_student_is_shown_the_pictures_of_its_sweeps(fused: Looking, bundles: dict[str, Path]) -> None:
    with open_pipeline(bundles["points_and_images"], RIG) as pipeline:
        for number in (1, 2):
            assert_same(fused.answer(fused.send(number)), said(pipeline, number), START_NS + number * PERIOD_NS)
        assert len(said(pipeline, 2)) != len(said(pipeline, 2, without=("front", "rear")))
        fused.rack.dead.add("rear")
        stamp_ns = fused.send(3)
        assert_same(fused.answer(stamp_ns), said(pipeline, 3, without=("rear",)), stamp_ns)
        status = fused.diagnosis(lambda status: values_of(status).get("missing") == "rear", "the camera missing")
        assert values_of(status)["missing/rear"] == "1"
        assert "not_listened_to" not in values_of(status)
        assert_counts_add_up(status, *RIG.sensors)
        fused.rack.dead.add("front")
        stamp_ns = fused.send(4)
        assert_same(fused.answer(stamp_ns), said(pipeline, 4, without=("front", "rear")), stamp_ns)
    assert "does not look at pictures" not in fused.process.log


def test_pictures_of_another_lens_are_masked(fused: Looking, bundles: dict[str, Path]) -> None:
    with open_pipeline(bundles["points_and_images"], RIG) as pipeline:
        assert_same(fused.answer(fused.send(1)), said(pipeline, 1), START_NS + PERIOD_NS)
        fused.rack.send_info("rear", fx_px=90.0)
        status = fused.diagnosis(lambda status: "geometry/rear" in values_of(status), "the contradiction")
        assert "rear" in at_fault(status)
        assert "fx 90.0, the rig has 72.0" in values_of(status)["geometry/rear"]
        stamp_ns = fused.send(2)
        assert_same(fused.answer(stamp_ns), said(pipeline, 2, without=("rear",)), stamp_ns)


def test_a_student_of_pictures_alone_needs_no_lidar(watching: Looking, bundles: dict[str, Path]) -> None:
    with open_pipeline(bundles["images"], CAMERAS_ALONE) as pipeline:
        for number in (1, 2):
            assert_same(watching.answer(watching.send(number)), said(pipeline, number), START_NS + number * PERIOD_NS)
        assert len(said(pipeline, 2)) > 0
        status = watching.diagnosis(lambda status: values_of(status).get("results") == "2", "two results")
        assert values_of(status)["pivot"] == "front", "its first camera makes sets"
        assert_counts_add_up(status, *CAMERAS_ALONE.sensors)
        watching.rack.dead.add("rear")
        stamp_ns = watching.send(3)
        assert_same(watching.answer(stamp_ns), said(pipeline, 3, without=("rear",)), stamp_ns)
        watching.rack.dead = {"front"}
        for number in range(4, 8):
            watching.send(number)
            watching.observer.spin(0.1)
        status = watching.diagnosis(lambda status: "front" in at_fault(status), "the first camera at fault")
        assert len(watching.stamps()) == 3, "without the first camera there is no set"


def test_the_first_camera_of_another_lens_costs_every_result(watching: Looking) -> None:
    watching.answer(watching.send(1))
    watching.rack.send_info("front", width_px=320)
    status = watching.diagnosis(lambda status: "geometry/front" in values_of(status), "the contradiction")
    assert "front" in at_fault(status)
    assert status.level == ERROR
    watching.send(2)
    watching.diagnosis(lambda status: values_of(status).get("rejected/front") == "1", "the picture refused")
    watching.rack.send_info("front")
    watching.diagnosis(lambda status: "geometry/front" not in values_of(status), "no contradiction")
    watching.answer(watching.send(3))


def test_cameras_that_are_left_out_are_masked_and_named(
    observer: Observer, nodes: Nodes, bundles: dict[str, Path], rig_file: Path
) -> None:
    process = nodes.start(
        "understudy_ros.camera_detector", name="camera_detector", bundle=bundles["images"], rig=rig_file, cameras="rear"
    )
    observer.bring_up("/camera_detector")
    status = observer.diagnosis("/camera_detector", lambda status: "pivot" in values_of(status), "the stream")
    assert values_of(status)["pivot"] == "rear"
    assert values_of(status)["not_listened_to"] == "front"
    assert "front: not listened to; masked for the student" in process.log
    assert observer.change("/camera_detector", "deactivate")
    assert observer.set_parameters("/camera_detector", [Parameter("require", value=1)]) == [True]
    assert not observer.change("/camera_detector", "activate")
    assert "parameter require: found 1, wanted 0 cameras at most" in process.log
    assert process.stop() == 0


@pytest.mark.parametrize(
    ("executable", "kind", "reason"),
    [
        (
            "lidar_detector",
            "images",
            "looks at the cameras front, rear, wanted a student of a LiDAR alone; run camera_",
        ),
        ("lidar_detector", "points_and_images", "wanted a student of a LiDAR alone; run fusion_detector"),
        (
            "fusion_detector",
            "images",
            "found it looks at pictures alone, wanted a student with a LiDAR; run camera_det",
        ),
        ("camera_detector", "points_and_images", "found it looks at the LiDAR lidar, wanted a student of pictures alo"),
        ("camera_detector", "points", "found it looks at the LiDAR lidar, wanted a student of pictures alone; run lid"),
    ],
)
def test_a_node_refuses_students_of_other_sensors(
    observer: Observer, nodes: Nodes, bundles: dict[str, Path], rig_file: Path, executable: str, kind: str, reason: str
) -> None:
    process = nodes.start(f"understudy_ros.{executable}", name=executable, bundle=bundles[kind], rig=rig_file)
    assert not observer.change(f"/{executable}", "configure")
    assert reason in process.log
    right = {"lidar_detector": "points", "fusion_detector": "points_and_images", "camera_detector": "images"}
    bundle = Parameter("bundle", value=str(bundles[right[executable]]))
    assert observer.set_parameters(f"/{executable}", [bundle]) == [True]
    assert observer.change(f"/{executable}", "configure")
    assert process.stop() == 0


def test_a_rig_without_the_cameras_is_refused(
    observer: Observer, nodes: Nodes, bundles: dict[str, Path], tmp_path: Path
) -> None:
    sensors = {"front": RIG.sensors["front"], "lidar": RIG.sensors["lidar"]}
    rig = written(RIG.model_copy(update={"sensors": sensors}), tmp_path / "rig.yaml")
    process = nodes.start("understudy_ros.camera_detector", name="camera_detector", bundle=bundles["images"], rig=rig)
    assert not observer.change("/camera_detector", "configure")
    assert "cameras: found front, wanted 2 called front, rear, or that many in all" in process.log
    assert process.stop() == 0
