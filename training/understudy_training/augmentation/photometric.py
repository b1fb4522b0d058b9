"""How a picture looks, with every pixel where it was: light, color, noise, blur, compression."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from understudy.configuration import Config
from understudy.images import decode_image, encode_jpeg
from understudy_training.augmentation.scene import Scene
from understudy_training.augmentation.step import Range, Step, new_seed, ordered, uniform

_YIQ_FROM_RGB = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""NTSC's luma and two axes of color, in which a hue is an angle."""


class DrawnPhotometric(Config):
    """One look, the same for every camera; the noise is each camera's own."""

    kind: Literal["photometric"] = "photometric"
    brightness: float
    contrast: float
    saturation: float
    hue_rad: float
    gamma: float
    noise_sigma: float
    blur_px: float
    jpeg_quality: int | None
    seed: int

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`."""
        names = sorted(scene.images)
        changed = {name: self.picture(scene.images[name], number) for number, name in enumerate(names)}
        return replace(scene, images={name: changed[name] for name in scene.images})

    def picture(self, pixels: NDArray[np.uint8], number: int = 0) -> NDArray[np.uint8]:
        """An `(H, W, 3)` picture with this look; `number` chooses the noise."""
        values = (pixels.astype(np.float32) / 255) ** np.float32(self.gamma)
        values = blurred(values @ self._color_matrix().astype(np.float32).T, self.blur_px)
        mean = values.mean(dtype=np.float64)
        values = (values - np.float32(mean)) * np.float32(self.contrast) + np.float32(mean + self.brightness)
        if self.noise_sigma > 0:
            generator = np.random.default_rng([self.seed, number])
            values += generator.standard_normal(values.shape, np.float32) * np.float32(self.noise_sigma)
        looked = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
        if self.jpeg_quality is None:
            return looked
        return decode_image(encode_jpeg(looked, self.jpeg_quality))

    def _color_matrix(self) -> NDArray[np.float64]:
        cos, sin = self.saturation * np.cos(self.hue_rad), self.saturation * np.sin(self.hue_rad)
        turn = np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
        matrix: NDArray[np.float64] = np.linalg.inv(_YIQ_FROM_RGB) @ turn @ _YIQ_FROM_RGB
        return matrix


class Photometric(Step):
    """Changes light and color of the pictures; clouds stay."""

    kind: Literal["photometric"] = "photometric"
    brightness: Range = (-0.1, 0.1)
    """Added, as a share of white."""
    contrast: Range = (0.8, 1.2)
    """Factor about the picture's mean."""
    saturation: Range = (0.8, 1.2)
    """Factor of the colors; 0 is gray."""
    hue_rad: Range = (-0.1, 0.1)
    gamma: Range = (0.8, 1.25)
    noise_sigma: Range = (0.0, 0.02)
    """Standard deviation of normal noise, as a share of white."""
    blur_px: Range = (0.0, 1.0)
    """Standard deviation of a Gaussian."""
    jpeg_quality: tuple[int, int] | None = None
    """Compress and open again, quality from and to."""

    @model_validator(mode="after")
    def _ranges(self) -> Photometric:
        for name, least in {"contrast": 0, "saturation": 0, "gamma": 0.05, "noise_sigma": 0, "blur_px": 0}.items():
            if ordered(getattr(self, name), name)[0] < least:
                raise ValueError(f"{name}: at least {least}")
        for name in ("brightness", "hue_rad"):
            ordered(getattr(self, name), name)
        if self.jpeg_quality and not 1 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 100:
            raise ValueError("jpeg_quality: from 1 to 100")
        return self

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnPhotometric:
        """A look."""
        names = ("brightness", "contrast", "saturation", "hue_rad", "gamma", "noise_sigma", "blur_px")
        values = {name: uniform(generator, getattr(self, name)) for name in names}
        low, high = self.jpeg_quality or (100, 100)
        quality = int(generator.integers(low, high + 1))
        return DrawnPhotometric(**values, jpeg_quality=quality if self.jpeg_quality else None, seed=new_seed(generator))


def blurred(values: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """`(H, W, 3)` values under a Gaussian, cut at three deviations; edges are repeated."""
    if sigma_px < 0.1:
        return values
    reach = int(np.ceil(3 * sigma_px))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (0, 1):
        pads = [(reach, reach) if place == axis else (0, 0) for place in range(3)]
        padded = np.pad(values, pads, mode="edge")
        size = values.shape[axis]
        parts = (padded.take(range(k, k + size), axis) * weight for k, weight in enumerate(weights))
        values = np.sum(list(parts), axis=0, dtype=np.float32)
    return values
