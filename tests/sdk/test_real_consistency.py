"""Points, boxes, pictures and poses of the real recordings agree as the recordings' README says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.real_consistency import (
    argoverse2_counts,
    car_share,
    kitti_rows,
    nuscenes_counts,
    nuscenes_in_pictures,
    open_argoverse2,
    pandaset_counts,
    report,
    sweep_pair,
)
from understudy.datasets import argoverse2, kitti, pandaset, semantickitti

pytestmark = pytest.mark.data

KITTI = {
    "000000": (115_384, 20_285, (376,), 0.89),
    "000001": (120_268, 18_630, (70, 9, 18), 0.96),
    "000002": (126_891, 20_210, (1351, 67), 0.97),
    "000005": (125_086, 19_962, (70,), 0.81),
    "000007": (122_798, 19_423, (191, 19, 5, 25), 0.97),
    "000008": (122_555, 17_238, (6237, 1940, 1041, 668, 53, 164), 0.98),
    "000134": (19_097, 19_097, (523, 160, 80, 91, 36, 31, 43, 48, 46, 154, 54, 91, 64, 11, 3), 0.84),
}


def test_kitti_frames_have_the_points_boxes_and_overlaps_of_the_table(data_root):
    rows = {row.key: row for row in kitti_rows(data_root)}
    assert {
        key: (row.num_points, row.in_image, row.in_boxes, round(row.mean_iou, 2)) for key, row in rows.items()
    } == KITTI
    for row in rows.values():
        # The reader's boxes stand upright on the road, the camera is tilted by half a degree: some points change sides.
        np.testing.assert_allclose(row.upright, row.in_boxes, rtol=0.1, atol=4)


def test_semantickitti_has_a_label_per_point_a_road_and_poses_that_fit(data_root):
    dataset = semantickitti.SemanticKittiDataset(data_root / "semantickitti")
    points = dataset[0].frame.clouds[kitti.LIDAR].points
    numbers = dataset.label_numbers(0, len(points)) & 0xFFFF
    assert len(points) == len(numbers) == 124_668
    assert np.median(points[numbers == 40, 2]) == pytest.approx(-1.82, abs=0.005)
    pair = sweep_pair(dataset[0], dataset[1], kitti.LIDAR)
    assert pair.as_seen_m == pytest.approx(0.168, abs=0.01)
    assert pair.moved_m == pytest.approx(0.074, abs=0.006)


def test_argoverse2_counts_equal_the_stored_ones_in_every_box(data_root):
    dataset = open_argoverse2(data_root)
    for index, total in ((0, 9_399), (1, 9_289)):
        counts = argoverse2_counts(dataset[index])
        np.testing.assert_array_equal(counts, dataset[index].boxes.num_points)
        assert (len(counts), counts.sum(), (counts > 0).sum()) == (81, total, 71)
    pair = sweep_pair(dataset[0], dataset[1], argoverse2.LIDAR)
    assert pair.as_seen_m == pytest.approx(0.064, abs=0.004)
    assert pair.moved_m == pytest.approx(0.032, abs=0.003)


def test_pandaset_cuboids_hold_points_and_cars_hold_car_points(data_root):
    dataset = pandaset.PandasetSequence(data_root / "pandaset" / "002")
    samples = list(dataset)
    tables = [pandaset_counts(data_root, int(sample.key)) for sample in samples]
    assert sorted(num_points for num_points, _ in tables) == [166_535, 166_725, 168_166, 168_296]
    filled = sorted((int((counts > 0).sum()), len(counts)) for _, counts in tables)
    assert filled == [(98, 119), (100, 119), (101, 119), (101, 119)]
    assert [round(int(counts.sum()), -3) for _, counts in tables] == pytest.approx([42_000] * 4, abs=2_000)
    assert all(0.97 < car_share(sample) < 0.99 for sample in samples)
    pair = sweep_pair(samples[0], samples[1], pandaset.LIDAR)
    assert pair.moved_m < 0.04 < pair.as_seen_m


def test_nuscenes_boxes_and_pictures_hold_the_points_of_the_table(data_root):
    counts, stored = nuscenes_counts(data_root)
    assert ((counts > 0).sum(), len(counts), counts.sum(), stored.sum()) == (66, 69, 994, 1009)
    assert np.median(counts - stored) == 0
    found = nuscenes_in_pictures(data_root)
    assert {name: then for name, (then, _) in found.items()} == {
        "CAM_FRONT": 3067,
        "CAM_FRONT_RIGHT": 3079,
        "CAM_FRONT_LEFT": 3704,
        "CAM_BACK": 4826,
        "CAM_BACK_LEFT": 4097,
        "CAM_BACK_RIGHT": 3379,
    }
    for then, by_rig in found.values():
        assert by_rig == pytest.approx(then, rel=0.07), "the vehicle moved between sweep and picture"


@pytest.mark.slow
def test_the_report_has_every_table(data_root):
    text = "\n".join(report(data_root))
    for name in ("KITTI object", "SemanticKITTI", "Argoverse 2", "PandaSet", "nuScenes"):
        assert name in text
