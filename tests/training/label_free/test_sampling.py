"""Adaptive sampling: shares, rates, what is dropped, what is put in, and that dropped boxes are ignored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.label_free.streets import small_recipe
from understudy.boxes import Boxes
from understudy.datasets.opening import open_dataset
from understudy.overlap import bev_intersection_m2
from understudy_training.augmentation.membership import counts_inside
from understudy_training.augmentation.object_cutting import cut_objects
from understudy_training.batches import labelled_frame
from understudy_training.label_free.ground import Plane
from understudy_training.label_free.labels import PseudoLabeled, Resampling, Unlabeled
from understudy_training.label_free.pseudo_boxes import PseudoBoxes, boxes_of, read_pseudo_boxes
from understudy_training.label_free.sampling import GROUPS, Copy, group_shares, groups_of, rates, resample
from understudy_training.targets import batch_boxes, make_targets

INITIAL, NOW = np.array([0.5, 0.25, 0.15, 0.1]), np.array([0.675, 0.225, 0.075, 0.025])
SIZES = {"small": (1.0, 1.0, 1.7), "large": (4.4, 1.9, 1.6)}


def of_groups(counts: tuple[int, int, int, int]) -> Boxes:
    """Boxes of each group in a row, none touching another."""
    rows = []
    for group, count in zip(GROUPS, counts, strict=True):
        place, size = group.split()
        for number in range(count):
            x, y = (5.0 if place == "near" else 35.0), 0.0
            rows.append([x, y, 0.8, *SIZES[size], 0.0])
            rows[-1][0] += 1e-4 * number
    count = len(rows)
    return boxes_of(np.array(rows).reshape(-1, 7), np.zeros(count), ("object",), np.full(count, 20), np.ones(count))


class Endless:
    """A bank whose objects all stand far from everything."""

    def __init__(self) -> None:
        self.drawn = [0, 0, 0, 0]

    def draw(self, group, generator):
        self.drawn[group] += 1
        place = 1e4 + 100.0 * sum(self.drawn)
        return Copy("object", 0, np.array([place, 0, 0.8, 1, 1, 1, 0], np.float32))


def test_groups_are_near_and_far_times_small_and_large():
    boxes = of_groups((1, 1, 1, 1))
    np.testing.assert_array_equal(groups_of(boxes.geometry), [0, 1, 2, 3])
    edge = np.array([[18.0, 24.0, 0, 5, 1, 1, 0]])
    np.testing.assert_array_equal(groups_of(edge), [3])
    np.testing.assert_allclose(group_shares(of_groups((2, 1, 1, 0))), [0.5, 0.25, 0.25, 0])
    np.testing.assert_array_equal(group_shares(of_groups((0, 0, 0, 0))), 0)


def test_rates_of_the_hand_example():
    shown = rates(INITIAL, NOW)
    np.testing.assert_allclose(shown, [0.825, 1.025, 1.075, 1.075])
    expected = np.array([270, 90, 30, 10]) * shown
    np.testing.assert_allclose(expected, [222.75, 92.25, 32.25, 10.75])
    np.testing.assert_allclose(expected / expected.sum(), [0.622, 0.258, 0.090, 0.030], atol=6e-4)


@given(st.lists(st.integers(1, 500), min_size=4, max_size=4), st.lists(st.integers(0, 500), min_size=4, max_size=4))
@settings(max_examples=60)
def test_rates_add_up_to_four(before, after):
    first, now = (np.array(counts) / max(sum(counts), 1) for counts in (before, after))
    assert rates(first, now).sum() == pytest.approx(4)
    np.testing.assert_array_equal(rates(first, first), 1)


def test_resampled_numbers_are_those_expected():
    shown, boxes = rates(INITIAL, NOW), of_groups((270, 90, 30, 10))
    totals = np.zeros(4)
    for seed in range(40):
        bank = Endless()
        drawn = resample(boxes, shown, np.random.default_rng(seed), bank)
        kept = drawn.boxes.num_points > 0
        totals += np.bincount(groups_of(boxes.geometry)[kept], minlength=4) + bank.drawn
        assert len(drawn.copies) == sum(bank.drawn)
    np.testing.assert_allclose(totals / 40, [222.75, 92.25, 32.25, 10.75], rtol=0.03)


def test_rates_of_one_change_nothing_and_an_empty_frame_stays_empty():
    boxes = of_groups((3, 2, 1, 1))
    drawn = resample(boxes, np.ones(4), np.random.default_rng(0), Endless())
    np.testing.assert_array_equal(drawn.boxes.num_points, boxes.num_points)
    assert drawn.copies == ()
    nothing = resample(of_groups((0, 0, 0, 0)), np.full(4, 1.9), np.random.default_rng(0), Endless())
    assert len(nothing.boxes) == len(nothing.copies) == 0


def test_copies_touch_neither_boxes_nor_each_other():
    class Crowded:
        def draw(self, group, generator):
            return Copy("object", 0, np.array([generator.uniform(0, 12), 0, 0.8, 2, 2, 1, 0], np.float32))

    boxes = of_groups((1, 0, 0, 0))
    boxes = Boxes.concatenate([boxes] * 8)
    drawn = resample(boxes, np.full(4, 2.0), np.random.default_rng(0), Crowded())
    assert 1 <= len(drawn.copies) <= 4
    geometry = np.stack([copy.geometry for copy in drawn.copies])
    assert not (bev_intersection_m2(geometry, boxes.geometry) > 1e-4).any()
    shared = bev_intersection_m2(geometry, geometry)
    np.fill_diagonal(shared, 0)
    assert not (shared > 1e-4).any()


def test_dropped_boxes_are_ignored_not_background():
    boxes = of_groups((0, 1, 0, 0))
    dropped = resample(boxes, np.zeros(4), np.random.default_rng(0), None).boxes
    grid = small_recipe().student.detector.grid
    batch = batch_boxes([dropped], ("object",), grid, 3)
    assert batch.ignored.tolist() == [[True]]
    targets = make_targets(batch, grid, 1, 1, overlap=0.1, min_radius=2)
    assert float(targets.heatmap.sum()) == 0
    assert not bool(targets.mask.any())
    assert float(targets.background.min()) == 0
    assert float(targets.background.mean()) > 0.9


@pytest.fixture(scope="module")
def labeled(street):
    """Pseudo-boxes that are the labels: the best there could be."""
    dataset = open_dataset(street.data, "train")
    frames = []
    for index in range(len(dataset)):
        boxes = dataset[index].boxes
        boxes = boxes[boxes.num_points >= 10]
        frames.append(boxes_of(boxes.geometry, 0 * boxes.labels, ("object",), boxes.num_points, np.ones(len(boxes))))
    return PseudoLabeled(Unlabeled(dataset), PseudoBoxes(tuple(frames), ("object",)))


def test_objects_are_put_into_the_cloud_with_their_boxes(labeled, tmp_path):
    bank = tmp_path / "bank"
    cut_objects(labeled, bank, min_points=10)
    grounds = (Plane(),) * len(labeled)
    sampled = Resampling(labeled, np.full(4, 2.0), bank, grounds, (0, 1))
    added = 0
    for index in range(len(sampled)):
        before, after = labelled_frame(labeled[index], None, 100.0), labelled_frame(sampled[index], None, 100.0)
        new = after.boxes[len(before.boxes) :]
        np.testing.assert_array_equal(after.boxes.geometry[: len(before.boxes)], before.boxes.geometry)
        added += len(new)
        counts = counts_inside(new, after.points)
        assert (counts >= 4).all()
        assert (np.abs(counts - new.num_points) <= 1).all()
        again = sampled[index]
        np.testing.assert_array_equal(again.boxes.geometry, after.boxes.geometry)
    assert added >= 2
    assert sampled.fingerprint != Resampling(labeled, np.full(4, 2.0), bank, grounds, (0, 2)).fingerprint
    assert sampled.class_names == labeled.class_names


def test_without_a_bank_the_cloud_stays_as_it_is(labeled):
    sampled = Resampling(labeled, np.full(4, 0.5), None, (Plane(),) * len(labeled), (0, 1))
    assert sampled[0].frame.clouds["lidar"] is not None
    np.testing.assert_array_equal(sampled[0].frame.clouds["lidar"].points, labeled[0].frame.clouds["lidar"].points)
    dropped = sum(int((sampled[index].boxes.num_points == 0).sum()) for index in range(len(sampled)))
    assert 0 < dropped < len(labeled.boxes.together)


def test_pseudo_boxes_are_written_and_read(labeled, tmp_path):
    path = tmp_path / "boxes.npz"
    labeled.boxes.write(path)
    read = read_pseudo_boxes(path)
    assert read.fingerprint == labeled.boxes.fingerprint
    assert [len(boxes) for boxes in read.frames] == [len(boxes) for boxes in labeled.boxes.frames]
    assert not [*tmp_path.glob("*.part*")]
    nothing = PseudoBoxes((of_groups((0, 0, 0, 0)),) * 2, ("object",))
    nothing.write(path)
    assert [len(boxes) for boxes in read_pseudo_boxes(path).frames] == [0, 0]
