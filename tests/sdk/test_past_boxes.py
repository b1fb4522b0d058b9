import numpy as np
import pytest

from understudy.boxes import Boxes
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.past_boxes import PastBoxes, past_boxes
from understudy.errors import InputError
from understudy.frame import Frame
from understudy.pose import Pose
from understudy.testing import simple_rig

WORLD_FROM_CAR = Pose.from_yaw(0.5, (20.0, 5.0, 0.8))


class Drives:
    """Two drives of three frames past a parked car, with the frames read counted."""

    class_names = ("car",)
    fingerprint = "0" * 64

    def __init__(self, *, posed: bool = True, labeled: bool = True) -> None:
        self.posed, self.labeled = posed, labeled
        self.read: list[int] = []

    def __len__(self) -> int:
        return 6

    def place(self, index: int) -> Place:
        return Place(f"drive {index // 3}", 100 * index)

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        world_from_ego = Pose.from_yaw(0.1 * index, (3.0 * index, 1.0, 0.0))
        ego_from_car = world_from_ego.inverse() @ WORLD_FROM_CAR
        geometry = np.array([[*ego_from_car.translation_m, 4.4, 1.9, 1.6, ego_from_car.yaw_rad]], np.float32)
        boxes = Boxes(geometry, np.zeros(1, np.int32), ("car",), track_ids=np.array([7 + index // 3]))
        frame = Frame(100 * index, world_from_ego=world_from_ego if self.posed else None)
        return Sample(f"{index}", frame, simple_rig(), boxes if self.labeled else None, {})


def test_a_parked_car_stays_where_it_is_now():
    own, *past = past_boxes(Drives(), 5, 2)
    assert len(past) == 2
    for boxes in past:
        np.testing.assert_allclose(boxes.geometry, own.geometry, atol=1e-5)


def test_boxes_of_another_drive_are_left_out_and_none_are_repeated():
    drives = PastBoxes(Drives(), 4)
    assert [len(drives[index]) for index in range(6)] == [1, 2, 3, 1, 2, 3]
    assert all(boxes.track_ids[0] == 8 for boxes in drives[-1])


def test_a_sample_is_read_once_on_the_way_through_a_drive():
    dataset = Drives()
    drives = PastBoxes(dataset, 2)
    for index in range(6):
        drives[index]
    assert dataset.read == list(range(6))


def test_what_cannot_be_told_is_refused_in_one_line():
    class Loose:
        class_names = ("car",)

        def __len__(self):
            return 1

    with pytest.raises(InputError, match="does not tell which samples follow"):
        PastBoxes(Loose(), 1)
    with pytest.raises(InputError, match="found -1, wanted 0 or more"):
        PastBoxes(Drives(), -1)
    with pytest.raises(InputError, match="nothing of where the ego was"):
        past_boxes(Drives(posed=False), 2, 1)
    with pytest.raises(InputError, match="no labeled boxes"):
        past_boxes(Drives(labeled=False), 2, 1)
