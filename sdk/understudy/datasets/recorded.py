"""Reads data sets made of recordings (`understudy dataset from-bag`), frame by frame; docs/recorded-format.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.configuration import Config, check_config, read_yaml
from understudy.converters.class_maps import ClassChoice, ClassMap, chosen_map, identity
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import BROKEN_ARRAYS, fingerprint
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.datasets.recorded_frame import Arrays, decode_sample, picture_entries, read_arrays
from understudy.errors import InputError, MissingSplit
from understudy.rig import Rig, read_rig

SCHEMA_VERSION = 1
DESCRIPTION_FILE = "dataset.yaml"
RIG_FILE = "rig.yaml"
STAMPS_FILE = "stamps_ns.npy"
DRIVES_FOLDER, FRAMES_FOLDER = "drives", "frames"
Split = Literal["train", "val"]
LabelSource = Literal["none", "recorded", "pseudo"]


class Provenance(Config):
    """Where a drive came from and what became of each message."""

    source: str = ""
    """The bag or data set it was made of."""
    content_sha256: str = ""
    """Over the source's files."""
    topics: dict[str, str] = Field(default_factory=dict)
    """Topic of each sensor."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """What was asked for."""
    messages: dict[str, dict[str, int]] = Field(default_factory=dict)
    """By topic: how many messages were read, and what became of them."""
    damage: str = ""
    """What was lost, where the source was damaged."""
    pseudo_labels: dict[str, Any] = Field(default_factory=dict)
    """Teacher, rules and counts, where labels are a teacher's."""

    @property
    def num_sweeps(self) -> int:
        """How many sweeps were accumulated in a cloud."""
        sweeps = self.settings.get("sweeps", 1)
        return sweeps if isinstance(sweeps, int) else 1


class DriveEntry(Config):
    """One drive of the data set."""

    name: str = Field(pattern=r"^\w[\w.-]*$")
    """Its folder in `drives`."""
    split: Split
    num_frames: int = Field(ge=1)
    labels: LabelSource = "none"
    """Whose boxes it has: nobody's, those of the recording, or a teacher's."""
    provenance: Provenance = Provenance()


class RecordedDescription(Config):
    """Contents of dataset.yaml."""

    kind: Literal["recorded"] = "recorded"
    schema_version: Literal[1] = 1
    class_names: tuple[str, ...]
    drives: tuple[DriveEntry, ...] = Field(min_length=1)


@dataclass(frozen=True)
class _Frame:
    drive: DriveEntry
    number: int


class RecordedDataset:
    """Frames of recordings: any LiDARs and cameras, labels where there are any.

    Args:
        path: the data set's folder.
        split: "train", "val", or None for all drives.
        classes: which of its classes count and as what; None takes all of them as they are.
        images: offer the cameras' pictures; each is read and decoded only when looked at.

    Raises:
        InputError: when the folder or its description is missing or not what this version reads.
        GeometryError: when a rig is wrong.
    """

    def __init__(
        self, path: Path, split: str | None = None, *, classes: ClassChoice | None = None, images: bool = True
    ) -> None:
        self.path = Path(path)
        self.description = read_description(self.path)
        self.drives = tuple(drive for drive in self.description.drives if split in {None, drive.split})
        if not self.drives:
            splits = sorted({drive.split for drive in self.description.drives})
            raise MissingSplit(f"{self.path}: split {split}", found="no drives", wanted=f"one of {', '.join(splits)}")
        self._map = _class_map(self.description.class_names, classes)
        self._images = images
        self.rigs: dict[str, Rig] = {drive.name: read_rig(rig_file(self.path, drive.name)) for drive in self.drives}
        self._stamps_ns = {drive.name: _read_stamps_ns(self.path, drive) for drive in self.drives}
        self._frames = [_Frame(drive, number) for drive in self.drives for number in range(drive.num_frames)]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that the boxes' labels count in."""
        return self._map.class_names

    @property
    def num_sweeps(self) -> int:
        """How many sweeps a cloud holds at most, as its drives' provenance says.

        Raises:
            InputError: when its drives hold different numbers.
        """
        numbers = sorted({drive.provenance.num_sweeps for drive in self.drives})
        if len(numbers) > 1:
            found = f"drives whose clouds hold {' and '.join(map(str, numbers))} sweeps"
            raise InputError(f"{self.path}", found=found, wanted="one number", remedy="make a data set of each")
        return numbers[0]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the descriptions' contents, the stamps, and the names and sizes of frames and pictures.

        Raises:
            InputError: when a frame's file is missing.
        """
        descriptions = [self.path / DESCRIPTION_FILE]
        descriptions += sorted({rig_file(self.path, drive.name) for drive in self.drives})
        descriptions += [self._folder(drive) / STAMPS_FILE for drive in self.drives]
        return fingerprint(self.path, self._bulky_files(), descriptions)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Sample:
        """Reads one frame.

        Raises:
            InputError: when its file or a picture is missing or damaged.
        """
        frame = self._frames[index]
        file = self._frame_file(frame)
        arrays = read_arrays(file)
        rig = self.rigs[frame.drive.name]
        images = ImageFiles(self._pictures(frame, arrays, file)) if self._images else {}
        sample = decode_sample(arrays, rig, images, f"{file}")
        self._refuse_strange_sensors(sample, rig, file)
        named = () if sample.boxes is None else sample.boxes.class_names
        strange = sorted(set(named) - set(self.description.class_names))
        if strange:
            wanted = f"those of {DESCRIPTION_FILE}: {', '.join(self.description.class_names)}"
            raise InputError(f"{file}: boxes", found=f"class {strange[0]}", wanted=wanted)
        return replace(sample, boxes=None if sample.boxes is None else self._map.relabel_boxes(sample.boxes))

    def place(self, index: int) -> Place:
        """Drive and stamp of a frame, without reading it."""
        frame = self._frames[index]
        return Place(frame.drive.name, int(self._stamps_ns[frame.drive.name][frame.number]))

    def _refuse_strange_sensors(self, sample: Sample, rig: Rig, file: Path) -> None:
        strangers = [name for name in (*sample.frame.clouds, *sample.frame.images) if name not in rig.sensors]
        if strangers:
            raise InputError(f"{file}: sensor {strangers[0]}", found="none of that name in its rig", wanted="its rig")

    def _pictures(self, frame: _Frame, arrays: Arrays, file: Path) -> dict[str, ImageFile]:
        folder = self._folder(frame.drive)
        return {
            entry.camera: ImageFile(
                folder / entry.camera / f"{frame.number:06d}{entry.suffix}", entry.stamp_ns, entry.frame_id
            )
            for entry in picture_entries(arrays, f"{file}")
        }

    def _bulky_files(self) -> Iterator[Path]:
        yield from (self._frame_file(frame) for frame in self._frames)
        for drive in self.drives:
            for camera in self.rigs[drive.name].cameras:
                yield from (self._folder(drive) / camera).glob("[0-9]*")

    def _folder(self, drive: DriveEntry) -> Path:
        return self.path / DRIVES_FOLDER / drive.name

    def _frame_file(self, frame: _Frame) -> Path:
        return self._folder(frame.drive) / FRAMES_FOLDER / f"{frame.number:06d}.npz"


def read_description(path: Path) -> RecordedDescription:
    """The data set's dataset.yaml.

    Raises:
        InputError: when it is missing or not what this version reads.
    """
    file = path / DESCRIPTION_FILE
    values = read_yaml(file)
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        remedy = "make the data set anew with this version of understudy"
        raise InputError(f"{file}: schema_version", found=version, wanted=SCHEMA_VERSION, remedy=remedy)
    return check_config(values, RecordedDescription, f"{file}")


def rig_file(path: Path, drive: str) -> Path:
    """The drive's own rig file where it has one, else that of the data set."""
    own = path / DRIVES_FOLDER / drive / RIG_FILE
    return own if own.is_file() else path / RIG_FILE


def is_recorded(path: Path) -> bool:
    """Whether a folder holds a data set of recordings, told by the first lines of its description."""
    try:
        with (path / DESCRIPTION_FILE).open(encoding="utf-8") as stream:
            return any(line.rstrip() == "kind: recorded" for line in stream.readlines(4096))
    except (OSError, UnicodeDecodeError):
        return False


def _class_map(own: tuple[str, ...], classes: ClassChoice | None) -> ClassMap:
    return identity(own) if classes is None else chosen_map("recorded", classes)


def _read_stamps_ns(path: Path, drive: DriveEntry) -> NDArray[np.int64]:
    """Stamps of the drive's frames, checked to be as many as they are and to rise."""
    file = path / DRIVES_FOLDER / drive.name / STAMPS_FILE
    try:
        stamps_ns = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{file}", found="no such file", remedy="make the data set anew") from None
    except BROKEN_ARRAYS as error:
        raise InputError(f"{file}", found=str(error), wanted="an npy file of int64 stamps") from error
    if stamps_ns.dtype != np.int64 or stamps_ns.shape != (drive.num_frames,):
        found = f"{stamps_ns.dtype} {stamps_ns.shape}"
        raise InputError(f"{file}", found=found, wanted=f"int64 ({drive.num_frames},), one per frame")
    if (np.diff(stamps_ns) <= 0).any():
        raise InputError(f"{file}", found="stamps that do not rise", wanted="frames in the order of their time")
    checked: NDArray[np.int64] = stamps_ns
    return checked
