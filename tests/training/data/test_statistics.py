from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from understudy.boxes import Boxes
from understudy.cli import build_app
from understudy.datasets.dataset import Place
from understudy.datasets.opening import open_dataset
from understudy.errors import InputError
from understudy.pose import Pose
from understudy_training.data import statistics_figures
from understudy_training.data.measures import CloudMeasures, FrameMeasures
from understudy_training.data.motion import box_speeds, ego_speeds
from understudy_training.data.statistics import measure_dataset, statistics_of
from understudy_training.data.statistics_table import describe
from understudy_training.data.weather import cloud_proxies, picture_proxies


def frame(stamp_s: float, ego_x_m: float, box_x_m: float, velocities=None) -> FrameMeasures:
    boxes = Boxes(
        np.float32([[box_x_m, 0, 1, 4, 2, 2, 0]]),
        np.int32([0]),
        ("car",),
        track_ids=np.int64([5]),
        velocities_mps=velocities,
    )
    pose = Pose(np.eye(3), np.array([ego_x_m, 0.0, 0.0]))
    return FrameMeasures(f"{stamp_s}", round(stamp_s * 1e9), boxes, {}, world_from_ego=pose)


def test_speed_over_ground_comes_from_tracks_and_ego_motion():
    frames = [frame(0.0, 0.0, 20.0), frame(0.5, 5.0, 16.0)]
    before, after = box_speeds(frames, ["a", "a"])
    assert np.isnan(before).all()
    assert after == pytest.approx([2.0])
    assert ego_speeds(frames, ["a", "a"]) == pytest.approx([10.0])


def test_labeled_velocities_come_first_and_strangers_say_nothing():
    labeled = [frame(0.0, 0.0, 20.0, np.float32([[3, 4]]))]
    assert box_speeds(labeled, None)[0] == pytest.approx([5.0])
    apart = [frame(0.0, 0.0, 20.0), frame(0.5, 5.0, 16.0)]
    assert np.isnan(box_speeds(apart, ["a", "b"])[1]).all()
    assert ego_speeds(apart, ["a", "b"]) == []
    assert np.isnan(box_speeds([frame(0.0, 0.0, 20.0), frame(9.0, 5.0, 16.0)], ["a", "a"])[1]).all()


def test_scattered_returns_are_told_from_a_wall():
    generator = np.random.default_rng(0)
    wall = np.column_stack([np.full(2000, 6.0), generator.uniform(-2, 2, 2000), generator.uniform(0.6, 2, 2000)])
    snow = generator.uniform([-8, -8, 0.6], [8, 8, 4], (200, 3))
    for points, least, most in ((wall, 0.0, 0.0), (np.vstack([wall, snow]), 0.02, 0.09)):
        proxies = cloud_proxies(points, np.linalg.norm(points, axis=1), np.full(len(points), 0.5))
        assert least <= proxies.scattered_share <= most
    assert cloud_proxies(np.zeros((0, 3)), np.zeros(0), np.zeros(0)).reach_m == 0.0


def test_haze_lowers_contrast_and_lifts_the_dark_channel():
    clear = np.random.default_rng(0).integers(0, 256, (96, 160, 3)).astype(np.uint8)
    hazy = (0.4 * clear + 0.6 * 220).astype(np.uint8)
    before, after = picture_proxies(clear), picture_proxies(hazy)
    assert after.haze > before.haze + 0.3
    assert after.contrast < before.contrast / 2
    assert after.sharpness < before.sharpness / 2
    assert picture_proxies(np.full((4, 4, 3), 255, np.uint8)).brightness == pytest.approx(1.0)


@pytest.mark.data
def test_numbers_of_real_recordings(data_root):
    kitti = open_dataset(data_root / "kitti" / "object")
    statistics = statistics_of(kitti, measure_dataset(kitti), "kitti")
    counts = {name: of_class.num_boxes for name, of_class in statistics.classes.items()}
    assert counts == {"car": 14, "truck": 1, "pedestrian": 9, "cyclist": 7}  # 32 with the one Misc
    assert statistics.lidars["velodyne"].points.p50 == 122555
    assert sum(of_class.num_empty for of_class in statistics.classes.values()) == 0

    pandaset = open_dataset(data_root / "pandaset" / "002")
    statistics = statistics_of(pandaset, measure_dataset(pandaset, images=False), "002")
    assert statistics.ego_speed_mps.p50 == pytest.approx(3.4, abs=0.05)
    assert statistics.cameras == {}
    assert statistics.classes["car"].num_tracks == 70
    assert all(len(line) <= 100 for line in describe(statistics))


class Drives:
    """A data set of one frame in each of three drives, whose tracks all count from 5."""

    class_names = ("car",)
    fingerprint = "f"

    def __len__(self):
        return 3

    def __getitem__(self, index):
        raise NotImplementedError

    def place(self, index):
        return Place(f"drive {index % 2}", index)


def test_tracks_are_counted_within_their_drives():
    frames = [frame(0.0, 0.0, 20.0), frame(0.0, 5.0, 16.0), frame(0.5, 5.0, 16.0)]
    assert statistics_of(Drives(), frames, "three").classes["car"].num_tracks == 2
    assert statistics_of(Drives(), frames[:1], "three").classes["car"].num_tracks == 1


def test_plots_show_every_box_and_a_single_frame():
    far = frame(0.0, 0.0, 180.0)
    cloud = CloudMeasures(10, 0, np.arange(5), None, cloud_proxies(np.ones((10, 3)), np.ones(10), np.ones(10)))
    frames = [replace(far, clouds={"lidar": cloud})]
    statistics = statistics_of(Drives(), frames, "one")
    near = statistics_figures._ranges(statistics, frames).axes[0]
    assert sum(patch.get_xy()[:, 1].max() for patch in near.patches) == 1
    weather = statistics_figures._lidars(statistics, frames).axes[1]
    assert all(line.get_marker() == "o" for line in weather.lines)
    assert all(tick == round(tick) for tick in weather.get_xticks())


@pytest.mark.data
def test_the_command_writes_record_and_plots(data_root, tmp_path, capsys):
    out = tmp_path / "stats"
    command = ["dataset", "stats", str(data_root / "nuscenes"), "--classes", "official", "--out", str(out)]
    assert not build_app()(args=command, standalone_mode=False)
    assert json.loads((out / "statistics.json").read_text())["classes"]["pedestrian"]["num_boxes"] == 30
    assert {path.name for path in out.glob("*.png")} == {"labels.png", "ranges.png", "lidar.png", "cameras.png"}
    assert "pedestrian" in capsys.readouterr().out


@pytest.mark.data
def test_no_frames_are_refused(data_root):
    with pytest.raises(InputError, match="frames to count: found 0, wanted at least 1"):
        measure_dataset(open_dataset(data_root / "nuscenes"), 0)
