import numpy as np
import pytest

from understudy.boxes import Boxes
from understudy_training.augmentation import Augmentation, Scene, see
from understudy_training.augmentation.alike import moved_alike

STEPS = [
    {"kind": "flip"},
    {"kind": "turn", "max_turn_rad": 0.4},
    {"kind": "scale", "scale_range": [0.9, 1.1]},
    {"kind": "translate", "sigma_m": [0.5, 0.5, 0.1]},
    {"kind": "object_jitter"},
    {"kind": "point_dropout"},
]


def boxes_at(*places: tuple[float, float]) -> Boxes:
    rows = [[x, y, 0.8, 4.4, 1.9, 1.6, 0.3] for x, y in places]
    return Boxes(np.array(rows, np.float32).reshape(-1, 7), np.zeros(len(rows), np.int32), ("car",))


@pytest.mark.parametrize("steps", [None, STEPS[:4]], ids=["short", "steps"])
def test_boxes_of_another_time_move_as_the_scene_does(steps):
    augmentation = Augmentation() if steps is None else Augmentation.model_validate({"steps": steps})
    boxes = boxes_at((5.0, 2.0), (-7.0, 4.0))
    for index in range(8):
        change, seen = see(augmentation, Scene(np.zeros((0, 4), np.float32), boxes), seed=1, epoch=2, index=index)
        np.testing.assert_array_equal(moved_alike(change, boxes).geometry, seen.boxes.geometry)


def test_what_happens_to_objects_and_points_does_not_reach_them():
    points = np.random.default_rng(0).uniform(-9, 9, (500, 4)).astype(np.float32)
    with_objects, whole = (Augmentation.model_validate({"steps": steps}) for steps in (STEPS, STEPS[:4]))
    scene, past = Scene(points, boxes_at((5.0, 2.0))), boxes_at((-3.0, 1.0))
    for index in range(8):
        place = {"seed": 1, "epoch": 0, "index": index}
        change, _ = see(with_objects, scene, **place)
        _, wanted = see(whole, Scene(points, past), **place)
        np.testing.assert_allclose(moved_alike(change, past).geometry, wanted.boxes.geometry)
        assert len(moved_alike(change, boxes_at())) == 0
