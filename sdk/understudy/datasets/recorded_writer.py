"""Writes drives into a data set of recordings: each is there whole or not at all, and what was there stays."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.closing import Closing
from understudy.configuration import dump_yaml
from understudy.datasets.dataset import Sample
from understudy.datasets.recorded import (
    DESCRIPTION_FILE,
    DRIVES_FOLDER,
    FRAMES_FOLDER,
    RIG_FILE,
    STAMPS_FILE,
    DriveEntry,
    RecordedDescription,
    is_recorded,
    read_description,
)
from understudy.datasets.recorded_frame import (
    BOXES_PREFIX,
    Picture,
    decode_sample,
    encode_boxes,
    encode_sample,
    pictures_of,
    read_arrays,
)
from understudy.errors import InputError
from understudy.rig import Rig

_NAME = re.compile(r"^\w[\w.-]*$")


class DriveWriter(Closing):
    """Frames of one drive, in a hidden folder beside its place until `publish`; a context manager.

    Args:
        dataset: folder of the data set.
        name: name of the drive; letters, digits, `_`, `.` and `-`.
        rig: the drive's rig.

    Raises:
        InputError: when a name cannot be that of a folder, or the folder cannot be made.
    """

    def __init__(self, dataset: Path, name: str, rig: Rig) -> None:
        for what in (name, *rig.sensors):
            _refuse_unlikely_name(what)
        self.dataset, self.name, self.rig = dataset, name, rig
        self._stamps_ns: list[int] = []
        try:
            dataset.parent.mkdir(parents=True, exist_ok=True)
            self._staging = Path(tempfile.mkdtemp(prefix=f".{dataset.name}-", dir=dataset.parent))
            (self.folder / FRAMES_FOLDER).mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{dataset}", found=error.strerror, wanted="a place to write") from error
        rig.write(self.folder / RIG_FILE)

    @property
    def folder(self) -> Path:
        """Where the drive lies until it is published."""
        return self._staging / self.name

    @property
    def num_frames(self) -> int:
        """Frames written so far."""
        return len(self._stamps_ns)

    def add(self, sample: Sample, pictures: tuple[Picture, ...] | None = None) -> None:
        """Appends a frame.

        Args:
            sample: the frame; its key becomes `<drive>/<number>`, its rig must be the drive's.
            pictures: its pictures as compressed; None takes the sample's own.

        Raises:
            InputError: when its stamp does not rise.
        """
        if self._stamps_ns and sample.frame.stamp_ns <= self._stamps_ns[-1]:
            found = f"{sample.frame.stamp_ns} ns after {self._stamps_ns[-1]} ns"
            raise InputError(f"frame {sample.key}: stamp", found=found, wanted="stamps that rise")
        number = self.num_frames
        kept = pictures_of(sample) if pictures is None else pictures
        arrays = encode_sample(sample, tuple(picture.entry for picture in kept))
        arrays["key"] = np.array(f"{self.name}/{number:06d}")
        for picture in kept:
            folder = self.folder / picture.entry.camera
            folder.mkdir(exist_ok=True)
            (folder / f"{number:06d}{picture.entry.suffix}").write_bytes(picture.data)
        self._write(number, arrays)
        self._stamps_ns.append(sample.frame.stamp_ns)

    def label(self, number: int, boxes: Boxes) -> None:
        """Gives a frame that was added these boxes instead of what it had."""
        arrays = read_arrays(self._frame_file(number))
        kept = {name: values for name, values in arrays.items() if not name.startswith(BOXES_PREFIX)}
        self._write(number, kept | encode_boxes(boxes))

    def read(self, number: int) -> Sample:
        """A frame that was added, without its pictures."""
        file = self._frame_file(number)
        return decode_sample(read_arrays(file), self.rig, {}, f"{file}")

    def _frame_file(self, number: int) -> Path:
        return self.folder / FRAMES_FOLDER / f"{number:06d}.npz"

    def _write(self, number: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        with self._frame_file(number).open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]

    def publish(self, entry: DriveEntry, class_names: tuple[str, ...]) -> RecordedDescription:
        """Puts the drive in its place and names it in the description; a new data set appears as a whole.

        Args:
            entry: what the description says of the drive.
            class_names: classes of its boxes; new ones are appended to the data set's.

        Raises:
            InputError: when no frame was written, something else is there, or it has such a drive.
        """
        if not self._stamps_ns:
            raise InputError(f"{self.dataset}: drive {self.name}", found="no frames", wanted="at least one")
        np.save(self.folder / STAMPS_FILE, np.array(self._stamps_ns, np.int64))
        refuse_occupied(self.dataset, self.name, append=True)
        if self.dataset.exists():
            return self._append(entry, class_names)
        description = RecordedDescription(class_names=class_names, drives=(entry,))
        whole = self._staging / "dataset"
        (whole / DRIVES_FOLDER).mkdir(parents=True)
        (self.folder / RIG_FILE).rename(whole / RIG_FILE)
        self.folder.rename(whole / DRIVES_FOLDER / self.name)
        (whole / DESCRIPTION_FILE).write_text(dump_yaml(description), encoding="utf-8")
        whole.rename(self.dataset)
        return description

    def _append(self, entry: DriveEntry, class_names: tuple[str, ...]) -> RecordedDescription:
        """The description goes last: until then the new folder is one that nothing mentions."""
        before = read_description(self.dataset)
        description = RecordedDescription(
            class_names=tuple(dict.fromkeys((*before.class_names, *class_names))), drives=(*before.drives, entry)
        )
        place = self.dataset / DRIVES_FOLDER / self.name
        if place.exists():  # left by an append that was killed before the description named it
            shutil.rmtree(place)
        self.folder.rename(place)
        written = self._staging / DESCRIPTION_FILE
        written.write_text(dump_yaml(description), encoding="utf-8")
        written.replace(self.dataset / DESCRIPTION_FILE)
        return description

    def close(self) -> None:
        """Drops what was not published."""
        shutil.rmtree(self._staging, ignore_errors=True)


def refuse_occupied(dataset: Path, drive: str, *, append: bool) -> None:
    """Raises InputError when something is at `dataset` that a drive of that name cannot be added to."""
    if not (dataset.exists() or dataset.is_symlink()):
        return
    if not append:
        remedy = "choose another name, or say --append to add a drive"
        raise InputError(f"{dataset}", found="something there already", remedy=remedy)
    if not is_recorded(dataset):
        raise InputError(f"{dataset}", found="something else there", wanted="a data set of recordings")
    drives = [entry.name for entry in read_description(dataset).drives]
    if drive in drives:
        raise InputError(f"{dataset}: drive {drive}", found="one of that name already", remedy="name it with --drive")


def _refuse_unlikely_name(name: str) -> None:
    if not _NAME.match(name):
        raise InputError(f"name {name!r}", found="what cannot name a folder", wanted="letters, digits, _, . and -")
