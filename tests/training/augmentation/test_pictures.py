"""How pictures look."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.augmentation.made_up import street
from understudy_training.augmentation.photometric import DrawnPhotometric, Photometric, blurred

PLAIN = DrawnPhotometric(
    brightness=0,
    contrast=1,
    saturation=1,
    hue_rad=0,
    gamma=1,
    noise_sigma=0,
    blur_px=0,
    jpeg_quality=None,
    seed=3,
)


def looks(pixels: np.ndarray, **changes: object) -> np.ndarray:
    return PLAIN.model_copy(update=changes).picture(pixels).astype(int)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(40, 200, (60, 80, 3)).astype(np.uint8)


def test_nothing_changes_without_a_change(pixels):
    np.testing.assert_allclose(looks(pixels), pixels, atol=1)


def test_each_setting_does_what_it_says(pixels):
    assert looks(pixels, brightness=0.1).mean() - pixels.mean() == pytest.approx(25.5, abs=0.5)
    assert looks(pixels, contrast=0.5).std() == pytest.approx(pixels.std() / 2, rel=0.02)
    assert np.ptp(looks(pixels, saturation=0.0), axis=2).max() <= 2
    assert (looks(pixels, gamma=2.0) <= pixels).all()
    assert looks(pixels, blur_px=2.0).std() < pixels.std() / 3
    assert np.std(looks(pixels, noise_sigma=0.02) - pixels) == pytest.approx(0.02 * 255, rel=0.1)
    hue = looks(pixels, hue_rad=np.pi)
    gray = hue @ [0.299, 0.587, 0.114] - pixels @ [0.299, 0.587, 0.114]
    assert np.abs(np.median(gray)) < 4
    assert (
        np.abs(looks(pixels, jpeg_quality=30) - pixels).mean() > np.abs(looks(pixels, jpeg_quality=98) - pixels).mean()
    )


def test_a_blur_keeps_the_light_and_its_width():
    spot = np.zeros((61, 61, 3), np.float32)
    spot[30, 30] = 1
    soft = blurred(spot, 2.0)[..., 0]
    assert soft.sum() == pytest.approx(1, abs=1e-5)
    columns = np.arange(61) - 30
    assert np.sqrt((soft.sum(axis=0) * columns**2).sum()) == pytest.approx(2.0, rel=0.05)


def test_two_cameras_share_the_look_but_not_the_noise():
    scene = street(0, camera=True)
    gray = np.full_like(scene.images["front"], 100)
    camera = scene.cameras["front"]
    scene = replace(scene, images={"front": gray, "rear": gray}, cameras={"front": camera, "rear": camera})
    step = Photometric(noise_sigma=(0.02, 0.02), brightness=(0.1, 0.1))
    seen = step.draw(np.random.default_rng(0), scene).apply(scene)
    assert list(seen.images) == ["front", "rear"]
    assert not np.array_equal(seen.images["front"], seen.images["rear"])
    assert seen.images["front"].mean() == pytest.approx(seen.images["rear"].mean(), abs=0.5)
