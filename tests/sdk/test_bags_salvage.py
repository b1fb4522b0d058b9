"""Damaged bags give what was recorded before the damage, of every storage and compression, and say what is lost."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from understudy.bags.reader import BagMessage, BagReader
from understudy.bags.types import make_message, typestore
from understudy.bags.writer import BagWriter
from understudy.errors import BagError
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.clouds import cloud_from_message
from understudy.messages.headers import header_message, stamp_ns_from_message
from understudy.testing import road_cloud

POINTS = "sensor_msgs/msg/PointCloud2"
MS = 1_000_000
NUM = 40
KINDS = [
    (plugin, mode)
    for plugin in StoragePlugin
    for mode in CompressionMode
    if plugin is StoragePlugin.MCAP or mode is not CompressionMode.STORAGE
]


def write_bag(path: Path, plugin: StoragePlugin, mode: CompressionMode = CompressionMode.NONE) -> Path:
    """40 clouds of 64 kB on two topics by turns: several chunks, and rows of many pages."""
    rng = np.random.default_rng(0)
    writer = Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topics = [writer.add_connection(name, POINTS, typestore=typestore()) for name in ("/left", "/right")]
        for number in range(NUM):
            cloud = road_cloud(rng, num_points=4000, stamp_ns=number * 100 * MS)
            message = cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0)
            raw = typestore().serialize_cdr(message, POINTS)
            writer.write(topics[number % 2], number * 100 * MS + 5, raw)
    return path


def storage(bag: Path) -> Path:
    return next(entry for entry in sorted(bag.iterdir()) if entry.name != "metadata.yaml")


def cut(bag: Path, size: int) -> None:
    """Shortens the storage file to so many bytes; a negative number takes bytes away."""
    file = storage(bag)
    file.write_bytes(file.read_bytes()[:size])


def read(bag: Path) -> tuple[list[BagMessage], Any]:
    with BagReader(bag, salvage=True) as reader:
        messages = list(reader.messages())
        stamps = [cloud_from_message(reader.decode(message)).stamp_ns for message in messages]
        assert stamps == [message.log_time_ns - 5 for message in messages]
        assert sum(topic.num_messages for topic in reader.topics.values()) == len(messages)
        return messages, reader.salvage


@pytest.mark.parametrize(("plugin", "mode"), KINDS, ids=lambda kind: kind.name)
class TestEveryStorage:
    def test_a_whole_bag_is_read_as_ever(self, tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode) -> None:
        messages, salvage = read(write_bag(tmp_path / "bag", plugin, mode))
        assert len(messages) == NUM
        assert salvage is None

    def test_half_of_the_file_gives_its_first_messages(
        self, tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode
    ) -> None:
        bag = write_bag(tmp_path / "bag", plugin, mode)
        whole, _ = read(bag)
        cut(bag, storage(bag).stat().st_size // 2)
        with pytest.raises(BagError, match="--salvage"):
            BagReader(bag)
        messages, salvage = read(bag)
        assert NUM // 4 <= len(messages) <= NUM // 2
        assert [(m.topic, m.log_time_ns, bytes(m.raw)) for m in messages] == [
            (m.topic, m.log_time_ns, bytes(m.raw)) for m in whole[: len(messages)]
        ]
        assert salvage.damage.startswith(storage(bag).name)
        assert "\n" not in salvage.damage
        assert {topic: salvage.saved[topic] + num for topic, num in salvage.lost.items()} == dict(salvage.promised)
        assert sum(salvage.lost.values()) == NUM - len(messages)

    def test_without_metadata_only_the_file_knows_how_many_there_were(
        self, tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode
    ) -> None:
        bag = write_bag(tmp_path / "bag", plugin, mode)
        (bag / "metadata.yaml").unlink()
        messages, salvage = read(bag)
        assert len(messages) == NUM
        assert salvage.lost == ({"/left": 0, "/right": 0} if plugin is StoragePlugin.MCAP else None)
        assert salvage.damage == "metadata.yaml: missing or damaged"

    def test_damaged_metadata_of_whole_data(self, tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode) -> None:
        bag = write_bag(tmp_path / "bag", plugin, mode)
        text = (bag / "metadata.yaml").read_text()
        (bag / "metadata.yaml").write_text(text[: len(text) // 2])
        assert len(read(bag)[0]) == NUM

    def test_an_empty_file_is_refused(self, tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode) -> None:
        bag = write_bag(tmp_path / "bag", plugin, mode)
        cut(bag, 0)
        with pytest.raises(BagError, match="nothing to salvage") as caught:
            BagReader(bag, salvage=True)
        assert "\n" not in str(caught.value)

    def test_any_damage_is_our_error_or_fewer_messages(
        self, tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode
    ) -> None:
        bag = write_bag(tmp_path / "bag", plugin, mode)
        good = storage(bag).read_bytes()
        for seed in range(8):
            rng = np.random.default_rng(seed)
            damaged = bytearray(good)
            start = int(rng.integers(len(damaged) - 64))
            damaged[start : start + 64] = rng.bytes(64)
            del damaged[int(rng.integers(len(damaged))) :]
            storage(bag).write_bytes(bytes(damaged))
            with suppress(BagError), BagReader(bag, salvage=True) as reader:
                assert sum(1 for _ in reader.messages()) <= NUM


class TestDamageInTheMiddle:
    """What lies behind the damage is read too; what is lost is counted."""

    @pytest.mark.parametrize("compression", list(CompressionType), ids=lambda kind: kind.name)
    @pytest.mark.parametrize("number", [0, 3])
    def test_a_chunk_that_fails_its_checksum_costs_itself(
        self, tmp_path: Path, compression: CompressionType, number: int
    ) -> None:
        """The first one holds the definitions too; the file's end has them again."""
        file = write_headers(tmp_path / "bag.mcap", compression=compression, chunk_size=40_000)
        chunks = chunk_places(file)
        begin, size = chunks[number]
        overwrite(file, begin + size // 2, b"\x55" * 16)
        with BagReader(file) as reader, pytest.raises(BagError):
            list(reader.messages())
        stamps, salvage = header_stamps(file)
        lost = salvage.lost["/header"]
        assert 5 < lost < 50
        assert len(stamps) == 200 - lost
        assert (stamps[0] == 1) == (number != 0)
        assert stamps[-1] == 200
        assert f"1 chunks damaged, with {lost} messages by their indexes" in salvage.text

    def test_a_record_whose_length_is_damaged_costs_one_chunk(self, tmp_path: Path) -> None:
        """Where the index is there it costs nothing; without, what follows is found by the next head of a chunk."""
        file = write_headers(tmp_path / "bag.mcap", chunk_size=40_000)
        chunks = chunk_places(file)
        overwrite(file, chunks[2][0] + 1, b"\xff" * 8)
        assert header_stamps(file) == (list(range(1, 201)), None)
        file.write_bytes(file.read_bytes()[: chunks[-1][0]])
        stamps, salvage = header_stamps(file)
        assert salvage.damage.startswith(f"bag.mcap: damaged or cut at byte {chunks[2][0]} of {file.stat().st_size} (")
        assert salvage.lost is None
        gaps = [after - before for before, after in pairwise(stamps)]
        assert sorted(gaps)[-2:] == [1, max(gaps)]
        assert 5 < max(gaps) < 50

    def test_zeros_over_a_chunk_and_its_index(self, tmp_path: Path) -> None:
        file = write_headers(tmp_path / "bag.mcap", chunk_size=40_000)
        chunks = chunk_places(file)
        overwrite(file, chunks[1][0], bytes(chunks[2][0] - chunks[1][0]))
        stamps, salvage = header_stamps(file)
        assert (stamps[0], stamps[-1]) == (1, 200)
        assert salvage.lost == {"/header": 200 - len(stamps)}

    def test_rows_behind_a_damaged_page_of_sqlite3(self, tmp_path: Path) -> None:
        bag = write_bag(tmp_path / "bag", StoragePlugin.SQLITE3)
        size = storage(bag).stat().st_size
        overwrite(storage(bag), size // 2 // 4096 * 4096, b"\xa5" * 4096)
        messages, salvage = read_anything(bag)
        assert NUM - 3 <= len(messages) <= NUM
        assert messages[-1].log_time_ns == (NUM - 1) * 100 * MS + 5
        assert salvage is None or sum(salvage.lost.values()) == NUM - len(messages)

    def test_any_page_of_small_rows_may_be_damaged(self, tmp_path: Path) -> None:
        """Pages within the tree hold the places of a thousand rows and more."""
        bag = tmp_path / "bag"
        with BagWriter(bag, sqlite3=True) as writer:
            for number in range(30_000):
                writer.write("/header", header_message(make_message, number, "frame" * 20), number)
        good = storage(bag).read_bytes()
        with closing(sqlite3.connect(storage(bag))) as database:
            (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name='messages'").fetchone()
        inner = [place for place in range(0, len(good), 4096) if good[place] == 0x05 and place != 4096 * (root - 1)]
        assert len(inner) > 1
        for place in inner:
            storage(bag).write_bytes(good)
            overwrite(storage(bag), place, b"\xa5" * 4096)
            with BagReader(bag, salvage=True) as reader:
                saved = [message.log_time_ns for message in reader.messages()]
                assert reader.salvage is not None
                assert reader.salvage.lost == {"/header": 30_000 - len(saved)}
                assert 1000 < 30_000 - len(saved) < 30_000
            if place != inner[-1]:
                assert saved[-1] == 29_999

    def test_messages_that_are_not_there_are_lost(self, tmp_path: Path) -> None:
        bag = write_bag(tmp_path / "bag", StoragePlugin.MCAP)
        text = (bag / "metadata.yaml").read_text()
        (bag / "metadata.yaml").write_text(text.replace("message_count: 20", "message_count: 21"))
        messages, salvage = read(bag)
        assert len(messages) == NUM
        assert salvage.lost == {"/left": 1, "/right": 1}
        assert salvage.text == "fewer messages than the metadata speak of; 40 messages saved, 2 lost"


def write_headers(file: Path, *, compression: CompressionType = CompressionType.ZSTD, chunk_size: int) -> Path:
    """200 messages of 4 kB as ROS 2's own recorder writes them: in chunks with checksums."""
    with file.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=chunk_size, compression=compression)
        writer.start(profile="ros2")
        text = typestore().generate_msgdef("std_msgs/msg/Header", ros_version=2)[0]
        schema = writer.register_schema("std_msgs/msg/Header", "ros2msg", text.encode())
        channel = writer.register_channel("/header", "cdr", schema)
        rng = np.random.default_rng(0)
        for number in range(1, 201):
            message = header_message(make_message, number, rng.bytes(2000).hex())
            raw = bytes(typestore().serialize_cdr(message, "std_msgs/msg/Header"))
            writer.add_message(channel, number, raw, number)
        writer.finish()
    return file


def chunk_places(file: Path) -> list[tuple[int, int]]:
    """Where each chunk begins and how long it is."""
    with file.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    return [(index.chunk_start_offset, index.chunk_length) for index in summary.chunk_indexes]


def overwrite(file: Path, place: int, content: bytes) -> None:
    with file.open("r+b") as stream:
        stream.seek(place)
        stream.write(content)


def header_stamps(file: Path) -> tuple[list[int], Any]:
    with BagReader(file, salvage=True) as reader:
        return [message.log_time_ns for message in reader.messages()], reader.salvage


def read_anything(bag: Path) -> tuple[list[BagMessage], Any]:
    with BagReader(bag, salvage=True) as reader:
        return list(reader.messages()), reader.salvage


@pytest.mark.parametrize("mode", [CompressionMode.NONE, CompressionMode.STORAGE], ids=lambda mode: mode.name)
def test_an_mcap_that_lacks_its_last_100_bytes_gives_every_message(tmp_path: Path, mode: CompressionMode) -> None:
    bag = write_bag(tmp_path / "bag", StoragePlugin.MCAP, mode)
    cut(bag, -100)
    messages, salvage = read(bag)
    assert len(messages) == NUM
    assert set(salvage.lost.values()) == {0}
    assert "damaged or cut at byte" in salvage.damage


@pytest.mark.parametrize("compression", list(CompressionType), ids=lambda kind: kind.name)
def test_the_beginning_of_a_cut_chunk_is_read(tmp_path: Path, compression: CompressionType) -> None:
    """A chunk is up to megabytes of messages: a recorder that was killed had one of them half written."""
    file = write_headers(tmp_path / "bag.mcap", compression=compression, chunk_size=1 << 30)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with BagReader(file, salvage=True) as reader:
        found = [stamp_ns_from_message(Stamped(reader.decode(message))) for message in reader.messages()]
    assert 50 < len(found) < 150
    assert found == list(range(1, len(found) + 1))


class Stamped(NamedTuple):
    """A message with a header, as far as its stamp matters."""

    header: Any


def test_a_lone_file_and_a_folder_without_files(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", StoragePlugin.MCAP)
    cut(bag, storage(bag).stat().st_size // 2)
    with BagReader(storage(bag), salvage=True) as reader:
        assert reader.salvage is not None
        assert reader.salvage.lost is None
    storage(bag).unlink()
    with pytest.raises(BagError, match=r"found no storage file, wanted \*\.mcap or \*\.db3"):
        BagReader(bag, salvage=True)
    with pytest.raises(BagError, match="nothing there"):
        BagReader(tmp_path / "absent", salvage=True)


def test_the_copy_goes_when_the_reader_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bag = write_bag(tmp_path / "bag", StoragePlugin.MCAP)
    cut(bag, storage(bag).stat().st_size // 2)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with BagReader(bag, salvage=True):
        assert list(scratch.iterdir())
    assert not list(scratch.iterdir())
    cut(bag, 0)
    with pytest.raises(BagError):
        BagReader(bag, salvage=True)
    assert not list(scratch.iterdir())


def test_several_files_are_put_together_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    whole = read(write_bag(tmp_path / "whole", StoragePlugin.SQLITE3))[0]
    for plugin, suffix in ((StoragePlugin.SQLITE3, ".db3"), (StoragePlugin.MCAP, ".mcap")):
        bag = tmp_path / suffix[1:]
        bag.mkdir()
        for number in (2, 10):
            part = write_bag(tmp_path / f"{suffix[1:]}_part{number}", plugin)
            storage(part).rename(bag / f"bag_{number}{suffix}")
        file = bag / f"bag_10{suffix}"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with BagReader(bag, salvage=True) as reader:
            topics = {name: topic.num_messages for name, topic in reader.topics.items()}
            assert NUM // 2 < topics["/left"] < NUM
            assert sum(topics.values()) == sum(1 for _ in reader.messages()) > len(whole)
            assert reader.salvage is not None
            assert reader.salvage.damage.startswith(f"bag_10{suffix}: ")


@pytest.mark.parametrize("plugin", list(StoragePlugin), ids=lambda kind: kind.name)
def test_a_bag_of_many_topics_is_salvaged(tmp_path: Path, plugin: StoragePlugin) -> None:
    """Its metadata take several pages of sqlite3, the last of them at the end of the file."""
    bag = tmp_path / "bag"
    with BagWriter(bag, sqlite3=plugin is StoragePlugin.SQLITE3) as writer:
        for number in range(30_000):
            writer.write(f"/topic/{number % 40}", header_message(make_message, number, "frame"), number)
    cut(bag, storage(bag).stat().st_size // 2)
    with BagReader(bag, salvage=True) as reader:
        assert 5000 < sum(1 for _ in reader.messages()) < 30_000
        assert len(reader.topics) == 40


def test_what_a_killed_recorder_left_in_the_log_of_sqlite3_is_read(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", StoragePlugin.SQLITE3)
    database = sqlite3.connect(storage(bag))
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("DELETE FROM messages WHERE id > 38")
    database.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for file in bag.glob("*.db3*"):
        shutil.copyfile(file, killed / file.name)
    database.close()
    with BagReader(killed, salvage=True) as reader:
        assert sum(1 for _ in reader.messages()) == 38
    assert sorted(file.name for file in killed.iterdir()) == ["bag.db3", "bag.db3-shm", "bag.db3-wal"]
