"""`understudy dataset from-bag` on the command line: what is wrong is said in one line, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.training.data.recordings import POINTS, Drive, raw_image, stamp_ns, write_drive
from understudy.bags.reader import BagReader
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.cli import build_app
from understudy.datasets.recorded import RecordedDataset
from understudy.errors import UnderstudyError
from understudy.messages.headers import header_message
from understudy.rig import Rig
from understudy.testing import simple_rig


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["dataset", "from-bag", *(f"{argument}" for argument in arguments)])


def refusal(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, UnderstudyError), result.output
    message = str(result.exception)
    assert "\n" not in message
    return message


def _nan_cloud(number: int, message: Any) -> Any:
    message.data = np.full_like(message.data, 255)
    return message


def _renamed_camera() -> Rig:
    rig = simple_rig(camera=True)
    sensors = dict(rig.sensors)
    sensors["front"] = sensors["front"].model_copy(update={"frame_id": "rear_camera"})
    return rig.model_copy(update={"sensors": sensors})


def _small_camera() -> Rig:
    rig = simple_rig(camera=True)
    sensors = dict(rig.sensors)
    sensors["front"] = sensors["front"].model_copy(update={"width_px": 1920, "height_px": 1080})
    return rig.model_copy(update={"sensors": sensors})


def _going_back(number: int, message: Any) -> Any:
    message.header = header_message(make_message, stamp_ns(20 - number), "lidar")
    return message


def _other_frame(number: int, message: Any) -> Any:
    message.header = header_message(make_message, stamp_ns(number), "lidar_rear")
    return message


Case = tuple[Drive, tuple[str, ...], str]
CASES: dict[str, Case] = {
    "no such topic": (Drive(), ("--lidar-topic", "/lidar/top"), r"bag .*bag: found .*wanted /lidar/top"),
    "wrong type": (Drive(), ("--lidar-topic", "/ego/odom"), r"topic /ego/odom: found nav_msgs/msg/Odometry, wanted"),
    "no point cloud": (Drive(edit_cloud=lambda *_: None), (), r"bag .*bag: found .*wanted messages of .*PointCloud2"),
    "not a cloud": (Drive(edit_cloud=lambda *_: b"abc"), (), r"no frame could be made: found /sensors/lidar/points"),
    "no finite point": (Drive(edit_cloud=_nan_cloud), (), r"no frame could be made: found .*no finite point"),
    "camera not in the rig": (Drive(), ("--camera-topic", "rear=/sensors/front/image/compressed"), r"one named rear"),
    "camera without a name": (
        Drive(),
        ("--camera-topic", "/image"),
        r"--camera-topic: found /image, wanted NAME=TOPIC",
    ),
    "camera of another frame": (Drive(rig=_renamed_camera()), (), r"camera front: found frame_id rear_camera, wanted"),
    "camera of another size": (Drive(rig=_small_camera()), (), r"camera front: found a picture of 160 x 96 px, wanted"),
    "LiDAR of another frame": (
        Drive(edit_cloud=_other_frame),
        (),
        r"LiDAR lidar: found frame_id lidar, wanted lidar_rear",
    ),
    "LiDAR elsewhere": (
        Drive(tf=simple_rig(camera=True, height_m=2.5)),
        (),
        r"LiDAR lidar: found 0.700 m and 0.00 degrees away, wanted where /tf_static",
    ),
    "no rig, no scale": (Drive(beside=False, tf=simple_rig(camera=True)), (), r"--intensity-scale .*or --rig RIG.yaml"),
    "TF missing": (
        Drive(beside=False),
        ("--intensity-scale", "1"),
        r"/sensors/lidar/points of frame lidar: found no transform from base_link in /tf_static",
    ),
    "no CameraInfo": (
        Drive(beside=False, tf=simple_rig(camera=True), info=False),
        ("--intensity-scale", "1"),
        r"/sensors/front/image/compressed: found no CameraInfo at all",
    ),
    "sweeps without poses": (Drive(odometry=False), ("--sweeps", "3"), r"--sweeps: bag .*found no odometry"),
    "motion without poses": (Drive(odometry=False), ("--min-motion", "1"), r"--min-motion: bag .*found no odometry"),
    "odometry of a stranger": (Drive(odometry_child="imu"), (), r"odometry of imu: found no transform to it"),
    "labels in a strange frame": (Drive(labels=True, labels_frame="map"), (), r"/labels/boxes of frame map: found no"),
    "labels named but missing": (Drive(), ("--labels-topic", "/boxes"), r"wanted /boxes"),
    "every second validation": (Drive(), ("--val-every", "1"), r"--val-every: found 1, wanted 2 or more"),
    "no such teacher": (Drive(), ("--teacher", "nowhere"), r"nowhere: found no such file or folder"),
    "all cameras required": (
        Drive(edit_picture=lambda number, _: None if number else raw_image(0), image="/cam"),
        ("--require", "all", "--camera-topic", "front=/cam", "--tolerance-ms", "1"),
        r"no frame could be made: found no sweep, or none with the cameras that are required",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_wrong_inputs_are_refused_in_one_line_and_leave_nothing(tmp_path: Path, name: str) -> None:
    drive, options, wanted = CASES[name]
    bag = write_drive(tmp_path / "bag", drive)
    message = refusal(bag, "--out", tmp_path / "set", *options)
    assert re.search(wanted, message), message
    assert [entry.name for entry in tmp_path.iterdir()] == ["bag"]


def test_several_clouds_have_to_be_chosen_from(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    write_drive(bag, Drive(num=2, points="/roof", beside=False))
    both = tmp_path / "both"
    with BagWriter(both) as writer, BagReader(bag) as reader:
        for message in reader.messages(["/roof"]):
            writer.write_raw("/roof", message.type_name, message.raw, message.log_time_ns)
            writer.write_raw("/bumper", message.type_name, message.raw, message.log_time_ns)
    message = refusal(both, "--out", tmp_path / "set", "--intensity-scale", "1")
    assert "2 topics of sensor_msgs/msg/PointCloud2: /bumper, /roof" in message
    assert "--lidar-topic" in message


def test_an_empty_bag_and_no_bag(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag"):
        pass
    assert "wanted messages of sensor_msgs/msg/PointCloud2" in refusal(tmp_path / "bag", "--out", tmp_path / "set")
    assert "nothing there" in refusal(tmp_path / "nowhere", "--out", tmp_path / "set")


def test_what_is_at_out_stays(tmp_path: Path) -> None:
    bag, out = write_drive(tmp_path / "bag"), tmp_path / "set"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert "something there already" in refusal(bag, "--out", out)
    assert "something else there, wanted a data set of recordings" in refusal(bag, "--out", out, "--append")
    assert "the place of bag" in refusal(bag, "--out", bag / "set")
    assert (out / "thesis.txt").read_text() == "mine"


def test_sweeps_whose_stamps_go_back_are_counted(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", Drive(edit_cloud=_going_back))
    result = run(bag, "--out", tmp_path / "set", "--key-frame-hz", 0, "--camera-topic", "none")
    assert result.exit_code == 0, result.output
    row = RecordedDataset(tmp_path / "set").description.drives[0].provenance.messages[POINTS]
    assert row["used"] == 1
    assert row["stale"] + row["out_of_order"] == 11


def test_the_table_adds_up_and_fits(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", Drive(labels=True))
    result = run(bag, "--out", tmp_path / "set")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert max(len(line) for line in lines if "reading" not in line) <= 100
    assert any("3 frames, 3 labeled, 3 with a pose, 0 without all cameras" in line for line in lines)
    assert "read 61 = used + not key frame + unmatched + stale + duplicate + disorder + rejected 61" in lines


def test_a_damaged_bag_is_refused_and_salvaged_on_request(tmp_path: Path) -> None:
    clouds_only = Drive(num=60, sqlite3=True, odometry=False, edit_picture=lambda *_: None)
    bag = write_drive(tmp_path / "bag", clouds_only)
    file = next(bag.glob("*.db3"))
    file.write_bytes(file.read_bytes()[:-100])
    message = refusal(bag, "--out", tmp_path / "set", "--key-frame-hz", 0)
    assert "--salvage" in message
    assert f"{bag}" in message
    assert [entry.name for entry in tmp_path.iterdir()] == ["bag"]
    result = run(bag, "--out", tmp_path / "set", "--key-frame-hz", 0, "--salvage")
    assert result.exit_code == 1, result.output
    assert "DAMAGED: " in result.output
    dataset = RecordedDataset(tmp_path / "set")
    assert 0 < len(dataset) <= 60
    assert dataset.description.drives[0].provenance.damage
    assert dataset[len(dataset) - 1].frame.stamp_ns == stamp_ns(len(dataset) - 1)


@pytest.mark.parametrize("sqlite3", [True, False])
def test_half_a_file_of_a_killed_recorder_is_salvaged_too(tmp_path: Path, sqlite3: bool) -> None:
    clouds_only = Drive(num=60, sqlite3=sqlite3, odometry=False, edit_picture=lambda *_: None)
    bag = write_drive(tmp_path / "bag", clouds_only)
    file = next(file for file in bag.iterdir() if file.suffix in {".db3", ".mcap"})
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert "--salvage" in refusal(bag, "--out", tmp_path / "set", "--key-frame-hz", 0)
    result = run(bag, "--out", tmp_path / "set", "--key-frame-hz", 0, "--salvage")
    assert result.exit_code == 1, result.output
    dataset = RecordedDataset(tmp_path / "set")
    assert 0 < len(dataset) < 60
    assert f"DAMAGED: {file.name}: " in result.output
    assert "messages saved" in dataset.description.drives[0].provenance.damage
    assert dataset[len(dataset) - 1].frame.stamp_ns == stamp_ns(len(dataset) - 1)


def test_messages_that_the_metadata_promise_are_missed(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", Drive())
    metadata = bag / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("message_count: 12", "message_count: 15"))
    message = refusal(bag, "--out", tmp_path / "set")
    assert "found 12 messages, wanted 15, as its metadata say" in message
    assert "3 frames lie before the damage; keep them with --salvage" in message


def test_a_killed_run_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", Drive(num=150))
    arguments = ["dataset", "from-bag", f"{bag}", "--out", f"{tmp_path / 'set'}", "--key-frame-hz", "0"]
    code = "from understudy.cli import main; main()"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 60
    while not list(tmp_path.glob(".*/*/frames/000050.npz")) and process.poll() is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if process.returncode == -signal.SIGKILL:
        assert not (tmp_path / "set").exists()
    result = run(bag, "--out", tmp_path / "set2", "--key-frame-hz", 0)
    assert result.exit_code == 0, result.output
    assert len(RecordedDataset(tmp_path / "set2")) == 150


def test_poses_end_before_the_sweeps_do(tmp_path: Path) -> None:
    """Sweeps without a pose are left out where poses are needed, and counted."""
    bag = write_drive(tmp_path / "bag", Drive(num=6))
    short = tmp_path / "short"
    with BagReader(bag) as reader, BagWriter(short) as writer:
        simple_rig(camera=True).write(writer.folder / "rig.yaml")
        for message in reader.messages():
            if message.topic == "/ego/odom" and message.log_time_ns > stamp_ns(3):
                continue
            writer.write_raw(message.topic, message.type_name, message.raw, message.log_time_ns)
    result = run(short, "--out", tmp_path / "set", "--key-frame-hz", 0, "--sweeps", 2)
    assert result.exit_code == 0, result.output
    row = RecordedDataset(tmp_path / "set").description.drives[0].provenance.messages[POINTS]
    assert (row["used"], row["rejected"]) == (3, 3)
    assert "no pose of the ego at its stamp" in result.output
