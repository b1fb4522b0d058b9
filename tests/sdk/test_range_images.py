from __future__ import annotations

import pickle

import numpy as np
import pytest

from understudy.datasets.opening import open_dataset
from understudy.datasets.range_images import EGO_FROM_LIDAR, LIDAR, SEGMENT_NAMES, RangeImagesDataset, read_cells
from understudy.errors import InputError
from understudy.range_view import RangeGrid, range_image_from_cloud

STAMP_NS = 1_603_960_637_314_959_526


def cells():
    """2 x 3 cells: padding, a car, nothing; nothing, road, nothing."""
    values = np.zeros((2, 3, 6))
    values[..., 5] = 10
    values[0, 0] = 10
    values[0, 1] = [3, 0, 4, 100, 5, 7]
    values[1, 1] = [4, 3, 0, 20, 5, 0]
    return values


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / f"{STAMP_NS}.npy", cells())
    return tmp_path


def test_returns_become_points_with_row_and_class(folder):
    sample = RangeImagesDataset(folder)[0]
    cloud, segments = sample.frame.clouds[LIDAR], sample.segments[LIDAR]
    np.testing.assert_array_equal(cloud.points, np.float32([[3, 0, 4, 100], [4, 3, 0, 20]]))
    assert cloud.ring.tolist() == [0, 1]
    assert [SEGMENT_NAMES[label] for label in segments.labels] == ["car", "road"]
    assert len(segments.class_names) == 11
    assert cloud.stamp_ns == STAMP_NS


@pytest.mark.data
def test_real_files_are_a_sector_on_the_road(data_root):
    dataset = open_dataset(data_root / "rangeview" / "ika_vlp32")
    assert len(dataset) == 4
    stamps_ns = [dataset.place(index).stamp_ns for index in range(4)]
    assert stamps_ns == sorted(stamps_ns)
    for sample in dataset:
        cloud, segments = sample.frame.clouds[LIDAR], sample.segments[LIDAR]
        assert 2900 < len(cloud) < 3050
        assert (np.linalg.norm(cloud.points[:, :3], axis=1) > 1).all(), "no padding among the points"
        points = EGO_FROM_LIDAR.apply(cloud.points[:, :3])
        near = (segments.labels == SEGMENT_NAMES.index("road")) & (np.hypot(points[:, 0], points[:, 1]) < 20)
        plane = np.column_stack([points[near, :2], np.ones(near.sum())])
        assert np.linalg.lstsq(plane, points[near, 2], rcond=None)[0][2] == pytest.approx(0.0, abs=0.03)


@pytest.mark.data
def test_real_rows_are_rings_that_go_down(data_root):
    dataset = RangeImagesDataset(data_root / "rangeview" / "ika_vlp32")
    cloud = dataset[0].frame.clouds[LIDAR]
    grid = RangeGrid(num_columns=240, left_rad=np.radians(24.6), span_rad=np.radians(49.2), rings=tuple(range(32)))
    image = range_image_from_cloud(cloud, grid)
    file = read_cells(next(iter((data_root / "rangeview" / "ika_vlp32").glob(f"{cloud.stamp_ns}.npy"))))
    assert image.filled.sum() > 0.9 * len(cloud), "few returns share a cell of the grid that the file was made with"
    assert abs(image.filled.sum(axis=1) - (file[..., 4] > 0).sum(axis=1)).mean() < 25
    elevations = np.arctan2(cloud.points[:, 2], np.hypot(cloud.points[:, 0], cloud.points[:, 1]))
    medians = [np.median(elevations[cloud.ring == ring]) for ring in np.unique(cloud.ring)]
    assert (np.diff(medians) < 0).all()


def changed(where, value):
    made = cells()
    made[where] = value
    return made


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (changed((0, 1, 0), np.nan), r"npy: found point 1 is nan .* 1 of 6 points"),
        (changed((0, 1, 5), 11), r"npy: found class 11, wanted whole numbers 0 to 10"),
        (changed((0, 1, 5), 1.5), r"npy: found class 1\.5"),
        (changed((0, 1, 4), 6), r"npy: found a depth 1 m off"),
        (changed((slice(None), slice(None), 4), 0), r"npy: found no returns"),
        (cells()[..., :5], r"npy: found float64 \(2, 3, 5\), wanted float64 \(height, width, 6\)"),
        (cells().astype(np.int32), r"npy: found int32"),
    ],
)
def test_wrong_files_are_refused_by_name(folder, made, message):
    np.save(folder / f"{STAMP_NS}.npy", made)
    with pytest.raises(InputError, match=rf"{STAMP_NS}\.{message}"):
        RangeImagesDataset(folder)[0]


def test_wrong_folders_are_refused(folder, tmp_path_factory):
    with pytest.raises(InputError, match="found no range images"):
        RangeImagesDataset(tmp_path_factory.mktemp("empty"))
    (folder / f"{STAMP_NS}.npy").write_bytes(b"\x93NUMPY cut")
    with pytest.raises(InputError, match="wanted an npy file"):
        RangeImagesDataset(folder)[0]
    np.save(folder / f"{STAMP_NS}.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="without pickled objects"):
        RangeImagesDataset(folder)[0]
    (folder / f"{STAMP_NS}.npy").rename(folder / "first.npy")
    with pytest.raises(InputError, match=r"found first\.npy, wanted <stamp"):
        RangeImagesDataset(folder)


def test_datasets_travel_and_fingerprints_follow_contents(folder):
    before = pickle.loads(pickle.dumps(RangeImagesDataset(folder))).fingerprint
    np.save(folder / f"{STAMP_NS}.npy", changed((0, 1, 3), 101))
    assert RangeImagesDataset(folder).fingerprint != before
