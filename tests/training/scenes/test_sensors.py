"""Beam tables, the LiDAR's losses, windows and single rays against shapes whose hits are known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from understudy.datasets.opening import open_dataset
from understudy.pose import Pose
from understudy_training.scenes import beams
from understudy_training.scenes.camera import CameraModel
from understudy_training.scenes.config import POINT_CLASSES, LidarConfig, SceneConfig
from understudy_training.scenes.geometry import Solids, pieces_in_ego
from understudy_training.scenes.lidar import GROUND_CLASS, LidarModel, detection_probability, intensity
from understudy_training.scenes.ray_casting import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    LEAVES,
    NOTHING,
    ON_CURB,
    ON_MARKING,
    ON_ROAD,
    ON_SIDEWALK,
    ON_TERRAIN,
    cast,
)
from understudy_training.scenes.relief import draw_relief, height_at, relief_columns
from understudy_training.scenes.roads import CrossSection, build_road
from understudy_training.scenes.sensors import CAMERA, build_rig
from understudy_training.scenes.windows import camera_windows, corners, lidar_windows

Array = NDArray[Any]
NO_ROAD = np.zeros((0, 10))


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(16, -15.0, 15.0), (32, -25.0, 15.0), (64, -24.333, 2.0)],
    ids=["VLP-16", "VLP-32C", "HDL-64E"],
)
def test_beam_tables(count: int, low: float, high: float) -> None:
    elevations = np.degrees(beams.elevations_rad(count))
    assert len(elevations) == count
    assert (np.diff(elevations) > 0).all()
    assert elevations[[0, -1]] == pytest.approx([low, high], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "count", "low", "high"), [("hdl-32e", 32, -30.667, 10.667), ("pandar64", 64, -24.897, 14.882)]
)
def test_named_beam_tables(name: str, count: int, low: float, high: float) -> None:
    elevations = np.degrees(beams.elevations_rad(name))
    assert len(elevations) == count
    assert (np.diff(elevations) > 0).all()
    assert elevations[[0, -1]] == pytest.approx([low, high], abs=1e-3)
    assert beams.directions(name, 90).shape == (90, count, 3)


def test_the_pair_has_the_beams_of_both() -> None:
    pair = np.array(beams.ELEVATIONS_DEG["vlp-32c-pair"])
    assert (np.diff(pair) > 0).all()
    for own in beams.ELEVATIONS_DEG[32]:
        assert np.abs(pair - own).min() < 1e-9
        assert np.abs(pair + own + 0.17).min() < 1e-9


@pytest.mark.data
def test_hdl_32e_table_is_that_of_a_nuscenes_sweep(data_root: Path) -> None:
    sample = open_dataset(data_root / "nuscenes", None, None)[0]
    cloud = sample.frame.clouds[sample.rig.lidar()[0]]
    assert cloud.ring is not None
    points = cloud.points[:, :3].astype(float)
    far = np.linalg.norm(points, axis=1) > 4
    elevation = np.degrees(np.arcsin(points[:, 2] / np.maximum(np.linalg.norm(points, axis=1), 1e-6)))
    measured = [np.median(elevation[far & (cloud.ring == ring)]) for ring in range(8, 32)]
    assert measured == pytest.approx(beams.ELEVATIONS_DEG["hdl-32e"][8:], abs=0.15)


def test_spacing_of_the_tables() -> None:
    assert np.diff(beams.ELEVATIONS_DEG[16]) == pytest.approx(2.0)
    lower, upper = np.split(np.array(beams.ELEVATIONS_DEG[64]), 2)
    assert np.diff(lower) == pytest.approx(0.5, abs=1e-3)
    assert np.diff(upper) == pytest.approx(1 / 3, abs=1e-3)
    assert np.diff(beams.ELEVATIONS_DEG[32]).min() == pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.data
def test_vlp_32c_table_equals_a_driver_s_calibration(data_root: Path) -> None:
    text = (data_root / "bags" / "calibration" / "VLP32.yaml").read_text()
    measured = sorted(float(value) for value in re.findall(r"vert_correction: (-?[\d.e-]+)", text))
    assert np.degrees(measured) == pytest.approx(beams.ELEVATIONS_DEG[32], abs=2e-3)


def test_losses_grow_with_range_and_incidence() -> None:
    range_m = np.linspace(4, 100, 50, dtype=np.float32)
    kept = detection_probability(range_m, np.ones(50, np.float32), np.full(50, 0.2, np.float32))
    assert (np.diff(kept) < 0).all()
    facing = np.linspace(0.03, 1, 50, dtype=np.float32)
    kept = detection_probability(np.full(50, 40, np.float32), facing, np.full(50, 0.2, np.float32))
    assert (np.diff(kept) > 0).all()
    assert kept.min() > 0
    assert kept.max() < 1


def test_every_ground_code_has_a_row() -> None:
    assert -1 - min(NOTHING, ON_ROAD, ON_MARKING, ON_SIDEWALK, ON_TERRAIN, ON_CURB) == len(GROUND_CLASS) - 1
    assert GROUND_CLASS[-1 - ON_ROAD] == GROUND_CLASS[-1 - ON_MARKING] == POINT_CLASSES.index("road")
    assert GROUND_CLASS[-1 - ON_SIDEWALK] == POINT_CLASSES.index("sidewalk")


def wall(distance_m: float) -> tuple[Solids, Array]:
    """A gray wall 20 m wide and high, facing the vehicle."""
    one = np.ones(1, np.float32)
    solids = Solids(
        *(np.zeros((1, 1, 4)), np.zeros(1, int), np.array([BOX]), np.zeros((1, 3)), np.array([[1.0, 10.0, 10.0]])),
        *(np.ones((1, 3), np.float32), 0.1 * one, 0 * one, np.array([2], np.uint8)),
    )
    return solids, np.array([[distance_m + 1.0, 0.0, 0.0, 1.0, 10.0, 10.0, 0.0]])


def test_a_far_wall_loses_more_returns_and_noise_stays() -> None:
    model = LidarModel(LidarConfig(), Pose(np.eye(3), np.array([0.0, 0.0, 1.8])))
    x, y, z = model.rays_lidar[..., 0], model.rays_lidar[..., 1], model.rays_lidar[..., 2]
    kept = []
    for distance_m in (10.0, 30.0, 60.0):
        sweep = model.sweep(*wall(distance_m), NO_ROAD, np.random.default_rng(0))
        own = sweep.points[sweep.point_class == 2]
        aimed = (x > 0) & (np.abs(y) * distance_m < 9 * x) & (np.abs(z) * distance_m < 1.5 * x)
        back = (np.abs(own[:, 1]) * distance_m < 9 * own[:, 0]) & (np.abs(own[:, 2]) * distance_m < 1.5 * own[:, 0])
        kept.append(back.sum() / aimed.sum())
        straight = back & (np.abs(own[:, 1]) < 0.1 * distance_m)
        assert 0.015 < (own[straight, 0] - distance_m).std() < 0.025
    assert 1.0 > kept[0] > kept[1] > kept[2] > 0.5


def test_intensity_follows_material_incidence_and_range() -> None:
    base = intensity(*(np.array([value], np.float32) for value in (20.0, 0.8, 0.4)))
    assert intensity(*(np.array([value], np.float32) for value in (40.0, 0.8, 0.4))) < base
    assert intensity(*(np.array([value], np.float32) for value in (20.0, 0.4, 0.4))) < base
    assert intensity(*(np.array([value], np.float32) for value in (20.0, 0.8, 0.2))) < base


def shoot(origin: Any, toward: Any, kind: int = BOX, placed: Any = (0,) * 7, pieces: Array = NO_ROAD) -> Any:
    ray = np.array(toward, float) - origin
    ray = (ray / np.linalg.norm(ray)).reshape(1, 1, 3).astype(np.float32)
    hits = cast(
        *(np.array(origin, float), ray, np.array([[0, 1, 0, 1]]), np.array([kind])),
        *(np.array([placed], float), pieces, 200.0),
    )
    return float(hits.distance_m[0, 0]), int(hits.surface[0, 0]), hits.normal[0, 0]


def test_box_hit_on_its_near_side() -> None:
    distance, surface, normal = shoot((0, 0, 1), (10, 0, 1), BOX, (10, 0, 1, 2, 1, 1, 0))
    assert distance == pytest.approx(8)
    assert surface == 0
    assert normal == pytest.approx([-1, 0, 0])


def test_turned_box_is_hit_on_the_turned_side() -> None:
    distance, _, normal = shoot((0, 0, 1), (10, 0, 1), BOX, (10, 0, 1, 2, 1, 1, np.pi / 2))
    assert distance == pytest.approx(9)
    assert normal == pytest.approx([-1, 0, 0], abs=1e-6)


def test_round_shapes() -> None:
    for kind in (ELLIPSOID, CYLINDER):
        distance, surface, normal = shoot((0, 0, 5), (10, 0, 5), kind, (10, 0, 5, 2, 1, 1, 0))
        assert distance == pytest.approx(8)
        assert surface == 0
        assert normal == pytest.approx([-1, 0, 0], abs=1e-6)
        assert shoot((0, 0, 5), (10, 1.5, 5), kind, (10, 0, 5, 2, 1, 1, 0))[1] == NOTHING
    assert shoot((10, 0, 9), (10, 0, 0), CYLINDER, (10, 0, 5, 2, 1, 1, 0))[0] == pytest.approx(3)


def test_rays_stop_within_leaves_or_pass_through() -> None:
    """Deeper the one, shallower the other; fewer pass the more leaves there are."""
    passed = {}
    for half_m in (0.2, 1.0):
        placed = np.array([[10.0, 0.0, 5.0, half_m, 8.0, 8.0, 0.0]])
        rays = np.array([[[1.0, y, z] for z in np.linspace(-0.1, 0.1, 40)] for y in np.linspace(-0.1, 0.1, 40)])
        rays = (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)
        hits = cast(
            *(np.array([0.0, 0.0, 5.0]), rays, np.array([[0, 40, 0, 40]]), np.array([LEAVES])),
            *(placed, NO_ROAD, 9.0 + 20.0),
        )
        hit = hits.surface == 0
        depth_m = hits.distance_m[hit] * rays[hit][:, 0] - (10.0 - half_m)
        assert depth_m.min() > -1e-3
        assert depth_m.max() < 2 * half_m
        passed[half_m] = 1 - hit.mean()
        assert passed[half_m] == pytest.approx(np.exp(-2 * half_m / 0.35), abs=0.05)
    assert passed[1.0] < passed[0.2]


def hill(slope: float) -> Array:
    """A road along x whose land rises by `slope` at the origin, in one wave of 300 m."""
    pieces = build_road(np.array([-50.0, 0.0, 0.0]), [(200.0, 0.0)], CrossSection(1, 30.0, 1.0, 0.0, 3.0)).pieces()
    number = 2 * np.pi / 300
    return relief_columns(pieces, np.array([0.0, slope / number, number, 0.0, 0.0]))


@pytest.mark.parametrize("slope", [0.03, -0.03])
@pytest.mark.parametrize("down", [0.05, 0.08, 0.1, 0.3, 0.8])
def test_ground_is_met_where_the_land_is(slope: float, down: float) -> None:
    pieces = hill(slope)
    distance, surface, _ = shoot((0, 0, 1.8), (10.0, 0.0, 1.8 - 10 * down), pieces=pieces)
    ray = np.array([10.0, 0.0, -10 * down]) / np.hypot(10.0, 10 * down)
    x = distance * ray[0]
    flat = 1.8 / down
    assert surface in (ON_ROAD, ON_MARKING)
    assert 1.8 + distance * ray[2] == pytest.approx(height_at(pieces, x, 0.0), abs=0.02)
    assert (x < flat) == (slope > 0)


def test_relief_is_the_same_land_from_wherever_it_is_seen() -> None:
    world = hill(0.02)
    for pose in ([3.0, -4.0, 0.7, 0.05], [-20.0, 9.0, -2.5, -0.3]):
        ego = pieces_in_ego(world, np.array(pose))
        for x, y in ((0.0, 0.0), (12.0, -7.0), (-30.0, 25.0)):
            cos, sin = np.cos(pose[2]), np.sin(pose[2])
            wanted = height_at(world, pose[0] + cos * x - sin * y, pose[1] + sin * x + cos * y) - pose[3]
            assert height_at(ego, x, y) == pytest.approx(wanted, abs=1e-9)


def test_land_is_flat_in_some_drives_and_hilly_in_others() -> None:
    rises = []
    for seed in range(60):
        land = relief_columns(hill(0.0)[:, :10], draw_relief(np.random.default_rng(seed)))
        here = height_at(land, 0.0, 0.0)
        rises.append(max(abs(height_at(land, 30 * np.cos(a), 30 * np.sin(a)) - here) for a in np.linspace(0, 6, 12)))
    assert np.quantile(rises, 0.1) < 0.25
    assert 0.5 < np.quantile(rises, 0.9) < 2.5


def test_ground_has_a_curb() -> None:
    section = CrossSection(lanes=1, lane_m=3.0, bike_m=1.0, parking_m=0.0, sidewalk_m=3.0)
    pieces = build_road(np.array([-50.0, 0.0, 0.0]), [(100.0, 0.0)], section).pieces()
    assert shoot((0, 0, 2), (0, 2.0, 0), pieces=pieces)[1] == ON_ROAD
    distance, surface, _ = shoot((0, 0, 2), (0, 5.0, 0.12), pieces=pieces)
    assert surface == ON_SIDEWALK
    assert distance == pytest.approx(np.hypot(5.0, 1.88), abs=1e-4)
    assert shoot((0, 0, 2), (0, 4.0, 0.06), pieces=pieces)[1] == ON_CURB


def test_roads_meet_their_own_pieces() -> None:
    """A point that `locate` puts beside a bent road is where the ray caster finds the road."""
    section = CrossSection(lanes=1, lane_m=3.0, bike_m=1.0, parking_m=0.0, sidewalk_m=3.0)
    road = build_road(np.array([3.0, -2.0, 0.7]), [(20.0, 0.0), (40.0, 1 / 30), (25.0, -1 / 45), (30.0, 0.0)], section)
    along = np.linspace(1, road.total_m - 1, 60)
    for left, wanted in ((2.0, ON_ROAD), (-2.0, ON_ROAD), (5.0, ON_SIDEWALK), (-5.0, ON_SIDEWALK)):
        places = road.locate(along, left)
        codes = {shoot((x, y, 3.0), (x, y, 0.0), pieces=road.pieces())[1] for x, y, _ in places}
        assert codes == {wanted}


solid = st.tuples(
    *(st.floats(-30, 30), st.floats(-30, 30), st.floats(0, 5)),
    *(st.floats(0.05, 6), st.floats(0.05, 6), st.floats(0.05, 3), st.floats(-3.1, 3.1)),
)


@settings(max_examples=60)
@given(st.lists(solid, min_size=1, max_size=4), st.sampled_from([BOX, ELLIPSOID, CYLINDER, LEAVES]))
def test_windows_lose_no_hit(solids: list[tuple[float, ...]], kind: int) -> None:
    """Casting in the windows finds what casting all rays against everything finds, LiDAR and camera."""
    config = SceneConfig(lidar={"beams": 16, "azimuth_steps": 180}, camera={"width_px": 64, "height_px": 48})
    rig, placed = build_rig(config), np.array(solids)
    kinds = np.full(len(placed), kind)
    camera = rig.cameras[CAMERA]
    lidar_pose: Pose = rig.lidars["lidar"].ego_from_sensor.pose()
    rays = (beams.directions(16, 180) @ lidar_pose.rotation.T).astype(np.float32)
    windows = lidar_windows(corners(placed, lidar_pose.inverse()), beams.elevations_rad(16), 180, 70.0)
    _assert_same(lidar_pose.translation_m, rays, windows, kinds, placed)
    model = CameraModel(config.camera, camera)  # type: ignore[arg-type]
    windows = camera_windows(corners(placed, model.camera_from_ego), camera)
    _assert_same(model.ego_from_camera.translation_m, model.rays_ego, windows, kinds, placed)


def _assert_same(origin: Array, rays: Array, windows: Array, kinds: Array, placed: Array) -> None:
    every = np.tile([0, rays.shape[0], 0, rays.shape[1]], (len(placed), 1))
    wanted = cast(origin, rays, every, kinds, placed, NO_ROAD, 70.0)
    found = cast(origin, rays, windows, kinds, placed, NO_ROAD, 70.0)
    np.testing.assert_array_equal(found.surface, wanted.surface)
    np.testing.assert_array_equal(found.distance_m, wanted.distance_m)
