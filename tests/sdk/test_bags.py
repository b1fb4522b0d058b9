"""Bags written and read, chosen topics, and every kind of damage ending in one line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from understudy.bags.reader import BagReader
from understudy.bags.types import make_message, typestore
from understudy.bags.writer import BagWriter
from understudy.errors import BagError, FrameError
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.clouds import cloud_from_message
from understudy.messages.headers import header_message
from understudy.testing import road_cloud

POINTS = "sensor_msgs/msg/PointCloud2"
NS = 100_000_000


def write_bag(path: Path, *, num: int = 8, sqlite3: bool = False, topics: tuple[str, ...] = ("/lidar",)) -> Path:
    rng = np.random.default_rng(0)
    with BagWriter(path, sqlite3=sqlite3) as writer:
        for number in range(num):
            for topic in topics:
                cloud = road_cloud(rng, num_points=60, stamp_ns=number * NS)
                message = cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0)
                writer.write(topic, message, number * NS + 5)
    return path


def storage(path: Path) -> Path:
    return next(entry for entry in path.iterdir() if entry.suffix in {".mcap", ".db3"})


def test_vision_msgs_hashes_are_those_of_the_real_package() -> None:
    """Recorded from ros-perception/vision_msgs 4.1.1 (../shared/ros.md section 4)."""
    assert typestore().hash_rihs01("vision_msgs/msg/Detection3DArray").startswith("RIHS01_793f5eab")
    assert typestore().hash_rihs01("vision_msgs/msg/Detection3D").startswith("RIHS01_ddd703be")


@pytest.mark.parametrize("sqlite3", [True, False])
class TestBothStorages:
    def test_messages_come_back_in_order(self, tmp_path: Path, sqlite3: bool) -> None:
        bag = write_bag(tmp_path / "bag", sqlite3=sqlite3)
        for path in (bag, storage(bag)):
            with BagReader(path) as reader:
                assert reader.topics["/lidar"].num_messages == 8
                messages = list(reader.messages(["/lidar"]))
                assert [message.log_time_ns for message in messages] == [number * NS + 5 for number in range(8)]
                cloud = cloud_from_message(reader.decode(messages[3]))
                assert (cloud.stamp_ns, len(cloud)) == (3 * NS, 60)

    def test_part_of_the_time(self, tmp_path: Path, sqlite3: bool) -> None:
        with BagReader(write_bag(tmp_path / "bag", sqlite3=sqlite3)) as reader:
            times = [m.log_time_ns for m in reader.messages(["/lidar"], start_ns=2 * NS, end_ns=4 * NS + 5)]
            assert times == [2 * NS + 5, 3 * NS + 5]
            assert list(reader.messages(["/other"])) == []
            assert (reader.start_ns, reader.end_ns) == (5, 7 * NS + 6)

    def test_any_damage_is_a_bag_error(self, tmp_path: Path, sqlite3: bool) -> None:
        bag = write_bag(tmp_path / "bag", sqlite3=sqlite3)
        path = storage(bag)
        good = path.read_bytes()
        refused = 0
        for seed in range(90):
            path.write_bytes(_damaged(good, np.random.default_rng(seed), seed % 3))
            refused += _read_all(bag)
        assert refused > 20

    def test_truncated_and_missing(self, tmp_path: Path, sqlite3: bool) -> None:
        bag = write_bag(tmp_path / "bag", sqlite3=sqlite3, num=50)
        path = storage(bag)
        good = path.read_bytes()
        for size in (0, len(good) // 2):
            path.write_bytes(good[:size])
            with pytest.raises(BagError, match="bag") as caught:
                BagReader(bag)
            assert "\n" not in str(caught.value)
        path.unlink()
        with pytest.raises(BagError, match="missing"):
            BagReader(bag)


def test_what_is_no_bag_is_refused_with_what_is_there(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "notes").write_text("hello")
    (tmp_path / "fake.mcap").write_text("hello")
    for path, reason in (
        (tmp_path / "absent", "nothing there"),
        (tmp_path / "folder", "an empty folder"),
        (tmp_path / "notes.txt", r"a file named \*.txt"),
        (tmp_path / "notes", "a file without an ending"),
        (tmp_path / "fake.mcap", "rosbag2"),
    ):
        with pytest.raises(BagError, match=reason):
            BagReader(path)
    (bag / "metadata.yaml").unlink()
    with pytest.raises(BagError, match="name the file itself"):
        BagReader(bag)


def test_choosing_a_topic(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "two", num=1, topics=("/left", "/right"))
    with BagReader(bag) as reader:
        assert reader.topic_of(POINTS, name="/right").name == "/right"
        assert reader.topic_of(POINTS, preferred="/left").name == "/left"
        with pytest.raises(BagError, match=r"/left, /right.*--topic"):
            reader.topic_of(POINTS, preferred="/middle")
        with pytest.raises(BagError, match=r"found /left \(sensor_msgs/msg/PointCloud2\)"):
            reader.topic_of(POINTS, name="/middle")
        with pytest.raises(BagError, match="wanted sensor_msgs/msg/Image"):
            reader.topic_of("sensor_msgs/msg/Image", name="/left")
        with pytest.raises(BagError, match="any sensor_msgs/msg/Image"):
            reader.topic_of("sensor_msgs/msg/Image")


def test_garbage_and_unknown_types_fail_one_message_only(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_raw("/lidar", POINTS, b"\x00\x01\x00\x00garbage", 1)
        writer.write("/header", header_message(make_message, 2, "a"), 2)
    with BagReader(tmp_path / "bag") as reader:
        first, second = reader.messages()
        with pytest.raises(BagError, match="/lidar"):
            reader.decode(first)
        assert reader.decode(second).frame_id == "a"
    with pytest.raises(BagError, match="nobody/msg/Knows"):
        make_message("nobody/msg/Knows")


def test_the_same_messages_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = (storage(write_bag(tmp_path / name / "bag")).read_bytes() for name in ("a", "b"))
    assert one == two


def test_an_error_leaves_no_bag_and_an_older_one_as_it_was(tmp_path: Path) -> None:
    def fail(bag: Path, overwrite: bool) -> None:
        with BagWriter(bag, overwrite=overwrite) as writer:
            writer.write("/header", header_message(make_message, 2, "a"), 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "bag", overwrite=False)
    assert list(tmp_path.iterdir()) == []
    bag = write_bag(tmp_path / "bag", num=3)
    with pytest.raises(KeyboardInterrupt):
        fail(bag, overwrite=True)
    assert list(tmp_path.iterdir()) == [bag]
    with BagReader(bag) as reader:
        assert len(list(reader.messages())) == 3


def test_what_came_in_the_way_meanwhile_stays(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag")
    (tmp_path / "bag").mkdir()
    with pytest.raises(BagError, match="something there already"):
        writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", num=2)
    with pytest.raises(BagError, match="--overwrite"):
        BagWriter(bag)
    BagWriter(bag, overwrite=True).close()
    with BagReader(bag) as reader:
        assert list(reader.messages()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(BagError, match="something else than a bag"):
        BagWriter(tmp_path / "mine", overwrite=True)
    (bag / "notes.txt").write_text("mine")
    with pytest.raises(BagError, match=r"found notes\.txt, wanted nothing but a bag"):
        BagWriter(bag, overwrite=True)
    (tmp_path / "link").symlink_to(bag)
    with pytest.raises(BagError, match="a link to"):
        BagWriter(tmp_path / "link", overwrite=True)


@pytest.mark.data
@pytest.mark.parametrize("model", ["velodyne_vlp16", "velodyne_vlp32"])
def test_raw_packets_are_not_point_clouds(data_root: Path, model: str) -> None:
    bag = next(path for path in (data_root / "bags" / model).iterdir() if path.is_dir())
    with BagReader(bag) as reader:
        with pytest.raises(BagError, match=r"velodyne_msgs/msg/VelodyneScan.*wanted any sensor_msgs/msg/PointCloud2"):
            reader.topic_of(POINTS)
        message = next(reader.messages())
        with pytest.raises(BagError, match="no definition in the bag"):
            reader.decode(message)


def _damaged(good: bytes, rng: np.random.Generator, kind: int) -> bytes:
    damaged = bytearray(good)
    if kind == 0:
        for _ in range(3):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
    elif kind == 1:
        del damaged[rng.integers(len(damaged)) :]
    else:
        start = rng.integers(len(damaged) - 64)
        damaged[start : start + 64] = rng.bytes(64)
    return bytes(damaged)


def _read_all(bag: Path) -> int:
    """1 when the bag was refused, 0 when it could be read; anything but our errors passes through."""
    said = []
    try:
        with BagReader(bag) as reader:
            for message in reader.messages():
                with suppress(BagError, FrameError):
                    cloud_from_message(reader.decode(message))
    except BagError as error:
        said.append(str(error))
    assert not any("\n" in line for line in said)
    return len(said)
