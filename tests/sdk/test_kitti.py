from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.boxes import Boxes
from understudy.converters.class_maps import ClassMap, identity
from understudy.converters.classes import CLASS_NAMES
from understudy.converters.kitti import (
    boxes_from_objects,
    format_objects,
    objects_from_boxes,
    parse_calibration,
    parse_objects,
)
from understudy.datasets.kitti import CAMERA, EGO_FROM_LIDAR, LIDAR, KittiDataset
from understudy.datasets.kitti_raw import KittiRawDataset
from understudy.errors import GeometryError, InputError

# Points in the sweep, in the picture and in each box, mean overlap of projected and labeled 2D box: counted by the
# README of the recordings, independently of this code.
TABLE = {
    "000000": (115_384, 20_285, [376], 0.89),
    "000001": (120_268, 18_630, [70, 9, 18], 0.96),
    "000002": (126_891, 20_210, [1351, 67], 0.97),
    "000005": (125_086, 19_962, [70], 0.81),
    "000007": (122_798, 19_423, [191, 19, 5, 25], 0.97),
    "000008": (122_555, 17_238, [6237, 1940, 1041, 668, 53, 164], 0.98),
    "000134": (19_097, 19_097, [523, 160, 80, 91, 36, 31, 43, 48, 46, 154, 54, 91, 64, 11, 3], 0.84),
}
CALIBRATION = """P2: 700 0 600 44 0 700 180 0.2 0 0 1 0.003
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27
"""
LINE = "Car 0.00 0 -1.56 564.62 174.59 616.43 224.74 1.61 1.66 3.20 -0.69 1.69 25.01 -1.59"


@pytest.fixture
def dataset(data_root):
    return KittiDataset(data_root / "kitti" / "object")


@pytest.fixture
def damaged(data_root, tmp_path):
    """A copy of one frame that a test may damage."""
    for folder, suffix in (("velodyne", "bin"), ("image_2", "png"), ("calib", "txt"), ("label_2", "txt")):
        (tmp_path / "training" / folder).mkdir(parents=True)
        source = data_root / "kitti" / "object" / "training" / folder / f"000007.{suffix}"
        shutil.copy(source, tmp_path / "training" / folder)
        (tmp_path / "training" / folder / f"000007.{suffix}").chmod(0o644)
    return tmp_path


def points_inside_in_camera_frame(objects, row, points_rect):
    height, width, length = objects.sizes_m[row]
    offsets = points_rect - objects.locations_m[row]
    cos, sin = np.cos(objects.rotations_y_rad[row]), np.sin(objects.rotations_y_rad[row])
    along = cos * offsets[:, 0] - sin * offsets[:, 2]
    across = sin * offsets[:, 0] + cos * offsets[:, 2]
    upright = (offsets[:, 1] <= 0) & (offsets[:, 1] >= -height)
    return int(((np.abs(along) <= length / 2) & (np.abs(across) <= width / 2) & upright).sum())


def overlap_2d(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = np.prod(np.maximum(sides, 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


@pytest.mark.data
@pytest.mark.parametrize("key", TABLE)
def test_points_and_labels_agree_with_the_table_of_the_recordings(dataset, key):
    num_points, in_image, in_boxes, mean_overlap = TABLE[key]
    sample = dataset[list(TABLE).index(key)]
    assert sample.key == key
    cloud = sample.frame.clouds[LIDAR]
    assert len(cloud) == num_points
    camera = sample.rig.cameras[CAMERA]
    size = [camera.width_px, camera.height_px]
    pixels, depth_m = camera.project(EGO_FROM_LIDAR.apply(cloud.points[:, :3]))
    seen = (depth_m > 0) & (pixels >= 0).all(axis=1) & (pixels < size).all(axis=1)
    assert seen.sum() == in_image

    objects, calibration = dataset.objects(key), dataset.calibration(key)
    wanted = [row for row, name in enumerate(objects.types) if name != "DontCare"]
    points_rect = calibration.rect_from_lidar.apply(cloud.points[:, :3])
    assert [points_inside_in_camera_frame(objects, row, points_rect) for row in wanted] == in_boxes

    # Boxes in ego stand upright, the camera is tilted by some half a degree: a few points at the faces change sides.
    names = tuple(dict.fromkeys(objects.types[row] for row in wanted))
    ego_from_rect = EGO_FROM_LIDAR @ calibration.rect_from_lidar.inverse()
    boxes = boxes_from_objects(objects, ego_from_rect, identity(names))
    counts = boxes.contains(EGO_FROM_LIDAR.apply(cloud.points[:, :3])).sum(axis=1)
    np.testing.assert_allclose(counts, in_boxes, rtol=0.1, atol=2)
    overlaps = []
    for corners, row in zip(boxes.corners(), wanted, strict=True):
        outline = np.clip(camera.project(corners)[0], 0, np.array(size) - 1)
        overlaps.append(overlap_2d(np.concatenate([outline.min(0), outline.max(0)]), objects.boxes_px[row]))
    assert np.mean(overlaps) == pytest.approx(mean_overlap, abs=0.03)


@pytest.mark.data
def test_samples_hold_our_classes_and_their_points(dataset):
    sample = dataset[4]
    assert [CLASS_NAMES[label] for label in sample.boxes.labels] == ["car", "car", "car", "cyclist"]
    np.testing.assert_allclose(sample.boxes.num_points, [191, 19, 5, 25], atol=9)
    assert len(dataset[2].boxes) == 1, "Misc has no class of ours"
    assert sample.frame.images[CAMERA].pixels.shape == (sample.rig.cameras[CAMERA].height_px, 1242, 3)
    assert dataset.labeled(sample, sample.boxes).all()
    behind = Boxes(sample.boxes.geometry * np.float32([-1, 1, 1, 1, 1, 1, 1]), sample.boxes.labels, CLASS_NAMES)
    assert not dataset.labeled(sample, behind).any()
    bottoms_m = sample.boxes.geometry[:, 2] - sample.boxes.geometry[:, 5] / 2
    assert np.abs(bottoms_m).max() < 1.1, "objects stand on the road, which is z = 0"


@pytest.mark.data
def test_what_lies_in_a_region_marked_dont_care_is_not_labeled(dataset):
    sample, objects = dataset[1], dataset.objects("000001")
    camera = sample.rig.cameras[CAMERA]
    region = objects.boxes_px[objects.types.index("DontCare")]
    u_px, v_px = (region[:2] + region[2:]) / 2
    ray = [(u_px - camera.cx_px) / camera.fx_px, (v_px - camera.cy_px) / camera.fy_px, 1.0]
    center = camera.ego_from_sensor.pose().apply(40 * np.array(ray))
    box = np.concatenate([center, [4, 2, 1.5, 0]]).astype(np.float32)[None]
    assert not dataset.labeled(sample, Boxes(box, np.int32([0]), CLASS_NAMES)).any()


@pytest.mark.data
def test_labels_survive_the_way_to_boxes_and_back(dataset):
    for key in TABLE:
        objects, calibration = dataset.objects(key), dataset.calibration(key)
        ego_from_rect = EGO_FROM_LIDAR @ calibration.rect_from_lidar.inverse()
        back = objects_from_boxes(boxes_from_objects(objects, ego_from_rect), ego_from_rect)
        known = [row for row, name in enumerate(objects.types) if name not in {"DontCare", "Misc"}]
        assert back.types == tuple(objects.types[row] for row in known)
        np.testing.assert_allclose(back.locations_m, objects.locations_m[known], atol=1e-5)
        np.testing.assert_allclose(back.sizes_m, objects.sizes_m[known], atol=1e-6)
        np.testing.assert_allclose(back.rotations_y_rad, objects.rotations_y_rad[known], atol=1e-6)
        np.testing.assert_allclose(back.alpha_rad, objects.alpha_rad[known], atol=0.05)


@pytest.mark.data
def test_written_labels_are_read_as_the_same_numbers(dataset):
    for key in TABLE:
        objects = dataset.objects(key)
        back = parse_objects(format_objects(objects), key)
        assert back.types == objects.types
        for column in ("truncated", "occluded", "alpha_rad", "boxes_px", "sizes_m", "locations_m", "rotations_y_rad"):
            np.testing.assert_array_equal(getattr(back, column), getattr(objects, column))


@given(st.floats(-40, 40), st.floats(3, 60), st.floats(-3.14, 3.14))
@settings(max_examples=60)
def test_boxes_survive_the_way_to_labels_and_back(x, y, yaw):
    ego_from_rect = EGO_FROM_LIDAR @ parse_calibration(CALIBRATION, "calibration").rect_from_lidar.inverse()
    boxes = Boxes(np.float32([[x, y, 0.8, 4, 1.8, 1.5, yaw]]), np.int32([0]), CLASS_NAMES, scores=np.float32([0.5]))
    back = boxes_from_objects(objects_from_boxes(boxes, ego_from_rect), ego_from_rect)
    np.testing.assert_allclose(back.geometry, boxes.geometry, atol=2e-5)
    assert back.scores == pytest.approx(boxes.scores)


def test_rotation_y_of_zero_points_to_the_right():
    objects = parse_objects("Car 0 0 0 0 0 9 9 1.5 1.6 4.0 2.0 1.65 10.0 0.0", "label")
    ego_from_rect = EGO_FROM_LIDAR @ parse_calibration(CALIBRATION, "calibration").rect_from_lidar.inverse()
    box = boxes_from_objects(objects, ego_from_rect).geometry[0]
    np.testing.assert_allclose(box, [10.27, -2.0, 1.73 - 0.08 - 1.65 + 0.75, 4.0, 1.6, 1.5, -np.pi / 2], atol=1e-5)


def test_the_fourth_column_of_p2_is_carried_as_a_baseline():
    calibration = parse_calibration(CALIBRATION, "calibration")
    p2 = np.array([[700, 0, 600, 44], [0, 700, 180, 0.2], [0, 0, 1, 0.003]])
    point_rect = np.array([1.0, 2.0, 12.0])
    seen = calibration.camera_matrix @ calibration.camera2_from_rect.apply(point_rect)
    np.testing.assert_allclose(seen, p2 @ [*point_rect, 1.0], rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINE + "\n" + LINE[:-6], r"label\.txt line 2: found 14 fields, wanted 15, or 16 with a score"),
        (LINE + " 0.5\n" + LINE, r"label\.txt line 2: found lines with and without a score"),
        (LINE.replace("25.01", "far"), r"label\.txt line 1: found could not convert .*far"),
        (LINE.replace("25.01", "nan"), r"label\.txt line 1: found a value that is not finite"),
        (LINE.replace("3.20", "-3.20"), r"label\.txt line 1: found size .*wanted sizes >= 0"),
    ],
)
def test_wrong_label_lines_name_file_and_line(text, message):
    with pytest.raises(InputError, match=message):
        parse_objects(text, "label.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("P2:", "P9:"), r"calib\.txt: P2: found P9, R0_rect, Tr_velo_to_cam"),
        (("R0_rect: 1", "R0_rect: nan"), "R0_rect: found a value that is not finite"),
        (("R0_rect: 1", "R0_rect: 1 1"), "R0_rect: found 10 numbers, wanted 9"),
        (("R0_rect: 1", "R0_rect: one"), "R0_rect: found could not convert"),
        (("R0_rect: 1", "R0_rect: 2"), r"calib\.txt: pose rotation: found .* away from orthonormal"),
        (("P2: 700", "P2: 0"), "P2: found a singular camera matrix"),
    ],
)
def test_wrong_calibrations_name_file_and_matrix(change, message):
    with pytest.raises((InputError, GeometryError), match=message):
        parse_calibration(CALIBRATION.replace(*change), "calib.txt")


def test_no_lines_are_no_objects():
    assert len(parse_objects("", "label")) == 0
    assert len(boxes_from_objects(parse_objects("\n", "label"), EGO_FROM_LIDAR)) == 0
    assert format_objects(parse_objects("", "label")) == ""


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("velodyne/000007.bin", b"\0" * 1001, r"000007\.bin: found 1001 bytes, wanted a multiple of 16"),
        ("velodyne/000007.bin", b"", r"000007\.bin: found an empty file"),
        ("calib/000007.txt", None, r"calib/000007\.txt: found no such file"),
        ("label_2/000007.txt", None, r"label_2/000007\.txt: found no such file"),
        ("image_2/000007.png", None, r"image_2/000007\.png: found no such file"),
        ("image_2/000007.png", b"picture", r"image_2/000007\.png: found .*wanted a whole JPEG or PNG"),
        ("calib/000007.txt", b"\xff\xfe", r"calib/000007\.txt: .*wanted a text file"),
    ],
)
def test_damaged_frames_are_refused_by_file(damaged, file, content, message):
    path = damaged / "training" / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        KittiDataset(damaged)[0]


@pytest.mark.data
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("P2: 7.215377000000e+02 0.0", "P2: 7.215377000000e+02 9.0", r"000007\.txt: P2: found .*a rectified camera"),
        ("6.095593000000e+02 4.48", "1.095593000000e+03 4.48", r"000007\.txt: P2: found center \(1095\.6, 172\.9\) px"),
        ("velo_to_cam: 7.53", "velo_to_cam: 1 0 0 0 0 0 -1 0 0 1 0 0\nold: 7.53", r"P2: found a camera that looks 90"),
    ],
)
def test_the_calibration_of_another_camera_is_refused(damaged, old, new, message):
    path = damaged / "training" / "calib" / "000007.txt"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises((InputError, GeometryError), match=message):
        KittiDataset(damaged)[0]


@pytest.mark.data
def test_a_label_without_a_sweep_is_refused_unless_a_split_names_the_frames(damaged):
    label = damaged / "training" / "label_2" / "000007.txt"
    (label.parent / "000009.txt").write_text(label.read_text())
    with pytest.raises(InputError, match=r"label_2/000009\.txt: found a label without a sweep, wanted velodyne/000009"):
        KittiDataset(damaged)
    (damaged / "ImageSets").mkdir()
    (damaged / "ImageSets" / "mine.txt").write_text("000007\n")
    assert len(KittiDataset(damaged, "mine")) == 1


@pytest.mark.data
def test_frames_are_named_by_number(damaged):
    (damaged / "ImageSets").mkdir()
    (damaged / "ImageSets" / "mine.txt").write_text("000007 seven\n")
    with pytest.raises(InputError, match=r"ImageSets/mine\.txt: found a frame 'seven', wanted frames named by number"):
        KittiDataset(damaged, "mine")
    (damaged / "training" / "velodyne" / "._000007.bin").write_bytes(b"what some systems leave beside a copy")
    with pytest.raises(InputError, match=r"velodyne: found a frame '\._000007'"):
        KittiDataset(damaged)


@pytest.mark.data
def test_points_that_are_not_finite_are_damage(damaged):
    path = damaged / "training" / "velodyne" / "000007.bin"
    points = np.fromfile(path, np.float32).reshape(-1, 4)
    points[[3, 9], 1] = np.inf
    points.tofile(path)
    with pytest.raises(InputError, match=r"000007\.bin: found point 3 is .*2 of 122798 points are not finite"):
        KittiDataset(damaged)[0]


@pytest.mark.data
def test_a_picture_cut_short_is_refused_when_looked_at(damaged):
    path = damaged / "training" / "image_2" / "000007.png"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"000007\.png"):
        KittiDataset(damaged)[0].frame.images[CAMERA]


@pytest.mark.data
def test_without_a_label_folder_frames_are_unlabeled(damaged):
    shutil.rmtree(damaged / "training" / "label_2")
    assert KittiDataset(damaged)[0].boxes is None


@pytest.mark.data
def test_splits_are_lists_of_frames(data_root, dataset):
    assert len(KittiDataset(data_root / "kitti" / "object", "train")) == 6
    with pytest.raises(InputError, match=r"split val: found no .*val\.txt, wanted train or all"):
        KittiDataset(data_root / "kitti" / "object", "val")


@pytest.mark.data
def test_fingerprint_follows_labels_and_sizes(damaged):
    before = KittiDataset(damaged).fingerprint
    assert KittiDataset(damaged).fingerprint == before
    label = damaged / "training" / "label_2" / "000007.txt"
    label.write_text(label.read_text().replace("Car", "Van", 1))
    assert KittiDataset(damaged).fingerprint != before


@pytest.mark.data
def test_datasets_and_samples_can_be_pickled(dataset):
    assert pickle.loads(pickle.dumps(dataset)).class_names == CLASS_NAMES
    assert CAMERA in pickle.loads(pickle.dumps(dataset[0])).frame.images


@pytest.mark.data
def test_raw_pair_is_ten_hertz_apart_and_its_points_fit_the_picture(data_root):
    drive = next((data_root / "kitti" / "raw" / "2011_09_26").glob("*_sync"))
    dataset = KittiRawDataset(drive)
    first, second = dataset[0], dataset[1]
    assert second.frame.stamp_ns - first.frame.stamp_ns == 100_000_000
    assert first.boxes is None
    assert first.rig.hash == second.rig.hash
    camera = first.rig.cameras[CAMERA]
    assert first.frame.images[CAMERA].pixels.shape == (camera.height_px, camera.width_px, 3)
    pixels, depth_m = camera.project(EGO_FROM_LIDAR.apply(first.frame.clouds[LIDAR].points[:, :3]))
    seen = (depth_m > 0) & (pixels >= 0).all(axis=1) & (pixels < [camera.width_px, camera.height_px]).all(axis=1)
    assert 15_000 < seen.sum() < 22_000
    with pytest.raises(InputError, match="calib_object_format"):
        KittiRawDataset(drive / "velodyne_points")


@pytest.mark.data
def test_class_maps_decide_what_counts_and_as_what(data_root):
    root = data_root / "kitti" / "object"
    official = KittiDataset(root, classes="official")
    assert official.class_names == ("Car", "Pedestrian", "Cyclist")
    assert [official.class_names[label] for label in official[4].boxes.labels] == ["Car", "Car", "Car", "Cyclist"]
    assert [official.class_names[label] for label in official[1].boxes.labels] == ["Car", "Cyclist"], "no trucks"
    everything = ClassMap(class_names=("any", "odd"), of={"Car": "any", "Misc": "odd", "Truck": "any"})
    mapped = KittiDataset(root, classes=everything)
    assert mapped.class_names == ("any", "odd")
    assert sorted(mapped[2].boxes.labels) == [0, 1]


@pytest.mark.data
def test_frames_stand_alone_and_raw_frames_follow_each_other(dataset, data_root):
    places = [dataset.place(index) for index in range(len(dataset))]
    assert len({place.drive for place in places}) == len(dataset)
    assert [place.stamp_ns for place in places] == [dataset[i].frame.stamp_ns for i in range(len(dataset))]
    raw = KittiRawDataset(next((data_root / "kitti/raw/2011_09_26").glob("*_sync")))
    assert raw.place(0).drive == raw.place(1).drive
    assert raw.place(1).stamp_ns - raw.place(0).stamp_ns == 100_000_000
