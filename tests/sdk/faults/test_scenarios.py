"""Scenarios follow from their numbers, and every fault does to the messages what its name says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from understudy.bags.types import make_message
from understudy.errors import BagError, FrameError, InputError, UnderstudyError
from understudy.faults.bag_contents import contents_of_bag
from understudy.faults.catalog import FAULTS, STREAM_FAULTS
from understudy.faults.clocks import EPOCH_NS, ClockScript, Jump, Pause
from understudy.faults.contents import Contents, contents_of_dataset, road_contents
from understudy.faults.drafts import CloudDraft, PictureDraft, Sent
from understudy.faults.fault import CLOCK, Fault
from understudy.faults.scenario import SHORT, draw_scenario, numbers
from understudy.faults.script import Script, write_script
from understudy.frame import Frame, Image, PointCloud
from understudy.images import decode_image
from understudy.messages.clouds import cloud_from_message
from understudy.messages.headers import stamp_ns_from_message
from understudy.messages.images import image_from_message
from understudy.recording import record_bag
from understudy.rig import Camera
from understudy.testing import simple_rig

SECOND = 1_000_000_000


def scripts_about(kind: str, contents: Contents, count: int = 8) -> list[Script]:
    return [write_script(draw_scenario(number, contents)) for number in numbers(0, count, kind)]


def touched(script: Script) -> list[Sent]:
    """What the first fault's target sent while it lasted."""
    fault = script.scenario.faults[0]
    return [sent for sent in script.sent if sent.sensor == fault.target and sent.faulty]


def test_a_number_is_all_it_takes(contents: Contents) -> None:
    for number in range(0, 240, 7):
        first, second = (write_script(draw_scenario(number, contents)) for _ in range(2))
        assert first.scenario.name == second.scenario.name
        assert [(one.arrival_ns, first.stamp_ns(one)) for one in first.sent] == [
            (one.arrival_ns, second.stamp_ns(one)) for one in second.sent
        ]


def test_numbers_go_through_all_faults_and_can_be_of_one(contents: Contents) -> None:
    kinds = [draw_scenario(number, contents).kind for number in numbers(0, 2 * len(FAULTS))]
    assert kinds == 2 * list(FAULTS)
    assert {draw_scenario(number, contents).kind for number in numbers(3, 5, "delay")} == {"delay"}
    assert len(FAULTS) == 24


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_has_a_printable_name_and_a_life_before_and_after(kind: str, contents: Contents) -> None:
    for script in scripts_about(kind, contents):
        assert script.scenario.kind == kind
        assert kind in script.scenario.name
        assert "\n" not in script.scenario.name
        assert SECOND < script.start_ns < script.over_ns or script.scenario.faults[0].target == CLOCK
        assert script.end_ns - script.over_ns >= 3 * SECOND
        before = [sent for sent in script.sent if sent.arrival_ns < script.start_ns]
        assert not any(sent.faulty for sent in before)


@pytest.mark.parametrize("kind", [fault.kind for fault in STREAM_FAULTS])
def test_a_stream_fault_touches_its_own_sensor_within_its_time(kind: str, contents: Contents) -> None:
    for script in scripts_about(kind, contents):
        targets = {fault.target: fault for fault in script.scenario.faults}
        for sent in script.sent:
            if sent.faulty:
                fault = targets[sent.sensor]
                assert fault.start_ns <= sent.taken_ns < fault.end_ns


@pytest.mark.parametrize("kind", ["drop", "dying_publisher", "qos_mismatch"])
def test_lost_messages_are_lost(kind: str, contents: Contents) -> None:
    for script in scripts_about(kind, contents):
        fault = script.scenario.faults[0]
        arrived = [one for one in script.sent if one.sensor == fault.target]
        within = [one for one in arrived if fault.start_ns <= one.taken_ns < fault.end_ns]
        wanted = (fault.end_ns - fault.start_ns) / script.scenario.periods_ns[fault.target]
        assert len(within) < 0.95 * wanted
        assert not (within and fault.must_be_named)


def test_frozen_sensors_repeat_themselves(contents: Contents) -> None:
    for script in scripts_about("freeze_new_stamps", contents):
        assert len({sent.content for sent in touched(script)}) == 1
        assert len({script.stamp_ns(sent) for sent in touched(script)}) == len(touched(script))
    for script in scripts_about("freeze_same_stamps", contents):
        assert len({script.stamp_ns(sent) for sent in touched(script)}) == 1


def test_messages_that_overtake_each_other_are_not_lost(contents: Contents) -> None:
    for script in scripts_about("reorder", contents):
        taken = [sent.taken_ns for sent in touched(script)]
        assert taken != sorted(taken)
        assert len(set(taken)) == len(taken)


@pytest.mark.parametrize("kind", ["empty_cloud", "truncated_cloud"])
def test_broken_clouds_cannot_be_read(kind: str, contents: Contents) -> None:
    for script in scripts_about(kind, contents, 3):
        for sent in touched(script)[:3]:
            with pytest.raises(FrameError):
                cloud_from_message(sent.draft.message(make_message, script.stamp_ns(sent)))


def test_points_without_a_place_are_in_the_cloud(contents: Contents) -> None:
    for kind in ("nan_points", "infinite_points"):
        for script in scripts_about(kind, contents, 4):
            cloud = cloud_from_message(touched(script)[0].draft.message(make_message, 1))
            bad = ~np.isfinite(cloud.points[:, :3]).all(axis=1)
            assert bad.any()
            assert bad.all() == script.scenario.faults[0].must_be_named


def test_another_layout_holds_the_same_points_or_no_x(contents: Contents) -> None:
    for script in scripts_about("changed_layout", contents):
        sent = touched(script)[0]
        assert isinstance(sent.draft, CloudDraft)
        message = sent.draft.message(make_message, 1)
        if script.scenario.faults[0].must_be_named:
            with pytest.raises(FrameError, match="x is missing"):
                cloud_from_message(message)
        else:
            points = cloud_from_message(message).points
            np.testing.assert_array_equal(points[:, :3], sent.draft.points[:, :3])


def test_pictures_are_broken_or_of_another_size(contents: Contents) -> None:
    for script in scripts_about("corrupt_jpeg", contents, 4):
        for sent in touched(script)[:6]:
            assert isinstance(sent.draft, PictureDraft)
            with pytest.raises(UnderstudyError):
                decode_image(sent.draft.jpeg.tobytes())
    for script in scripts_about("changed_resolution", contents, 2):
        sent = touched(script)[0]
        camera = contents.rig.sensors[sent.sensor]
        assert isinstance(camera, Camera)
        image = image_from_message(sent.draft.message(make_message, 1))
        assert image.pixels.shape[:2] == (camera.height_px // 2, camera.width_px // 2)


def test_the_clock_of_the_stamps_jumps_and_stands_still() -> None:
    clock = ClockScript((Jump(10, 100), Jump(20, -50)), (Pause(30, 35),))
    shown = [clock.stamp_ns(elapsed_ns) - EPOCH_NS for elapsed_ns in (9, 10, 19, 20, 30, 33, 35, 40)]
    assert shown == [9, 110, 119, 70, 80, 80, 80, 85]
    assert [clock.is_paused(elapsed_ns) for elapsed_ns in (29, 30, 34, 35)] == [False, True, True, False]


def test_a_healthy_message_says_when_and_where_it_was_taken(contents: Contents) -> None:
    script = write_script(draw_scenario(0, contents))
    for sent in script.sent[:20]:
        message = sent.draft.message(make_message, script.stamp_ns(sent))
        assert stamp_ns_from_message(message) == script.stamp_ns(sent)
        assert message.header.frame_id == contents.rig.sensors[sent.sensor].frame_id


class Recording:
    """A data set of a LiDAR and a camera."""

    class_names = ("car",)
    fingerprint = "made up"

    def __init__(self, count: int) -> None:
        self.count, self.rig = count, simple_rig(camera=True)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        from understudy.datasets.dataset import Sample

        cloud = PointCloud(np.full((5, 4), index + 2, np.float32), stamp_ns=index, frame_id="lidar")
        picture = Image(np.full((96, 160, 3), 20 * index, np.uint8), index, "front")
        return Sample(str(index), Frame(index, {"lidar": cloud}, {"front": picture}), self.rig, None, {})


def test_sensors_can_see_what_a_data_set_holds() -> None:
    contents = contents_of_dataset(Recording(6))
    assert contents.cameras == ("front",)
    assert [len(drafts) for drafts in contents.drafts.values()] == [6, 6]
    first = contents.drafts["lidar"][0]
    assert isinstance(first, CloudDraft)
    assert first.points[0, 0] == 2
    with pytest.raises(InputError, match="4 at least"):
        contents_of_dataset(Recording(3))


def test_without_cameras_there_are_the_other_faults() -> None:
    contents = road_contents(rig=simple_rig())
    chosen = numbers(0, 40, with_cameras=False)
    scenarios = [draw_scenario(number, contents) for number in chosen]
    assert {scenario.kind for scenario in scenarios} == set(FAULTS) - {"changed_resolution", "corrupt_jpeg"}
    assert not any(scenario.cameras for scenario in scenarios)
    with pytest.raises(InputError, match="no camera"):
        numbers(0, 1, "corrupt_jpeg", with_cameras=False)
    with pytest.raises(InputError, match="no camera"):
        draw_scenario(numbers(0, 1, "corrupt_jpeg")[0], contents)


def test_a_short_pace_fits_real_time(contents: Contents) -> None:
    ends_ns = [write_script(draw_scenario(number, contents, SHORT)).end_ns for number in range(48)]
    assert 3 * SECOND < min(ends_ns) < max(ends_ns) < 9 * SECOND
    assert sorted(ends_ns)[24] < 6.5 * SECOND


def test_faults_are_drawn_by_their_own_class() -> None:
    with pytest.raises(NotImplementedError):
        Fault.draw(np.random.default_rng(0), None)  # type: ignore[arg-type]


def test_sensors_can_see_what_a_bag_holds(tmp_path: Path) -> None:
    recording = record_bag(Recording(5), tmp_path / "bag")
    contents = contents_of_bag(recording.bag)
    assert contents.cameras == ("front",)
    assert [len(drafts) for drafts in contents.drafts.values()] == [5, 5]
    assert write_script(draw_scenario(0, contents)).sent
    assert image_from_message(contents.drafts["front"][0].message(make_message, 1)).pixels.shape == (96, 160, 3)
    with pytest.raises(InputError, match="2 messages of lidar, wanted 4 at least"):
        contents_of_bag(record_bag(Recording(2), tmp_path / "short").bag)
    with pytest.raises(BagError):
        contents_of_bag(tmp_path / "nothing", recording.rig)
