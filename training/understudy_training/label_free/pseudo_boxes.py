"""The pseudo-boxes of a round: one record per data set, and the file it is kept in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.datasets.files import BROKEN_ARRAYS
from understudy.errors import InputError

_ARRAYS = {"geometry": "float32", "labels": "int32", "num_points": "int32", "scores": "float32", "ends": "int64"}


@dataclass(frozen=True, eq=False)
class PseudoBoxes:
    """Boxes of all frames, one `Boxes` each, over the same classes; with scores and numbers of points."""

    frames: tuple[Boxes, ...]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Boxes:
        return self.frames[index]

    @property
    def together(self) -> Boxes:
        """Those of all frames as one set, for counting."""
        empty = boxes_of(np.zeros((0, 7)), np.zeros(0), self.class_names, np.zeros(0), np.zeros(0))
        return Boxes.concatenate([empty, *self.frames])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything."""
        digest = hashlib.sha256(" ".join(self.class_names).encode())
        for name, values in self._arrays().items():
            digest.update(name.encode() + values.tobytes())
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Writes the file that `read_pseudo_boxes` reads; it is there only when it is whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.stem}.part.npz")
        np.savez(unfinished, allow_pickle=False, class_names=np.array(self.class_names, np.str_), **self._arrays())
        unfinished.replace(path)

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        every = self.together
        assert every.scores is not None
        assert every.num_points is not None
        ends = np.cumsum([len(boxes) for boxes in self.frames], dtype=np.int64)
        values = (every.geometry, every.labels, every.num_points, every.scores, ends)
        return dict(zip(_ARRAYS, values, strict=True))


def boxes_of(
    geometry: NDArray[np.floating],
    labels: NDArray[np.integer] | NDArray[np.floating],
    class_names: Sequence[str],
    num_points: NDArray[np.integer] | NDArray[np.floating],
    scores: NDArray[np.floating],
) -> Boxes:
    """A frame's pseudo-boxes, with the columns that they carry."""
    return Boxes(
        np.asarray(geometry, np.float32).reshape(-1, 7),
        np.asarray(labels, np.int32),
        tuple(class_names),
        scores=np.asarray(scores, np.float32),
        num_points=np.asarray(num_points, np.int32),
    )


def read_pseudo_boxes(path: Path) -> PseudoBoxes:
    """What `PseudoBoxes.write` wrote.

    Raises:
        InputError: when the file is missing, damaged or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _ARRAYS}
            class_names = tuple(str(name) for name in stored["class_names"])
        begins = np.concatenate([[0], arrays["ends"][:-1]])[: len(arrays["ends"])]
        parts = [slice(int(begin), int(end)) for begin, end in zip(begins, arrays["ends"], strict=True)]
        columns = ("geometry", "labels", "num_points", "scores")
        geometry, labels, num_points, scores = (arrays[name] for name in columns)
        frames = [boxes_of(geometry[p], labels[p], class_names, num_points[p], scores[p]) for p in parts]
    except FileNotFoundError:
        raise InputError(f"{path}", found="no such file", wanted="pseudo-boxes") from None
    except (KeyError, *BROKEN_ARRAYS) as error:
        raise InputError(f"{path}", found=str(error), wanted="a whole file of pseudo-boxes") from error
    return PseudoBoxes(tuple(frames), class_names)
