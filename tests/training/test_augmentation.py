import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from understudy_training.augmentation import Augmentation, Draw, draw, variant_of
from understudy_training.testing import boxes_in, points_of

draws = st.builds(Draw, flip_y=st.booleans(), turn_rad=st.floats(-3.1, 3.1), scale=st.floats(0.8, 1.25))


@given(draws, st.integers(0, 2**32 - 1))
def test_boxes_follow_their_points(change, seed):
    generator = np.random.default_rng(seed)
    boxes = boxes_in(generator, 4)
    points = points_of(generator, boxes, floor=0)
    grown = boxes.geometry.copy()
    grown[:, 3:6] *= 1.001
    inside = type(boxes)(grown, boxes.labels, boxes.class_names).contains(points)
    moved = change.boxes(type(boxes)(grown * 1, boxes.labels, boxes.class_names))
    slack = moved.geometry.copy()
    slack[:, 3:6] *= 1.001
    inside_after = type(boxes)(slack, moved.labels, moved.class_names).contains(change.points(points))
    own = np.repeat(np.eye(4, dtype=bool), 60, axis=1)
    assert inside[own].all()
    assert inside_after[own].all()


@given(draws)
def test_intensity_stays_and_distances_scale(change):
    points = np.array([[1, 2, 3, 0.7], [4, -2, 0, 0.1]], np.float32)
    moved = change.points(points)
    np.testing.assert_array_equal(moved[:, 3], points[:, 3])
    before, after = np.linalg.norm(points[0, :3] - points[1, :3]), np.linalg.norm(moved[0, :3] - moved[1, :3])
    np.testing.assert_allclose(after, before * change.scale, rtol=1e-5)


def test_a_draw_can_be_drawn_again():
    augmentation = Augmentation()
    first = [draw(augmentation, seed=3, epoch=epoch, index=7) for epoch in range(5)]
    assert first == [draw(augmentation, seed=3, epoch=epoch, index=7) for epoch in range(5)]
    assert len(set(first)) == 5
    assert draw(augmentation, seed=4, epoch=0, index=7) != first[0]
    assert draw(augmentation, seed=3, epoch=0, index=8) != first[0]


def test_fixed_versions_repeat_and_are_the_same_for_every_seed():
    augmentation = Augmentation(variants=3)
    shown = [draw(augmentation, seed=0, epoch=epoch, index=1) for epoch in range(6)]
    assert shown[:3] == shown[3:]
    assert shown == [draw(augmentation, seed=9, epoch=epoch, index=1) for epoch in range(6)]
    assert shown[0] == Draw()
    assert [variant_of(augmentation, epoch) for epoch in range(4)] == [0, 1, 2, 0]


def test_without_augmentation_nothing_changes():
    assert draw(None, seed=1, epoch=2, index=3) == Draw()
    assert variant_of(None, 5) == 0
