"""Boxes follow points, velocities follow boxes, pictures follow extrinsics."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.augmentation.made_up import CAMERA, street
from understudy_training.augmentation import Draw
from understudy_training.augmentation.camera_geometric import CameraGeometric, DrawnCameraGeometric, Window
from understudy_training.augmentation.frame_steps import DrawnFlip, DrawnScale, DrawnTranslate, DrawnTurn
from understudy_training.augmentation.scene import Scene

offsets = st.tuples(*[st.floats(-3, 3)] * 3)
changes = st.one_of(
    st.just(DrawnFlip()),
    st.floats(-3.1, 3.1).map(lambda turn_rad: DrawnTurn(turn_rad=turn_rad)),
    st.floats(0.5, 2.0).map(lambda factor: DrawnScale(factor=factor)),
    offsets.map(lambda offset_m: DrawnTranslate(offset_m=offset_m)),
    st.builds(Draw, flip_y=st.booleans(), turn_rad=st.floats(-3.1, 3.1), scale=st.floats(0.5, 2)),
)
windows = st.builds(
    Window,
    zoom=st.floats(0.7, 1.5),
    left_px=st.floats(-20, 40),
    top_px=st.floats(-20, 20),
    roll_rad=st.floats(-0.3, 0.3),
    width_px=st.integers(250, 360),
    height_px=st.integers(160, 240),
)
geometric = windows.map(lambda window: DrawnCameraGeometric(windows={"front": window}))


def loosened(scene: Scene) -> Scene:
    geometry = scene.boxes.geometry * np.array([1, 1, 1, 1.002, 1.002, 1.002, 1], np.float32)
    return replace(scene, boxes=replace(scene.boxes, geometry=geometry))


@given(st.lists(changes, min_size=1, max_size=4), st.integers(0, 10_000))
@settings(max_examples=60)
def test_boxes_follow_points(steps, seed):
    scene = street(seed, road=200)
    changed = scene
    for step in steps:
        changed = step.apply(changed)
    own = np.arange(200, len(scene.points)).reshape(len(scene.boxes), 50)
    inside = loosened(changed).boxes.contains(changed.points)
    assert all(inside[row, rows].all() for row, rows in enumerate(own))
    np.testing.assert_array_equal(changed.boxes.num_points, scene.boxes.num_points)
    np.testing.assert_array_equal(changed.boxes.track_ids, scene.boxes.track_ids)
    np.testing.assert_array_equal(changed.points[:, 3], scene.points[:, 3])


@given(changes, st.integers(0, 10_000))
@settings(max_examples=40)
def test_velocities_carry_boxes_to_where_the_changed_later_scene_has_them(step, seed):
    scene = street(seed, road=10)
    later = scene.boxes.geometry.copy()
    later[:, :2] += scene.boxes.velocities_mps
    expected = step.apply(replace(scene, boxes=replace(scene.boxes, geometry=later))).boxes.geometry
    changed = step.apply(scene).boxes
    np.testing.assert_allclose(changed.geometry[:, :2] + changed.velocities_mps, expected[:, :2], atol=2e-4)


@given(changes, st.integers(0, 10_000))
@settings(max_examples=40)
def test_the_lidar_sees_each_point_as_before(step, seed):
    scene = street(seed, road=50)
    changed = step.apply(scene)
    ranges = [np.linalg.norm(s.from_lidar(), axis=1) for s in (scene, changed)]
    heights = [s.ego_from_lidar.inverse().apply(s.points[:, :3])[:, 2] for s in (scene, changed)]
    factor = ranges[1] / ranges[0]
    np.testing.assert_allclose(factor, factor.mean(), rtol=2e-4)
    np.testing.assert_allclose(heights[1], heights[0] * factor.mean(), atol=2e-4)


@given(changes, st.integers(0, 10_000))
@settings(max_examples=40)
def test_projections_stay_on_their_pixels(step, seed):
    scene = street(seed, camera=True, road=300)
    changed = step.apply(scene)
    (before, depth), (after, depth_after) = (s.cameras["front"].project(s.points[:, :3]) for s in (scene, changed))
    seen = (depth > 1) & (before > -200).all(axis=1) & (before < 500).all(axis=1)
    mirrored = isinstance(step, DrawnFlip) or (isinstance(step, Draw) and step.flip_y)
    if mirrored:
        before[:, 0] = CAMERA.width_px - 1 - before[:, 0]
        np.testing.assert_array_equal(changed.images["front"], scene.images["front"][:, ::-1])
    else:
        np.testing.assert_array_equal(changed.images["front"], scene.images["front"])
    np.testing.assert_allclose(after[seen], before[seen], atol=0.02)
    assert ((depth_after > 0) == (depth > 0))[np.abs(depth) > 0.01].all()


@given(st.lists(st.one_of(changes, geometric), min_size=1, max_size=3), st.floats(6, 25), st.floats(-0.4, 0.4))
@settings(max_examples=60)
def test_a_marker_is_found_where_its_point_projects(steps, ahead_m, aside):
    """Pictures follow extrinsics: what is painted at a point's pixel is still there after any change."""
    point = np.array([[ahead_m, aside * ahead_m, 1.4, 0.5]], np.float32)
    scene = replace(street(0, camera=True, road=10), points=np.repeat(point, 310, axis=0))
    ((u, v),), _ = CAMERA.project(point[:, :3])
    columns, rows = np.meshgrid(np.arange(CAMERA.width_px), np.arange(CAMERA.height_px))
    blob = 255 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 18)
    scene = replace(scene, images={"front": np.repeat(blob[..., None], 3, axis=2).astype(np.uint8)})
    for step in steps:
        scene = step.apply(scene)
    camera, picture = scene.cameras["front"], scene.images["front"][..., 0].astype(np.float64)
    assert picture.shape == (camera.height_px, camera.width_px)
    ((u, v),), (depth,) = camera.project(scene.points[:1, :3])
    if not (15 < u < camera.width_px - 15 and 15 < v < camera.height_px - 15):
        return
    columns, rows = np.meshgrid(np.arange(camera.width_px), np.arange(camera.height_px))
    found = np.array([(columns * picture).sum(), (rows * picture).sum()]) / picture.sum()
    assert depth > 0
    np.testing.assert_allclose(found, [u, v], atol=0.35)


def distorted(camera, points_ego):
    """Plumb-bob pixels of points, the model written out (Brown 1966, as OpenCV has it)."""
    x, y, z = camera.ego_from_sensor.pose().inverse().apply(points_ego).T
    x, y = x / z, y / z
    k1, k2, p1, p2, k3 = camera.distortion
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([camera.fx_px * xd + camera.cx_px, camera.fy_px * yd + camera.cy_px], axis=1)


@given(windows)
@settings(max_examples=30)
def test_distorted_cameras_follow_mirrors_and_rolls(window):
    camera = CAMERA.model_copy(update={"distortion": (-0.3, 0.1, 0.004, -0.006, 0.02)})
    scene = replace(street(3, camera=True), cameras={"front": camera})
    points = np.random.default_rng(0).uniform([6, -3, 0], [20, 3, 3], (40, 3))
    mirrored = DrawnFlip().apply(scene).cameras["front"]
    expected = distorted(camera, points) * [-1, 1] + [camera.width_px - 1, 0]
    np.testing.assert_allclose(distorted(mirrored, points * [1, -1, 1]), expected, atol=1e-6)
    after = window.camera(camera)
    matrix = after.intrinsic_matrix() @ _roll(window.roll_rad) @ np.linalg.inv(camera.intrinsic_matrix())
    homogeneous = np.column_stack([distorted(camera, points), np.ones(40)])
    np.testing.assert_allclose(distorted(after, points), (homogeneous @ matrix.T)[:, :2], atol=1e-6)


def _roll(angle):
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def test_an_unchanged_window_shows_the_same_picture():
    scene = street(1, camera=True)
    window = Window(zoom=1, left_px=0, top_px=0, roll_rad=0, width_px=320, height_px=200)
    unchanged = DrawnCameraGeometric(windows={"front": window}).apply(scene)
    np.testing.assert_array_equal(unchanged.images["front"], scene.images["front"])
    assert unchanged.cameras["front"].cx_px == pytest.approx(CAMERA.cx_px)


def test_pictures_of_another_size_keep_the_middle():
    scene = street(1, camera=True)
    step = CameraGeometric(zoom_range=(1, 1), max_shift=0, max_roll_rad=0, size_px=(160, 90))
    small = step.draw(np.random.default_rng(0), scene).apply(scene)
    assert small.images["front"].shape == (90, 160, 3)
    camera = small.cameras["front"]
    assert (camera.width_px, camera.height_px, camera.fx_px) == (160, 90, pytest.approx(105.0))
    assert camera.cx_px - 79.5 == pytest.approx((CAMERA.cx_px - 159.5) / 2)
