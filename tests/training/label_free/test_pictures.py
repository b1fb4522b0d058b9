"""2D boxes: the file they come in, the stand-in for a detector, and the boxes lifted from them."""

import json

import numpy as np
import pytest

from understudy.boxes import Boxes
from understudy.datasets.opening import open_dataset
from understudy.errors import InputError
from understudy.overlap import bev_iou
from understudy.pose import Pose
from understudy.rig import Camera, Mounting
from understudy_training.label_free.classes import (
    UNKNOWN,
    ClassRules,
    classes_by_size,
    classes_in_pictures,
    picture_iou,
)
from understudy_training.label_free.cues import CuesFromFile, PictureBoxes, PictureCues
from understudy_training.label_free.ground import GroundRules, find_ground
from understudy_training.label_free.passes import points_in_ego
from understudy_training.label_free.picture_boxes import GrowingRules, lifted_boxes, segment_behind
from understudy_training.label_free.synthetic_cues import SurrogateSettings, projected, synthetic_cues
from understudy_training.testing import MadeUpDataset

OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
CAMERA = Camera(
    ego_from_sensor=Mounting.from_pose(Pose(OPTICAL, np.array([0.0, 0.0, 1.5]))),
    width_px=640,
    height_px=360,
    fx_px=400.0,
    fy_px=400.0,
    cx_px=319.5,
    cy_px=179.5,
)
CAR = Boxes(np.array([[15.0, 2.0, 0.8, 4.2, 1.8, 1.6, 0.3]], np.float32), np.zeros(1, np.int32), ("car", "person"))


def hull_of(boxes: Boxes, spacing_m: float = 0.12) -> np.ndarray:
    """`(N, 4)` points on the sides of boxes."""
    parts = []
    for x, y, z, length, width, height, yaw in boxes.geometry.astype(float):
        u, v = np.meshgrid(np.arange(-0.5, 0.5, spacing_m / length), np.arange(-0.45, 0.5, spacing_m / height))
        flat = [np.column_stack([u.ravel(), np.full(u.size, side), v.ravel()]) for side in (-0.5, 0.5)]
        w, v = np.meshgrid(np.arange(-0.5, 0.5, spacing_m / width), np.arange(-0.45, 0.5, spacing_m / height))
        flat += [np.column_stack([np.full(w.size, side), w.ravel(), v.ravel()]) for side in (-0.5, 0.5)]
        local = np.concatenate(flat) * [length, width, height]
        cos, sin = np.cos(yaw), np.sin(yaw)
        turned = [cos * local[:, 0] - sin * local[:, 1] + x, sin * local[:, 0] + cos * local[:, 1] + y]
        parts.append(np.column_stack([*turned, local[:, 2] + z, np.zeros(len(local))]))
    return np.concatenate(parts).astype(np.float32)


def wall_behind() -> np.ndarray:
    y, z = np.meshgrid(np.arange(-15, 15, 0.2), np.arange(0.1, 4, 0.2))
    return np.column_stack([np.full(y.size, 24.0), y.ravel(), z.ravel(), 0 * y.ravel()]).astype(np.float32)


def seen_as(boxes: Boxes) -> PictureBoxes:
    corners, _ = projected(boxes, CAMERA)
    names = tuple(boxes.class_names[label] for label in boxes.labels)
    return PictureBoxes(corners, names, np.ones(len(boxes)))


def lift(cues: PictureBoxes, points: np.ndarray, rules: GrowingRules | None = None):
    return lifted_boxes(cues, CAMERA, points, points[:, 2] > 0.05, points[:, 2], rules or GrowingRules())


def test_a_car_before_a_wall_is_lifted():
    points = np.concatenate([hull_of(CAR), wall_behind()])
    lifted = lift(seen_as(CAR), points)
    np.testing.assert_array_equal(lifted.cues, [0])
    assert bev_iou(lifted.boxes, CAR.geometry)[0, 0] > 0.8


def test_what_reaches_out_of_the_2d_box_is_not_lifted():
    lifted = lift(seen_as(CAR), wall_behind())
    assert len(lifted.boxes) == 0
    everything = lift(seen_as(CAR), wall_behind(), GrowingRules(min_share_inside=0.01, max_size_m=(99, 99, 99)))
    assert len(everything.boxes) == 1


def test_a_sparse_car_needs_a_longer_link_and_the_trials_bring_it():
    points = np.concatenate([hull_of(CAR, 0.45), wall_behind()])
    assert len(lift(seen_as(CAR), points, GrowingRules(links_m=(0.1,))).boxes) == 0
    assert bev_iou(lift(seen_as(CAR), points).boxes, CAR.geometry)[0, 0] > 0.7


def test_nothing_in_the_box_or_behind_the_camera_lifts_nothing():
    nothing = np.zeros((0, 4), np.float32)
    assert lift(seen_as(CAR), nothing).boxes.shape == (0, 7)
    behind = hull_of(CAR) * np.array([-1, 1, 1, 1], np.float32)
    assert lift(seen_as(CAR), behind).boxes.shape == (0, 7)
    assert lift(PictureBoxes(np.zeros((0, 4)), (), np.zeros(0)), hull_of(CAR)).boxes.shape == (0, 7)


def test_segments_by_the_spanning_forest_are_those_of_all_links():
    points = np.concatenate([hull_of(CAR), wall_behind()])[::3, :3]
    pixels, _ = CAMERA.project(points)
    corners = seen_as(CAR).corners_px[0]
    rules = GrowingRules(links_m=(0.4,))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    linked = distances < 0.4
    for _ in range(10):
        linked = (linked.astype(np.float32) @ linked.astype(np.float32)) > 0
    inside = ((pixels >= corners[:2]) & (pixels <= corners[2:])).all(axis=1)
    best = max((np.flatnonzero(row) for row in linked if inside[row].mean() >= 0.8), key=len)
    assert set(segment_behind(corners, pixels, points, rules)) == set(best)


def cue_file(**changes: object) -> dict[str, object]:
    values: dict[str, object] = {
        "info": {"description": "anything"},
        "categories": [{"id": 7, "name": "car", "supercategory": "vehicle"}],
        "images": [{"id": 3, "frame": "0000/000000", "camera": "camera", "width": 160, "height": 96}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 7, "bbox": [10, 20, 30, 15], "score": 0.8, "iscrowd": 0},
            {"image_id": 3, "category_id": 7, "bbox": [50, 20, 5, 5], "score": 0.1},
        ],
    }
    return values | changes


def written(folder, **changes):
    path = folder / "cues.json"
    path.write_text(json.dumps(cue_file(**changes)))
    return path


def test_a_coco_file_gives_its_boxes(tmp_path, street):
    sample = open_dataset(street.data, "train")[0]
    cues: PictureCues = CuesFromFile(written(tmp_path), 0.3)
    boxes = cues.of(sample)["camera"]
    np.testing.assert_array_equal(boxes.corners_px, [[10, 20, 40, 35]])
    assert (boxes.class_names, boxes.scores.tolist()) == (("car",), [0.8])
    assert cues.class_names == ("car",)
    assert len(CuesFromFile(written(tmp_path)).of(sample)["camera"]) == 2
    assert cues.of(open_dataset(street.data, "train")[1]) == {}
    assert CuesFromFile(written(tmp_path)).fingerprint != cues.fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [{"image_id": 3, "category_id": 7, "bbox": [1, 2, 0, 5]}]}, "annotations.0.*width and height"),
        ({"annotations": [{"image_id": 9, "category_id": 7, "bbox": [1, 2, 3, 5]}]}, "image 9 is not in the file"),
        ({"annotations": [{"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 5]}]}, "class 1 is not in the file"),
        ({"annotations": [{"image_id": 3, "category_id": 7, "bbox": [1, 2, 3]}]}, "annotations.0.bbox"),
        ({"images": [{"id": 3, "file_name": "a.jpg", "width": 1, "height": 1}]}, "images.0.frame"),
        ({"categories": [{"id": 7, "name": "a"}, {"id": 7, "name": "b"}]}, "categories: each id once"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as error:
        CuesFromFile(written(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_a_file_of_other_pictures_is_refused(tmp_path, street):
    dataset = open_dataset(street.data, "train")
    image = {"id": 3, "frame": "0000/000000", "camera": "camera", "width": 640, "height": 96}
    with pytest.raises(InputError, match="found 640 x 96, wanted 160 x 96"):
        CuesFromFile(written(tmp_path, images=[image])).of(dataset[0])
    with pytest.raises(InputError, match="camera left: found not in the rig"):
        CuesFromFile(written(tmp_path, images=[image | {"camera": "left"}])).refuse_strangers(dataset)
    with pytest.raises(InputError, match="frames such as x, wanted frames such as 0000/000000"):
        CuesFromFile(written(tmp_path, images=[image | {"frame": "x"}])).refuse_strangers(dataset)
    CuesFromFile(street.cues).refuse_strangers(dataset)


def test_the_stand_in_is_declared_seeded_and_worse_with_the_distance(street):
    dataset = open_dataset(street.data, "train")
    file = synthetic_cues(dataset, SurrogateSettings())
    assert file.synthetic
    assert file == synthetic_cues(dataset, SurrogateSettings())
    assert file != synthetic_cues(dataset, SurrogateSettings(seed=1))
    perfect = SurrogateSettings(near_recall=1, far_recall=1, near_jitter=0, far_jitter=0, wrong_class=0)
    exact = synthetic_cues(dataset, perfect)
    fading = SurrogateSettings(near_recall=1, far_recall=0, near_jitter=0, far_jitter=0, wrong_class=0, far_m=20)
    assert len(exact.annotations) > len(synthetic_cues(dataset, fading).annotations)
    assert not synthetic_cues(dataset, perfect.model_copy(update={"min_size_px": 999})).annotations
    with pytest.raises(InputError, match="a rig without cameras"):
        synthetic_cues(MadeUpDataset(1), SurrogateSettings())


def test_a_projected_box_is_around_its_points():
    corners, shown = projected(CAR, CAMERA)
    pixels, _ = CAMERA.project(hull_of(CAR)[:, :3])
    assert shown.all()
    assert (pixels >= corners[0, :2] - 1e-6).all()
    assert (pixels <= corners[0, 2:] + 1e-6).all()
    behind = Boxes(CAR.geometry * np.array([-1, 1, 1, 1, 1, 1, 1], np.float32), CAR.labels, CAR.class_names)
    assert not projected(behind, CAMERA)[1].any()


def test_a_box_takes_the_class_of_the_2d_box_it_looks_like():
    geometry = np.array([[15, 2, 0.8, 4.2, 1.8, 1.6, 0.3], [15, -6, 0.8, 0.6, 0.6, 1.7, 0]], np.float32)
    boxes = Boxes(geometry, np.zeros(2, np.int32), ("object",))
    cues = seen_as(CAR)
    for names, label in ((("person", "car"), 1), (("person",), UNKNOWN)):
        labels = classes_in_pictures(boxes, {"front": cues}, {"front": CAMERA}, names, ClassRules())
        np.testing.assert_array_equal(labels, [label, UNKNOWN])


def test_boxes_that_nobody_named_go_by_their_size_or_stay_unknown():
    sizes = [[4.2, 1.8, 1.5]] * 20 + [[0.6, 0.6, 1.7]] * 20 + [[4.1, 1.7, 1.5], [1.6, 1.05, 1.6]]
    geometry = np.hstack([np.zeros((42, 3)), sizes, np.zeros((42, 1))])
    labels = np.array([0] * 20 + [1] * 20 + [UNKNOWN] * 2)
    voted = classes_by_size(geometry, labels, 2, ClassRules(min_agreement=0.9))
    assert voted[40] == 0
    np.testing.assert_array_equal(voted[:40], labels[:40])
    split = np.where(np.arange(42) < 40, np.arange(42) % 2, UNKNOWN)
    assert classes_by_size(geometry, split, 2, ClassRules())[41] == UNKNOWN
    np.testing.assert_array_equal(classes_by_size(geometry, np.full(42, UNKNOWN), 2, ClassRules()), UNKNOWN)


def test_overlap_of_upright_boxes():
    a = np.array([[0.0, 0, 2, 2]])
    np.testing.assert_allclose(picture_iou(a, np.array([[1.0, 0, 3, 2], [5, 5, 6, 6], [0, 0, 2, 2]])), [[1 / 3, 0, 1]])


@pytest.mark.data
def test_real_objects_are_lifted_from_their_2d_boxes(data_root):
    """KITTI, with the labels' projections for 2D boxes: 19 of the 28 lifted boxes overlap their label by a quarter."""
    dataset = open_dataset(data_root / "kitti" / "object", "all")
    num_objects = num_found = 0
    for index in range(len(dataset)):
        sample = dataset[index]
        if sample.boxes is None:
            continue
        (camera, *_) = sample.rig.cameras.values()
        points = points_in_ego(sample, None)
        above_m = find_ground(points, np.random.default_rng(0), GroundRules()).above(points)
        corners, shown = projected(sample.boxes, camera)
        rows = np.flatnonzero(shown & (sample.boxes.contains(points).sum(axis=1) >= 10))
        cues = PictureBoxes(corners[rows], ("object",) * len(rows), np.ones(len(rows)))
        lifted = lifted_boxes(cues, camera, points, above_m > 0.2, above_m, GrowingRules())
        overlaps = bev_iou(lifted.boxes, sample.boxes.geometry[rows[lifted.cues]])
        num_objects += len(rows)
        num_found += int((np.diag(overlaps) >= 0.25).sum())
    assert num_objects >= 20
    assert num_found >= 0.6 * num_objects
