"""Data sets whose frames show objects whole."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tests.training.xray.drives import MovingDataset
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.opening import open_dataset
from understudy.datasets.sweeps import MultiSweep
from understudy.errors import InputError
from understudy_training.testing import MadeUpDataset
from understudy_training.xray.complete_objects import CompleteObjects, ObjectComplete, with_complete_objects

EVERYTHING = CompleteObjects(cap=None, deformable_s=10.0)


def in_ego(sample: Sample) -> np.ndarray:
    _, sensor = sample.rig.lidar("top")
    return sensor.ego_from_sensor.pose().apply(sample.frame.clouds["top"].points[:, :3]).astype(np.float32)


def inside(sample: Sample) -> np.ndarray:
    assert sample.boxes is not None
    return sample.boxes.contains(in_ego(sample)).sum(axis=1)


def test_a_box_holds_what_its_whole_drive_saw_and_says_so():
    raw, whole = MovingDataset(), ObjectComplete(MovingDataset(), EVERYTHING)
    for first in (0, 6):
        seen = np.sum([inside(raw[index]) for index in range(first, first + 6)], axis=0)
        for index in range(first, first + 6):
            sample = whole[index]
            np.testing.assert_array_equal(inside(sample), seen)
            np.testing.assert_array_equal(sample.boxes.num_points, seen)


def test_what_the_frame_itself_saw_stays_bit_for_bit():
    for index in (0, 3, 7):
        own, whole = MovingDataset()[index], ObjectComplete(MovingDataset(), EVERYTHING)[index]
        before, after = own.frame.clouds["top"], whole.frame.clouds["top"]
        assert len(after) > len(before)
        for column in ("points", "time_offset_s", "ring"):
            assert getattr(after, column)[: len(before)].tobytes() == getattr(before, column).tobytes()
        assert own.boxes.geometry.tobytes() == whole.boxes.geometry.tobytes()


def test_what_is_pasted_has_age_0_a_real_beam_and_no_class():
    own, whole = MovingDataset()[2], ObjectComplete(MovingDataset(), EVERYTHING)[2]
    count, cloud = len(own.frame.clouds["top"]), whole.frame.clouds["top"]
    assert (cloud.time_offset_s[count:] == 0).all()
    assert len(np.unique(cloud.ring[count:])) > 10
    assert (whole.segments["top"].labels[count:] == -1).all()
    assert len(whole.segments["top"]) == len(cloud)
    rows = (cloud.points[count:, 3] - 100).astype(int)
    assert whole.boxes.contains(in_ego(whole)[count:])[rows, np.arange(len(rows))].all()


def test_people_are_gathered_over_a_short_time():
    raw, whole = MovingDataset(), ObjectComplete(MovingDataset(), CompleteObjects(cap=None, deformable_s=0.1))
    seen = [inside(raw[index])[2] for index in range(6)]
    assert inside(whole[0])[2] == seen[0] + seen[1]
    assert inside(whole[3])[2] == seen[2] + seen[3] + seen[4]


def test_names_of_other_data_sets_for_people_are_known():
    settings = CompleteObjects(windows_s={"tram": 2.0})
    named = [settings.window(name) for name in ("MOTORCYCLIST", "human.pedestrian.adult", "bicycle", "Van", "tram")]
    assert named == [0.5, 0.5, 0.5, None, 2.0]


def test_a_drive_is_read_once_more():
    raw = MovingDataset()
    whole = ObjectComplete(raw, EVERYTHING)
    for _ in range(3):
        for index in range(len(raw)):
            whole[index]
    assert raw.reads == 4 * len(raw)


def test_little_memory_costs_readings_and_changes_nothing():
    plain, raw = ObjectComplete(MovingDataset(), EVERYTHING), MovingDataset()
    tight = ObjectComplete(raw, EVERYTHING, kept_mb=1e-6)
    for index in (0, 7, 1):
        assert tight[index].frame.clouds["top"].points.tobytes() == plain[index].frame.clouds["top"].points.tobytes()
    assert raw.reads == 3 + 18


def test_workers_get_the_same():
    whole = ObjectComplete(MovingDataset(), CompleteObjects(cap=1.5))
    wanted = whole[4].frame.clouds["top"].points.tobytes()
    copy = pickle.loads(pickle.dumps(whole))
    assert copy[4].frame.clouds["top"].points.tobytes() == wanted
    assert copy.fingerprint == whole.fingerprint != MovingDataset().fingerprint
    assert len(pickle.dumps(whole)) < 5000


def test_the_fingerprint_tells_settings_apart():
    marks = {ObjectComplete(MovingDataset(), CompleteObjects(seed=seed, cap=cap)).fingerprint
             for seed in (0, 1) for cap in (2.0, None)}  # fmt: skip
    assert len(marks) == 4


def test_labels_for_evaluation_stay_as_they_were():
    whole = ObjectComplete(MovingDataset(), EVERYTHING, recount=False)
    np.testing.assert_array_equal(whole[1].boxes.num_points, MovingDataset()[1].boxes.num_points)


def test_over_sweeps_objects_of_single_frames_are_pasted():
    swept = MultiSweep(MovingDataset(), 2)
    whole = ObjectComplete(swept, EVERYTHING)
    count, cloud = len(swept[3].frame.clouds["top"]), whole[3].frame.clouds["top"]
    single = ObjectComplete(MovingDataset(), EVERYTHING)[3].frame.clouds["top"]
    assert cloud.points[count:].tobytes() == single.points[len(MovingDataset()[3].frame.clouds["top"]) :].tobytes()
    assert (cloud.time_offset_s[count:] == 0).all()
    assert whole.num_sweeps == 2
    assert whole.place(3) == Place("drive0", 1_300_000_000)


def test_without_settings_nothing_is_wrapped():
    raw = MovingDataset()
    assert with_complete_objects(raw, None) is raw
    assert isinstance(with_complete_objects(raw, EVERYTHING), ObjectComplete)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (MadeUpDataset(2), "MadeUpDataset, which does not tell which samples follow each other"),
        (MovingDataset(poses=False), "sample 00: found nothing of where the ego was, wanted a pose"),
        (MovingDataset(tracks=False), "sample 00: objects over time: found boxes without identities"),
    ],
)
def test_what_cannot_be_gathered_is_refused(dataset, message):
    with pytest.raises(InputError, match=message) as caught:
        with_complete_objects(dataset, CompleteObjects())[0]
    assert "\n" not in str(caught.value)


@pytest.mark.data
@pytest.mark.parametrize("folder", ["pandaset/002", "argoverse2"])
def test_real_drives(data_root, folder):
    """Own points stay, what is pasted lies in its box, and boxes hold more."""
    raw = open_dataset(data_root / folder)
    whole = ObjectComplete(raw, CompleteObjects())
    own, complete = raw[1], whole[1]
    name, sensor = own.rig.lidar(None)
    before, after = own.frame.clouds[name], complete.frame.clouds[name]
    assert after.points[: len(before)].tobytes() == before.points.tobytes()
    pasted = sensor.ego_from_sensor.pose().apply(after.points[len(before) :, :3])
    assert len(pasted) > 1000
    assert complete.boxes.contains(pasted).any(axis=0).all()
    added = complete.boxes.num_points - own.boxes.num_points
    assert added.sum() == len(pasted)
    assert (added >= 0).all()
