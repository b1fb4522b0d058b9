"""A stand-in for an open-vocabulary 2D detector: the labels' boxes in the pictures, worse with the distance.

It is made from labels and says so in its file; it exists so that the chain can be tried where no such detector is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.boxes import Boxes
from understudy.configuration import Config
from understudy.datasets.dataset import Dataset
from understudy.errors import InputError
from understudy.metrics.matching import ground_ranges_m
from understudy.progress import Track, silent
from understudy.rig import Camera
from understudy_training.label_free.cues import Annotation, Category, CueFile, Picture


class SurrogateSettings(Config):
    """How good the stand-in is. Near is at 0 m, far at `far_m`; in between it worsens evenly, beyond no further."""

    seed: int = Field(0, ge=0)
    near_recall: float = Field(0.95, ge=0, le=1)
    far_recall: float = Field(0.5, ge=0, le=1)
    near_jitter: float = Field(0.02, ge=0)
    """Standard deviation of each edge, as a part of the box's width or height."""
    far_jitter: float = Field(0.12, ge=0)
    wrong_class: float = Field(0.05, ge=0, le=1)
    """Share of the boxes that carry another class."""
    far_m: float = Field(50.0, gt=0)
    min_points: int = Field(3, ge=0)
    """Objects that fewer returns hit are taken for hidden."""
    min_size_px: float = Field(4.0, gt=0)
    """Boxes narrower or lower than this are not seen."""


def synthetic_cues(dataset: Dataset, settings: SurrogateSettings, track: Track = silent) -> CueFile:
    """The stand-in's answers for every frame and camera of a labeled data set.

    Raises:
        InputError: when a frame has no labels, or the rig has no camera.
    """
    pictures: list[Picture] = []
    annotations: list[Annotation] = []
    for index in track(range(len(dataset)), "synthetic 2D boxes", len(dataset)):
        sample = dataset[index]
        if sample.boxes is None or not sample.rig.cameras:
            found = "no labels" if sample.boxes is None else "a rig without cameras"
            raise InputError(f"sample {sample.key}", found=found, wanted="labels and a camera to make 2D boxes from")
        for place, (name, camera) in enumerate(sample.rig.cameras.items()):
            number = len(pictures)
            pictures.append(
                Picture(id=number, frame=sample.key, camera=name, width=camera.width_px, height=camera.height_px)
            )
            generator = np.random.default_rng([settings.seed, index, place])
            annotations += _seen(sample.boxes, camera, number, generator, settings)
    categories = tuple(Category(id=number, name=name) for number, name in enumerate(dataset.class_names))
    return CueFile(categories=categories, images=tuple(pictures), annotations=tuple(annotations), synthetic=True)


def projected(boxes: Boxes, camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`(N, 4)` upright boxes around the projected corners, cut at the picture's border, and `(N,)` which are in it."""
    pixels, depth_m = camera.project(boxes.corners().reshape(-1, 3))
    pixels, depth_m = pixels.reshape(-1, 8, 2), depth_m.reshape(-1, 8)
    before = (depth_m > 0.5).all(axis=1)
    limits = np.array([camera.width_px, camera.height_px], np.float64)
    low, high = (np.clip(edge, 0.0, limits) for edge in (pixels.min(axis=1), pixels.max(axis=1)))
    return np.hstack([low, high]), before & (high > low).all(axis=1)


def _seen(
    boxes: Boxes, camera: Camera, picture: int, generator: np.random.Generator, settings: SurrogateSettings
) -> list[Annotation]:
    corners, shown = projected(boxes, camera)
    far = np.clip(ground_ranges_m(boxes) / settings.far_m, 0.0, 1.0)
    recall = settings.near_recall + far * (settings.far_recall - settings.near_recall)
    jitter = settings.near_jitter + far * (settings.far_jitter - settings.near_jitter)
    found = shown & (generator.random(len(boxes)) < recall)
    if boxes.num_points is not None:
        found &= boxes.num_points >= settings.min_points
    sizes = np.tile(corners[:, 2:] - corners[:, :2], 2)
    noisy = corners + jitter[:, None] * sizes * generator.standard_normal(corners.shape)
    noisy = np.clip(noisy, 0.0, np.tile([camera.width_px, camera.height_px], 2))
    found &= (noisy[:, 2:] - noisy[:, :2] >= settings.min_size_px).all(axis=1)
    wrong = generator.random(len(boxes)) < settings.wrong_class
    labels = np.where(wrong, generator.integers(0, len(boxes.class_names), len(boxes)), boxes.labels)
    return [
        Annotation(
            image_id=picture,
            category_id=int(labels[row]),
            bbox=_rounded(noisy[row]),
            score=round(float(recall[row]), 3),
        )
        for row in np.flatnonzero(found)
    ]


def _rounded(corners: NDArray[np.float64]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (round(float(value), 2) for value in corners)
    return left, top, round(right - left, 2), round(bottom - top, 2)
