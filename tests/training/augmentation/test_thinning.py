"""Another sensor's beams, and returns lost by chance."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.augmentation.made_up import EGO_FROM_LIDAR, contained, street
from understudy.boxes import Boxes
from understudy.datasets.kitti import KittiDataset
from understudy.datasets.nuscenes_keyframe import NuscenesKeyframes
from understudy.datasets.pandaset import PandasetSequence
from understudy_training.augmentation import Augmentation, Scene, see
from understudy_training.augmentation.of_sample import scene_of
from understudy_training.augmentation.rings import beams_by_ring, elevations_of, ring_of
from understudy_training.augmentation.thinning import BeamDrop, DrawnPointDropout, target_beams
from understudy_training.scenes.beams import ELEVATIONS_DEG


def sweep(beams: int = 64, steps: int = 500) -> Scene:
    """A whole sweep of a sensor with known beams, one beam after the other, ranges all over the place."""
    generator = np.random.default_rng(0)
    elevation = np.repeat(np.radians(ELEVATIONS_DEG[beams]), steps)
    azimuth = np.tile(2 * np.pi * (np.arange(steps) + 0.5) / steps, beams)
    range_m = generator.uniform(9, 60, beams * steps)
    flat = range_m * np.cos(elevation)
    local = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), range_m * np.sin(elevation)], axis=1)
    points = np.column_stack([EGO_FROM_LIDAR.apply(local), np.full(len(local), 0.5)]).astype(np.float32)
    ring = np.repeat(np.arange(beams), steps).astype(np.int16)
    return Scene(points, Boxes.empty(("car",)), EGO_FROM_LIDAR, ring=ring)


def dropped(scene: Scene, **settings: object) -> Scene:
    _, seen = see(Augmentation(steps=[{"kind": "beam_drop", **settings}]), scene, seed=0, epoch=0, index=0)
    return seen


def elevations_deg(scene: Scene) -> np.ndarray:
    return np.degrees(elevations_of(scene.points, scene.ego_from_lidar)[0])


@pytest.mark.parametrize(("source", "target"), [(64, 32), (64, 16), (32, 16)])
@pytest.mark.parametrize("known", ["by the sensor", "by the order", "by elevation"])
def test_the_beams_left_are_the_nearest_to_the_targets(source, target, known):
    scene = sweep(source)
    if known != "by the sensor":
        scene = replace(scene, ring=None)
    if known == "by elevation":
        order = np.random.default_rng(1).permutation(len(scene.points))
        scene = replace(scene, points=scene.points[order])
    table = np.array(ELEVATIONS_DEG[source])
    expected = table[target_beams(np.radians(table), np.radians(ELEVATIONS_DEG[target]))]
    left = dropped(scene, beams=target, source_beams=source)
    found = np.unique(np.round(elevations_deg(left), 2))
    # by their distance from the target: one of them lies just between two beams of the VLP-32C
    gaps = [np.abs(beams[:, None] - np.array(ELEVATIONS_DEG[target])).min(axis=1) for beams in (found, expected)]
    np.testing.assert_allclose(gaps[0], gaps[1], atol=0.02)
    assert len(left.points) == 500 * len(expected)


def test_order_tells_the_rings_only_where_it_does():
    scene = sweep()
    np.testing.assert_array_equal(ring_of(scene.points, EGO_FROM_LIDAR), scene.ring)
    order = np.random.default_rng(0).permutation(len(scene.points))
    assert ring_of(scene.points[order], EGO_FROM_LIDAR) is None
    by_step = scene.points.reshape(64, 500, 4).swapaxes(0, 1).reshape(-1, 4)
    assert ring_of(by_step, EGO_FROM_LIDAR) is None
    assert ring_of(scene.points[:1], EGO_FROM_LIDAR) is None


def test_points_without_a_ring_take_that_of_their_elevation():
    scene = sweep(32)
    ring = scene.ring.copy()
    ring[::7] = -1
    elevation, _ = elevations_of(scene.points, EGO_FROM_LIDAR)
    beams = beams_by_ring(ring, elevation, np.full(len(ring), 20.0, np.float32))
    np.testing.assert_array_equal(beams.number, scene.ring)


def test_steps_of_azimuth_keep_one_return_each():
    scene = sweep(16, steps=1800)
    left = dropped(scene, beams=16, azimuth_step_deg=0.4)
    assert len(left.points) == pytest.approx(16 * 900, abs=16)
    _, azimuth = elevations_of(left.points, EGO_FROM_LIDAR)
    for ring in range(16):
        gaps = np.diff(np.sort(np.degrees(azimuth[left.ring == ring])))
        assert gaps.min() > 0.15
        assert gaps.max() < 0.85


def test_a_turned_tilted_mirrored_scene_loses_the_same_points():
    scene = sweep()
    steps = [{"kind": "flip", "probability": 1}, {"kind": "turn"}, {"kind": "scale"}, {"kind": "translate"}]
    both = Augmentation(steps=[*steps, {"kind": "beam_drop", "beams": 16}])
    alone = Augmentation(steps=[{"kind": "beam_drop", "beams": 16}])
    (_, first), (_, second) = (see(each, scene, seed=0, epoch=0, index=0) for each in (both, alone))
    assert len(first.points) == len(second.points)


def test_dropout_loses_its_share_and_counts_go_along():
    scene = street(0, road=20_000)
    scene = replace(scene, boxes=replace(scene.boxes, num_points=contained(scene).astype(np.int32)))
    left = DrawnPointDropout(share=0.3, seed=5).apply(scene)
    assert len(left.points) / len(scene.points) == pytest.approx(0.7, abs=0.01)
    np.testing.assert_array_equal(left.boxes.num_points, contained(left))
    less = DrawnPointDropout(share=0.5, seed=5).apply(scene)
    assert set(map(bytes, less.points)) <= set(map(bytes, left.points))


@pytest.mark.data
@pytest.mark.parametrize("target", [16, 32])
def test_kitti_thinned_out_has_beams_where_the_target_has(data_root, target):
    """Each beam of the target that an HDL-64E has a neighbor for is there, and nothing between."""
    dataset = KittiDataset(data_root / "kitti" / "object", None)
    scene = scene_of(dataset[0])
    ring = ring_of(scene.points, scene.ego_from_lidar)
    assert ring is not None
    assert ring.max() == 63
    left = dropped(scene, beams=target)
    range_m = np.linalg.norm(left.from_lidar(), axis=1)
    beams = beams_by_ring(left.ring, np.radians(elevations_deg(left)), range_m)
    within = [beam for beam in ELEVATIONS_DEG[target] if -23 < beam < 2]
    distances = np.abs(np.degrees(beams.elevation_rad)[:, None] - np.array(ELEVATIONS_DEG[target])).min(axis=1)
    assert distances.max() < 0.36
    assert len(within) - 1 <= len(beams.elevation_rad) <= len(within) + 1
    assert 0.75 < len(left.points) / len(scene.points) / (len(beams.elevation_rad) / 64) < 1.25


@pytest.mark.data
def test_pandaset_thinned_out_lies_in_bands_about_the_targets_beams(data_root):
    """Its clouds tell no beams and are motion-compensated: bands as wide as the beams are apart are what is left."""
    scene = scene_of(PandasetSequence(data_root / "pandaset" / "002")[0])
    assert ring_of(scene.points, scene.ego_from_lidar) is None
    left = dropped(scene, beams=16)
    distances = np.abs(elevations_deg(left)[:, None] - np.array(ELEVATIONS_DEG[16])).min(axis=1)
    assert np.median(distances) < 0.2
    assert np.quantile(distances, 0.9) < 0.6
    held = np.abs(elevations_deg(scene)[:, None] - np.array(ELEVATIONS_DEG[16])).min(axis=1)
    assert np.quantile(held, 0.9) > 0.8


@pytest.mark.data
def test_nuscenes_rings_are_used(data_root):
    scene = scene_of(NuscenesKeyframes(data_root / "nuscenes")[0])
    assert scene.ring is not None
    left = dropped(scene, beams=16)
    assert 8 <= len(np.unique(left.ring)) <= 16
    assert set(np.unique(left.ring)) < set(range(32))


def test_targets_beyond_the_source_have_no_beams():
    source = np.radians(np.arange(-10.0, 10.0, 0.4))
    rows = target_beams(source, np.radians([-15.0, -9.9, 0.05, 12.0]))
    np.testing.assert_array_equal(rows, [0, 25])
    assert BeamDrop(beams=16).source_beams == 64


def test_beams_that_no_point_knows_are_read_off_elevations():
    """Pasted objects alone may be left of a cloud, and an older database knows no beams."""
    scene = street()
    unknown = replace(scene, ring=np.full(len(scene.points), -1, np.int16))
    drop = BeamDrop(beams=16).draw(np.random.default_rng(0), scene)
    assert drop.apply(unknown).points.tobytes() == drop.apply(replace(scene, ring=None)).points.tobytes()
