"""Boxes of many sweeps as flat arrays in an npz file whose bytes depend on the contents alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.errors import InputError, UnderstudyError

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class SweepDetections:
    """What a detector said of one sweep.

    Attributes:
        key: name of the sweep: its number in a data set, its stamp in a bag.
        stamp_ns: the sweep's stamp.
        log_time_ns: when the recorder got it; the stamp, in a data set.
        boxes: detections in ego, best first.
    """

    key: str
    stamp_ns: int
    log_time_ns: int
    boxes: Boxes


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of many sweeps, in the order of their stamps.

    Attributes:
        class_names: classes of the boxes.
        sweeps: one entry per sweep that could be used, those without a box too.
    """

    class_names: tuple[str, ...]
    sweeps: tuple[SweepDetections, ...]

    def __len__(self) -> int:
        return len(self.sweeps)

    @property
    def num_boxes(self) -> int:
        """Boxes in all."""
        return sum(len(sweep.boxes) for sweep in self.sweeps)

    @classmethod
    def in_order(cls, parts: Sequence[Detections]) -> Detections:
        """Several parts as one: by stamp, then by log time; what is equal in both stays in the parts' order."""
        sweeps = [sweep for part in parts for sweep in part.sweeps]
        ordered = sorted(sweeps, key=lambda sweep: (sweep.stamp_ns, sweep.log_time_ns))
        return cls(parts[0].class_names, tuple(ordered))


def encode_detections(detections: Detections) -> bytes:
    """The npz file: equal detections, equal bytes."""
    sweeps = detections.sweeps
    boxes = [sweep.boxes for sweep in sweeps] or [Boxes.empty(detections.class_names, scored=True)]
    arrays: dict[str, NDArray[Any]] = {
        "schema_version": np.array(SCHEMA_VERSION, np.int64),
        "class_names": np.array(detections.class_names, np.str_),
        "keys": np.array([sweep.key for sweep in sweeps], np.str_),
        "stamps_ns": np.array([sweep.stamp_ns for sweep in sweeps], np.int64),
        "log_times_ns": np.array([sweep.log_time_ns for sweep in sweeps], np.int64),
        "num_boxes": np.array([len(sweep.boxes) for sweep in sweeps], np.int64),
        "geometry": np.concatenate([part.geometry for part in boxes]).astype(np.float32),
        "labels": np.concatenate([part.labels for part in boxes]).astype(np.int32),
        "scores": np.concatenate([_scores(part) for part in boxes]),
    }
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def decode_detections(data: bytes, source: str) -> Detections:
    """What `encode_detections` wrote; `source` names the file in messages.

    Raises:
        InputError: when the bytes are not a whole file of detections.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return _detections(arrays)
    except (OSError, ValueError, KeyError, EOFError, UnderstudyError, zipfile.BadZipFile) as error:
        raise InputError(f"{source}", found=str(error), wanted="a whole npz file of detections") from error


def read_detections(path: Path) -> Detections:
    """Detections of one bag or data set, as `understudy annotate` leaves them.

    Raises:
        InputError: when the file is missing or damaged.
    """
    try:
        return decode_detections(path.read_bytes(), f"{path}")
    except OSError as error:
        raise InputError(f"{path}", found=error.strerror, wanted="a file of detections") from error


def _detections(arrays: dict[str, NDArray[Any]]) -> Detections:
    version = int(arrays["schema_version"])
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema_version {version}, not {SCHEMA_VERSION}")
    names = tuple(str(name) for name in arrays["class_names"])
    ends = np.cumsum(arrays["num_boxes"])
    boxes = Boxes(arrays["geometry"], arrays["labels"], names, scores=arrays["scores"])
    if int(ends[-1] if len(ends) else 0) != len(boxes):
        raise ValueError(f"{len(boxes)} boxes, but num_boxes adds up to {ends[-1] if len(ends) else 0}")
    columns = zip(arrays["keys"], arrays["stamps_ns"], arrays["log_times_ns"], arrays["num_boxes"], ends, strict=True)
    sweeps = [
        SweepDetections(str(key), int(stamp_ns), int(log_ns), boxes[int(end - count) : int(end)])
        for key, stamp_ns, log_ns, count, end in columns
    ]
    return Detections(names, tuple(sweeps))


def _scores(boxes: Boxes) -> NDArray[np.float32]:
    return np.ones(len(boxes), np.float32) if boxes.scores is None else boxes.scores.astype(np.float32)
