"""Persistency of points over passes, and which passes go together."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from tests.training.label_free.streets import CONFIG, small_recipe
from understudy.datasets.opening import open_dataset
from understudy.datasets.scenes import ScenesDataset
from understudy.errors import InputError
from understudy_training.label_free.ground import GroundRules, find_ground
from understudy_training.label_free.labels import Unlabeled
from understudy_training.label_free.passes import OtherPasses, Passes, points_in_ego, pose_of, read_passes
from understudy_training.label_free.persistency import PersistencyRules, neighbors_in, persistency, thinned
from understudy_training.label_free.traversals import refuse_other_streets, write_passes
from understudy_training.testing import MadeUpDataset


def test_hand_values():
    counts = np.array([[10, 10, 10, 10], [12, 0, 0, 0], [20, 1, 1, 2], [0, 0, 0, 0]])
    np.testing.assert_allclose(persistency(counts), [1.0, 0.0, 0.450, 0.0], atol=5e-4)


def test_no_points_have_no_scores():
    assert persistency(np.zeros((0, 3))).shape == (0,)


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=1, max_size=20), st.permutations(range(4))
)
@settings(max_examples=100)
def test_the_order_of_the_passes_changes_no_bit(counts, order):
    counts = np.array(counts)
    first = persistency(counts)
    np.testing.assert_array_equal(first, persistency(counts[:, list(order)]))
    assert ((first >= 0) & (first <= 1)).all()


def test_neighbors_are_counted_in_each_pass_by_itself():
    here = cKDTree(np.array([[0.0, 0, 0], [0.2, 0, 0], [0.0, 0.31, 0]]))
    elsewhere = cKDTree(np.array([[5.0, 0, 0]]))
    points = np.array([[0.0, 0, 0], [5.1, 0, 0]])
    np.testing.assert_array_equal(neighbors_in(points, [here, elsewhere], 0.3), [[2, 0], [0, 1]])


def test_thinning_keeps_one_point_of_a_cube_as_it_is():
    points = np.random.default_rng(0).uniform(-1, 1, (3000, 3))
    kept = thinned(points, 0.5)
    corner = points.min(axis=0)
    assert len(kept) == len(np.unique(np.floor((points - corner) / 0.5), axis=0))
    assert {tuple(row) for row in kept} <= {tuple(row) for row in points}
    assert len(thinned(points[:0], 0.5)) == 0


def test_what_moves_is_not_persistent_and_what_stands_is(street):
    dataset, passes = open_dataset(street.data, "train"), street.others(small_recipe())
    moving, standing = [], []
    for index in range(len(dataset)):
        sample = dataset[index]
        points = points_in_ego(sample, None)
        ground = find_ground(points, np.random.default_rng(0), GroundRules())
        stands = (ground.above(points) > 0.3) & (np.hypot(points[:, 0], points[:, 1]) < 25)
        scores = passes.persistency(index, pose_of(sample), points[stands])
        actors = sample.segments["lidar"].labels[stands] >= 6
        moving.append(scores[actors])
        standing.append(scores[~actors])
    assert (np.concatenate(moving) <= 0.7).mean() > 0.85
    assert (np.concatenate(standing) <= 0.7).mean() < 0.4


def test_a_pass_that_is_named_in_another_order_changes_nothing(street):
    dataset = Unlabeled(open_dataset(street.data, "train"))
    others, rules = Unlabeled(open_dataset(street.passes, "all")), PersistencyRules()
    groups = read_passes(street.passes).groups
    turned = Passes(groups=tuple((first, *reversed(rest)) for first, *rest in groups))
    sample = dataset[0]
    points = points_in_ego(sample, None)[::20]
    scores = [
        OtherPasses(dataset, others, passes, rules).persistency(0, pose_of(sample), points)
        for passes in (Passes(groups=groups), turned)
    ]
    np.testing.assert_array_equal(*scores)


def test_a_drive_without_other_passes_is_refused(street):
    dataset, others = Unlabeled(open_dataset(street.data, "train")), Unlabeled(open_dataset(street.passes, "all"))
    with pytest.raises(InputError, match=r"drive 0001: found 0 other passes, wanted at least 2"):
        OtherPasses(dataset, others, Passes(groups=(read_passes(street.passes).groups[0],)), PersistencyRules())
    with pytest.raises(InputError, match="does not tell its drives"):
        OtherPasses(Unlabeled(MadeUpDataset(2)), others, read_passes(street.passes), PersistencyRules())


def test_a_frame_without_a_pose_is_refused(street):
    sample = open_dataset(street.data, "train")[0]
    with pytest.raises(InputError, match="nothing of where the ego was"):
        pose_of(replace(sample, frame=replace(sample.frame, world_from_ego=None)))


def test_a_file_of_passes_is_checked(tmp_path):
    path = tmp_path / "passes.yaml"
    path.write_text("groups: [[a, b], [b, c]]\n")
    with pytest.raises(InputError, match="b twice"):
        read_passes(path)
    with pytest.raises(InputError, match="no such file"):
        read_passes(tmp_path / "none.yaml")


def test_passes_of_other_streets_are_refused(street):
    dataset = ScenesDataset(street.data)
    refuse_other_streets(dataset, CONFIG)
    with pytest.raises(InputError, match=r"first frame: found \d+ points.*the same version"):
        refuse_other_streets(dataset, CONFIG.model_copy(update={"seed": 6}))
    with pytest.raises(InputError, match="found something there, wanted a new or empty folder"):
        write_passes(CONFIG, street.passes, 2)
