"""One frame with its labels as plain arrays and back, bit for bit; nothing is pickled. docs/recorded-format.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, Segments
from understudy.datasets.dataset import Sample
from understudy.datasets.files import BROKEN_ARRAYS
from understudy.datasets.image_files import ImageFiles
from understudy.errors import InputError, UnderstudyError
from understudy.frame import Frame, Image, PointCloud
from understudy.images import encode_png
from understudy.pose import Pose
from understudy.rig import Rig

Arrays = Mapping[str, NDArray[Any]]
SCHEMA_VERSION = 1
BOXES_PREFIX = "boxes."
_BOX_COLUMNS = ("geometry", "labels", "scores", "track_ids", "num_points", "velocities_mps")
_CLOUD_COLUMNS = ("points", "time_offset_s", "ring")
_KINDS = {
    **{"geometry": "f", "labels": "iu", "scores": "f", "track_ids": "iu", "num_points": "iu", "velocities_mps": "f"},
    **{"points": "f", "time_offset_s": "f", "ring": "iu"},
}
"""Kinds of numpy types that a column may have."""
_READ_ERRORS = (KeyError, IndexError, TypeError, ValueError)


@dataclass(frozen=True)
class PictureEntry:
    """A picture that belongs to a frame and lies outside its arrays.

    Attributes:
        camera: name of the camera in the rig.
        stamp_ns: time of exposure.
        frame_id: the camera's optical frame.
        suffix: ending of its file: `.jpg` or `.png`.
    """

    camera: str
    stamp_ns: int
    frame_id: str
    suffix: str


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it was compressed.

    Attributes:
        entry: what its file does not say.
        data: bytes of the JPEG or PNG.
    """

    entry: PictureEntry
    data: bytes


def encode_sample(sample: Sample, pictures: tuple[PictureEntry, ...] | None = None) -> dict[str, NDArray[Any]]:
    """The sample as named arrays for an npz file; `decode_sample` gives an equal one.

    Args:
        sample: the frame and its labels; its rig is kept elsewhere.
        pictures: entries of the pictures that are kept beside it; None takes the sample's own, as `pictures_of` does.
    """
    entries = tuple(picture.entry for picture in pictures_of(sample)) if pictures is None else pictures
    frame = sample.frame
    arrays: dict[str, NDArray[Any]] = {
        "schema_version": np.array(SCHEMA_VERSION),
        "key": np.array(sample.key),
        "stamp_ns": np.array(frame.stamp_ns, np.int64),
        "lidars": _texts(frame.clouds),
        "cameras": _texts(entry.camera for entry in entries),
        "camera_stamps_ns": np.array([entry.stamp_ns for entry in entries], np.int64),
        "camera_frame_ids": _texts(entry.frame_id for entry in entries),
        "camera_suffixes": _texts(entry.suffix for entry in entries),
    }
    if frame.world_from_ego is not None:
        arrays["world_from_ego"] = frame.world_from_ego.matrix
    for number, (name, cloud) in enumerate(frame.clouds.items()):
        arrays |= _cloud_arrays(f"lidar{number}", cloud)
        if name in sample.segments:
            segments = sample.segments[name]
            arrays[f"lidar{number}.segments"] = segments.labels
            arrays[f"lidar{number}.segment_names"] = _texts(segments.class_names)
    if sample.doubtful is not None and len(sample.doubtful):
        found, remedy = f"{len(sample.doubtful)} doubtful boxes", "train on the folder itself, or make labels without"
        raise InputError(f"sample {sample.key}", found=found, wanted="labels or background", remedy=remedy)
    return arrays if sample.boxes is None else arrays | encode_boxes(sample.boxes)


def pictures_of(sample: Sample) -> tuple[Picture, ...]:
    """The sample's pictures: those on disk byte for byte, others as PNG, which loses nothing.

    Raises:
        InputError: when a picture's file is missing.
    """
    images = sample.frame.images
    if isinstance(images, ImageFiles):
        return tuple(_from_file(images, name) for name in images)
    return tuple(_from_pixels(name, image) for name, image in images.items())


def picture_entries(arrays: Arrays, source: str) -> tuple[PictureEntry, ...]:
    """Which pictures belong to an encoded frame.

    Raises:
        InputError: when the arrays are not those of a frame; `source` names their file.
    """
    try:
        columns = [arrays[f"camera{name}"].tolist() for name in ("s", "_stamps_ns", "_frame_ids", "_suffixes")]
        return tuple(PictureEntry(*row) for row in zip(*columns, strict=True))
    except _READ_ERRORS as error:
        raise _not_a_frame(source, error) from error


def decode_sample(arrays: Arrays, rig: Rig, images: Mapping[str, Image], source: str) -> Sample:
    """The sample that `encode_sample` made the arrays of.

    Args:
        arrays: by name, as in the npz file.
        rig: the rig of its drive.
        images: its pictures by camera, as `picture_entries` lists them; may read lazily.
        source: names the file in messages.

    Raises:
        InputError: when an array is missing, or shapes or types are not those of a frame.
    """
    try:
        _refuse_other_schema(arrays, source)
        return _sample(arrays, rig, images)
    except InputError:
        raise
    except UnderstudyError as error:
        raise InputError(f"{source}", found=str(error), remedy="make the data set anew") from error
    except _READ_ERRORS as error:
        raise _not_a_frame(source, error) from error


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a frame's npz file.

    Raises:
        InputError: when the file is missing, damaged or holds pickled objects.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise InputError(f"{file}", found="no such file", remedy="make the data set anew") from None
    except BROKEN_ARRAYS as error:
        wanted = "a whole npz file without pickled objects"
        raise InputError(f"{file}", found=str(error), wanted=wanted, remedy="make the data set anew") from error


def _sample(arrays: Arrays, rig: Rig, images: Mapping[str, Image]) -> Sample:
    clouds, segments = {}, {}
    for number, name in enumerate(arrays["lidars"].tolist()):
        clouds[name] = _cloud(arrays, f"lidar{number}")
        if f"lidar{number}.segments" in arrays:
            names = tuple(arrays[f"lidar{number}.segment_names"].tolist())
            segments[name] = Segments(arrays[f"lidar{number}.segments"], names)
            _refuse_other_length(segments[name], clouds[name], name)
    world_from_ego = Pose.from_matrix(arrays["world_from_ego"]) if "world_from_ego" in arrays else None
    frame = Frame(int(arrays["stamp_ns"]), clouds, images, world_from_ego)
    return Sample(str(arrays["key"]), frame, rig, _boxes(arrays), segments)


def _cloud_arrays(prefix: str, cloud: PointCloud) -> dict[str, NDArray[Any]]:
    columns = {name: getattr(cloud, name) for name in _CLOUD_COLUMNS}
    arrays = {f"{prefix}.{name}": values for name, values in columns.items() if values is not None}
    arrays[f"{prefix}.stamp_ns"] = np.array(cloud.stamp_ns, np.int64)
    arrays[f"{prefix}.frame_id"] = np.array(cloud.frame_id)
    return arrays


def _cloud(arrays: Arrays, prefix: str) -> PointCloud:
    _refuse_other_kinds(arrays, f"{prefix}.", _CLOUD_COLUMNS)
    return PointCloud(
        np.ascontiguousarray(arrays[f"{prefix}.points"]),
        int(arrays[f"{prefix}.stamp_ns"]),
        str(arrays[f"{prefix}.frame_id"]),
        time_offset_s=arrays.get(f"{prefix}.time_offset_s"),
        ring=arrays.get(f"{prefix}.ring"),
    )


def encode_boxes(boxes: Boxes) -> dict[str, NDArray[Any]]:
    """The arrays of a frame that hold its boxes; their names start with `BOXES_PREFIX`."""
    columns = {name: getattr(boxes, name) for name in _BOX_COLUMNS}
    arrays = {f"{BOXES_PREFIX}{name}": values for name, values in columns.items() if values is not None}
    return arrays | {f"{BOXES_PREFIX}class_names": _texts(boxes.class_names)}


def _boxes(arrays: Arrays) -> Boxes | None:
    if "boxes.geometry" not in arrays:
        return None
    _refuse_other_kinds(arrays, BOXES_PREFIX, _BOX_COLUMNS)
    columns = {name: arrays[f"boxes.{name}"] for name in _BOX_COLUMNS if f"boxes.{name}" in arrays}
    return Boxes(class_names=tuple(arrays["boxes.class_names"].tolist()), **columns)


def _from_file(images: ImageFiles, name: str) -> Picture:
    file = images.file(name)
    suffix = ".jpg" if file.path.suffix.lower() in {".jpg", ".jpeg"} else file.path.suffix.lower()
    try:
        data = file.path.read_bytes()
    except OSError as error:
        raise InputError(f"{file.path}", found=error.strerror, wanted="the frame's image") from error
    return Picture(PictureEntry(name, file.stamp_ns, file.frame_id, suffix), data)


def _from_pixels(name: str, image: Image) -> Picture:
    return Picture(PictureEntry(name, image.stamp_ns, image.frame_id, ".png"), encode_png(image.pixels))


def _texts(texts: Any) -> NDArray[np.str_]:
    return np.array(list(texts), dtype=np.str_)


def _refuse_other_schema(arrays: Arrays, source: str) -> None:
    version = arrays["schema_version"].tolist()
    if version != SCHEMA_VERSION:
        remedy = "make the data set anew with this version of understudy"
        raise InputError(f"{source}: schema_version", found=version, wanted=SCHEMA_VERSION, remedy=remedy)


def _refuse_other_kinds(arrays: Arrays, prefix: str, names: tuple[str, ...]) -> None:
    for name in names:
        values = arrays.get(f"{prefix}{name}")
        if values is not None and values.dtype.kind not in _KINDS[name]:
            wanted = "floats" if _KINDS[name] == "f" else "whole numbers"
            raise UnderstudyError(f"{prefix}{name}", found=f"values of type {values.dtype}", wanted=wanted)


def _refuse_other_length(segments: Segments, cloud: PointCloud, name: str) -> None:
    if len(segments) != len(cloud):
        raise UnderstudyError(f"segments of {name}", found=f"{len(segments)} entries", wanted=f"{len(cloud)} points")


def _not_a_frame(source: str, error: Exception) -> InputError:
    return InputError(f"{source}", found=f"{type(error).__name__}: {error}", wanted="the arrays of a recorded frame")
