from __future__ import annotations

from pathlib import Path

import pytest

from understudy.datasets.kitti import KittiDataset
from understudy.datasets.kitti_raw import KittiRawDataset
from understudy.datasets.nuscenes_keyframe import NuscenesKeyframes
from understudy.datasets.opening import open_dataset
from understudy.datasets.pandaset import PandasetSequence
from understudy.errors import InputError


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "kind", "length"),
    [
        ("kitti/object", KittiDataset, 7),
        ("kitti/object/training", KittiDataset, 7),
        ("kitti/raw/2011_09_26", KittiRawDataset, 2),
        ("kitti/raw/2011_09_26/2011_09_26_drive_unknown_sync", KittiRawDataset, 2),
        ("pandaset/002", PandasetSequence, 4),
        ("nuscenes", NuscenesKeyframes, 1),
    ],
)
def test_real_folders_are_recognized(data_root, folder, kind, length):
    dataset = open_dataset(data_root / folder)
    assert isinstance(dataset, kind)
    assert len(dataset) == length
    assert len(dataset.fingerprint) == 64
    assert dataset.class_names == ("car", "truck", "pedestrian", "cyclist")


@pytest.mark.data
@pytest.mark.parametrize("folder", ["kitti/raw/2011_09_26/2011_09_26_drive_unknown_sync", "rangeview/ika_vlp32"])
def test_the_folder_one_stands_in_has_its_name_and_parent(data_root, folder, monkeypatch):
    whole = open_dataset(data_root.resolve() / folder)
    monkeypatch.chdir(data_root / folder)
    here = open_dataset(Path())
    assert here.place(0) == whole.place(0)
    assert here.place(0).drive == Path(folder).name
    assert here.fingerprint == whole.fingerprint


@pytest.mark.data
def test_every_real_sample_is_whole(data_root):
    for folder in ("kitti/object", "kitti/raw/2011_09_26", "pandaset/002", "nuscenes"):
        dataset = open_dataset(data_root / folder)
        keys = set()
        for index in range(len(dataset)):
            sample = dataset[index]
            keys.add(sample.key)
            lidar, _ = sample.rig.lidar()
            cloud = sample.frame.clouds[lidar]
            assert cloud.stamp_ns == sample.frame.stamp_ns
            assert cloud.points.flags.c_contiguous
            assert set(sample.frame.images) == set(sample.rig.cameras)
            for segments in sample.segments.values():
                assert len(segments) == len(cloud)
            if sample.boxes is not None:
                assert sample.boxes.num_points is not None
        assert len(keys) == len(dataset)


@pytest.mark.data
def test_folders_without_splits_say_so(data_root):
    with pytest.raises(InputError, match="PandaSet sequence, which has no splits"):
        open_dataset(data_root / "pandaset" / "002", "val")


def test_unknown_folders_are_refused_with_what_is_recognized(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        open_dataset(tmp_path / "gone")
    with pytest.raises(InputError, match=r"scenes \(dataset\.yaml\); or KITTI object .*nuScenes key frames"):
        open_dataset(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="found a file"):
        open_dataset(tmp_path / "file")


def test_several_drives_of_a_day_must_be_named(tmp_path):
    for drive in ("drive_1", "drive_2"):
        (tmp_path / drive / "velodyne_points" / "data").mkdir(parents=True)
    with pytest.raises(InputError, match="found 2 drives: drive_1, drive_2"):
        open_dataset(tmp_path)
