"""Which pictures belong to a sweep of a replay: rules, what is required, and how long it waits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.sdk.replay_cases import IMAGE, MS, POINTS, pipeline_for, write_drive
from understudy.bags.reader import BagReader
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.cli import build_app
from understudy.errors import InputError, UnderstudyError
from understudy.messages.images import image_from_message
from understudy.replay.matching import camera_topics_from, matching_from
from understudy.replay.options import ReplayOptions
from understudy.replay.player import replay_bag
from understudy.replay.summary import ReplaySummary
from understudy.rig import Rig
from understudy.synchronization.matcher import SyncPolicy
from understudy.testing import simple_rig, tiny_bundle


@pytest.fixture
def rig() -> Rig:
    return simple_rig(camera=True)


class TestWords:
    def test_what_is_left_out_is_the_policys_own(self) -> None:
        assert matching_from(True).policy == SyncPolicy()
        assert matching_from(False).rule == "nearest"
        assert matching_from(True, "approximate-time").rule == "approximate_time"

    def test_each_word(self) -> None:
        policy = matching_from(True, "nearest", "2", 0.25, 0.02).policy
        assert (policy.require, policy.min_cameras) == ("min_n", 2)
        assert (policy.max_wait_ns, policy.tolerance_ns) == (250 * MS, 20 * MS)
        assert matching_from(True, require="all").policy.require == "all"
        assert matching_from(False, max_wait_s=0.0).policy.max_wait_ns == 0

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ((True, "closest"), "--rule: found closest, wanted nearest or approximate-time"),
            ((True, "", "some"), "--require: found some, wanted all, any or a number"),
            ((True, "", "-1"), "--require: found -1"),
            ((True, "", "", 100.0), "--max-wait: found 100 s, wanted 0 to 10 s"),
            ((True, "", "", None, 50.0), "--slop: found 50 s"),
            ((True, "", "", None, float("nan")), "--slop: found nan s"),
            ((False, "", "all"), "--require: found no --cameras"),
            ((False, "nearest", "", None, 0.1), "--rule and --slop: found no --cameras"),
            ((True, "approximate-time", "all"), "--rule approximate-time: found --require, wanted none of them"),
        ],
    )
    def test_wrong_words_are_refused(self, words: Any, said: str) -> None:
        with pytest.raises(InputError) as caught:
            matching_from(*words)
        assert str(caught.value).startswith(said)


def without_pictures(bag: Path, out: Path, numbers: set[int]) -> Path:
    """The bag without some of its pictures."""
    with BagReader(bag) as reader, BagWriter(out) as writer:
        seen = 0
        for message in reader.messages():
            seen += message.topic == IMAGE
            if message.topic != IMAGE or seen - 1 not in numbers:
                writer.write_raw(message.topic, message.type_name, message.raw, message.log_time_ns)
    return out


class TestRules:
    def replayed(self, tmp_path: Path, rig: Rig, *words: Any, lost: frozenset[int] = frozenset({2})) -> ReplaySummary:
        bag = tmp_path / "bag"
        if not bag.exists():
            without_pictures(write_drive(tmp_path / "whole", rig), bag, set(lost))
        matching = matching_from(True, *words)
        options = ReplayOptions(cameras=True, rule=matching.rule, policy=matching.policy, overwrite=True)
        summary = replay_bag(bag, pipeline_for(rig), tmp_path / "out", options)
        paced = replay_bag(bag, pipeline_for(rig), tmp_path / "paced" / "out", replace(options, rate=100.0))
        assert paced.topics == summary.topics
        assert (tmp_path / "out/out.mcap").read_bytes() == (tmp_path / "paced/out/out.mcap").read_bytes()
        return summary

    def test_any_and_all(self, tmp_path: Path, rig: Rig) -> None:
        assert self.replayed(tmp_path, rig).topics[POINTS]["used"] == 6
        strict = self.replayed(tmp_path, rig, "", "all").topics
        assert (strict[POINTS]["used"], strict[POINTS]["unmatched"]) == (5, 1)
        assert strict[IMAGE]["used"] == 5
        assert self.replayed(tmp_path, rig, "", "1").topics == strict

    def test_more_cameras_than_there_are_are_refused(self, tmp_path: Path, rig: Rig) -> None:
        with pytest.raises(InputError, match=r"--require: found 2, wanted 1 at most"):
            self.replayed(tmp_path, rig, "", "2")

    def test_slop(self, tmp_path: Path, rig: Rig) -> None:
        narrow = self.replayed(tmp_path, rig, "", "", None, 0.005).topics
        assert (narrow[POINTS]["used"], narrow[IMAGE]["used"]) == (6, 0)

    def test_approximate_time_gives_whole_sets_of_which_none_is_better(self, tmp_path: Path, rig: Rig) -> None:
        """With the third picture lost, its sweep has none; the last pair is never decided, as in C++."""
        found = self.replayed(tmp_path, rig, "approximate-time")
        assert found.topics[POINTS]["used"] == found.topics[IMAGE]["used"] == 4
        assert found.topics[POINTS]["unmatched"] == 2
        assert found.topics[IMAGE]["unmatched"] == 1


class TestCameraTopics:
    def test_pictures_of_other_topics_and_types(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        with BagReader(bag) as reader, BagWriter(tmp_path / "raw") as raw, BagWriter(tmp_path / "renamed") as renamed:
            for message in reader.messages():
                content = reader.decode(message)
                is_picture = message.topic == IMAGE
                renamed.write("/cam0" if is_picture else message.topic, content, message.log_time_ns)
                content = raw_image(content) if is_picture else content
                raw.write("/sensors/front/image" if is_picture else message.topic, content, message.log_time_ns)
        plain = ReplayOptions(cameras=True)
        named = ReplayOptions(cameras=True, camera_topics={"front": "/cam0"})
        found = replay_bag(tmp_path / "raw", pipeline_for(rig), tmp_path / "a", plain).topics
        assert found["/sensors/front/image"]["used"] == 6
        assert replay_bag(tmp_path / "renamed", pipeline_for(rig), tmp_path / "b", named).topics["/cam0"]["used"] == 6
        with pytest.raises(UnderstudyError, match=r"--cameras: found no pictures.* say --camera"):
            replay_bag(tmp_path / "renamed", pipeline_for(rig), tmp_path / "c", plain)
        for topics, said in (
            ({"front": "/nowhere"}, "found nothing, wanted sensor_msgs/msg/CompressedImage or"),
            ({"front": POINTS}, "found sensor_msgs/msg/PointCloud2, wanted"),
            ({"rear": "/cam0"}, "--camera: found rear, wanted one of front"),
        ):
            options = ReplayOptions(cameras=True, camera_topics=topics)
            with pytest.raises(UnderstudyError, match=said):
                replay_bag(tmp_path / "renamed", pipeline_for(rig), tmp_path / "d", options)

    @pytest.mark.parametrize("words", [["front"], ["front=image"], ["=/a"], ["front=/a", "front=/b"]])
    def test_wrong_words(self, words: list[str]) -> None:
        assert camera_topics_from(["front=/a", "rear=/b=c"]) == {"front": "/a", "rear": "/b=c"}
        with pytest.raises(InputError, match="--camera"):
            camera_topics_from(words)


def raw_image(message: Any) -> Any:
    """The same picture as `sensor_msgs/Image`."""
    pixels = image_from_message(message).pixels
    height, width, _ = pixels.shape
    sizes = {"height": height, "width": width, "step": 3 * width}
    data = pixels.reshape(-1)
    return make_message(
        "sensor_msgs/msg/Image", header=message.header, encoding="rgb8", is_bigendian=0, data=data, **sizes
    )


class TestFrozen:
    def test_a_sensor_that_repeats_itself_is_refused_as_on_the_vehicle(self, tmp_path: Path, rig: Rig) -> None:
        first: list[Any] = []

        def freeze(number: int, message: Any) -> Any:
            first.append(message)
            return replace(first[0], header=message.header)

        bag = write_drive(tmp_path / "bag", rig, edit=freeze)
        summary = replay_bag(bag, pipeline_for(rig), tmp_path / "out")
        assert (summary.topics[POINTS]["used"], summary.topics[POINTS]["rejected"]) == (3, 3)
        assert all("frozen" in reason for reason in summary.reasons)
        taken = replay_bag(bag, pipeline_for(rig), tmp_path / "all", ReplayOptions(refuse_frozen_after=0))
        assert taken.topics[POINTS]["used"] == 6
        with pytest.raises(InputError, match="--frozen-after"):
            ReplayOptions(refuse_frozen_after=-1)


def test_the_command_passes_them_on(tmp_path: Path, rig: Rig) -> None:
    bag = without_pictures(write_drive(tmp_path / "whole", rig), tmp_path / "bag", {2})
    rig.write(tmp_path / "rig.yaml")
    tiny_bundle(tmp_path / "student")
    words = ["replay", bag, tmp_path / "student", "--rig", tmp_path / "rig.yaml", "--out", tmp_path / "out"]

    def run(*more: object) -> Any:
        return CliRunner().invoke(build_app(), [str(word) for word in (*words, *more, "--overwrite")])

    assert "6 frames" in run("--cameras", "--max-wait", "0.2", "--slop", "0.03", "--frozen-after", "0").output
    assert IMAGE in run("--camera", f"front={IMAGE}").output
    assert "5 frames" in run("--cameras", "--require", "all").output
    assert "4 frames" in run("--cameras", "--rule", "approximate-time").output
    assert isinstance(run("--require", "all").exception, InputError)
