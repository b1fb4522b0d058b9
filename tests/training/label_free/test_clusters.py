"""Ground, clusters, rectangles, and the rules by which clusters become boxes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.overlap import bev_iou
from understudy_training.label_free.clustering import NOISE, ClusterSettings, clusters, dbscan, mutual_edges
from understudy_training.label_free.ground import GroundRules, Plane, find_ground
from understudy_training.label_free.lidar_boxes import (
    FILTERS,
    KEPT,
    Candidate,
    ClusterRules,
    boxes_from_clusters,
    is_persistent,
    verdict,
)
from understudy_training.label_free.rectangles import box_around, closeness, fit_rectangle, hollowness


def two_faces(length_m: float = 4.0, width_m: float = 2.0, step_m: float = 0.1) -> np.ndarray:
    """`(N, 2)` points on two faces of a rectangle whose corner is the origin."""
    along, across = np.arange(0, length_m + 1e-6, step_m), np.arange(step_m, width_m + 1e-6, step_m)
    return np.vstack([np.column_stack([along, 0 * along]), np.column_stack([0 * across, across])])


def turned(points: np.ndarray, angle_rad: float) -> np.ndarray:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return points @ np.array([[cos, sin], [-sin, cos]])


def test_closeness_of_an_l_is_largest_at_its_own_angle():
    merits = closeness(two_faces(), np.radians([0.0, 20.0, 45.0]))
    np.testing.assert_allclose(merits, [6100, 566, 482], atol=0.5)


@given(st.floats(0.01, 1.55), st.sampled_from([closeness, hollowness]))
@settings(max_examples=30)
def test_an_l_gives_its_rectangle_at_any_angle(angle_rad, criterion):
    x, y, length, width, yaw = fit_rectangle(turned(two_faces(), angle_rad), criterion, 0.1)
    np.testing.assert_allclose((length, width), (4, 2), atol=0.05)
    np.testing.assert_allclose((x, y), turned(np.array([[2.0, 1.0]]), angle_rad)[0], atol=0.05)
    assert abs((yaw - angle_rad + np.pi / 2) % np.pi - np.pi / 2) < 0.02


def test_a_box_reaches_from_the_cluster_down_to_what_lies_below():
    cluster = np.column_stack([two_faces(), np.full(61, 1.5)])
    cloud = np.concatenate([cluster, [[2.0, 1.0, 0.1], [9.0, 9.0, -3.0]]])
    box = box_around(cluster, cloud)
    np.testing.assert_allclose(box, [2, 1, 0.8, 4, 2, 1.4, 0], atol=1e-5)


def test_one_face_seen_straight_on_gets_some_depth():
    face = np.column_stack([np.full(20, 5.0), np.linspace(-1, 1, 20), np.linspace(0.2, 1, 20)])
    assert sorted(box_around(face, face)[3:5].tolist()) == pytest.approx([0.1, 2.0], abs=1e-5)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_the_ground_is_found_below_many_things(seed):
    generator = np.random.default_rng(seed)
    truth = Plane(*generator.uniform(-0.05, 0.05, 2), generator.uniform(-0.3, 0.3))
    flat = generator.uniform(-30, 30, (1500, 2))
    ground = np.column_stack([flat, truth.at(flat) + 0.01 * generator.standard_normal(1500)])
    clutter = np.column_stack([generator.uniform(-30, 30, (900, 2)), generator.uniform(0.3, 3, 900)])
    found = find_ground(np.concatenate([ground, clutter]), np.random.default_rng(0), GroundRules())
    assert np.abs(found.above(ground)).max() < 0.15


def test_the_ground_is_the_same_for_the_same_seed_and_ego_s_own_without_points():
    points = np.random.default_rng(1).uniform(-20, 20, (5000, 3)) * [1, 1, 0.02]
    first, second = (find_ground(points, np.random.default_rng(3), GroundRules()) for _ in range(2))
    assert first == second
    assert find_ground(points[:2], np.random.default_rng(3), GroundRules()) == Plane()
    assert find_ground(np.zeros((0, 4)), np.random.default_rng(3), GroundRules()) == Plane()


def test_neighbors_must_be_mutual_and_near():
    points = np.array([[0.0, 0, 0], [1.0, 0, 0], [1.1, 0, 0], [9.0, 0, 0]])
    np.testing.assert_array_equal(mutual_edges(points, 1, 2.0), [[1, 2]])
    assert len(mutual_edges(points, 3, 2.0)) == 3
    assert len(mutual_edges(points[:1], 3, 2.0)) == 0


def test_dbscan_has_cores_borders_and_noise():
    # 0-1-2-3 a chain around core 1 and 2; 4 hangs on 3, which is no core; 5 alone
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
    np.testing.assert_array_equal(dbscan(6, edges, 3), [0, 0, 0, 0, 0, NOISE])
    np.testing.assert_array_equal(dbscan(6, edges[:2], 3), [0, 0, 0, NOISE, NOISE, NOISE])
    np.testing.assert_array_equal(dbscan(0, np.zeros((0, 2), np.int64), 3), [])


def test_things_that_touch_are_told_apart_by_their_persistency():
    generator = np.random.default_rng(0)
    points = generator.uniform(0, 1, (400, 3))
    points[200:, 0] += 1.0  # a wall, and a person before it
    scores = np.repeat([0.95, 0.05], 200)
    labels = clusters(points, scores, ClusterSettings())
    assert set(labels[:200]) == {0}
    assert set(labels[200:]) == {1}
    together = clusters(points, np.zeros(400), ClusterSettings())
    assert set(together) == {0}


@given(st.permutations(range(60)))
@settings(max_examples=15)
def test_clusters_do_not_depend_on_the_order_of_the_points(order):
    generator = np.random.default_rng(7)
    points = np.concatenate([generator.normal(0, 0.2, (30, 3)), generator.normal(5, 0.2, (30, 3))])
    scores = np.zeros(60)
    labels, shuffled = (
        clusters(points, scores, ClusterSettings()),
        clusters(points[list(order)], scores, ClusterSettings()),
    )
    same = shuffled[:, None] == shuffled[None]
    np.testing.assert_array_equal(same, (labels[:, None] == labels[None])[np.ix_(order, order)])


GOOD = Candidate(np.array([10, 0, 0.8, 4, 2, 1.6, 0], np.float32), np.zeros(40), 0.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, KEPT),
        ({"persistency": np.zeros(9)}, "few points"),
        ({"persistency": np.full(40, 0.9)}, "persistent"),
        ({"persistency": np.concatenate([np.zeros(9), np.ones(31)])}, KEPT),
        ({"box": np.array([10, 0, 0.2, 4, 2, 0.3, 0], np.float32)}, "flat"),
        ({"box": np.array([10, 0, 3.0, 4, 2, 1.6, 0], np.float32)}, "in the air"),
        ({"box": np.array([10, 0, 0.8, 0.4, 0.4, 1.6, 0], np.float32)}, "too small"),
        ({"box": np.array([10, 0, 2.0, 14, 5, 4, 0], np.float32)}, "too large"),
        ({"box": np.array([10, 0, 0.8, 17, 1, 1.6, 0], np.float32)}, "too long"),
    ],
)
def test_each_filter_speaks_against_what_it_names(change, reason):
    assert verdict(replace(GOOD, **change), ClusterRules()) == reason


def test_every_filter_is_tried_above():
    marks = test_each_filter_speaks_against_what_it_names.pytestmark  # type: ignore[attr-defined]
    assert {reason for _, reason in marks[0].args[1]} == {KEPT, *FILTERS}


def test_what_has_no_points_is_persistent():
    assert is_persistent(np.zeros(0), ClusterRules())


def test_a_car_among_persistent_walls_becomes_a_box():
    generator = np.random.default_rng(2)
    faces = np.repeat(turned(two_faces(4.2, 1.8, 0.05), 0.4), 4, axis=0)
    faces += np.array([10.0, 3.0])
    car = np.column_stack([faces, generator.uniform(0.1, 1.5, len(faces))])
    wall = np.column_stack([generator.uniform(0, 20, 2000), np.full(2000, 8.0), generator.uniform(0, 4, 2000)])
    ground = np.column_stack([generator.uniform(-20, 20, (3000, 2)), np.zeros(3000)])
    points = np.concatenate([car, wall, ground]).astype(np.float32)
    scores = np.concatenate([np.full(len(car), 0.1), np.ones(5000)])
    stands = points[:, 2] > 0.05
    found = boxes_from_clusters(points, stands, scores, Plane(), ClusterSettings(), ClusterRules())
    assert len(found.boxes) == 1
    middle = turned(np.array([[2.1, 0.9]]), 0.4)[0] + [10, 3]
    truth = np.array([[*middle, 0.75, 4.2, 1.8, 1.5, 0.4]])
    assert bev_iou(found.boxes, truth)[0, 0] > 0.9


def test_an_empty_frame_has_no_boxes():
    nothing = np.zeros((0, 4), np.float32)
    found = boxes_from_clusters(nothing, np.zeros(0, bool), np.zeros(0), Plane(), ClusterSettings(), ClusterRules())
    assert found.boxes.shape == (0, 7)
    assert found.verdicts == ()
