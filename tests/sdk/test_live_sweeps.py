"""Several sweeps in a cloud, by the vehicle's motion: the right ones, in the right place, or none."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.sdk.live_cases import MS, PERIOD, SECOND, T0, Bench, cloud, jpeg, odometry
from understudy.datasets.dataset import Sweep
from understudy.datasets.sweeps import accumulate
from understudy.live.options import StreamOptions
from understudy.live.tally import judge
from understudy.messages.clouds import cloud_from_message
from understudy.pose import Pose
from understudy.synchronization.matcher import SyncPolicy
from understudy.testing import simple_rig

NUM_POINTS = 60
THREE = StreamOptions("lidar", num_sweeps=3)


def drive(bench: Bench, num_sweeps: int, *, odometry_ms: float | None = 0.0, from_m: float = 0.0) -> None:
    """Sweeps at 10 Hz; the odometry of each stamp comes so many milliseconds after it, or not at all."""
    for _ in range(num_sweeps):
        now_ns = bench.clock.stamps_ns
        bench.stream.push("lidar", cloud(now_ns))
        bench.step()
        if odometry_ms is not None:
            bench.clock.pass_ns(int(odometry_ms * MS))
            bench.stream.push_motion(odometry(now_ns, from_m + 10.0 * (now_ns - T0) / SECOND))
            bench.step()
        bench.clock.pass_ns(PERIOD - (bench.clock.stamps_ns - now_ns))
        bench.step()


def nums(bench: Bench) -> list[int]:
    """Sweeps in each published cloud."""
    return [len(frame.clouds["lidar"]) // NUM_POINTS for frame in bench.published]


def test_each_cloud_holds_the_sweeps_before_it_where_they_belong() -> None:
    bench = Bench(THREE)
    drive(bench, 5)
    assert nums(bench) == [1, 2, 3, 3, 3]
    frame = bench.published[-1]
    ego_from_lidar = simple_rig().lidars["lidar"].ego_from_sensor.pose()

    def placed(number: int) -> Sweep:
        pose = Pose.from_yaw(0.0, (float(number), 0.0, 0.0)) @ ego_from_lidar
        return Sweep(cloud_from_message(cloud(T0 + number * PERIOD)), pose)

    now = placed(4)
    wanted = accumulate(now.cloud, now.world_from_sensor, (placed(3), placed(2)))
    np.testing.assert_allclose(frame.clouds["lidar"].points, wanted.points, atol=1e-5)
    offsets_s = frame.clouds["lidar"].time_offset_s
    assert offsets_s is not None
    np.testing.assert_allclose(offsets_s[::NUM_POINTS], [0.0, -0.1, -0.2], atol=1e-6)
    assert frame.world_from_ego is not None
    np.testing.assert_allclose(frame.world_from_ego.translation_m, [4.0, 0.0, 0.0])


def test_a_sweep_waits_for_odometry_that_comes_later() -> None:
    bench = Bench(THREE)
    drive(bench, 5, odometry_ms=60)
    assert nums(bench) == [1, 2, 3, 3, 3]
    assert [times for times in bench.stream.status().stages_ms["age"]] == [60.0, 60.0]


def test_without_motion_every_sweep_is_rejected_and_the_fault_has_a_name() -> None:
    bench = Bench(THREE)
    before = bench.stream.status()
    drive(bench, 15, odometry_ms=None)
    status = bench.stream.status()
    assert bench.published == []
    assert status.of("lidar").outcomes["rejected"] == 15
    assert status.adds_up
    verdict = judge(before, status, SECOND)
    assert (verdict.level, verdict.at_fault) == ("error", ("lidar", "ego motion"))
    assert "ego motion for the sweep of lidar: found no odometry" in verdict.message
    assert "ego motion: no message for 1.5 s" in verdict.message


def test_when_motion_comes_back_the_sweeps_before_the_gap_are_forgotten() -> None:
    bench = Bench(THREE)
    drive(bench, 4)
    drive(bench, 12, odometry_ms=None)
    bench.published.clear()
    drive(bench, 4)
    assert nums(bench) == [1, 2, 3, 3]


def test_after_a_leap_of_the_ego_nothing_is_mixed() -> None:
    bench = Bench(THREE)
    drive(bench, 4)
    drive(bench, 4, from_m=500.0)
    assert nums(bench) == [1, 2, 3, 3, 1, 2, 3, 3]


def test_a_clock_that_goes_back_begins_anew_and_drops_what_waits_for_motion() -> None:
    bench = Bench(THREE)
    drive(bench, 4)
    bench.stream.push("lidar", cloud(bench.clock.stamps_ns))
    assert bench.stream.status().of("lidar").waiting == 1
    bench.clock.stamps_ns -= 3600 * SECOND
    bench.step()
    status = bench.stream.status()
    assert (status.of("lidar").waiting, status.of("lidar").outcomes["unmatched"], status.adds_up) == (0, 1, True)
    bench.published.clear()
    drive(bench, 8)
    assert nums(bench)[-1] == 3
    assert max(frame.stamp_ns for frame in bench.published) < T0


def test_sets_that_wait_for_motion_are_bounded_and_keep_their_pictures() -> None:
    policy = SyncPolicy(queue_size=4, max_wait_ns=100 * SECOND)
    bench = Bench(StreamOptions("lidar", ("front",), policy, num_sweeps=2))
    for number in range(20):
        stamp_ns = T0 + number * PERIOD
        bench.stream.push("front", jpeg(stamp_ns))
        bench.stream.push("lidar", cloud(stamp_ns))
        bench.step()
    status = bench.stream.status()
    for name in ("lidar", "front"):
        assert status.of(name).waiting == 4
    assert status.of("lidar").outcomes["rejected"] == 16
    assert bench.stream.stop()
    assert bench.stream.status().of("front").waiting == 0


def test_one_sweep_needs_no_motion_but_tells_it() -> None:
    bench = Bench(StreamOptions("lidar"))
    drive(bench, 2, odometry_ms=None)
    assert [frame.world_from_ego for frame in bench.published] == [None, None]
    bench.stream.push_motion(odometry(bench.clock.stamps_ns, 5.0))
    drive(bench, 1, odometry_ms=None)
    pose: Any = bench.published[-1].world_from_ego
    assert pose.translation_m[0] == 5.0
