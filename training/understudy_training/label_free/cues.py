"""What a 2D detector says of the pictures: the protocol, and the file in which a user brings it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator

from understudy.configuration import Config, check_config, file_sha256
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.files import read_json
from understudy.errors import InputError


@dataclass(frozen=True, eq=False)
class PictureBoxes:
    """Upright boxes in one picture.

    Attributes:
        corners_px: `(K, 4)` float64: left, top, right, bottom, u to the right and v down.
        class_names: of each.
        scores: `(K,)` float64 in [0, 1].
    """

    corners_px: NDArray[np.float64]
    class_names: tuple[str, ...]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.corners_px)


class PictureCues(Protocol):
    """Boxes in pictures, wherever they come from: a file, a network, a simulation."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes it may name."""

    @property
    def fingerprint(self) -> str:
        """Changes when its answers may."""

    def of(self, sample: Sample) -> Mapping[str, PictureBoxes]:
        """The boxes in a sample's pictures, by camera of its rig; cameras with nothing to say may be absent."""


class _Entry(Config):
    """COCO files carry keys that mean nothing here; they are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Category(_Entry):
    """A class."""

    id: int
    name: str = Field(min_length=1)


class Picture(_Entry):
    """One picture: which frame's and which camera's."""

    id: int
    frame: str
    """Key of the sample, as the data set names it."""
    camera: str
    """Name of the camera in the rig."""
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class Annotation(_Entry):
    """One box."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    """Left, top, width and height in pixels."""
    score: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _is_a_box(self) -> Annotation:
        if self.bbox[2] <= 0 or self.bbox[3] <= 0:
            raise ValueError("bbox: left, top, width and height, the last two above 0")
        return self


class CueFile(_Entry):
    """The file: COCO's detection format, with each picture's frame and camera instead of a file name."""

    categories: tuple[Category, ...]
    images: tuple[Picture, ...]
    annotations: tuple[Annotation, ...]
    synthetic: bool = False
    """Whether the boxes were made from labels, to stand in for a detector that is not there."""

    @model_validator(mode="after")
    def _refers_to_itself(self) -> CueFile:
        for name, entries in (("categories", self.categories), ("images", self.images)):
            numbers = [entry.id for entry in entries]
            if len(set(numbers)) < len(numbers):
                raise ValueError(f"{name}: each id once")
        pictures, classes = {entry.id for entry in self.images}, {entry.id for entry in self.categories}
        for place, entry in enumerate(self.annotations):
            if entry.image_id not in pictures or entry.category_id not in classes:
                missing = f"image {entry.image_id}" if entry.image_id not in pictures else f"class {entry.category_id}"
                raise ValueError(f"annotations.{place}: {missing} is not in the file")
        return self


class CuesFromFile:
    """The boxes of a file.

    Args:
        path: the file.
        min_score: boxes of lower score are left out.

    Raises:
        InputError: when the file is missing, is no JSON or not of that format.
    """

    def __init__(self, path: Path, min_score: float = 0.0) -> None:
        self.path, self.min_score = path, min_score
        self.file = check_config(read_json(path), CueFile, f"{path}")
        self._pictures = {(entry.frame, entry.camera): entry for entry in self.file.images}
        self._names = {entry.id: entry.name for entry in self.file.categories}
        self._boxes: dict[int, list[Annotation]] = defaultdict(list)
        for entry in self.file.annotations:
            if entry.score >= min_score:
                self._boxes[entry.image_id].append(entry)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The categories."""
        return tuple(entry.name for entry in self.file.categories)

    @property
    def fingerprint(self) -> str:
        """Of the file and the least score."""
        return f"{file_sha256(self.path)} {self.min_score}"

    def of(self, sample: Sample) -> dict[str, PictureBoxes]:
        """The boxes in a sample's pictures.

        Raises:
            InputError: when the file speaks of a picture of another size than the rig's camera takes.
        """
        found = {}
        for name, camera in sample.rig.cameras.items():
            picture = self._pictures.get((sample.key, name))
            if picture is None:
                continue
            if (picture.width, picture.height) != (camera.width_px, camera.height_px):
                found_size, wanted = f"{picture.width} x {picture.height}", f"{camera.width_px} x {camera.height_px}"
                what = f"{self.path}: picture {picture.id} of {sample.key}"
                raise InputError(what, found=found_size, wanted=wanted, remedy="scale its boxes to the rig's camera")
            found[name] = self._picture_boxes(self._boxes[picture.id])
        return found

    def refuse_strangers(self, dataset: Dataset) -> None:
        """Raises InputError when the file speaks of none of a data set's frames, or of cameras its rig lacks."""
        first = dataset[0]
        cameras = {entry.camera for entry in self.file.images}
        strange = sorted(cameras - set(first.rig.cameras))
        if strange:
            wanted = ", ".join(first.rig.cameras) or "a rig with cameras"
            raise InputError(f"{self.path}: camera {strange[0]}", found="not in the rig", wanted=wanted)
        keys = {entry.frame for entry in self.file.images}
        if first.key not in keys and not any(dataset[index].key in keys for index in range(1, len(dataset))):
            found = f"frames such as {min(keys)}" if keys else "no frames"
            raise InputError(f"{self.path}", found=found, wanted=f"frames such as {first.key}")

    def _picture_boxes(self, entries: Sequence[Annotation]) -> PictureBoxes:
        edges = np.array([entry.bbox for entry in entries], np.float64).reshape(-1, 4)
        corners = np.hstack([edges[:, :2], edges[:, :2] + edges[:, 2:]])
        names = tuple(self._names[entry.category_id] for entry in entries)
        return PictureBoxes(corners, names, np.array([entry.score for entry in entries], np.float64))


def write_cues(path: Path, file: CueFile) -> None:
    """Writes a file that `CuesFromFile` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(file.model_dump(mode="json")) + "\n", encoding="utf-8")
