"""Pictures brought to a network's size: which camera would have taken them, and that they are what it would show."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.bundle.inputs import Pictures
from understudy.errors import FrameError, GeometryError
from understudy.frame import Image
from understudy.network_pictures import (
    PictureSampler,
    SamplingRoom,
    chosen_cameras,
    network_camera,
    network_images,
    picture_sampler,
    refuse_other_picture,
    shown_in_pictures,
)
from understudy.rig import Camera, Mounting
from understudy.testing import noise_pictures, surround_rig, tiny_pictures
from understudy.undistortion import remap, undistort_map

DISTORTIONS = {
    "plumb_bob": (-0.25, 0.06, 0.001, -0.0005, -0.01),
    "rational_polynomial": (0.3, 0.01, 0.0002, -0.0001, 0.001, 0.6, 0.05, 0.005),
    "equidistant": (0.02, -0.01, 0.003, -0.0005),
}
PLACES_M = np.random.default_rng(1).uniform([4.0, -4.0, 0.0], [20.0, 4.0, 3.0], (200, 3))


def camera(model: str = "", **changed: object) -> Camera:
    """Of 640 x 400 px."""
    usual = surround_rig(("front",)).cameras["front"]
    size = {"width_px": 640, "height_px": 400, "fx_px": 300.0, "fy_px": 310.0, "cx_px": 322.0, "cy_px": 190.5}
    lens = {"distortion_model": model, "distortion": DISTORTIONS[model]} if model else {}
    return usual.model_copy(update={**size, **lens, **changed})


def smooth(of: Camera) -> NDArray[np.uint8]:
    """`(h, w, 3)`: each color a slow wave, so that a place's color tells where it is."""
    v, u = np.mgrid[: of.height_px, : of.width_px]
    waves = [np.sin(u / 40.0), np.sin(v / 30.0), np.cos((u + v) / 50.0)]
    return np.stack([np.rint(127.5 + 127.5 * wave) for wave in waves], axis=-1).astype(np.uint8)


def at(pixels: NDArray[np.uint8], uv_px: NDArray[np.float64]) -> NDArray[np.int16]:
    u, v = np.rint(uv_px).astype(int).T
    return pixels[v, u].astype(np.int16)


@pytest.mark.parametrize("model", ["", *DISTORTIONS])
@pytest.mark.parametrize("size_px", [(320, 192), (160, 96), (640, 384), (480, 300)])
def test_a_place_has_the_same_color_in_both_pictures(model: str, size_px: tuple[int, int]) -> None:
    of, pixels = camera(model), smooth(camera(model))
    made, seen_by = PictureSampler(of, *size_px)(pixels), network_camera(of, *size_px)
    (before_px, depth_m), (after_px, _) = of.project(PLACES_M), seen_by.project(PLACES_M)
    shown = of.shows(before_px + 1, depth_m) & of.shows(before_px - 1, depth_m)
    shown &= seen_by.shows(after_px + 1, depth_m) & seen_by.shows(after_px - 1, depth_m)
    assert shown.sum() > 60
    apart = np.abs(at(made, after_px[shown]) - at(pixels, before_px[shown]))
    assert apart.max() <= 25, "a pixel and a half of the steepest wave"
    assert apart.mean() < 6


@pytest.mark.parametrize("model", list(DISTORTIONS))
def test_sampling_is_undistorting_and_taking_the_nearest(model: str) -> None:
    of, pixels = camera(model), smooth(camera(model))
    target = network_camera(of, 640, 384)
    exact = remap(pixels, undistort_map(of, target)).astype(np.int16)
    made = PictureSampler(of, 640, 384)(pixels).astype(np.int16)
    u_px, v_px = np.moveaxis(undistort_map(of, target), -1, 0)
    inside = (u_px >= 0) & (u_px <= 639) & (v_px >= 0) & (v_px <= 399)
    assert inside.mean() > 0.5
    assert np.abs(made - exact)[inside].max() <= 8, "half a pixel of the steepest wave"
    outside = (u_px < -1) | (u_px > 640) | (v_px < -1) | (v_px > 400)
    assert (made[outside] == 0).all()


def test_reduced_pictures_are_means_of_four() -> None:
    """Half the size: the four places of a pixel are its four pixels, so the result is their mean, rounded."""
    of = camera(width_px=320, height_px=192, cx_px=160.0, cy_px=96.0, fy_px=300.0)
    pixels = np.random.default_rng(0).integers(0, 256, (192, 320, 3), dtype=np.uint8)
    made = PictureSampler(of, 160, 96)(pixels)
    blocks = pixels.reshape(96, 2, 160, 2, 3).astype(int).sum(axis=(1, 3))
    assert (made == (blocks + 2) // 4).all()
    white = np.full_like(pixels, 255)
    assert (PictureSampler(of, 160, 96)(white) == 255).all(), "sums do not run over"


def test_pictures_of_the_networks_size_stay_as_they_are() -> None:
    of = camera()
    pixels = smooth(of)
    assert (PictureSampler(of, 640, 400)(pixels) == pixels).all()


def test_of_the_rows_the_lowest_are_kept() -> None:
    of, pixels = camera(), smooth(camera())
    made, seen_by = PictureSampler(of, 640, 320)(pixels), network_camera(of, 640, 320)
    assert (made == pixels[80:]).all()
    assert seen_by.cy_px == of.cy_px - 80
    assert (seen_by.cx_px, seen_by.fx_px) == (of.cx_px, of.fx_px)


def test_where_rows_are_missing_they_are_black_above() -> None:
    of, pixels = camera(), np.full((400, 640, 3), 200, np.uint8)
    made, seen_by = PictureSampler(of, 640, 448)(pixels), network_camera(of, 640, 448)
    assert (made[:48] == 0).all()
    assert (made[48:] == 200).all()
    assert seen_by.cy_px == of.cy_px + 48
    reduced = PictureSampler(of, 320, 224)(pixels)
    assert (reduced[:24] == 0).all()
    assert (reduced[24:] == 200).all()


def test_the_networks_camera_projects_where_the_rigs_camera_does() -> None:
    of = camera()
    for width_px, height_px in ((320, 200), (320, 160), (960, 640)):
        seen_by, scale = network_camera(of, width_px, height_px), width_px / 640
        (before_px, _), (after_px, _) = of.project(PLACES_M), seen_by.project(PLACES_M)
        wanted = (before_px + 0.5) * scale - 0.5 - [0.0, 400 * scale - height_px]
        assert after_px == pytest.approx(wanted, abs=1e-9)
    assert network_camera(camera("equidistant"), 320, 200).distortion == ()


def test_a_picture_of_another_size_is_refused() -> None:
    sampler = PictureSampler(camera(), 320, 192)
    with pytest.raises(FrameError, match=r"found 320 x 200 px, wanted 640 x 400 px, as in the rig"):
        sampler(np.zeros((200, 320, 3), np.uint8))
    front = surround_rig().cameras["front"]
    with pytest.raises(GeometryError, match="picture of front: found 80 x 48 px, wanted 160 x 96 px"):
        refuse_other_picture("front", Image(np.zeros((48, 80, 3), np.uint8), 0), front)
    whole = np.zeros((96, 160, 3), np.uint8)
    with pytest.raises(GeometryError, match="picture of front: frame_id: found rear, wanted front"):
        refuse_other_picture("front", Image(whole, 0, "rear"), front)
    refuse_other_picture("front", Image(whole, 0, "front"), front)
    refuse_other_picture("front", Image(whole, 0), front)


def test_pictures_need_not_lie_in_one_piece_of_memory() -> None:
    of, pixels = camera(), smooth(camera())
    sampler = PictureSampler(of, 320, 192)
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])[:, :, ::-1]
    assert not mirrored.flags.c_contiguous
    assert (sampler(mirrored) == sampler(pixels)).all()


def test_results_are_the_callers_and_rooms_are_shared() -> None:
    of, room = camera(), SamplingRoom()
    sampler, rng = picture_sampler(of, 320, 192), np.random.default_rng(0)
    assert picture_sampler(of, 320, 192) is sampler, "its places are worked out once"
    elsewhere = of.model_copy(update={"ego_from_sensor": Mounting(translation_m=(0.3, 0.2, 0.1))})
    assert picture_sampler(elsewhere, 320, 192) is sampler, "a camera sees the same pixels wherever it is mounted"
    pictures = [rng.integers(0, 256, (400, 640, 3), dtype=np.uint8) for _ in range(3)]
    alone = [sampler(pixels) for pixels in pictures]
    shared = [sampler(pixels, room) for pixels in pictures]
    PictureSampler(of, 640, 384)(pictures[0], room)
    assert all((one == other).all() for one, other in zip(alone, shared, strict=True))
    assert [len(places) for places, _ in (room.of((4, 61440)), room.of((1, 245760)))] == [4, 1]


def test_a_camera_without_a_picture_is_black_and_masked() -> None:
    rig, wanted = surround_rig(), tiny_pictures()
    pictures = {name: image.pixels for name, image in noise_pictures(rig, np.random.default_rng(0)).items()}
    images, mask = network_images(pictures, rig.cameras, wanted)
    assert images.shape == (2, 48, 80, 3)
    assert images.dtype == np.uint8
    assert mask.tolist() == [1.0, 1.0]
    assert mask.dtype == np.float32
    without, of_one = network_images({"rear": pictures["rear"]}, rig.cameras, wanted)
    assert of_one.tolist() == [0.0, 1.0]
    assert (without[0] == 0).all()
    assert (without[1] == images[1]).all()
    assert network_images({}, rig.cameras, wanted)[1].tolist() == [0.0, 0.0]


def test_cameras_are_chosen_by_name_or_by_number() -> None:
    wanted = tiny_pictures()
    assert chosen_cameras(surround_rig(("left", "rear", "front")), wanted) == ("front", "rear"), "in its own order"
    assert chosen_cameras(surround_rig(("right", "left")), wanted) == ("right", "left"), "in the rig's order"
    nameless = wanted.model_copy(update={"cameras": ()})
    assert chosen_cameras(surround_rig(("rear", "front")), nameless) == ("rear", "front")
    with pytest.raises(
        GeometryError, match=r"rig surround: cameras: found left, right, rear, wanted 2 called front, r"
    ):
        chosen_cameras(surround_rig(("left", "right", "rear")), wanted)
    with pytest.raises(GeometryError, match=r"found none, wanted 2 in all"):
        chosen_cameras(surround_rig(()), nameless)


def test_boxes_are_shown_where_their_centers_are() -> None:
    rig = surround_rig(("front",))
    geometry = np.array([[8, 2, 0.8, 4, 2, 1.6, 0], [-8, 2, 0.8, 4, 2, 1.6, 0], [8, 20, 0.8, 4, 2, 1.6, 0]], np.float32)
    boxes = Boxes(geometry, np.zeros(3, np.int32), ("car",))
    assert shown_in_pictures(boxes, rig.cameras.values()).tolist() == [True, False, False]
    both = surround_rig().cameras.values()
    assert shown_in_pictures(boxes, both).tolist() == [True, True, False]
    assert shown_in_pictures(boxes, ()).tolist() == [False] * 3
    assert Pictures(num_cameras=1, width_px=8, height_px=8, focal_px=5.0).feature_size == (1, 1)
