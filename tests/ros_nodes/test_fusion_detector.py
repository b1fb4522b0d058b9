"""`fusion_detector` over DDS: real sweeps with real pictures, and cameras that fail one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from rclpy.parameter import Parameter
from std_msgs.msg import Float64MultiArray
from vision_msgs.msg import Detection3DArray

from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import Nodes
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
from tests.ros_nodes.sensor_rack import SensorRack, jpeg_message, noise_message, raw_message
from understudy.datasets.image_files import ImageFiles
from understudy.datasets.kitti import KittiDataset
from understudy.datasets.pandaset import PandasetSequence
from understudy.frame import Frame, PointCloud
from understudy.messages.headers import stamp_ns_from_message
from understudy.pipeline import open_pipeline
from understudy.rig import Rig
from understudy.testing import simple_rig, tiny_bundle

MODULE, NODE = "understudy_ros.fusion_detector", "/fusion_detector"
RIG = simple_rig(camera=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("student") / "bundle").folder


@pytest.fixture(scope="module")
def rig_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(RIG, tmp_path_factory.mktemp("rig") / "rig.yaml")


class Fused:
    """An active fusion detector behind a rack of sensors that it has heard."""

    def __init__(self, observer: Observer, rack: SensorRack) -> None:
        self.observer, self.rack = observer, rack
        self.detections = observer.hear(Detection3DArray, f"{NODE}/detections")
        observer.bring_up(NODE)

    def stamps(self) -> list[int]:
        return [stamp_ns_from_message(message) for message in self.detections.messages]

    def answer(self, stamp_ns: int) -> Any:
        self.observer.until(lambda: stamp_ns in self.stamps(), "detections")
        return self.detections.messages[self.stamps().index(stamp_ns)]

    def diagnosis(self, wanted: Any, what: str) -> Any:
        return self.observer.diagnosis(NODE, wanted, what)

    def close(self) -> None:
        self.rack.close()
        self.observer.forget(self.detections)


def pandaset_rig(frames: list[Frame], rig: Rig) -> Rig:
    """With the time from each camera's trigger to the sweep's stamp, a millisecond less than measured: cameras last."""
    offsets_ns = {
        name: int(np.mean([frame.stamp_ns - frame.images.file(name).stamp_ns for frame in frames])) + 1_000_000
        for name in rig.cameras
        for _ in [isinstance(frames[0].images, ImageFiles)]
    }
    sensors = {
        name: sensor.model_copy(update={"time_offset_ns": offsets_ns.get(name, 0)})
        for name, sensor in rig.sensors.items()
    }
    return rig.model_copy(update={"sensors": sensors})


def jpegs(frame: Frame, later_ns: int = 0) -> dict[str, Any]:
    """The recording's own files, byte for byte, each with its own stamp."""
    assert isinstance(frame.images, ImageFiles)
    files = {name: frame.images.file(name) for name in frame.images}
    return {
        name: jpeg_message(file.path.read_bytes(), file.stamp_ns + later_ns, file.frame_id)
        for name, file in files.items()
    }


@pytest.fixture(scope="module")
def drive(data_root: Path) -> tuple[list[Frame], Rig]:
    samples = list(PandasetSequence(data_root / "pandaset" / "002"))
    frames = [sample.frame for sample in samples]
    return frames, pandaset_rig(frames, samples[0].rig)


@pytest.mark.data
def test_pandaset_sweeps_with_six_jpeg_cameras(
    observer: Observer, nodes: Nodes, bundle: Path, drive: tuple[list[Frame], Rig], tmp_path: Path
) -> None:
    frames, rig = drive
    lidar = next(iter(rig.lidars))
    with open_pipeline(bundle, rig, lidar=lidar) as pipeline:
        wanted = [pipeline(frame) for frame in frames]
    assert sum(map(len, wanted)) > 0
    rig_file = written(rig, tmp_path / "rig.yaml")
    given = {"bundle": bundle, "rig": rig_file, "reliable": True, "cameras_reliable": True}
    given |= {"require": "all", "max_wait_ms": 9000}  # DDS repeats a lost piece of a picture after three seconds
    process = nodes.start(MODULE, name="fusion_detector", **given)
    rack = SensorRack(observer, rig, lidar)
    timing = observer.hear(Float64MultiArray, f"{NODE}/timing")
    fused = Fused(observer, rack)
    rack.connect()
    observer.connect(rack.points, fused.detections, timing)
    for frame, boxes in zip(frames, wanted, strict=True):
        cloud = frame.clouds[lidar]
        rack.send(cloud, jpegs(frame), intensity_scale=rig.lidars[lidar].intensity_scale)
        assert_same(fused.answer(cloud.stamp_ns), boxes, cloud.stamp_ns)
    status = fused.diagnosis(lambda status: values_of(status).get("results") == "4", "four results")
    assert_counts_add_up(status, *rig.sensors)
    values = values_of(status)
    assert {name: values[f"published/{name}"] for name in rig.sensors} == dict.fromkeys(rig.sensors, "4")
    assert float(values["frame_ms"]) > 0, "pictures were decoded"
    observer.until(lambda: len(timing.messages) >= 4, "times")
    columns = timing.messages[-1].layout.dim[0].label.split(",")
    took_ms = dict(zip(columns, timing.messages[-1].data, strict=True))
    assert columns[0] == "age_ms"
    assert all(took_ms[f"{stage}_ms"] > 0 for stage in ("convert", "frame", "run", "publish"))
    assert "does not look at pictures" in process.log
    observer.forget(timing)
    fused.close()
    assert process.stop() == 0
    assert "Traceback" not in process.log


@pytest.mark.data
def test_cameras_that_die_one_by_one_cost_their_pictures_and_no_sweep(
    observer: Observer, nodes: Nodes, bundle: Path, drive: tuple[list[Frame], Rig], tmp_path: Path
) -> None:
    frames, rig = drive
    lidar = next(iter(rig.lidars))
    rig_file = written(rig, tmp_path / "rig.yaml")
    given = {"bundle": bundle, "rig": rig_file, "reliable": True, "cameras_reliable": True, "silent_ms": 3000}
    process = nodes.start(MODULE, name="fusion_detector", **given)
    rack = SensorRack(observer, rig, lidar)
    fused = Fused(observer, rack)
    rack.connect()
    observer.connect(rack.points, fused.detections)
    sent = 0

    def drive_on(num: int, alive: bool = True) -> None:
        """Sweeps at 10 Hz, of every eighth point: two cores are shared with whoever else tests."""
        nonlocal sent
        for _ in range(num):
            frame, later_ns = frames[sent % 4], (sent // 4) * 4 * PERIOD_NS
            whole = frame.clouds[lidar]
            cloud = PointCloud(whole.points[::8].copy(), whole.stamp_ns + later_ns, whole.frame_id)
            rack.send(cloud, jpegs(frame, later_ns), intensity_scale=rig.lidars[lidar].intensity_scale)
            sent += 1
            observer.spin(0.1)

    drive_on(8)
    observer.until(lambda: fused.stamps(), "detections")
    fused.diagnosis(lambda status: int(values_of(status).get("results", 0)) > 4, "results")
    for name in rig.cameras:
        rack.dead.add(name)
        died_s = time.monotonic()
        drive_on(4)
        looked = []

        def names_the_dead(status: Any) -> bool:
            looked.append(at_fault(status))  # noqa: B023
            if at_fault(status) >= rack.dead:
                return True
            drive_on(1)
            return False

        status = fused.diagnosis(names_the_dead, f"{name} at fault")
        assert name in status.message, looked
        assert time.monotonic() - died_s < 15.0
        assert lidar not in at_fault(status), status.message
    drive_on(5)
    status = fused.diagnosis(
        lambda status: rack.dead == set(values_of(status).get("missing", "").split(", ")), "all missing"
    )
    assert set(rig.cameras) == rack.dead
    assert_counts_add_up(status, *rig.sensors)
    observer.happens(lambda: len(fused.stamps()) >= sent, timeout_s=5.0)
    assert len(set(fused.stamps())) == len(fused.stamps())
    assert len(fused.stamps()) >= 0.9 * sent, "LiDAR-rate output goes on"
    rack.dead.clear()
    drive_on(15)
    fused.diagnosis(lambda status: not at_fault(status), "everybody well again")
    fused.close()
    assert process.stop() == 0


@pytest.mark.data
def test_a_kitti_sweep_with_its_raw_picture(
    observer: Observer, nodes: Nodes, bundle: Path, data_root: Path, tmp_path: Path
) -> None:
    sample = KittiDataset(data_root / "kitti" / "object")[0]
    with open_pipeline(bundle, sample.rig) as pipeline:
        wanted = pipeline(sample.frame)
    rig_file = written(sample.rig, tmp_path / "rig.yaml")
    given = {"bundle": bundle, "rig": rig_file, "reliable": True, "cameras_reliable": True, "require": "all"}
    given |= {"image_transport": "raw", "max_wait_ms": 9000}
    process = nodes.start(MODULE, name="fusion_detector", **given)
    rack = SensorRack(observer, sample.rig, "velodyne", raw=True)
    fused = Fused(observer, rack)
    rack.connect(infos=True)
    observer.connect(rack.points, fused.detections)
    rack.send_info("camera_2")
    bgr = sample.frame.images["camera_2"].pixels[:, :, ::-1]
    for number, (encoding, pixels) in enumerate((("bgr8", bgr), ("bayer_rggb8", bgr[:, :, 1])), start=1):
        stamp_ns = START_NS + number * PERIOD_NS
        cloud = replace(sample.frame.clouds["velodyne"], stamp_ns=stamp_ns)
        rack.send(cloud, {"camera_2": raw_message(pixels, encoding, stamp_ns, "camera_2")})
        assert_same(fused.answer(stamp_ns), wanted, stamp_ns)
    status = fused.diagnosis(lambda status: values_of(status).get("published/camera_2") == "2", "both pictures")
    assert values_of(status).get("geometry/camera_2") is None
    fused.close()
    assert process.stop() == 0


@pytest.fixture
def small(observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path) -> Iterator[Fused]:
    """A rig of one LiDAR and one small camera."""
    given = {"bundle": bundle, "rig": rig_file, "reliable": True, "cameras_reliable": True, "max_wait_ms": 2000}
    process = nodes.start(MODULE, name="fusion_detector", **given)
    rack = SensorRack(observer, RIG)
    fused = Fused(observer, rack)
    rack.connect(infos=True)
    observer.connect(rack.points, fused.detections)
    yield fused
    fused.close()
    assert process.stop() == 0
    assert "Traceback" not in process.log


def send(fused: Fused, number: int) -> int:
    """A sweep and its picture; the stamp of both."""
    cloud = road(number)
    fused.rack.send(cloud, {"front": noise_message(RIG.cameras["front"], number, cloud.stamp_ns)})
    return cloud.stamp_ns


def test_pictures_of_another_lens_are_refused_until_the_lens_is_right(small: Fused) -> None:
    small.answer(send(small, 1))
    small.rack.send_info("front", fx_px=140.0)
    status = small.diagnosis(lambda status: "front" in at_fault(status), "the camera at fault")
    assert status.level == ERROR
    assert "camera_info: rays up to" in status.message
    assert "fx 140.0, the rig has 120.0" in values_of(status)["geometry/front"]
    small.answer(send(small, 2))
    status = small.diagnosis(lambda status: values_of(status).get("results") == "2", "two results")
    assert values_of(status)["rejected/front"] == "1"
    assert "fx 140.0" in values_of(status)["trouble/front"]
    small.rack.send_info("front")
    small.diagnosis(lambda status: "geometry/front" not in values_of(status), "no contradiction")
    # No sweep waits for a camera that was without a picture for so long, until it has one again.
    small.answer(send(small, 3))
    small.answer(send(small, 4))
    status = small.diagnosis(lambda status: values_of(status).get("results") == "4", "four results")
    assert values_of(status)["published/front"] in ("2", "3")
    assert values_of(status)["missing"] == ""
    assert_counts_add_up(status, "lidar", "front")


def test_with_warn_pictures_of_another_lens_are_used(small: Fused) -> None:
    observer = small.observer
    assert observer.set_parameters(NODE, [Parameter("camera_info", value="warn")]) == [True]
    assert observer.change(NODE, "deactivate")
    assert observer.change(NODE, "activate")
    small.rack.connect(infos=True)
    small.rack.send_info("front", width_px=320)
    status = small.diagnosis(lambda status: "320 x 96" in status.message, "the warning")
    assert status.level != ERROR or "lidar" in at_fault(status)
    small.answer(send(small, 1))
    status = small.diagnosis(lambda status: values_of(status).get("results") == "1", "a result")
    assert values_of(status).get("published/front") == "1"


def test_a_picture_that_is_none_costs_no_sweep(small: Fused) -> None:
    cloud = road(1)
    picture = noise_message(RIG.cameras["front"], 1, cloud.stamp_ns)
    picture.data = picture.data[: len(picture.data) // 2]
    small.rack.send(cloud, {"front": picture})
    small.answer(cloud.stamp_ns)
    status = small.diagnosis(lambda status: values_of(status).get("rejected/front") == "1", "the picture refused")
    assert "JPEG" in values_of(status)["trouble/front"]
    assert values_of(status).get("missing/front") == "1"


def test_cameras_and_what_is_required_are_checked(
    observer: Observer, nodes: Nodes, bundle: Path, rig_file: Path
) -> None:
    process = nodes.start(MODULE, name="fusion_detector", bundle=bundle, rig=rig_file, require=1)

    def refused(transition: str, name: str, wrong: Any, right: Any, reason: str) -> None:
        assert observer.set_parameters(NODE, [Parameter(name, value=wrong)]) == [True]
        assert not observer.change(NODE, transition)
        assert reason in process.log
        assert observer.set_parameters(NODE, [Parameter(name, value=right)]) == [True]

    refused("configure", "cameras", "rear", "front", "parameter cameras: found rear")
    refused("configure", "cameras", ["front", "front"], ["front"], "once at most")
    assert observer.change(NODE, "configure")
    refused("activate", "require", "most", "all", "parameter require: found most")
    refused("activate", "require", 2, 1, "parameter require: found 2")
    assert observer.change(NODE, "activate")
    assert observer.set_parameters(NODE, [Parameter("rule", value="luck")]) == [False]
    assert process.stop() == 0
