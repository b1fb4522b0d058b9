"""Parts of a bag, damaged bags, the input beside the output: everything accounted for, the same at any speed."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer as McapWriter

from tests.sdk.replay_cases import IMAGE, MS, POINTS, outputs, pipeline_for, write_drive
from understudy.bags.reader import BagReader
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.errors import BagError, InputError
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.headers import stamp_ns_from_message
from understudy.replay.options import ReplayOptions
from understudy.replay.player import replay_bag
from understudy.rig import Rig
from understudy.testing import road_cloud, simple_rig

S = 1_000_000_000


@pytest.fixture
def rig() -> Rig:
    return simple_rig(camera=True)


def write_clouds(path: Path, *, sqlite3: bool = False, num: int = 40, start_ns: int = 0) -> Path:
    """Sweeps of 64 kB, 100 ms apart."""
    rng = np.random.default_rng(1)
    with BagWriter(path, sqlite3=sqlite3) as writer:
        for number in range(num):
            stamp_ns = start_ns + number * 100 * MS
            cloud = road_cloud(rng, 4000, stamp_ns=stamp_ns)
            writer.write(POINTS, cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0), stamp_ns)
    return path


def halve(bag: Path) -> Path:
    file = next(file for file in bag.iterdir() if file.suffix in {".mcap", ".db3"})
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return file


class TestPart:
    def test_absolute_and_relative_times_take_the_same_part(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_clouds(tmp_path / "bag", num=10, start_ns=1_700_000_000 * S)
        parts = [(0.25, 0.55), (1_700_000_000.25, 1_700_000_000.55), (0.25, 1_700_000_000.55)]
        digests = set()
        for number, (start_s, end_s) in enumerate(parts):
            options = ReplayOptions(start_s=start_s, end_s=end_s)
            summary = replay_bag(bag, pipeline_for(rig), tmp_path / f"out{number}", options)
            assert summary.num_frames == 3
            assert (summary.damage, summary.lost) == (None, {})
            digests.add(summary.digest)
        assert len(digests) == 1

    def test_ends_before_starts_are_refused(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_clouds(tmp_path / "bag", num=2, start_ns=1_700_000_000 * S)
        for wrong in (
            {"start_s": 1_700_000_000.2, "end_s": 0.1},
            {"start_s": 0.3, "end_s": 1_700_000_000.2},
            {"end_s": 1_600_000_000.0},
        ):
            with pytest.raises(InputError, match="an end after the start; the bag begins at 1700000000"):
                replay_bag(bag, pipeline_for(rig), tmp_path / "out", ReplayOptions(**wrong))
        with pytest.raises(InputError, match="a start before the end"):
            ReplayOptions(start_s=1_700_000_001.0, end_s=1_700_000_000.0)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("sqlite3", [True, False])
class TestDamage:
    def test_half_a_bag_gives_the_first_frames_of_the_whole(self, tmp_path: Path, rig: Rig, sqlite3: bool) -> None:
        bag = write_clouds(tmp_path / "bag", sqlite3=sqlite3)
        replay_bag(bag, pipeline_for(rig), tmp_path / "whole")
        file = halve(bag)
        with pytest.raises(BagError, match="--salvage"):
            replay_bag(bag, pipeline_for(rig), tmp_path / "out")
        options = [ReplayOptions(salvage=True), ReplayOptions(salvage=True, rate=100.0)]
        made = [
            replay_bag(bag, pipeline_for(rig), tmp_path / f"{number}" / "out", option, sleep=lambda _: None)
            for number, option in enumerate(options)
        ]
        assert made[0].digest == made[1].digest
        assert (tmp_path / "0/out/out.mcap").read_bytes() == (tmp_path / "1/out/out.mcap").read_bytes()
        summary, num = made[0], made[0].num_frames
        assert 10 <= num <= 20
        assert summary.damage is not None
        assert summary.damage.startswith(f"{file.name}: ")
        assert summary.lost == {POINTS: 40 - num}
        assert summary.topics[POINTS]["read"] == num
        assert f"lost in damage: {40 - num} messages of {POINTS}" in list(summary.lines())
        stamps = [[stamp_ns_from_message(m) for m in outputs(out)] for out in (tmp_path / "whole", tmp_path / "0/out")]
        assert stamps[1] == stamps[0][:num]

    def test_without_metadata_the_loss_is_not_known(self, tmp_path: Path, rig: Rig, sqlite3: bool) -> None:
        bag = write_clouds(tmp_path / "bag", sqlite3=sqlite3)
        halve(bag)
        (bag / "metadata.yaml").unlink()
        summary = replay_bag(bag, pipeline_for(rig), tmp_path / "out", ReplayOptions(salvage=True))
        assert summary.lost is None
        assert any(line.startswith("lost in damage: nobody knows") for line in summary.lines())

    def test_a_whole_bag_is_the_same_with_salvage(self, tmp_path: Path, rig: Rig, sqlite3: bool) -> None:
        bag = write_clouds(tmp_path / "bag", sqlite3=sqlite3, num=5)
        plain = replay_bag(bag, pipeline_for(rig), tmp_path / "plain")
        saved = replay_bag(bag, pipeline_for(rig), tmp_path / "saved", ReplayOptions(salvage=True))
        assert (plain.digest, plain.damage, plain.lost) == (saved.digest, saved.damage, saved.lost)
        assert plain.lost == {POINTS: 0}


def test_what_lies_behind_a_damaged_chunk_is_replayed_too(tmp_path: Path, rig: Rig) -> None:
    """A recorder's bag has checksums; 16 bytes of one chunk cost the sweeps in it and no other."""
    bag = write_clouds(tmp_path / "bag")
    file = with_checksums(bag / "bag.mcap")
    whole = replay_bag(bag, pipeline_for(rig), tmp_path / "whole")
    with file.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    place = summary.chunk_indexes[1].chunk_start_offset + 1000
    with file.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"\x55" * 16)
    stopped = replay_bag(bag, pipeline_for(rig), tmp_path / "stopped")
    assert stopped.damage is not None
    assert stopped.num_frames < 20
    saved = replay_bag(bag, pipeline_for(rig), tmp_path / "saved", ReplayOptions(salvage=True))
    assert saved.lost is not None
    assert saved.lost[POINTS] == whole.num_frames - saved.num_frames > 0
    assert saved.num_frames > 30
    assert "chunks damaged" in str(saved.damage)
    stamps = [[stamp_ns_from_message(m) for m in outputs(tmp_path / name)] for name in ("whole", "saved")]
    missing = sorted(set(stamps[0]) - set(stamps[1]))
    assert missing == [missing[0] + number * 100 * MS for number in range(len(missing))]
    assert stamps[1][-1] == stamps[0][-1]


def with_checksums(file: Path) -> Path:
    """The same messages as ROS 2's own recorder writes them."""
    content = file.read_bytes()
    with file.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=400_000)
        writer.start(profile="ros2")
        ids: dict[str, int] = {}
        for schema, channel, message in make_reader(BytesIO(content)).iter_messages():
            if channel.topic not in ids:
                assert schema is not None
                schema_id = writer.register_schema(schema.name, schema.encoding, schema.data)
                metadata = channel.metadata
                ids[channel.topic] = writer.register_channel(channel.topic, "cdr", schema_id, metadata)
            writer.add_message(ids[channel.topic], message.log_time, message.data, message.publish_time)
        writer.finish()
    return file


class TestWithInput:
    def replayed(self, bag: Path, out: Path, rig: Rig, **options: Any) -> dict[str, list[tuple[int, bytes]]]:
        chosen = ReplayOptions(with_input=True, cameras=True, **options)
        replay_bag(bag, pipeline_for(rig), out, chosen, sleep=lambda _: None)
        return contents(out)

    def test_clouds_pictures_and_transforms_lie_beside_the_boxes(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_drive(tmp_path / "bag", rig, tf=rig)
        made, given = self.replayed(bag, tmp_path / "a/out", rig), contents(bag)
        assert made[POINTS] == given[POINTS]
        assert made[IMAGE] == given[IMAGE]
        assert made["/tf_static"] == given["/tf_static"]
        assert [time_ns for time_ns, _ in made["/understudy/markers"]] == [time_ns for time_ns, _ in given[POINTS]]
        self.replayed(bag, tmp_path / "b/out", rig, rate=50.0)
        assert (tmp_path / "a/out/out.mcap").read_bytes() == (tmp_path / "b/out/out.mcap").read_bytes()

    def test_every_frame_of_the_output_is_reached_from_the_base(self, tmp_path: Path, rig: Rig) -> None:
        """What Foxglove and RViz need: a transform to each frame id, definitions of every type, old markers deleted."""
        self.replayed(write_drive(tmp_path / "bag", rig), tmp_path / "out", rig)
        (transforms,) = outputs(tmp_path / "out", "/tf_static")
        children = {entry.child_frame_id for entry in transforms.transforms}
        assert {entry.header.frame_id for entry in transforms.transforms} == {"base_link"}
        assert {message.header.frame_id for message in outputs(tmp_path / "out", POINTS)} <= children
        for message in outputs(tmp_path / "out", "/understudy/markers"):
            assert message.markers[0].action == 3
            assert {marker.header.frame_id for marker in message.markers} == {"base_link"}
        content = (tmp_path / "out/out.mcap").read_bytes()
        for type_name in (
            "vision_msgs/Detection3DArray",
            "visualization_msgs/MarkerArray",
            "vision_msgs/BoundingBox3D",
        ):
            assert type_name.encode() in content or type_name.replace("/", "/msg/").encode() in content

    def test_a_late_start_takes_the_transforms_along(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_drive(tmp_path / "bag", rig, tf=rig)
        made = self.replayed(bag, tmp_path / "out", rig, start_s=1.3)
        begin_ns = 1 + 1300 * MS
        assert [time_ns for time_ns, _ in made["/tf_static"]] == [begin_ns]
        assert min(time_ns for rows in made.values() for time_ns, _ in rows) == begin_ns

    def test_what_cannot_be_read_is_not_copied(self, tmp_path: Path, rig: Rig) -> None:
        def spoil(number: int, message: Any) -> Any:
            return b"\x00\x01\x00\x00garbage" if number == 2 else message

        made = self.replayed(write_drive(tmp_path / "bag", rig, edit=spoil), tmp_path / "out", rig)
        assert len(made[POINTS]) == 5


def contents(bag: Path) -> dict[str, list[tuple[int, bytes]]]:
    found: dict[str, list[tuple[int, bytes]]] = {}
    with BagReader(bag) as reader:
        for message in reader.messages():
            found.setdefault(message.topic, []).append((message.log_time_ns, bytes(message.raw)))
    return found
