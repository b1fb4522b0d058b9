"""Single objects moved, and objects of other frames put in."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.augmentation.made_up import CLASSES, EGO_FROM_LIDAR, contained, street
from understudy.boxes import Boxes
from understudy.cli import build_app
from understudy.datasets.opening import open_dataset
from understudy.errors import InputError
from understudy.overlap import bev_intersection_m2
from understudy_training.augmentation.membership import counts_inside, members
from understudy_training.augmentation.object_cutting import cut_objects
from understudy_training.augmentation.object_database import ObjectDatabase, open_database
from understudy_training.augmentation.object_jitter import ObjectJitter
from understudy_training.augmentation.object_paste import ObjectPaste
from understudy_training.scenes.config import LidarConfig, SceneConfig
from understudy_training.scenes.writer import make_scenes
from understudy_training.testing import MadeUpDataset

seeds = st.integers(0, 10_000)


def overlapping_pairs(boxes: Boxes) -> int:
    shared_m2 = bev_intersection_m2(boxes.geometry, boxes.geometry)
    np.fill_diagonal(shared_m2, 0)
    return int((shared_m2 > 1e-3).sum())


@given(seeds, st.integers(0, 12))
@settings(max_examples=40)
def test_members_are_those_that_boxes_contain(seed, count):
    scene = street(seed, count, road=500)
    far = np.random.default_rng(seed).uniform(-400, 400, (50, 4)).astype(np.float32)
    geometry = scene.boxes.geometry.copy()
    geometry[: count // 3, :2] *= 9
    boxes, points = replace(scene.boxes, geometry=geometry), np.concatenate([scene.points, far])
    expected = boxes.contains(points)
    assert [rows.tolist() for rows in members(boxes, points)] == [np.flatnonzero(row).tolist() for row in expected]
    np.testing.assert_array_equal(counts_inside(boxes, points), expected.sum(axis=1))


@given(seeds, seeds)
@settings(max_examples=60)
def test_jittered_objects_keep_their_points_and_meet_nobody(seed, draw_seed):
    scene = street(seed, 8)
    scene = replace(scene, boxes=replace(scene.boxes, num_points=contained(scene).astype(np.int32)))
    step = ObjectJitter(share=1.0, sigma_m=1.0, max_turn_rad=1.5, scale_range=(0.8, 1.2))
    drawn = step.draw(np.random.default_rng(draw_seed), scene)
    moved = drawn.apply(scene)
    assert drawn.nudges
    np.testing.assert_array_equal(moved.boxes.num_points, scene.boxes.num_points)
    np.testing.assert_array_equal(contained(moved), scene.boxes.num_points)
    assert overlapping_pairs(moved.boxes) == 0
    bottoms = [s.boxes.geometry[:, 2] - s.boxes.geometry[:, 5] / 2 for s in (scene, moved)]
    np.testing.assert_allclose(bottoms[1], bottoms[0], atol=1e-5)
    still = np.setdiff1d(np.arange(8), [nudge.box for nudge in drawn.nudges])
    np.testing.assert_array_equal(moved.boxes.geometry[still], scene.boxes.geometry[still])
    speeds = [np.linalg.norm(s.boxes.velocities_mps, axis=1) for s in (scene, moved)]
    np.testing.assert_allclose(speeds[1], speeds[0], rtol=1e-5)


def test_objects_that_overlap_stay_where_they_are():
    scene = street(0, 2)
    geometry = scene.boxes.geometry.copy()
    geometry[1, :2] = geometry[0, :2] + 0.3
    scene = replace(scene, boxes=replace(scene.boxes, geometry=geometry))
    assert not ObjectJitter(share=1.0).draw(np.random.default_rng(0), scene).nudges


@given(seeds, seeds)
@settings(max_examples=40)
def test_pasted_objects_are_whole_labels_and_meet_nobody(database, seed, draw_seed):
    scene = street(seed, 3)
    scene = replace(scene, boxes=replace(scene.boxes, num_points=contained(scene).astype(np.int32)))
    step = ObjectPaste(database=database, counts={"car": 5, "pedestrian": 4}, azimuth="any")
    pasted = step.draw(np.random.default_rng(draw_seed), scene).apply(scene)
    new = pasted.boxes[3:]
    assert overlapping_pairs(pasted.boxes) == 0
    np.testing.assert_array_equal(contained(pasted), pasted.boxes.num_points)
    np.testing.assert_array_equal(pasted.boxes.geometry[:3], scene.boxes.geometry)
    assert (new.num_points >= step.min_visible_points).all()
    assert (new.track_ids == -1).all()
    assert np.bincount(pasted.boxes.labels, minlength=2)[0] <= max(5, np.bincount(scene.boxes.labels)[0])
    np.testing.assert_allclose(new.geometry[:, 2] - new.geometry[:, 5] / 2, 0.0, atol=0.02)


def test_something_is_pasted_at_the_same_range_as_it_was_seen(database):
    scene, objects = street(1, 2), ObjectDatabase(database)
    step = ObjectPaste(database=database, counts={"car": 6}, azimuth="any")
    drawn = step.draw(np.random.default_rng(0), scene)
    assert len(drawn.objects) >= 2
    for placed in drawn.objects:
        crop = objects.crop("car", placed.number)
        seen_m = np.hypot(*(crop.geometry[:2] - crop.lidar_m[:2]))
        geometry = placed.geometry(crop, scene.ego_from_lidar.translation_m)
        assert np.hypot(*(geometry[:2] - scene.ego_from_lidar.translation_m[:2])) == pytest.approx(seen_m, abs=1e-4)


def wall(x_m: float) -> np.ndarray:
    """A plane across, as the LiDAR would see it."""
    lidar_m = EGO_FROM_LIDAR.translation_m
    azimuth, elevation = np.meshgrid(np.radians(np.arange(-50, 50, 0.2)), np.radians(np.arange(-35, 10, 0.4)))
    y = (x_m - lidar_m[0]) * np.tan(azimuth)
    z = np.hypot(x_m - lidar_m[0], y) * np.tan(elevation) + lidar_m[2]
    points = np.column_stack([np.full(y.size, x_m), y.ravel() + lidar_m[1], z.ravel(), np.full(y.size, 0.5)])
    return points[points[:, 2] > 0.05].astype(np.float32)


def test_what_is_behind_a_pasted_object_is_hidden_and_what_is_before_it_hides_it(database):
    bare = street(2, 0)
    step = ObjectPaste(database=database, counts={"car": 8}, azimuth="any", max_points_in_the_way=10_000)
    drawn = step.draw(np.random.default_rng(3), bare)
    near, behind = bare.joined(wall(3.0)), bare.joined(wall(38.0))
    ahead = [g for p in drawn.objects if (g := _geometry(p, database, bare))[0] > 8 and abs(g[1]) < 5]
    assert ahead
    assert len(drawn.apply(near).boxes) <= len(drawn.apply(bare).boxes) - len(ahead)
    seen = drawn.apply(behind)
    shadows = len(behind.points) - (len(seen.points) - int(seen.boxes.num_points.sum()))
    assert shadows > 100
    offsets, far = seen.from_lidar(), seen.points[:, 0] == np.float32(38.0)
    for box, count in zip(seen.boxes.geometry, seen.boxes.num_points, strict=True):
        if count < 30 or box[0] < 8:
            continue
        toward = np.array([*box[:2], box[2]]) - seen.ego_from_lidar.translation_m
        direction = toward / np.linalg.norm(toward)
        cosine = (offsets[far] @ direction) / np.linalg.norm(offsets[far], axis=1)
        assert not (cosine > np.cos(np.radians(0.3))).any()


def _geometry(placed, database, scene):
    crop = ObjectDatabase(database).crop(placed.class_name, placed.number)
    return placed.geometry(crop, scene.ego_from_lidar.translation_m)


def test_nothing_stands_where_something_unlabeled_stands(database):
    crowded = street(2, 0)
    x, y, z = np.meshgrid(np.arange(-30, 30, 0.7), np.arange(-30, 30, 0.7), [0.7, 1.1])
    crowded = crowded.joined(np.column_stack([x.ravel(), y.ravel(), z.ravel(), np.ones(x.size)]).astype(np.float32))
    step = ObjectPaste(database=database, counts={"car": 8}, azimuth="any", max_points_in_the_way=3)
    assert not step.draw(np.random.default_rng(0), crowded).objects


def test_objects_do_not_go_into_pictures(database):
    scene = street(0, camera=True)
    for step in (ObjectPaste(database=database, counts={"car": 5}), ObjectJitter()):
        with pytest.raises(InputError, match=rf"{step.kind}.*pictures of front"):
            step.draw(np.random.default_rng(0), scene)


def test_a_class_that_is_nowhere_is_refused(database):
    with pytest.raises(InputError, match="class tram"):
        ObjectPaste(database=database, counts={"tram": 5}).draw(np.random.default_rng(0), street())


def test_cutting_is_the_same_every_time_and_destroys_nothing(tmp_path, database):
    dataset = MadeUpDataset(20, seed=5)
    again = tmp_path / "again"
    card = cut_objects(dataset, again, points_per_shard=700)
    assert ObjectDatabase(again).fingerprint == ObjectDatabase(database).fingerprint
    assert card.data_fingerprint == dataset.fingerprint
    assert len(card.shards) > 2
    assert sum(card.counts.values()) == sum(len(dataset[index].boxes) for index in range(20))
    crop = ObjectDatabase(again).crop("car", card.counts["car"] - 1)
    box = Boxes(crop.geometry[None], np.zeros(1, np.int32), CLASSES)
    grown = replace(box, geometry=box.geometry * np.array([1, 1, 1, 1.001, 1.001, 1.001, 1], np.float32))
    assert len(crop.points) >= 10
    assert grown.contains(crop.points).all()
    with pytest.raises(InputError, match="again: found a database of objects; say --overwrite"):
        cut_objects(dataset, again)
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("x")
    with pytest.raises(InputError, match="other: found something else there"):
        cut_objects(dataset, other, overwrite=True)
    assert cut_objects(MadeUpDataset(3, seed=1), again, overwrite=True).counts != card.counts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "other"]


def test_too_few_points_leave_no_database(tmp_path):
    with pytest.raises(InputError, match="objects to cut out: found none"):
        cut_objects(MadeUpDataset(2), tmp_path / "db", min_points=10_000)
    assert not list(tmp_path.iterdir())


def test_damaged_databases_are_named(tmp_path, database):
    with pytest.raises(InputError, match=r"nothing: found no objects\.yaml.*understudy dataset objects"):
        ObjectDatabase(tmp_path / "nothing")
    copy = tmp_path / "copy"
    shutil.copytree(database, copy)
    name = next(name for name, card in ObjectDatabase(copy).card.shards.items() if card.class_name == "car")
    (copy / name).write_bytes((copy / name).read_bytes()[:-7])
    with pytest.raises(InputError, match=rf"{name}: found sha256"):
        ObjectDatabase(copy).crop("car", 0)
    (copy / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: found no such file"):
        ObjectDatabase(copy).crop("car", 0)


def test_objects_are_cut_from_the_training_split_unless_told(tmp_path):
    """Objects of the split that is evaluated on must not come in by leaving an option out."""
    lidar = LidarConfig(beams=16, azimuth_steps=360)
    make_scenes(SceneConfig(seed=3, num_drives=2, num_val_drives=1, num_frames=2, lidar=lidar), tmp_path / "scenes")
    command = ["dataset", "objects", str(tmp_path / "scenes"), "--out", str(tmp_path / "db"), "--min-points", "1"]
    assert not build_app()(args=command, standalone_mode=False)
    trained_on = open_dataset(tmp_path / "scenes", "train").fingerprint
    assert open_database(tmp_path / "db").card.data_fingerprint == trained_on
