"""From-bag on recordings that contradict themselves, and on what was made before of another bag, rig or teacher."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.data.recordings import IMAGE, MS, POINTS, START_NS, TF, Drive, stamp_ns, write_drive
from understudy.bags.reader import BagReader
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.datasets.recorded import RecordedDataset
from understudy.errors import BagError, GeometryError, InputError
from understudy.messages.transforms import rig_transforms_message
from understudy.pose import Pose
from understudy.testing import simple_rig, tiny_bundle
from understudy_training.data.from_bag import Job, dataset_from_bags
from understudy_training.data.from_bag_facts import BagFacts, read_facts
from understudy_training.data.from_bag_poses import EgoPoses, mounted
from understudy_training.data.from_bag_settings import FromBagSettings
from understudy_training.data.from_bag_summary import DriveSummary
from understudy_training.data.pseudo_labels import Annotator

EVERY = FromBagSettings(key_frame_hz=0)


def made(tmp_path: Path, settings: FromBagSettings = EVERY, **job: Any) -> DriveSummary:
    (summary,) = dataset_from_bags(Job(bags=(tmp_path / "bag",), out=tmp_path / "set", settings=settings, **job))
    for topic, row in summary.messages.items():
        assert row["read"] == sum(row.values()) - row["read"], topic
        assert min(row.values()) >= 0, topic
    return summary


class TestTransforms:
    @pytest.mark.parametrize("parent_of", [{"base_link": "base_link"}, {"base_link": "roof", "roof": "base_link"}])
    def test_frames_that_hang_on_each_other_come_to_an_end(self, parent_of: dict[str, str]) -> None:
        static = {child: (parent, Pose.identity()) for child, parent in parent_of.items()}
        assert mounted(BagFacts(static=static), "base_link", "lidar") is None

    def test_the_ego_in_two_worlds_is_refused_rather_than_mixed(self, tmp_path: Path) -> None:
        with BagWriter(tmp_path / "two") as writer:
            for number in range(3):
                for parent in ("map", "odom"):
                    message = rig_transforms_message(make_message, simple_rig(), stamp_ns(number))
                    message.transforms[0].header.frame_id, message.transforms[0].child_frame_id = parent, "base_link"
                    writer.write("/tf", message, stamp_ns(number))
        with BagReader(tmp_path / "two") as reader:
            facts = read_facts(reader, EVERY)
        with pytest.raises(GeometryError, match=r"transforms of base_link: found several parents: map, odom"):
            EgoPoses(facts, "base_link", "two")
        assert not EgoPoses(facts, "base_link", "two", use_transforms=False).known

    def test_a_base_frame_with_the_slash_of_old_drivers(self, tmp_path: Path) -> None:
        write_drive(tmp_path / "bag", Drive(num=3, odometry=False, moving_tf=True))
        assert made(tmp_path, FromBagSettings(key_frame_hz=0, base_frame="/base_link")).counts.posed == 3


class TestCameras:
    @staticmethod
    def cut(number: int, picture: Any) -> Any:
        if number == 5:
            picture.data = picture.data[:500]
        return picture

    def test_all_cameras_means_whole_pictures_and_the_next_sweep_of_the_slot(self, tmp_path: Path) -> None:
        write_drive(tmp_path / "bag", Drive(num=11, labels=True, edit_picture=self.cut))
        summary = made(tmp_path, FromBagSettings(key_frame_hz=2, require="all"))
        dataset = RecordedDataset(tmp_path / "set")
        stamps = [dataset.place(index).stamp_ns for index in range(len(dataset))]
        assert stamps == [stamp_ns(number) for number in (0, 6, 10)]
        assert (summary.counts.partial, summary.messages[IMAGE]["rejected"]) == (0, 1)
        assert summary.messages[POINTS]["used"] == summary.messages[IMAGE]["used"] == 3

    def test_a_broken_picture_of_a_sweep_that_is_rejected_counts_once(self, tmp_path: Path) -> None:
        """The teacher refuses the very sweep whose picture is broken."""
        write_drive(tmp_path / "bag", Drive(num=8, edit_picture=self.cut, edit_cloud=self.large))
        tiny_bundle(tmp_path / "teacher")
        summary = made(tmp_path, teacher=tmp_path / "teacher")
        assert (summary.num_frames, summary.messages[POINTS]["rejected"], summary.messages[IMAGE]["rejected"]) == (
            7,
            1,
            1,
        )

    @staticmethod
    def large(number: int, message: Any) -> Any:
        """More points than a student takes, in one sweep."""
        if number == 5:
            message.data = np.tile(message.data, 600)
            message.width, message.row_step = message.width * 600, message.row_step * 600
        return message


class TestWhatWasMadeBefore:
    def test_says_the_split_it_is_in(self, tmp_path: Path) -> None:
        write_drive(tmp_path / "bag", Drive(num=2))
        made(tmp_path)
        again = made(tmp_path, split="val", append=True)
        assert (again.split, again.num_frames) == ("train", 0)

    def test_another_rig_beside_the_bag_is_another_drive(self, tmp_path: Path) -> None:
        write_drive(tmp_path / "bag", Drive(num=2))
        made(tmp_path)
        (tmp_path / "bag" / "rig.yaml").unlink()
        simple_rig(camera=True, height_m=2.5).write(tmp_path / "bag" / "rig.yaml")
        with pytest.raises(InputError, match="drive bag: found one of that name"):
            made(tmp_path, append=True)

    def test_a_damaged_drive_stays_damaged(self, tmp_path: Path) -> None:
        write_drive(tmp_path / "bag", Drive(num=4))
        metadata = tmp_path / "bag" / "metadata.yaml"
        metadata.write_text(re.sub(r"message_count: 4\b", "message_count: 9", metadata.read_text()))
        first = made(tmp_path, salvage=True)
        assert first.damage
        again = made(tmp_path, append=True)
        assert again.damage == first.damage
        assert any("DAMAGED" in line for line in again.lines())

    def test_poses_and_labels_that_the_bag_promises_and_does_not_give_are_a_damage(self, tmp_path: Path) -> None:
        write_drive(tmp_path / "bag", Drive(num=4))
        metadata = tmp_path / "bag" / "metadata.yaml"
        text = metadata.read_text()
        assert len(re.findall(r"message_count: 5\b", text)) == 1
        metadata.write_text(re.sub(r"message_count: 5\b", "message_count: 6", text))
        with pytest.raises(BagError, match=r"/ego/odom: found 5 messages, wanted 6, as its metadata say"):
            made(tmp_path)

    def test_what_is_left_of_a_bag_that_changed_since_is_made_anew(self, tmp_path: Path) -> None:
        bags = tmp_path / "bag", tmp_path / "later"
        write_drive(bags[0], Drive(num=2))
        write_drive(bags[1], Drive(num=2, edit_cloud=lambda number, _: b"no cloud"))
        job = Job(bags=bags, out=tmp_path / "set", settings=EVERY)
        with pytest.raises(BagError, match="no frame could be made"):
            dataset_from_bags(job)
        for bag in bags:
            for file in bag.iterdir():
                file.unlink()
            bag.rmdir()
            write_drive(bag, Drive(num=3))
        assert [summary.num_frames for summary in dataset_from_bags(job)] == [3, 3]


class TestTeachersOfSeveralSweeps:
    @pytest.fixture
    def shown(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many points the teacher was shown, sweep by sweep; 400 in each of the bag's."""
        seen: list[int] = []
        see = Annotator.see

        def noting(self: Annotator, frame: Any, *, is_key: bool) -> None:
            seen.append(len(frame.clouds["lidar"]))
            see(self, frame, is_key=is_key)

        monkeypatch.setattr(Annotator, "see", noting)
        return seen

    @pytest.mark.parametrize(("taught", "wanted"), [(1, [400, 400, 400]), (2, [400, 800, 800])])
    def test_a_teacher_is_shown_as_many_sweeps_as_it_was_trained_with(
        self, tmp_path: Path, shown: list[int], taught: int, wanted: list[int]
    ) -> None:
        self.write(tmp_path, taught)
        made(tmp_path, FromBagSettings(key_frame_hz=0, sweeps=2), teacher=tmp_path / "teacher")
        assert shown == wanted
        dataset = RecordedDataset(tmp_path / "set")
        assert [len(dataset[index].frame.clouds["lidar"]) for index in range(3)] == [400, 800, 800]

    def test_one_of_more_sweeps_than_the_frames_hold_is_refused(self, tmp_path: Path) -> None:
        self.write(tmp_path, 3)
        with pytest.raises(
            InputError, match=r"--sweeps with the teacher .*: found 2, wanted 3, as tiny was trained with"
        ):
            made(tmp_path, FromBagSettings(key_frame_hz=0, sweeps=2), teacher=tmp_path / "teacher")

    @staticmethod
    def write(tmp_path: Path, sweeps: int) -> None:
        write_drive(tmp_path / "bag", Drive(num=3))
        tiny_bundle(tmp_path / "teacher", sweeps=sweeps)


def test_the_static_topic_of_the_bag_is_read(tmp_path: Path) -> None:
    """A transform of a frame on itself beside good ones changes nothing."""
    rig = simple_rig(camera=True)
    write_drive(tmp_path / "plain", Drive(num=1, tf=rig))
    with BagWriter(tmp_path / "odd") as writer:
        message = rig_transforms_message(make_message, rig, START_NS)
        writer.write(TF, message, START_NS - 9 * MS, latched=True)
        message.transforms[0].header.frame_id = message.transforms[0].child_frame_id = "base_link"
        writer.write(TF, message, START_NS - 8 * MS, latched=True)
    for name in ("plain", "odd"):
        with BagReader(tmp_path / name) as reader:
            pose = mounted(read_facts(reader, EVERY), "base_link", "lidar")
        assert pose is not None
        assert pose.translation_m.tolist() == [1.0, 0.0, 1.8]


@pytest.mark.parametrize("kind", ["images", "points_and_images"])
def test_a_teacher_that_looks_at_pictures_is_refused(tmp_path: Path, kind: str) -> None:
    write_drive(tmp_path / "bag", Drive(num=3))
    tiny_bundle(tmp_path / "teacher", kind)
    with pytest.raises(InputError, match="found a network that looks at pictures, wanted one that looks at a LiDAR al"):
        made(tmp_path, FromBagSettings(key_frame_hz=0), teacher=tmp_path / "teacher")
    assert not (tmp_path / "set").exists()
