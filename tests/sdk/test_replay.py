"""Replay: the same detections at any speed, counters that add up, and no single frame that stops it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sdk.replay_cases import IMAGE, MS, POINTS, Edit, outputs, pipeline_for, write_drive
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.errors import BagError, FrameError, GeometryError, InputError, UnderstudyError
from understudy.frame import Image
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.headers import stamp_ns_from_message
from understudy.messages.images import compressed_image_message
from understudy.messages.outputs import boxes_from_detections
from understudy.messages.transforms import rig_transforms_message
from understudy.pipeline import Pipeline
from understudy.replay.player import ReplayOptions, replay_bag
from understudy.replay.summary import detections_digest
from understudy.rig import Rig
from understudy.synchronization.matcher import SyncPolicy
from understudy.testing import FakeEngine, road_cloud, simple_rig, tiny_contract


@pytest.fixture
def rig() -> Rig:
    return simple_rig(camera=True)


class TestIdentity:
    def test_two_runs_and_a_paced_one_are_the_same(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        slept: list[float] = []
        outs = [tmp_path / name / "out" for name in ("one", "two", "paced")]
        for out, rate in zip(outs, (0.0, 0.0, 4.0), strict=True):
            summary = replay_bag(bag, pipeline_for(rig), out, ReplayOptions(rate=rate), sleep=slept.append)
            assert summary.digest == detections_digest(out)
        assert len({detections_digest(out) for out in outs}) == 1
        files = [(out / "out.mcap").read_bytes() for out in outs]
        assert files[0] == files[1] == files[2]
        assert len(slept) == 6
        assert sum(slept) > 0

    def test_real_pacing_takes_the_time_of_the_drive(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        summary = replay_bag(bag, pipeline_for(rig), tmp_path / "out", ReplayOptions(rate=2.0))
        assert summary.wall_s >= 0.25
        assert summary.real_time_factor < 2.5

    def test_one_bit_of_a_point_changes_the_digest(self, tmp_path: Path, rig: Rig) -> None:
        def nudge(number: int, message: Any) -> Any:
            return replace(message, data=np.r_[message.data[:2] ^ 1, message.data[2:]]) if number == 2 else message

        plain = replay_bag(write_drive(tmp_path / "a", rig), pipeline_for(rig), tmp_path / "a_out")
        nudged = replay_bag(write_drive(tmp_path / "b", rig, edit=nudge), pipeline_for(rig), tmp_path / "b_out")
        assert plain.digest != nudged.digest

    def test_stamps_frame_and_boxes_are_those_of_the_pipeline(self, tmp_path: Path, rig: Rig) -> None:
        replay_bag(write_drive(tmp_path / "bag", rig), pipeline_for(rig), tmp_path / "out")
        messages = outputs(tmp_path / "out")
        assert [stamp_ns_from_message(m) for m in messages] == [(1000 + 100 * n) * MS for n in range(6)]
        assert {m.header.frame_id for m in messages} == {"base_link"}
        boxes = boxes_from_detections(messages[0], pipeline_for(rig).contract.class_names)
        np.testing.assert_allclose(boxes.geometry[0, 2:], [1.0, 4.0, 2.0, 1.5, 0.3], rtol=1e-6)
        assert outputs(tmp_path / "out", "/understudy/markers")[0].markers[0].action == 3


class TestCounters:
    def test_bad_frames_are_counted_with_their_reason_and_left_out(self, tmp_path: Path, rig: Rig) -> None:
        def spoil(number: int, message: Any) -> Any:
            return {
                1: replace(message, data=message.data[:50]),
                2: b"\x00\x01\x00\x00garbage",
                3: replace(message, header=replace(message.header, frame_id="elsewhere")),
            }.get(number, message)

        bag = write_drive(tmp_path / "bag", rig, edit=spoil)
        summary = replay_bag(bag, pipeline_for(rig), tmp_path / "out")
        assert summary.num_frames == 3
        assert summary.topics[POINTS] | {"used": 3, "rejected": 3, "read": 6} == summary.topics[POINTS]
        assert sum(summary.reasons.values()) == 3
        assert any("found 50 bytes" in reason for reason in summary.reasons)
        assert any("elsewhere" in reason for reason in summary.reasons)
        assert len(outputs(tmp_path / "out")) == 3
        record = json.loads((tmp_path / "out" / "replay.json").read_text())
        assert record["topics"] == summary.topics
        lines = list(summary.lines())
        assert max(len(line) for line in lines) <= 100
        assert "read 6 = used + stale + duplicate + disorder + unmatched + rejected 6" in lines

    def test_double_and_old_stamps(self, tmp_path: Path, rig: Rig) -> None:
        def restamp(number: int, message: Any) -> Any:
            stamp = replace(message.header.stamp, sec=1, nanosec={2: 100, 3: 0}.get(number, number * 100) * MS)
            return replace(message, header=replace(message.header, stamp=stamp))

        summary = replay_bag(write_drive(tmp_path / "bag", rig, edit=restamp), pipeline_for(rig), tmp_path / "out")
        counts = summary.topics[POINTS]
        assert (counts["used"], counts["duplicate"], counts["stale"]) == (4, 1, 1)

    def test_cameras_are_synchronized_and_decoded_when_asked_for(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        seen: list[int] = []
        pipeline = pipeline_for(rig)
        watched = _Watched(pipeline, lambda frame: seen.append(len(frame.images)))
        summary = replay_bag(bag, watched, tmp_path / "out", ReplayOptions(cameras=True))  # type: ignore[arg-type]
        assert seen == [1] * 6
        assert summary.topics[IMAGE]["used"] == 6
        alone = replay_bag(bag, pipeline, tmp_path / "alone")
        assert alone.digest == summary.digest
        assert IMAGE not in alone.topics

    def test_a_picture_that_cannot_be_decoded_costs_only_itself(self, tmp_path: Path, rig: Rig) -> None:
        bag = tmp_path / "bag"
        stamp_ns = 1000 * MS
        with BagWriter(bag) as writer:
            cloud = road_cloud(np.random.default_rng(0), 300, stamp_ns=stamp_ns)
            writer.write(POINTS, cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0), stamp_ns)
            image = Image(np.zeros((96, 160, 3), np.uint8), stamp_ns, "front")
            message = compressed_image_message(make_message, image)
            writer.write(IMAGE, replace(message, data=message.data[:90]), stamp_ns)
        summary = replay_bag(bag, pipeline_for(rig), tmp_path / "out", ReplayOptions(cameras=True))
        assert summary.num_frames == 1
        assert summary.topics[IMAGE]["rejected"] == 1
        assert summary.real_time_factor == 0

    def test_a_sweep_that_lacks_required_cameras_is_unmatched(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        policy = SyncPolicy(require="all", tolerance_ns=5 * MS)
        with pytest.raises(BagError, match="6 sweeps, none with the cameras"):
            replay_bag(bag, pipeline_for(rig), tmp_path / "out", ReplayOptions(cameras=True, policy=policy))

    def test_part_of_the_bag(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        options = ReplayOptions(start_s=0.15, end_s=0.35)
        summary = replay_bag(bag, pipeline_for(rig), tmp_path / "out", options)
        assert summary.num_frames == 2
        assert summary.damage is None


class TestRefusals:
    def test_wrong_options(self) -> None:
        rates = [{"rate": rate} for rate in (-1.0, float("nan"), float("inf"), 1e-300, 1e300)]
        parts = [{"start_s": start_s} for start_s in (-1.0, float("nan"), float("inf"), 1e300)]
        ends = [{"end_s": end_s} for end_s in (-1.0, 0.0, float("nan"), float("inf"))]
        for wrong in (*rates, *parts, *ends, {"start_s": 2.0, "end_s": 1.0}):
            with pytest.raises(InputError, match="--"):
                ReplayOptions(**wrong)  # type: ignore[arg-type]

    def test_another_frame_id_refuses_before_anything_is_written(self, tmp_path: Path, rig: Rig) -> None:
        other = rig.model_copy(
            update={"sensors": {"lidar": rig.lidars["lidar"].model_copy(update={"frame_id": "roof"})}}
        )
        with pytest.raises(GeometryError, match=r"found lidar, wanted roof .*--rig"):
            replay_bag(write_drive(tmp_path / "bag", rig), pipeline_for(other), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_another_mounting_than_the_bags_transforms_refuses(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_drive(tmp_path / "bag", rig, tf=simple_rig(camera=True, height_m=1.9))
        with pytest.raises(GeometryError, match=r"0\.100 m and 0\.00 degrees.*--ignore-tf"):
            replay_bag(bag, pipeline_for(rig), tmp_path / "out")
        replay_bag(bag, pipeline_for(rig), tmp_path / "out", ReplayOptions(check_transforms=False))
        replay_bag(write_drive(tmp_path / "same", rig, tf=rig), pipeline_for(rig), tmp_path / "out2")

    def test_another_mounting_through_a_chain_of_transforms_refuses(self, tmp_path: Path, rig: Rig) -> None:
        static = rig_transforms_message(make_message, rig, 1)
        lidar = next(entry for entry in static.transforms if entry.child_frame_id == "lidar")
        raised = make_message("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.1)
        still = make_message("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
        up = make_message("geometry_msgs/msg/Transform", translation=raised, rotation=still)
        roof = replace(lidar, child_frame_id="roof", transform=up)
        on_roof = replace(lidar, header=replace(lidar.header, frame_id="roof"))
        bag = write_drive(tmp_path / "bag", rig, tf=replace(static, transforms=[on_roof, roof]))
        with pytest.raises(GeometryError, match=r"has lidar: found 0\.100 m and 0\.00 degrees.*--ignore-tf"):
            replay_bag(bag, pipeline_for(rig), tmp_path / "out")

    def test_a_camera_that_is_replayed_must_sit_where_the_rig_has_it(self, tmp_path: Path, rig: Rig) -> None:
        front = rig.cameras["front"]
        mounting = front.ego_from_sensor.model_copy(update={"translation_m": (9.0, 0.0, 1.0)})
        moved = {**rig.sensors, "front": front.model_copy(update={"ego_from_sensor": mounting})}
        bag = write_drive(tmp_path / "bag", rig, tf=rig.model_copy(update={"sensors": moved}))
        with pytest.raises(GeometryError, match="/tf_static has front: found"):
            replay_bag(bag, pipeline_for(rig), tmp_path / "out", ReplayOptions(cameras=True))
        replay_bag(bag, pipeline_for(rig), tmp_path / "out")

    @pytest.mark.parametrize(
        ("edit", "kind", "reason"),
        [
            (lambda n, m: replace(m, data=m.data[:50]), FrameError, "none of 6 sweeps .*first: .*found 50 bytes"),
            (lambda n, m: replace(m, width=0), FrameError, "0 x 1 points"),
            (lambda n, m: b"\x00\x01\x00\x00garbage", BagError, "none of 6 sweeps"),
        ],
    )
    def test_when_no_frame_can_be_used_the_first_reason_is_given(
        self, tmp_path: Path, rig: Rig, edit: Edit, kind: type[UnderstudyError], reason: str
    ) -> None:
        bag = write_drive(tmp_path / "bag", rig, edit=edit)
        with pytest.raises(kind, match=reason):
            replay_bag(bag, pipeline_for(rig), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_student_of_intensity_refuses_clouds_without(self, tmp_path: Path, rig: Rig) -> None:
        def strip(number: int, message: Any) -> Any:
            return replace(message, fields=[field for field in message.fields if field.name != "intensity"])

        bag = write_drive(tmp_path / "bag", rig, edit=strip)
        with pytest.raises(FrameError, match="intensity, which the student needs"):
            replay_bag(bag, pipeline_for(rig, uses_intensity=True), tmp_path / "out")

    def test_output_that_is_there_and_empty_parts(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        replay_bag(bag, pipeline_for(rig), tmp_path / "out")
        with pytest.raises(BagError, match="--overwrite"):
            replay_bag(bag, pipeline_for(rig), tmp_path / "out")
        replay_bag(bag, pipeline_for(rig), tmp_path / "out", ReplayOptions(overwrite=True))
        with pytest.raises(BagError, match="--start and --end"):
            replay_bag(bag, pipeline_for(rig), tmp_path / "late", ReplayOptions(start_s=100.0))


@pytest.mark.parametrize("place", ["bag", "bag/bag.mcap", "bag/new", "other/../bag", "bag/..", "link", "link/new"])
@pytest.mark.parametrize("source", ["bag", "bag/bag.mcap"])
def test_a_recording_is_never_written_over(tmp_path: Path, rig: Rig, source: str, place: str) -> None:
    bag = write_drive(tmp_path / "bag", rig, num=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(bag)
    with pytest.raises(BagError, match="which is read, wanted another folder"):
        replay_bag(tmp_path / source, pipeline_for(rig), tmp_path / place, ReplayOptions(overwrite=True))
    assert sorted(path.name for path in bag.iterdir()) == ["bag.mcap", "metadata.yaml"]


def test_results_may_lie_beside_a_lone_storage_file(tmp_path: Path, rig: Rig) -> None:
    bag = write_drive(tmp_path / "bag", rig, num=1)
    (bag / "metadata.yaml").unlink()
    assert replay_bag(bag / "bag.mcap", pipeline_for(rig), bag / "results").num_frames == 1


def test_one_frame_whose_scores_are_no_numbers_costs_itself_only(tmp_path: Path, rig: Rig) -> None:
    scores = iter([0.9, np.nan, 0.9, 0.9, 0.9, 0.9])

    def answer(feeds: Any) -> dict[str, Any]:
        boxes = np.array([[5, 0, 1, 4, 2, 1.5, 0]], np.float32)
        return {"boxes": boxes, "scores": np.array([next(scores)], np.float32), "labels": np.zeros(1, np.int32)}

    contract = tiny_contract(uses_intensity=False)
    pipeline = Pipeline(contract, FakeEngine(contract, answer), rig)
    summary = replay_bag(write_drive(tmp_path / "bag", rig), pipeline, tmp_path / "out")
    assert len(outputs(tmp_path / "out")) == 5
    assert [(reason.split(":")[0], num) for reason, num in summary.reasons.items()] == [("network output", 1)]


def test_an_interrupt_leaves_what_was_there(tmp_path: Path, rig: Rig) -> None:
    bag = write_drive(tmp_path / "bag", rig)
    waits = iter(range(4))

    def sleep(seconds: float) -> None:
        if next(waits, None) is None:
            raise KeyboardInterrupt

    options = ReplayOptions(rate=100.0, overwrite=True)
    for older in ([bag], [bag, tmp_path / "out"]):
        with pytest.raises(KeyboardInterrupt):
            replay_bag(bag, pipeline_for(rig), tmp_path / "out", options, sleep=sleep)
        assert sorted(tmp_path.iterdir()) == older
        if len(older) == 1:
            replay_bag(bag, pipeline_for(rig), tmp_path / "out")
    assert len(outputs(tmp_path / "out")) == 6


def test_damage_in_the_middle_keeps_what_came_before(tmp_path: Path, rig: Rig) -> None:
    bag = tmp_path / "bag"
    rng = np.random.default_rng(0)
    with BagWriter(bag, sqlite3=True) as writer:
        for number in range(30):
            cloud = road_cloud(rng, 2000, stamp_ns=number * 100 * MS)
            message = cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0)
            writer.write(POINTS, message, number * 100 * MS)
    file = next(bag.glob("*.db3"))
    file.write_bytes(file.read_bytes()[:-100])
    summary = replay_bag(bag, pipeline_for(rig), tmp_path / "out")
    assert summary.damage is not None
    assert "\n" not in summary.damage
    assert 0 < summary.num_frames < 30
    assert len(outputs(tmp_path / "out")) == summary.num_frames
    assert summary.topics[POINTS]["read"] == summary.num_frames


def test_messages_that_metadata_promise_and_nobody_finds_are_damage(tmp_path: Path, rig: Rig) -> None:
    bag = write_drive(tmp_path / "bag", rig)
    metadata = bag / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("message_count: 6", "message_count: 9"))
    summary = replay_bag(bag, pipeline_for(rig), tmp_path / "out")
    assert summary.damage is not None
    assert "found 6 messages, wanted 9" in summary.damage


class _Watched:
    """A pipeline that shows the frames it gets."""

    def __init__(self, pipeline: Pipeline, look: Callable[[Any], None]) -> None:
        self._pipeline, self._look = pipeline, look

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def __call__(self, frame: Any) -> Any:
        self._look(frame)
        return self._pipeline(frame)
