"""What a generated drive must hold: exact labels, sensors that agree with each other, and a plausible world."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from understudy.boxes import Boxes
from understudy_training.scenes.actors import rectangles_meet
from understudy_training.scenes.config import (
    ACTOR_CLASSES,
    FIRST_ACTOR_CLASS,
    FRAME_PERIOD_S,
    POINT_CLASSES,
    ROAD,
    SKY,
    SceneConfig,
)
from understudy_training.scenes.drive import Drive, Moment
from understudy_training.scenes.relief import height_at
from understudy_training.scenes.sensors import CAMERA, LIDAR, build_rig

CONFIG = SceneConfig(seed=11, num_drives=4, num_frames=8)
RIG = build_rig(CONFIG)
EGO_FROM_LIDAR = RIG.lidars[LIDAR].ego_from_sensor.pose()


@pytest.fixture(scope="module")
def drives() -> list[list[Moment]]:
    return [list(Drive(CONFIG, number)) for number in range(CONFIG.num_drives)]


@pytest.fixture(scope="module")
def moments(drives: list[list[Moment]]) -> list[Moment]:
    return [moment for drive in drives for moment in drive]


def ego_points(moment: Moment) -> np.ndarray:
    return EGO_FROM_LIDAR.apply(moment.sweep.points[:, :3])


def test_num_points_equals_a_recount(moments: list[Moment]) -> None:
    for moment in moments[::3]:
        inside = moment.boxes.contains(ego_points(moment)).sum(axis=1)
        np.testing.assert_array_equal(moment.boxes.num_points, inside)


@pytest.mark.parametrize("label", range(len(ACTOR_CLASSES)))
def test_points_of_a_class_lie_in_boxes_of_it(moments: list[Moment], label: int) -> None:
    inside = total = 0
    for moment in moments:
        own = ego_points(moment)[moment.sweep.point_class == FIRST_ACTOR_CLASS + label]
        total += len(own)
        inside += int(moment.boxes[moment.boxes.labels == label].contains(own).any(axis=0).sum())
    assert total > 1000
    assert inside / total >= 0.99


def test_few_points_in_boxes_belong_to_something_else(moments: list[Moment]) -> None:
    stray = total = 0
    for moment in moments[::4]:
        inside = moment.boxes.contains(ego_points(moment)).any(axis=0)
        stray += int((moment.sweep.point_class[inside] < FIRST_ACTOR_CLASS).sum())
        total += int(inside.sum())
    assert stray / total < 0.01


def test_boxes_are_tight_around_what_is_seen(moments: list[Moment]) -> None:
    """The returns of a well seen car come within 15 cm of its label's nearest side and of its top."""
    for moment in moments[::6]:
        points = ego_points(moment)
        for row in np.flatnonzero((moment.boxes.labels == 0) & (moment.boxes.num_points > 400)):
            x, y, z, length, width, height, yaw = moment.boxes.geometry[row].astype(float)
            own = points[moment.boxes[row : row + 1].contains(points)[0]] - [x, y, z]
            along, across = (
                own[:, 0] * np.cos(yaw) + own[:, 1] * np.sin(yaw),
                own[:, 1] * np.cos(yaw) - own[:, 0] * np.sin(yaw),
            )
            gaps = [length / 2 - np.abs(along).max(), width / 2 - np.abs(across).max(), height / 2 - own[:, 2].max()]
            assert min(gaps[0], gaps[1]) < 0.15
            assert gaps[2] < 0.35


def test_no_two_actors_overlap(moments: list[Moment]) -> None:
    for moment in moments:
        a, b = np.triu_indices(len(moment.boxes), 1)
        pose, half = moment.boxes.geometry[:, [0, 1, 6]].astype(float), moment.boxes.geometry[:, 3:5].astype(float) / 2
        assert not rectangles_meet(pose[a], half[a], pose[b], half[b]).any()


def test_no_actor_overlaps_the_ego(moments: list[Moment]) -> None:
    for moment in moments:
        pose, half = moment.boxes.geometry[:, [0, 1, 6]].astype(float), moment.boxes.geometry[:, 3:5].astype(float) / 2
        ego = np.zeros((len(pose), 3)), np.tile([2.4, 1.0], (len(pose), 1))
        assert not rectangles_meet(*ego, pose, half).any()


def in_world(moment: Moment) -> Boxes:
    return moment.boxes.transformed(moment.world_from_ego)


def test_tracks_move_by_their_velocity(drives: list[list[Moment]]) -> None:
    moved, errors_m = 0, []
    for drive in drives:
        for before, after in pairwise(drive):
            first, second = in_world(before), in_world(after)
            _, i, j = np.intersect1d(first.track_ids, second.track_ids, return_indices=True)
            step = second.geometry[j, :2] - first.geometry[i, :2]
            middle = (first.velocities_mps[i] + second.velocities_mps[j]) / 2
            errors_m.append(np.abs(step - middle * FRAME_PERIOD_S).max(axis=1))
            np.testing.assert_array_equal(first.labels[i], second.labels[j])
            np.testing.assert_allclose(first.geometry[i, 3:6], second.geometry[j, 3:6], atol=1e-5)
            moved += int((np.hypot(*first.velocities_mps[i].T) > 0.5).sum())
    assert moved > 100
    assert np.quantile(np.concatenate(errors_m), 0.99) < 0.01
    assert np.concatenate(errors_m).max() < 0.15, "where a bend begins, an outer lane's speed steps"


def test_what_moves_heads_where_it_goes(moments: list[Moment]) -> None:
    for moment in moments[::5]:
        speed = np.hypot(*moment.boxes.velocities_mps.T)
        heading = np.arctan2(moment.boxes.velocities_mps[:, 1], moment.boxes.velocities_mps[:, 0])
        turn = np.cos(heading - moment.boxes.geometry[:, 6])[speed > 0.5]
        assert (turn > 0.99).all()


def test_ego_drives_steadily(drives: list[list[Moment]]) -> None:
    for drive in drives:
        places = np.array([moment.world_from_ego.translation_m for moment in drive])
        speed_mps = np.linalg.norm(np.diff(places, axis=0), axis=1) / FRAME_PERIOD_S
        assert 2.5 < speed_mps.min() <= speed_mps.max() < 17
        assert [moment.stamp_ns - drive[0].stamp_ns for moment in drive] == [k * 100_000_000 for k in range(8)]


def test_lidar_ranges_times_and_intensities(moments: list[Moment]) -> None:
    for moment in moments[::4]:
        sweep = moment.sweep
        assert sweep.points.dtype == np.float32
        assert sweep.points.flags.c_contiguous
        assert np.isfinite(sweep.points).all()
        assert np.linalg.norm(sweep.points[:, :3], axis=1).max() < CONFIG.lidar.range_m + 1
        assert 0 <= sweep.points[:, 3].min() < 20
        assert 150 < sweep.points[:, 3].max() <= 255
        assert (np.diff(sweep.time_offset_s) >= 0).all()
        assert 0 <= sweep.time_offset_s[0] < 0.002
        assert 0.098 < sweep.time_offset_s[-1] < FRAME_PERIOD_S
        assert set(np.unique(sweep.ring)) <= set(range(32))


def test_time_follows_the_azimuth_clockwise_from_behind(moments: list[Moment]) -> None:
    points, time_s = moments[0].sweep.points, moments[0].sweep.time_offset_s
    azimuth = np.pi - 2 * np.pi * time_s / FRAME_PERIOD_S
    turned = np.angle(np.exp(1j * (np.arctan2(points[:, 1], points[:, 0]) - azimuth)))
    assert np.abs(turned).max() < 1e-3


def test_road_lies_at_zero_in_ego(moments: list[Moment]) -> None:
    """Below the vehicle, that is: the land rolls. Breaks when mounting, pitch or frame are mixed up anywhere."""
    for moment in moments[::6]:
        points = ego_points(moment)
        road = points[(moment.sweep.point_class == ROAD) & (np.hypot(*points[:, :2].T) < 7)]
        assert len(road) > 500
        assert np.abs(road[:, 2]).max() < 0.5
        assert abs(road[:, 2].mean()) < 0.05


def test_road_lies_on_the_land_that_the_drive_says() -> None:
    """At any distance, in every frame, and in the world as in ego."""
    for number, frame in ((0, 0), (1, 4), (2, 7)):
        drive = Drive(CONFIG, number)
        moment, pieces = drive.moment(frame), drive.street.pieces
        road = ego_points(moment)[(moment.sweep.point_class == ROAD)]
        in_world = moment.world_from_ego.apply(road)
        land = np.array([height_at(pieces, x, y) for x, y in in_world[:, :2]])
        assert np.abs(in_world[:, 2] - land).max() < 0.12
        assert np.abs(in_world[:, 2] - land).mean() < 0.02


def test_what_stands_stands_on_the_land() -> None:
    drive = Drive(CONFIG, 2)
    pieces, boxes = drive.street.pieces, in_world(drive.moment(3))
    bottom = boxes.geometry[:, 2] - boxes.geometry[:, 5] / 2
    land = np.array([height_at(pieces, float(x), float(y)) for x, y in boxes.geometry[:, :2]])
    assert ((bottom - land > 0.0) & (bottom - land < 0.2)).all()
    assert np.ptp(land) > 0.1


def test_frames_are_dense_with_actors_and_every_class_occurs(moments: list[Moment]) -> None:
    seen, classes = [], np.zeros(4, int)
    for moment in moments:
        near = (np.hypot(*moment.boxes.geometry[:, :2].T) < 30) & (moment.boxes.num_points >= 5)
        seen.append(int(near.sum()))
        classes += np.bincount(moment.boxes.labels[near], minlength=4)
    assert 8 <= np.mean(seen) <= 30
    assert (classes > 0).all()
    every = np.unique(np.concatenate([moment.sweep.point_class for moment in moments]))
    assert set(every) == set(range(len(POINT_CLASSES)))


def test_camera_and_lidar_see_the_same_world(moments: list[Moment]) -> None:
    camera = RIG.cameras[CAMERA]
    same = close = total = 0
    for moment in moments:
        cars = ego_points(moment)[moment.sweep.point_class == FIRST_ACTOR_CLASS]
        pixels, depth_m = camera.project(cars)
        u, v = np.rint(pixels).astype(int).T
        shown = (depth_m > 1) & (u >= 0) & (u < camera.width_px) & (v >= 0) & (v < camera.height_px)
        u, v, depth_m = u[shown], v[shown], depth_m[shown]
        total += len(u)
        same += int((moment.pictures[CAMERA].pixel_class[v, u] == FIRST_ACTOR_CLASS).sum())
        close += int((np.abs(moment.pictures[CAMERA].depth_m[v, u] - depth_m) < 0.5).sum())
    assert total > 2000
    assert same / total > 0.9
    assert close / total > 0.85


def test_picture_has_sky_road_and_noise(moments: list[Moment]) -> None:
    picture = moments[0].pictures[CAMERA]
    assert picture.pixels.shape == (192, 320, 3)
    assert (picture.pixel_class[:10] == SKY).any()
    assert (picture.pixel_class[-10:] == ROAD).mean() > 0.5
    assert np.isinf(picture.depth_m[picture.pixel_class == SKY]).all()
    assert picture.pixels[-8:, :, 0].std() > 1


def test_drives_differ(drives: list[list[Moment]]) -> None:
    assert len({len(drive[0].sweep.points) for drive in drives}) == len(drives)
    assert len({drive[0].world_from_ego.yaw_rad for drive in drives}) == len(drives)
