from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from understudy.converters.segment_maps import SEMANTICKITTI
from understudy.datasets.kitti import EGO_FROM_LIDAR, LIDAR
from understudy.datasets.opening import open_dataset
from understudy.datasets.semantickitti import SPLITS, SemanticKittiDataset
from understudy.errors import InputError, UnderstudyError
from understudy.images import encode_png

CALIBRATION = """P0: 700 0 600 0 0 700 180 0 0 0 1 0
P2: 700 0 600 44 0 700 180 0.2 0 0 1 0.003
Tr: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27
"""
POINTS = np.float32([[5, 1, -1.7, 0.3], [6, -2, -1.6, 0.1], [9, 0, 0.5, 0.9]])
LABELS = np.uint32([40, (7 << 16) | 252, 0])


def write_sequence(folder, num_sweeps=2, *, labels=True, picture=False):
    """A sequence that drives 2 m ahead per sweep; the camera's pose says so in the camera's axes."""
    (folder / "velodyne").mkdir(parents=True)
    for number in range(num_sweeps):
        POINTS.tofile(folder / "velodyne" / f"{number:06d}.bin")
    (folder / "calib.txt").write_text(CALIBRATION)
    (folder / "times.txt").write_text("".join(f"{number * 0.1037:e}\n" for number in range(num_sweeps)))
    (folder / "poses.txt").write_text("".join(f"1 0 0 0 0 1 0 0 0 0 1 {2 * number}\n" for number in range(num_sweeps)))
    if labels:
        (folder / "labels").mkdir()
        LABELS.tofile(folder / "labels" / "000000.label")
    if picture:
        (folder / "image_2").mkdir()
        for number in range(num_sweeps):
            (folder / "image_2" / f"{number:06d}.png").write_bytes(encode_png(np.zeros((370, 1226, 3), np.uint8)))
    return folder


@pytest.fixture
def sequence(tmp_path):
    return write_sequence(tmp_path / "dataset" / "sequences" / "08", picture=True)


def test_a_sweep_has_stamp_pose_classes_and_picture(sequence):
    dataset = SemanticKittiDataset(sequence)
    first, second = dataset[0], dataset[1]
    assert (first.key, second.key) == ("08/000000", "08/000001")
    assert second.frame.stamp_ns == 103_700_000
    assert dataset.place(1).drive == "08"
    assert dataset.place(1).stamp_ns == second.frame.stamp_ns
    np.testing.assert_array_equal(first.frame.clouds[LIDAR].points, POINTS)
    np.testing.assert_allclose(first.frame.world_from_ego.matrix, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(second.frame.world_from_ego.translation_m, [2, 0, 0], atol=1e-12)
    names = first.segments[LIDAR].class_names
    assert len(names) == 19
    assert first.segments[LIDAR].labels.tolist() == [names.index("road"), names.index("car"), -1]
    assert dataset.instances(0, 3).tolist() == [0, 7, 0]
    assert second.segments == {}, "its label file is absent"
    assert first.boxes is None
    assert first.frame.images["camera_2"].pixels.shape == (370, 1226, 3)
    assert first.rig.cameras["camera_2"].fx_px == 700


def test_poses_turn_with_the_lidar_not_with_the_camera(sequence):
    """A vehicle that turns left by 90 degrees: in the camera's axes that is a turn about its y, which points down."""
    (sequence / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n0 0 -1 0 0 1 0 0 1 0 0 0\n")
    turned = SemanticKittiDataset(sequence)[1].frame.world_from_ego
    assert turned.yaw_rad == pytest.approx(np.pi / 2)
    camera = EGO_FROM_LIDAR.apply(np.array([0.27, 0.0, -0.08]))
    np.testing.assert_allclose(turned.apply(camera), camera, atol=1e-9, err_msg="the camera stays where it was")


def test_poses_of_the_official_layout_are_found_from_wherever_it_is_opened(sequence, monkeypatch):
    """KITTI odometry ships `dataset/poses/NN.txt`, outside of the sequence's own folder."""
    dataset = sequence.parent.parent
    (dataset / "poses").mkdir()
    (sequence / "poses.txt").rename(dataset / "poses" / "08.txt")
    monkeypatch.chdir(sequence.parent)
    fingerprints = set()
    for place in (dataset.parent, dataset, sequence.parent, sequence, Path("08"), Path("../sequences")):
        opened = open_dataset(place)
        np.testing.assert_allclose(opened[1].frame.world_from_ego.translation_m, [2, 0, 0], atol=1e-12)
        fingerprints.add(opened.fingerprint)
    (dataset / "poses" / "08.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 0 0 1 0 0 0 0 1 3\n")
    assert len(fingerprints) == 1, "the same data, whatever the folder above is called"
    assert open_dataset(sequence).fingerprint not in fingerprints


def test_splits_are_the_official_sequences(tmp_path):
    for name in ("00", "08", "13"):
        write_sequence(tmp_path / "sequences" / name, 1)
    for split, drive in (("train", "00"), ("val", "08"), ("test", "13")):
        dataset = open_dataset(tmp_path, split)
        assert [dataset.place(index).drive for index in range(len(dataset))] == [drive]
    assert len(open_dataset(tmp_path)) == 3
    assert sorted(number for numbers in SPLITS.values() for number in numbers) == list(range(22))
    with pytest.raises(InputError, match=r"split valid: found no such split, wanted train or val or test or all"):
        open_dataset(tmp_path, "valid")
    shutil.rmtree(tmp_path / "sequences" / "08")
    with pytest.raises(InputError, match="split val: found sequences 00, 13, wanted one of 08"):
        open_dataset(tmp_path, "val")


def test_odometry_opens_without_labels_and_takes_poses_from_beside_the_sequences(tmp_path):
    folder = write_sequence(tmp_path / "sequences" / "04", labels=False)
    (tmp_path / "poses").mkdir()
    (folder / "poses.txt").rename(tmp_path / "poses" / "04.txt")
    samples = list(open_dataset(tmp_path, "train"))
    assert [sample.segments for sample in samples] == [{}, {}]
    np.testing.assert_allclose(samples[1].frame.world_from_ego.translation_m, [2, 0, 0], atol=1e-12)
    assert samples[0].rig.cameras == {}
    (tmp_path / "poses" / "04.txt").unlink()
    assert open_dataset(tmp_path)[1].frame.world_from_ego is None


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("labels/000000.label", LABELS[:2].tobytes(), r"000000\.label: found 2 labels, wanted 3, one per point"),
        ("labels/000000.label", np.uint32([40, 2, 0]).tobytes(), r"000000\.label: found class number 2"),
        ("labels/000000.label", np.uint32([40, 9999, 0]).tobytes(), r"000000\.label: found class number 9999"),
        ("labels/000005.label", LABELS.tobytes(), r"000005\.label: found a label without a sweep"),
        ("velodyne/000000.bin", POINTS.tobytes()[:-3], r"000000\.bin: found 45 bytes"),
        (
            "velodyne/000000.bin",
            np.float32([[np.nan, 0, 0, 0]]).tobytes(),
            r"000000\.bin: found point 0 is nan .*1 of 1",
        ),
        ("velodyne/sweep.bin", POINTS.tobytes(), r"velodyne: found sweep\.bin, wanted files named by number"),
        ("times.txt", None, r"times\.txt: found no such file"),
        ("times.txt", b"0.0\n", r"times\.txt: found 1 lines, wanted at least 2, for sweep 000001\.bin"),
        ("times.txt", b"0.1\n0.1\n", r"times\.txt line 2: found 0\.1, not after line 1, wanted ascending"),
        ("times.txt", b"0.1\nsoon\n", r"times\.txt line 2: found 'soon', wanted seconds"),
        ("times.txt", b"0.1\nnan\n", r"times\.txt line 2: found 'nan', wanted seconds"),
        ("poses.txt", b"1 0 0 0 0 1 0 0 0 0 1 0\n", r"poses\.txt: found 1 lines, wanted at least 2"),
        ("poses.txt", b"1 0 0 0 0 1 0 0 0 0 1\n" * 2, r"poses\.txt line 1: found 11 numbers, wanted 12"),
        ("poses.txt", b"2 0 0 0 0 1 0 0 0 0 1 0\n" * 2, r"poses\.txt line 1: pose rotation: found"),
        ("calib.txt", None, r"calib\.txt: found no such file"),
        ("calib.txt", CALIBRATION.replace("P2:", "P9:").encode(), r"calib\.txt: found no P of camera 2"),
        ("calib.txt", CALIBRATION.replace("Tr:", "Tx:").encode(), r"calib\.txt: Tr: found P0, P2, Tx"),
        ("calib.txt", CALIBRATION.replace("P2: 700 0", "P2: 700 3").encode(), r"P2: found 700 3 .*a rectified camera"),
        ("calib.txt", CALIBRATION.replace("P2: 700 0 600", "P2: 700 0 160").encode(), r"calib\.txt: P2: found center"),
        ("calib.txt", CALIBRATION.replace("1 0 0 -0.27", "-1 0 0 -0.27").encode(), r"calib\.txt: pose rotation"),
        (
            "calib.txt",
            CALIBRATION.replace("0 -1 0 0 0", "0 1 0 0 0").replace("1 0 0 -", "-1 0 0 -").encode(),
            "looks 180",
        ),
        ("image_2/000000.png", None, r"image_2/000000\.png"),
        ("image_2/000001.png", None, r"image_2/000001\.png: found no such file"),
    ],
)
def test_damaged_sequences_are_refused_by_file(sequence, file, content, message):
    path = sequence / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UnderstudyError, match=message) as caught:
        list(SemanticKittiDataset(sequence))
    assert str(sequence) in str(caught.value)


def test_no_sequence_is_refused(tmp_path):
    with pytest.raises(InputError, match="found no sequences, wanted sequences/NN/velodyne"):
        SemanticKittiDataset(tmp_path)
    (tmp_path / "00" / "velodyne").mkdir(parents=True)
    with pytest.raises(InputError, match="velodyne: found no sweeps"):
        open_dataset(tmp_path)


def test_fingerprint_follows_labels_and_poses(sequence):
    before = SemanticKittiDataset(sequence).fingerprint
    assert pickle.loads(pickle.dumps(SemanticKittiDataset(sequence))).fingerprint == before
    (sequence / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n" * 2)
    moved = SemanticKittiDataset(sequence).fingerprint
    (sequence / "labels" / "000000.label").unlink()
    assert len({before, moved, SemanticKittiDataset(sequence).fingerprint}) == 3


@pytest.mark.data
def test_every_number_of_the_real_labels_has_a_class(data_root):
    dataset = SemanticKittiDataset(data_root / "semantickitti", "train")
    sample = dataset[0]
    numbers = dataset.label_numbers(0, len(sample.frame.clouds[LIDAR])) & 0xFFFF
    wanted = np.array([SEMANTICKITTI.table[number] for number in numbers])
    np.testing.assert_array_equal(sample.segments[LIDAR].labels, wanted)
    assert dataset[1].segments == {}, "only the first of the two sweeps is labeled"
    assert [dataset.place(index).stamp_ns for index in (0, 1)] == [0, 103_735_900]
