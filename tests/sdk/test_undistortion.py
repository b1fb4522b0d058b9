"""Lenses, against OpenCV and by their properties: points in and out, pictures, cameras that know their lens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from understudy.distortion import distort, turned_lens, undistort
from understudy.errors import GeometryError
from understudy.frame import Image
from understudy.pose import Pose
from understudy.rig import Camera, Mounting, Rig
from understudy.undistortion import (
    Undistorted,
    remap,
    undistort_image,
    undistort_map,
    undistorted_camera,
    undistorted_rig,
)

LENSES = {
    "plumb_bob": (-0.31, 0.11, 0.0012, -0.0007, -0.018),
    "rational_polynomial": (0.21, -0.07, 0.0004, -0.0011, 0.008, 0.43, -0.05, 0.003),
    "equidistant": (0.021, -0.014, 0.009, -0.0031),
}
OPTICAL = Pose.from_quaternion([0.5, -0.5, 0.5, -0.5], [1.2, 0.1, 1.6])


def camera(model: str, **changes: object) -> Camera:
    values = {
        **{"ego_from_sensor": Mounting.from_pose(OPTICAL), "width_px": 640, "height_px": 400},
        **{"fx_px": 410.0, "fy_px": 405.0, "cx_px": 322.5, "cy_px": 196.0},
        **{"distortion_model": model, "distortion": LENSES[model]},
    }
    return Camera(**{**values, **changes})


def smooth_picture(width: int = 640, height: int = 400) -> np.ndarray:
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    waves = [127 + 100 * np.sin(u / 60 + phase) * np.cos(v / 45 - phase) for phase in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


def test_points_and_pictures_equal_opencvs(oracle):
    rng = np.random.default_rng(5)
    question, picture = {}, smooth_picture()
    for model in LENSES:
        own = camera(model)
        target = own.intrinsic_matrix() * [[0.8], [0.9], [1]]
        depth = rng.uniform(0.5, 60, (3000, 1))
        rays = rng.uniform(-0.75, 0.75, (3000, 2)) * [1, 0.6]
        pixels = rng.uniform(0, 1, (3000, 2)) * [640, 400]
        entries = {"matrix": own.intrinsic_matrix(), "target": target, "coefficients": np.array(LENSES[model])}
        entries |= {"points": np.hstack([rays * depth, depth]), "pixels": pixels, "picture": picture}
        question |= {f"{model}/{name}": values for name, values in entries.items()}
    answer = oracle.ask("opencv_lenses", question)
    for model in LENSES:
        own, target = camera(model), question[f"{model}/target"]
        projected, depth_m = own.project(OPTICAL.apply(question[f"{model}/points"]))
        np.testing.assert_allclose(projected, answer[f"{model}/projected"][:, 0], atol=1e-6)
        np.testing.assert_allclose(depth_m, question[f"{model}/points"][:, 2], atol=1e-9)
        rays = (question[f"{model}/pixels"] - [own.cx_px, own.cy_px]) / [own.fx_px, own.fy_px]
        np.testing.assert_allclose(undistort(rays, model, own.distortion), answer[f"{model}/rays"][:, 0], atol=1e-6)
        changes = {"fx_px": target[0, 0], "fy_px": target[1, 1], "cx_px": target[0, 2], "cy_px": target[1, 2]}
        pinhole = undistorted_camera(own).model_copy(update=changes)
        places = undistort_map(own, pinhole)
        np.testing.assert_allclose(places, answer[f"{model}/map"], atol=1e-3)
        ours = undistort_image(Image(picture, 7), own, pinhole)[0].pixels.astype(int)
        theirs = answer[f"{model}/remapped"].astype(int)
        inside = ((places >= 0) & (places <= [639, 399])).all(axis=2)
        assert inside.mean() > 0.6
        assert np.abs(ours - theirs)[inside].max() <= 1
        beyond = ((places < -1) | (places > [640, 400])).any(axis=2)
        assert (ours[beyond] == 0).all()
        assert (theirs[beyond] == 0).all()


@pytest.mark.parametrize("model", LENSES)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_undistorting_undoes_distorting(model, seed):
    rays = np.random.default_rng(seed).uniform(-0.8, 0.8, (50, 2)) * [1, 0.7]
    np.testing.assert_allclose(undistort(distort(rays, model, LENSES[model]), model, LENSES[model]), rays, atol=1e-8)


@pytest.mark.parametrize("model", LENSES)
def test_the_axis_stays_and_no_coefficients_change_nothing(model):
    axis = np.zeros((1, 2))
    np.testing.assert_array_equal(distort(axis, model, LENSES[model]), axis)
    np.testing.assert_allclose(undistort(axis, model, LENSES[model]), axis, atol=1e-15)
    rays = np.random.default_rng(1).normal(size=(9, 2))
    np.testing.assert_array_equal(distort(rays, model, ()), rays)
    np.testing.assert_array_equal(undistort(rays, model, (0.0,) * 4), rays)


def test_rays_beyond_the_fold_stay_outside_of_the_picture():
    barrel = camera("plumb_bob", distortion=(-0.31, 0.0, 0.0, 0.0))
    sideways = OPTICAL.apply(np.array([[x, 0.0, 1.0] for x in np.linspace(1.1, 6, 200)]))
    pixels, _ = barrel.project(sideways)
    assert (pixels[:, 0] > barrel.width_px).all(), "the polynomial alone would fold them back into the picture"
    assert np.isnan(undistort(np.array([[5.0, 0.0]]), "plumb_bob", barrel.distortion)).all(), "no ray leads there"


@pytest.mark.parametrize("model", LENSES)
def test_boxes_and_pictures_agree_after_undistortion(model):
    """A bright spot where a point projects in the distorted picture lies where it projects in the undistorted one."""
    own = camera(model)
    for point in ([8.0, 1.5, 1.0], [9.0, -3.0, 2.5], [6.0, 0.0, 1.6]):
        (u, v), _ = (values[0] for values in own.project(np.array([point])))
        grid_u, grid_v = np.meshgrid(np.arange(640), np.arange(400))
        spot = 250 * np.exp(-((grid_u - u) ** 2 + (grid_v - v) ** 2) / 8)
        image, plain = undistort_image(Image(np.repeat(spot[..., None], 3, -1).astype(np.uint8), 3, "cam"), own)
        weights = image.pixels[..., 0].astype(float)
        center = [(weights * grid).sum() / weights.sum() for grid in (grid_u, grid_v)]
        np.testing.assert_allclose(center, plain.project(np.array([point]))[0][0], atol=0.3)
        assert (image.stamp_ns, image.frame_id, plain.distortion) == (3, "cam", ())


def test_pictures_are_undistorted_when_someone_looks():
    rig = Rig(name="r", sensors={"front": camera("plumb_bob"), "rear": camera("equidistant", distortion=())})

    class Loud(dict):
        def __getitem__(self, name: str) -> Image:
            looked.append(name)
            return Image(smooth_picture(), 5, name)

    looked: list[str] = []
    images = Undistorted(Loud(front=None, rear=None), rig)
    assert (list(images), len(images), looked) == (["front", "rear"], 2, [])
    assert (images["front"].pixels != smooth_picture()).any()
    np.testing.assert_array_equal(images["rear"].pixels, smooth_picture())
    assert looked == ["front", "rear"]
    assert not any(sensor.distortion for sensor in undistorted_rig(rig).cameras.values())


def test_remapping_to_the_same_places_changes_nothing():
    picture = np.random.default_rng(2).integers(0, 256, (30, 40, 3), np.uint8)
    u, v = np.meshgrid(np.arange(40, dtype=np.float32), np.arange(30, dtype=np.float32))
    np.testing.assert_array_equal(remap(picture, np.stack([u, v], -1)), picture)
    shifted = remap(picture, np.stack([u + 1, v], -1))
    np.testing.assert_array_equal(shifted[:, :-1], picture[:, 1:])
    assert (shifted[:, -1] == 0).all()
    assert (remap(picture, np.full((3, 3, 2), np.float32(1e9))) == 0).all()


@pytest.mark.parametrize("model", LENSES)
@pytest.mark.parametrize("turn", [np.diag([-1.0, 1.0]), Pose.from_yaw(0.3).rotation[:2, :2]])
def test_a_turned_lens_bends_turned_rays_alike(model, turn):
    rays = np.random.default_rng(4).uniform(-0.5, 0.5, (50, 2))
    turned = distort(rays @ turn.T, model, turned_lens(model, LENSES[model], turn))
    np.testing.assert_allclose(turned, distort(rays, model, LENSES[model]) @ turn.T, atol=1e-12)


def test_wrong_lenses_and_pictures_are_refused():
    for model, count in (("plumb_bob", 3), ("rational_polynomial", 5), ("equidistant", 5)):
        with pytest.raises(ValidationError, match=f"distortion: {count} coefficients, {model} has 0 or"):
            camera(model, distortion=(0.1,) * count)
    with pytest.raises(ValidationError, match="distortion_model"):
        camera("plumb_bob", distortion_model="barrel")
    with pytest.raises(GeometryError, match="picture of front: found 40 x 30, wanted 640 x 400, as its camera has"):
        undistort_image(Image(np.zeros((30, 40, 3), np.uint8), 0, "front"), camera("plumb_bob"))
    with pytest.raises(GeometryError, match="target of an undistortion: found a camera with distortion"):
        undistort_map(camera("plumb_bob"), camera("equidistant"))
