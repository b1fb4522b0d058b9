from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import GeometryError, InputError
from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig, read_rig

OPTICAL = (0.5, -0.5, 0.5, -0.5)
CAMERA = Camera(
    ego_from_sensor=Mounting(translation_m=(1.0, 0.0, 1.5), rotation_wxyz=OPTICAL),
    width_px=640,
    height_px=480,
    fx_px=500,
    fy_px=510,
    cx_px=320,
    cy_px=240,
)
LIDAR = Lidar(ego_from_sensor=Mounting(translation_m=(0, 0, 1.8)), intensity_scale=255)


@pytest.fixture
def rig():
    return Rig(name="car", sensors={"top": LIDAR, "front": CAMERA})


def test_a_rig_is_read_as_it_was_written(rig, tmp_path):
    rig.write(tmp_path / "rig.yaml")
    back = read_rig(tmp_path / "rig.yaml")
    assert back == rig
    assert back.hash == rig.hash
    assert list(back.sensors) == ["top", "front"]


def test_the_hash_follows_the_contents(rig):
    moved = LIDAR.model_copy(update={"ego_from_sensor": Mounting(translation_m=(0, 0, 1.81))})
    assert Rig(name="car", sensors={"top": moved, "front": CAMERA}).hash != rig.hash


def test_a_picture_shows_what_lies_before_it_within_its_edges():
    at = {(21, 0, 1.5): True, (21, 12.7, 1.5): True, (21, 12.9, 1.5): False, (21, 0, 11.2): False, (-19, 0, 1.5): False}
    pixels, depth_m = CAMERA.project(np.array(list(at), float))
    assert CAMERA.shows(pixels, depth_m).tolist() == list(at.values())
    edges = np.array([[0, 0], [639.9, 479.9], [640, 0], [0, 480], [-0.1, 0]])
    assert CAMERA.shows(edges, np.ones(5)).tolist() == [True, True, False, False, False]


def test_sensors_are_found_by_kind_and_name(rig):
    assert list(rig.lidars) == ["top"]
    assert list(rig.cameras) == ["front"]
    assert rig.lidar() == rig.lidar("top") == ("top", LIDAR)
    with pytest.raises(GeometryError, match="rig car: LiDAR rear: found top, wanted one by name"):
        rig.lidar("rear")
    with pytest.raises(GeometryError, match=r"LiDAR \(not named\): found a, b"):
        Rig(name="two", sensors={"a": LIDAR, "b": LIDAR}).lidar()
    with pytest.raises(GeometryError, match="found no LiDAR"):
        Rig(name="none", sensors={"front": CAMERA}).lidar()


def test_a_point_ahead_is_in_the_middle_and_a_point_to_the_left_left_of_it():
    pixels, depth_m = CAMERA.project(np.array([[11.0, 0, 1.5], [11.0, 1, 1.5], [11.0, 0, 2.5], [-9.0, 0, 1.5]]))
    np.testing.assert_allclose(depth_m, [10, 10, 10, -10], atol=1e-9)
    np.testing.assert_allclose(pixels[:3], [[320, 240], [270, 240], [320, 189]], atol=1e-9)
    assert np.isfinite(CAMERA.project(np.array([[1.0, 0.0, 1.5]]))[0]).all(), "a point in the pinhole"
    homogeneous = CAMERA.intrinsic_matrix() @ [0.1, -0.2, 2.0]
    np.testing.assert_allclose(homogeneous[:2] / homogeneous[2], [345, 189])


@given(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1), st.tuples(*[st.floats(-5, 5)] * 3))
@settings(max_examples=50)
def test_a_mounting_is_a_pose(wxyz, translation_m):
    pose = Pose.from_quaternion(np.array(wxyz) / np.linalg.norm(wxyz), translation_m)
    np.testing.assert_allclose(Mounting.from_pose(pose).pose().matrix, pose.matrix, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("intensity_scale: 255.0", "intensity_scale: 0"), r"rig\.yaml: sensors\.top\.lidar\.intensity_scale: found 0"),
        (("intensity_scale", "intensity"), r"unknown key sensors\.top\.lidar\.intensity"),
        (("width_px: 640", "width_px: wide"), r"sensors\.front\.camera\.width_px: found 'wide'"),
        (("fx_px: 500.0", "fx_px: .nan"), r"sensors\.front\.camera\.fx_px"),
        (("kind: camera", "kind: radar"), r"sensors\.front"),
        (("schema_version: 1", "schema_version: 2"), "schema_version: found 2"),
        (("- 0.5\n    - -0.5", "- 0.9\n    - -0.5"), "quaternion: found length"),
        (("name: car", "name: [car"), r"rig\.yaml: .*wanted a YAML file"),
    ],
)
def test_a_wrong_rig_is_refused_by_field(rig, tmp_path, change, message):
    path = tmp_path / "rig.yaml"
    rig.write(path)
    text = path.read_text()
    changed = text.replace(*change)
    if change[0].startswith("- 0.5"):
        changed = text.replace("0.5", "0.9", 1)
    assert changed != text
    path.write_text(changed)
    with pytest.raises((GeometryError, InputError), match=message):
        read_rig(path)


def test_a_missing_rig_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_rig(tmp_path / "rig.yaml")
