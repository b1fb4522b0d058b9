from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.sdk.parity_cases import Drive
from understudy.bundle.bundle import Bundle
from understudy.datasets.dataset import Sample
from understudy.errors import FrameError, GeometryError
from understudy.frame import PointCloud
from understudy.parity.ladder import LadderReport, climb
from understudy.parity.replayed import PERIOD_NS, START_NS, Vehicle, replay_samples
from understudy.parity.rungs import rungs_of
from understudy.testing import simple_rig, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("replay") / "bundle")


def climbed(bundle: Bundle, vehicle: Vehicle, dataset: Drive | None = None) -> LadderReport:
    return climb(rungs_of(bundle, None, vehicle=vehicle), dataset or Drive(), num_frames=3)


def sweeps(change: Callable[[PointCloud], PointCloud]) -> Vehicle:
    return Vehicle(sweep=change)


def test_messages_of_a_bag_say_what_frames_say(bundle: Bundle) -> None:
    report = climbed(bundle, Vehicle())
    assert [rung.name for rung in report.rungs] == ["replay"]
    assert report.first_departing is None
    assert report.rungs[0].total.num_pairs == report.num_reference_boxes > 3
    assert report.rungs[0].total.deviations["position_m"].max == 0.0
    assert report.rungs[0].total.deviations["score"].max == 0.0


def test_the_engine_is_fed_the_same_bits(bundle: Bundle) -> None:
    drive = Drive()
    opened = rungs_of(bundle, None, vehicle=Vehicle())[-1].open()
    with opened.engine:
        replayed = replay_samples(opened, [drive[2], drive[4]], None, Vehicle())
    for number, feeds in zip((2, 4), replayed.feeds, strict=True):
        np.testing.assert_array_equal(feeds["points"], drive[number].frame.clouds["lidar"].points)


@pytest.mark.parametrize("offset_ns", [-PERIOD_NS // 2, -7])
def test_results_stamped_otherwise_are_no_results(bundle: Bundle, offset_ns: int) -> None:
    report = climbed(bundle, sweeps(lambda cloud: replace(cloud, stamp_ns=cloud.stamp_ns + offset_ns)))
    departing = report.first_departing
    assert departing is not None
    assert departing.reason.startswith("refused: frame frame-0: found no detections with its stamp, the nearest")
    assert f"{offset_ns / 1e6:+g} ms away" in departing.reason


def test_millimeters_are_refused_by_name(bundle: Bundle) -> None:
    report = climbed(bundle, sweeps(lambda cloud: replace(cloud, points=cloud.points * np.float32(1000))))
    assert report.first_departing is not None
    assert "millimeters" in report.first_departing.reason


def test_what_a_driver_leaves_out_departs(bundle: Bundle) -> None:
    def front_only(cloud: PointCloud) -> PointCloud:
        return replace(cloud, points=np.ascontiguousarray(cloud.points[cloud.points[:, 0] > 0]))

    report = climbed(bundle, sweeps(front_only))
    assert report.first_departing is not None
    assert "missing" in report.first_departing.reason


@dataclass(frozen=True)
class ManyRigs(Drive):
    """As in KITTI, where every frame has a calibration of its own; stamps that never rise."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        rig = simple_rig(intensity_scale=255.0, height_m=1.8 + index / 1000)
        cloud = replace(sample.frame.clouds["lidar"], stamp_ns=0)
        return replace(sample, rig=rig, frame=replace(sample.frame, stamp_ns=0, clouds={"lidar": cloud}))


def test_every_rig_gets_a_bag_of_its_own(bundle: Bundle) -> None:
    report = climbed(bundle, Vehicle(), ManyRigs())
    assert report.first_departing is None
    assert report.num_reference_boxes > 3


def test_clouds_of_several_sweeps_are_skipped_with_the_reason(tmp_path: Path) -> None:
    several = tiny_bundle(tmp_path / "bundle", precisions=("fp32", "uint8"), sweeps=3)
    rungs = rungs_of(several, None, vehicle=Vehicle())
    assert rungs[-1].name == "replay"
    assert rungs[-1].skipped.startswith("clouds of 3 sweeps are no messages")


def test_a_bad_sweep_names_its_frame(bundle: Bundle) -> None:
    def one_empty(cloud: PointCloud) -> PointCloud:
        blind = cloud.stamp_ns == START_NS + PERIOD_NS
        return replace(cloud, points=np.full((5, 4), np.nan, np.float32)) if blind else cloud

    opened = rungs_of(bundle, None, vehicle=Vehicle())[-1].open()
    with opened.engine, pytest.raises((FrameError, GeometryError), match="frame frame-1: found cloud of lidar"):
        replay_samples(opened, [Drive()[0], Drive()[1]], None, sweeps(one_empty))
