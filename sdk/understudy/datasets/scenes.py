"""Reads the generated driving scenes (`understudy scenes`), frame by frame; docs/scenes-format.md has the format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.boxes import Boxes, Segments
from understudy.configuration import Config, check_config, read_yaml
from understudy.converters.class_maps import ClassChoice, chosen_map, identity
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import BROKEN_ARRAYS, fingerprint
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.datasets.pixel_truth import PixelTruthFile, PixelTruthFiles
from understudy.errors import GeometryError, InputError, MissingSplit, UnderstudyError
from understudy.frame import Frame, PointCloud
from understudy.pose import Pose
from understudy.rig import Rig, read_rig

SCHEMA_VERSION = 1
DESCRIPTION_FILE = "dataset.yaml"
RIG_FILE = "rig.yaml"
LIDAR = "lidar"
_CAMERA = "camera"
DEPTH: Final = "depth"
CLASSES: Final = "classes"
"""What is true of each pixel."""
ARRAYS = {
    "points": ("float32", 2),
    "time_offset_s": ("float32", 1),
    "ring": ("uint8", 1),
    "point_classes": ("uint8", 1),
    "boxes": ("float32", 2),
    "labels": ("int32", 1),
    "track_ids": ("int64", 1),
    "num_points": ("int32", 1),
    "velocities_mps": ("float32", 2),
    "world_from_ego": ("float64", 2),
    "stamp_ns": ("int64", 0),
}
"""Arrays of a frame's npz file, with dtype and number of axes."""


class DriveEntry(Config):
    """One drive of the data set."""

    name: str = Field(pattern=r"^\w[\w.-]*$")
    """Its folder in `drives`."""
    split: Literal["train", "val"]
    num_frames: int = Field(ge=1)


class BenchmarkEntry(Config):
    """Which data set of the fixed benchmark this is; results of different versions do not compare."""

    name: str
    version: int = Field(ge=1)
    signature: str
    """Of the data, as the generator knew them when it made this one."""


class ScenesDescription(Config):
    """Contents of dataset.yaml."""

    kind: Literal["scenes"] = "scenes"
    schema_version: Literal[1] = 1
    class_names: tuple[str, ...]
    point_class_names: tuple[str, ...]
    drives: tuple[DriveEntry, ...]
    generator: dict[str, Any]
    """The configuration that made it, seed included."""
    benchmark: BenchmarkEntry | None = None
    """None for a data set that belongs to no benchmark."""


@dataclass(frozen=True)
class _Numbered:
    drive: DriveEntry
    frame: int


class ScenesDataset:
    """Generated driving scenes: one LiDAR, any number of cameras, complete labels.

    Args:
        path: the data set's folder.
        split: "train", "val", or None for all drives.
        images: offer the cameras' pictures; each is read and decoded only when looked at.
        classes: which of the data set's classes count and as what; None takes them as they are.

    Raises:
        InputError: when the folder, its description or its rig is missing or not what this version reads.
        GeometryError: when the rig is wrong, lacks the LiDAR, or has a camera whose name does not begin with "camera".
    """

    def __init__(
        self, path: Path, split: str | None = None, *, images: bool = True, classes: ClassChoice | None = None
    ) -> None:
        self.path = Path(path)
        self.description = _read_description(self.path)
        own = identity(self.description.class_names)
        self._class_map = own if classes is None else chosen_map("scenes", classes)
        self.rig: Rig = read_rig(self.path / RIG_FILE)
        _, self._lidar = self.rig.lidar(LIDAR)
        _refuse_strange_cameras(self.rig)
        self.drives = tuple(drive for drive in self.description.drives if split in {None, drive.split})
        if not self.drives:
            splits = sorted({drive.split for drive in self.description.drives})
            raise MissingSplit(f"{self.path}: split {split}", found="no drives", wanted=f"one of {', '.join(splits)}")
        self._images = images and bool(self.rig.cameras)
        self._places = [_Numbered(drive, frame) for drive in self.drives for frame in range(drive.num_frames)]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the boxes."""
        return self._class_map.class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the descriptions' contents and the names and sizes of the frames' files and pictures.

        Raises:
            InputError: when a frame's file is missing.
        """
        descriptions = (self.path / DESCRIPTION_FILE, self.path / RIG_FILE)
        folders = [self._drive_folder(drive) / camera for drive in self.drives for camera in self.rig.cameras]
        pictures = [picture for folder in folders for picture in folder.glob("*.jpg")]
        return fingerprint(self.path, [*map(self._frame_file, self._places), *pictures], descriptions)

    def __len__(self) -> int:
        return len(self._places)

    def place(self, index: int) -> Place:
        """Drive and stamp of a frame; only the stamp is read from its file."""
        numbered = self._places[index]
        return Place(numbered.drive.name, _read_stamp_ns(self._frame_file(numbered)))

    def __getitem__(self, index: int) -> Sample:
        """Reads one frame.

        Raises:
            InputError: when its file is missing, truncated or lacks an array.
        """
        place = self._places[index]
        file = self._frame_file(place)
        arrays = _read_arrays(file)
        try:
            return self._sample(place, arrays)
        except InputError:
            raise
        except UnderstudyError as error:
            raise InputError(f"{file}", found=str(error), remedy="make the data set anew") from error

    def pixel_truth(self, index: int) -> PixelTruthFiles:
        """Depth and class of each pixel of a sample's pictures, by camera name; classes as `point_class_names` counts.

        Each is read only when looked at; 255 is the sky's class.

        Raises:
            InputError: when the data set was made without them; at access, when a file is damaged.
        """
        place = self._places[index]
        folder, name = self._drive_folder(place.drive), f"{place.frame:06d}.png"
        files = {
            camera: PixelTruthFile(*(folder / truth_folder(kind, camera) / name for kind in (DEPTH, CLASSES)))
            for camera in self.rig.cameras
        }
        missing = [path for file in files.values() for path in (file.depth, file.classes) if not path.is_file()]
        if missing:
            remedy = "make the data set anew with --depth"
            raise InputError(f"{missing[0]}", found="no such file", wanted="what is true of each pixel", remedy=remedy)
        return PixelTruthFiles(files)

    def _sample(self, place: _Numbered, arrays: Mapping[str, NDArray[Any]]) -> Sample:
        stamp_ns = int(arrays["stamp_ns"])
        cloud = PointCloud(
            np.ascontiguousarray(arrays["points"]),
            stamp_ns,
            self._lidar.frame_id,
            time_offset_s=arrays["time_offset_s"],
            ring=arrays["ring"].astype(np.int16),
        )
        frame = Frame(
            stamp_ns,
            clouds={LIDAR: cloud},
            images=self._pictures(place, stamp_ns) if self._images else {},
            world_from_ego=Pose.from_matrix(arrays["world_from_ego"]),
        )
        segments = Segments(arrays["point_classes"].astype(np.int16), self.description.point_class_names)
        key = f"{place.drive.name}/{place.frame:06d}"
        return Sample(key, frame, self.rig, self._boxes(arrays), {LIDAR: segments})

    def _boxes(self, arrays: Mapping[str, NDArray[Any]]) -> Boxes:
        native = Boxes(
            arrays["boxes"],
            arrays["labels"],
            self.description.class_names,
            track_ids=arrays["track_ids"],
            num_points=arrays["num_points"],
            velocities_mps=arrays["velocities_mps"],
        )
        return self._class_map.relabel_boxes(native)

    def _pictures(self, place: _Numbered, stamp_ns: int) -> ImageFiles:
        folder, name = self._drive_folder(place.drive), f"{place.frame:06d}.jpg"
        cameras = self.rig.cameras.items()
        return ImageFiles({key: ImageFile(folder / key / name, stamp_ns, camera.frame_id) for key, camera in cameras})

    def _frame_file(self, place: _Numbered) -> Path:
        return self._drive_folder(place.drive) / "frames" / f"{place.frame:06d}.npz"

    def _drive_folder(self, drive: DriveEntry) -> Path:
        return self.path / "drives" / drive.name


def truth_folder(kind: Literal["depth", "classes"], camera: str) -> str:
    """Folder, in a drive's, of what is true of a camera's pixels: `depth_front` for `camera_front`."""
    return kind + camera.removeprefix(_CAMERA)


def _refuse_strange_cameras(rig: Rig) -> None:
    strange = [name for name in rig.cameras if not name.startswith(_CAMERA)]
    if strange:
        raise GeometryError(f"rig {rig.name}", found=f"camera {strange[0]}", wanted=f"names that begin with {_CAMERA}")


def _read_description(path: Path) -> ScenesDescription:
    file = path / DESCRIPTION_FILE
    if not file.is_file():
        raise InputError(f"{file}", found="no such file", wanted="a folder made by `understudy scenes`")
    values = read_yaml(file)
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{file}: schema_version",
            found=version,
            wanted=SCHEMA_VERSION,
            remedy="make the data set anew with this version of understudy",
        )
    return check_config(values, ScenesDescription, str(file))


def _read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    arrays = _load(file, ARRAYS)
    for name, (dtype, axes) in ARRAYS.items():
        _check_array(file, name, arrays.get(name), dtype, axes)
    if len(arrays["point_classes"]) != len(arrays["points"]):
        found, wanted = len(arrays["point_classes"]), len(arrays["points"])
        raise InputError(f"{file}: array point_classes", found=f"{found} entries", wanted=f"{wanted}, one per point")
    return arrays


def _read_stamp_ns(file: Path) -> int:
    arrays = _load(file, ("stamp_ns",))
    _check_array(file, "stamp_ns", arrays.get("stamp_ns"), *ARRAYS["stamp_ns"])
    return int(arrays["stamp_ns"])


def _load(file: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Those of the named arrays that the file holds."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in names if name in stored}
    except FileNotFoundError:
        raise InputError(f"{file}", found="no such file", remedy="make the data set anew") from None
    except BROKEN_ARRAYS as error:
        raise InputError(
            f"{file}", found=str(error), wanted="a whole npz file without pickled objects", remedy="make it anew"
        ) from error


def _check_array(file: Path, name: str, values: NDArray[Any] | None, dtype: str, axes: int) -> None:
    found = "nothing" if values is None else f"{values.dtype} {values.shape}"
    if values is None or values.dtype != dtype or values.ndim != axes:
        raise InputError(f"{file}: array {name}", found=found, wanted=f"{dtype} with {axes} axes")
