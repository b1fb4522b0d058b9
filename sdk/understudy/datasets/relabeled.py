"""A data set seen through other labels: a share of its drives as labeled, the others without labels or with made ones.

A folder of a few kilobytes beside the data: `labels.yaml` says which drives are what, `boxes/*.npz` hold the boxes that
a teacher made. Every command that opens a data set opens it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.boxes import NOT_ASKED, Boxes
from understudy.configuration import Config, check_config, read_yaml, write_yaml
from understudy.datasets.dataset import Dataset, PartlyLabeled, Place, Sample, Sequential, sweeps_held
from understudy.datasets.files import BROKEN_ARRAYS, read_text
from understudy.errors import InputError, MissingSplit

DESCRIPTION, BOXES = "labels.yaml", "boxes"
Role = Literal["labeled", "held_out", "unlabeled"]
OWN_SPLITS = ("labeled", "held_out", "unlabeled", "train")
_COLUMNS = {
    "frames": ("int32", 1),
    "geometry": ("float32", 2),
    "labels": ("int32", 1),
    "scores": ("float32", 1),
    "track_ids": ("int64", 1),
    "num_points": ("int32", 1),
}


class LabelsUsed(Config):
    """How much was labeled by hand of what a network is trained on, directly or through a teacher."""

    frames: int
    boxes: int
    of_frames: int
    """Frames that there are, labeled or not."""

    @property
    def share(self) -> float:
        """Part of the frames."""
        return self.frames / max(self.of_frames, 1)


@runtime_checkable
class CountsLabels(Protocol):
    """A data set that knows how many labels went into it."""

    @property
    def labels_used(self) -> LabelsUsed:
        """Labels by hand behind it, those of its teacher included."""


def labels_used_by(dataset: Dataset) -> LabelsUsed | None:
    """Labels by hand behind a data set, looked for under what wraps it; None where nobody counted: all of them."""
    while not isinstance(dataset, CountsLabels):
        if not hasattr(dataset, "original"):
            return None
        dataset = dataset.original
    return dataset.labels_used


class DriveRole(Config):
    """A drive of the source and what is known of it."""

    name: str
    role: Role
    first: int = Field(ge=0)
    """Number of its first sample in the source's split."""
    num_frames: int = Field(ge=1)


class RelabeledDescription(Config):
    """Contents of labels.yaml."""

    kind: Literal["relabeled"] = "relabeled"
    schema_version: Literal[1] = 1
    source: str
    """Folder of the data, from this one."""
    source_split: str | None
    source_frames: int
    source_fingerprint: str
    class_names: tuple[str, ...]
    drives: tuple[DriveRole, ...]
    labels_used: LabelsUsed
    made_by: dict[str, Any] = Field(default_factory=dict)
    """How the boxes of the unlabeled drives were made; empty when they have none."""


@dataclass(frozen=True)
class _Shown:
    index: int
    drive: int
    repetition: int = 0


class RelabeledDataset:
    """Drives of a source, each with its own labels, made ones or none.

    Splits: `labeled` and `held_out` (labeled too, kept apart to judge by), `unlabeled`, and `train`: all that has
    labels. Once boxes were made, `train` shows them and as many frames with labels by hand: the fewer of the two are
    repeated, whole rounds of them. None takes every frame once.

    Args:
        path: the folder.
        split: one of its splits or None.
        source: the source's split.

    Raises:
        InputError: when the description is not what this version reads, or the source is another than it was.
    """

    def __init__(self, path: Path, split: str | None, source: Dataset) -> None:
        self.path, self.description = Path(path), read_description(path)
        _refuse_other_source(self.path, self.description, source)
        assert isinstance(source, Sequential)
        self._source, self._drives = source, source
        self._made: dict[int, dict[int, Boxes]] = {}
        self._shown = self._chosen(split)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the source."""
        return self.description.class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over that of the source, the description, the boxes made and what is shown.

        Raises:
            InputError: when the source's files are others than they were.
        """
        found, wanted = self._source.fingerprint, self.description.source_fingerprint
        if found != wanted:
            remedy = "make it anew from this source"
            raise InputError(f"{self.path}: source", found=found[:12], wanted=wanted[:12], remedy=remedy)
        digest = hashlib.sha256(found.encode() + read_text(self.path / DESCRIPTION).encode())
        for file in sorted((self.path / BOXES).glob("*.npz")):
            digest.update(file.name.encode() + file.read_bytes())
        digest.update(json.dumps([shown.index for shown in self._shown]).encode())
        return digest.hexdigest()

    @property
    def labels_used(self) -> LabelsUsed:
        """Labels by hand behind it, those that its teacher learned from and was judged by included."""
        return self.description.labels_used

    @property
    def num_sweeps(self) -> int:
        """As the source."""
        return sweeps_held(self._source)

    def __len__(self) -> int:
        return len(self._shown)

    def __getitem__(self, index: int) -> Sample:
        """The source's sample with the labels that count here, or none."""
        shown = self._shown[index]
        drive, sample = self.description.drives[shown.drive], self._source[shown.index]
        if drive.role != "unlabeled":
            return sample
        if not self.description.made_by:
            return sample.relabeled(None)
        made = self._boxes_of(shown.drive)[shown.index - drive.first]
        assert made.num_points is not None
        sure = made.num_points != NOT_ASKED
        return sample.relabeled(made[sure], made[~sure])

    def place(self, index: int) -> Place:
        """That of the source; a repeated drive counts as another."""
        shown = self._shown[index]
        place = self._drives.place(shown.index)
        return replace(place, drive=f"{place.drive}~{shown.repetition}") if shown.repetition else place

    def labeled(self, sample: Sample, boxes: Boxes) -> NDArray[np.bool_]:
        """As the source says; everything where that is labeled all around."""
        if isinstance(self._source, PartlyLabeled):
            return self._source.labeled(sample, boxes)
        return np.ones(len(boxes), bool)

    def _chosen(self, split: str | None) -> list[_Shown]:
        if split is None:
            return self._of_roles("labeled", "held_out", "unlabeled")
        if split != "train":
            return self._of_roles(split)
        by_hand = self._of_roles("labeled", "held_out")
        return _balanced(by_hand, self._of_roles("unlabeled")) if self.description.made_by else by_hand

    def _of_roles(self, *roles: str) -> list[_Shown]:
        return [
            _Shown(drive.first + frame, number)
            for number, drive in enumerate(self.description.drives)
            if drive.role in roles
            for frame in range(drive.num_frames)
        ]

    def _boxes_of(self, number: int) -> dict[int, Boxes]:
        if number not in self._made:
            self._made[number] = read_boxes(self.path, number, self.description)
        return self._made[number]


def open_relabeled(path: Path, split: str | None, open_source: Any) -> Dataset:
    """The data set, or the source's where the split is one of the source's, such as `val`.

    Args:
        path: the folder.
        split: one of `OWN_SPLITS` or of the source; None takes all that the description names.
        open_source: opens a folder and split with the classes asked for.

    Raises:
        InputError: as `RelabeledDataset`.
        MissingSplit: when nothing is in the split.
    """
    description = read_description(path)
    source = path / description.source
    if not source.is_dir():
        remedy = f"move it back, or correct source in {path / DESCRIPTION}"
        raise InputError(f"{path}: source", found=f"no folder {source}", wanted="the data", remedy=remedy)
    if split is not None and split not in OWN_SPLITS:
        return open_source(source, split)  # type: ignore[no-any-return]
    dataset = RelabeledDataset(path, split, open_source(source, description.source_split))
    if len(dataset) == 0:
        raise MissingSplit(f"{path}: split {split}", found="no drives", wanted=" or ".join(OWN_SPLITS))
    return dataset


def read_description(path: Path) -> RelabeledDescription:
    """The description in a folder.

    Raises:
        InputError: when it is missing or not what this version reads.
    """
    return check_config(read_yaml(path / DESCRIPTION), RelabeledDescription, f"{path / DESCRIPTION}")


def write_relabeled(path: Path, description: RelabeledDescription, boxes: Iterable[tuple[int, list[Boxes]]]) -> None:
    """Writes a folder, the description last.

    Args:
        path: folder to make.
        description: what it says.
        boxes: number of a drive, and the boxes made for each of its frames; those with `NOT_ASKED` points are doubtful.

    Raises:
        InputError: when something is there.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}", found="something is there", wanted="a new folder", remedy="choose another --out")
    path.mkdir(parents=True, exist_ok=True)
    for number, frames in boxes:
        (path / BOXES).mkdir(exist_ok=True)
        rows = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]).astype(np.int32)
        whole = Boxes.concatenate(frames)
        columns = {name: getattr(whole, name) for name in _COLUMNS if name != "frames"}
        np.savez(path / BOXES / f"{number:05d}.npz", frames=rows, **columns)
    write_yaml(path / DESCRIPTION, description)


def read_boxes(path: Path, number: int, description: RelabeledDescription) -> dict[int, Boxes]:
    """The boxes made for each frame of a drive, by number within it.

    Raises:
        InputError: when the file is missing or damaged.
    """
    file, drive = path / BOXES / f"{number:05d}.npz", description.drives[number]
    try:
        with np.load(file, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in _COLUMNS}
    except FileNotFoundError:
        raise InputError(f"{file}", found="no such file", remedy="make the labels anew") from None
    except (*BROKEN_ARRAYS, KeyError) as error:
        raise InputError(f"{file}", found=f"{error}", wanted="boxes", remedy="make the labels anew") from error
    for name, (dtype, axes) in _COLUMNS.items():
        if columns[name].dtype != dtype or columns[name].ndim != axes:
            found = f"{columns[name].dtype} {columns[name].shape}"
            raise InputError(f"{file}: {name}", found=found, wanted=f"{dtype} with {axes} axes")
    frames = columns.pop("frames")
    whole = Boxes(class_names=description.class_names, **columns)
    return {frame: whole[frames == frame] for frame in range(drive.num_frames)}


def _balanced(first: list[_Shown], second: list[_Shown]) -> list[_Shown]:
    """Both, the shorter repeated in whole rounds until another would make it the longer by more than it lacks now."""
    fewer, more = sorted([first, second], key=len)
    rounds = max(math.ceil(len(more) / len(fewer) - 0.5), 1) if fewer else 0
    repeated = [replace(shown, repetition=number) for number in range(rounds) for shown in fewer]
    return repeated + more


def _refuse_other_source(path: Path, description: RelabeledDescription, source: Dataset) -> None:
    found = [f"{len(source)} frames", f"classes {', '.join(source.class_names)}"]
    wanted = [f"{description.source_frames} frames", f"classes {', '.join(description.class_names)}"]
    for is_one, should_be in zip(found, wanted, strict=True):
        if is_one != should_be:
            remedy = "make it anew from this source"
            raise InputError(f"{path}: source", found=is_one, wanted=should_be, remedy=remedy)
