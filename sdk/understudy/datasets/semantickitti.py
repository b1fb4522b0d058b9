"""SemanticKITTI and KITTI odometry: long sequences of LiDAR sweeps with poses, and a class per point where labeled.

Sources: J. Behley et al., "SemanticKITTI: a dataset for semantic scene understanding of LiDAR sequences" (ICCV 2019);
A. Geiger et al., "Are we ready for autonomous driving?" (CVPR 2012) for the odometry benchmark's files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Segments
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.converters.segment_maps import SEMANTICKITTI
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import fingerprint, is_there, read_float_records, read_text
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.datasets.kitti import EGO_FROM_LIDAR, LIDAR
from understudy.datasets.kitti_calibration import (
    CAMERA_NUMBERS,
    KittiSensors,
    camera_name,
    read_odometry_sensors,
    rig_of,
)
from understudy.datasets.stamps import read_seconds_ns
from understudy.errors import InputError, MissingSplit, UnderstudyError
from understudy.frame import Frame, PointCloud
from understudy.images import image_size_px
from understudy.pose import Pose
from understudy.rig import Rig

SPLITS: Mapping[str, tuple[int, ...]] = {
    "train": (0, 1, 2, 3, 4, 5, 6, 7, 9, 10),
    "val": (8,),
    "test": tuple(range(11, 22)),
}
"""The official splits by sequence number."""

_CLASS_BITS = 0xFFFF
_INSTANCE_SHIFT = 16


class SemanticKittiDataset:
    """The sweeps of one sequence, of a split's sequences, or of all.

    Args:
        path: a sequence's folder, one with `sequences/`, or one with `dataset/sequences/`.
        split: "train", "val" or "test" by sequence number; None takes every sequence found.
        classes: classes that boxes would count in; nothing is labeled with boxes.

    A sequence needs `velodyne/`, `calib.txt` and `times.txt`, one line per sweep. Poses (`poses.txt` there, or
    `poses/NN.txt` beside `sequences/`) are those of the left gray camera; they are carried to ego, and the world is ego
    where the camera's pose is the identity: the first sweep. Segments are the 19 scored classes, -1 elsewhere; a sweep
    without a label file has none. Cameras are those with a folder `image_0` to `image_3`. Ego as in `KittiDataset`.

    Raises:
        InputError: when a file is missing or malformed, there are fewer stamps or poses than sweeps, or a label has no
            sweep; at access, when a label file does not fit its sweep.
        GeometryError: when the calibration cannot be that of the pictures.
    """

    def __init__(self, path: Path, split: str | None = None, *, classes: ClassChoice | None = None) -> None:
        self._class_map = chosen_map("kitti", classes)
        self._root = path
        self._sequences = [_read_sequence(folder) for folder in _sequence_folders(path, split)]
        self._index = [(seq, frame) for seq, found in enumerate(self._sequences) for frame in found.frames]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the class map, though nothing is labeled with boxes."""
        return self._class_map.class_names

    @property
    def segment_names(self) -> tuple[str, ...]:
        """The 19 classes that points count in."""
        return SEMANTICKITTI.class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names and sizes of sweeps, labels, pictures, and contents of poses, times, calibration."""
        bulky = [path for found in self._sequences for path in found.bulky()]
        described = [path for found in self._sequences for path in found.described]
        return fingerprint(self._sequences[0].folder.parent, bulky, described)

    def __len__(self) -> int:
        return len(self._index)

    def place(self, index: int) -> Place:
        """The drive is the sequence's number."""
        sequence, frame = self._index[index]
        return Place(self._sequences[sequence].name, self._sequences[sequence].stamps_ns[frame])

    def __getitem__(self, index: int) -> Sample:
        """The sweep, with the class of each point where it is labeled."""
        number, frame = self._index[index]
        sequence = self._sequences[number]
        stamp_ns = sequence.stamps_ns[frame]
        cloud = PointCloud(read_float_records(sequence.sweep(frame), 4), stamp_ns, LIDAR)
        numbers = self.label_numbers(index, len(cloud))
        source = f"{sequence.label(frame)}"
        segments: dict[str, Segments] = {}
        if numbers is not None:
            segments[LIDAR] = SEMANTICKITTI.segments(numbers & _CLASS_BITS, source)
        images = {
            camera_name(camera): ImageFile(sequence.picture(camera, frame), stamp_ns, camera_name(camera))
            for camera in sequence.cameras
        }
        seen = Frame(stamp_ns, {LIDAR: cloud}, ImageFiles(images), sequence.world_from_ego(frame))
        return Sample(f"{sequence.name}/{frame:06d}", seen, sequence.rig, None, segments)

    def label_numbers(self, index: int, num_points: int) -> NDArray[np.uint32] | None:
        """`(N,)` labels as stored: the lower 16 bits are the native class, the upper the instance; None if unlabeled.

        Raises:
            InputError: when the file does not hold one label per point.
        """
        number, frame = self._index[index]
        path = self._sequences[number].label(frame)
        if not is_there(path):
            return None
        content = path.read_bytes()
        if len(content) != 4 * num_points:
            found, wanted = f"{len(content) / 4:g} labels", f"{num_points}, one per point of the sweep"
            raise InputError(f"{path}", found=found, wanted=wanted, remedy="copy label and sweep again")
        return np.frombuffer(content, "<u4")

    def instances(self, index: int, num_points: int) -> NDArray[np.uint32] | None:
        """`(N,)` instance of each point, 0 for none; None where the sweep is not labeled."""
        numbers = self.label_numbers(index, num_points)
        return None if numbers is None else (numbers >> _INSTANCE_SHIFT).astype(np.uint32)


@dataclass(frozen=True, eq=False)
class _Poses:
    """The left gray camera in the frame it started in, `(N, 3, 4)`."""

    path: Path
    matrices: NDArray[np.float64]

    def at(self, frame: int) -> Pose:
        try:
            return Pose.from_matrix(self.matrices[frame])
        except UnderstudyError as error:
            where = f"{self.path} line {frame + 1}: {error.what}"
            raise InputError(where, found=error.found, wanted=error.wanted) from None


@dataclass(frozen=True, eq=False)
class _Sequence:
    folder: Path
    frames: tuple[int, ...]
    stamps_ns: tuple[int, ...]
    sensors: KittiSensors
    starts: _Poses | None
    cameras: tuple[int, ...]
    rig: Rig
    described: tuple[Path, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    def world_from_ego(self, frame: int) -> Pose | None:
        """The camera's pose with its rectified frame carried to ego on both sides."""
        if self.starts is None:
            return None
        ego_from_rect = EGO_FROM_LIDAR @ self.sensors.rect_from_lidar.inverse()
        return ego_from_rect @ self.starts.at(frame) @ ego_from_rect.inverse()

    def sweep(self, frame: int) -> Path:
        return self.folder / "velodyne" / f"{frame:06d}.bin"

    def label(self, frame: int) -> Path:
        return self.folder / "labels" / f"{frame:06d}.label"

    def picture(self, camera: int, frame: int) -> Path:
        return self.folder / f"image_{camera}" / f"{frame:06d}.png"

    def bulky(self) -> list[Path]:
        labels = [path for frame in self.frames if is_there(path := self.label(frame))]
        pictures = [self.picture(camera, frame) for camera in self.cameras for frame in self.frames]
        return [*(self.sweep(frame) for frame in self.frames), *labels, *pictures]


def _sequence_folders(path: Path, split: str | None) -> list[Path]:
    root = path / "dataset" if (path / "dataset" / "sequences").is_dir() else path
    root = root / "sequences" if (root / "sequences").is_dir() else root
    folders = [root] if (root / "velodyne").is_dir() else sorted(_sequences_in(root))
    if not folders:
        raise InputError(f"{path}", found="no sequences", wanted="sequences/NN/velodyne")
    if split is None:
        return folders
    if split not in SPLITS:
        raise MissingSplit(f"{path}: split {split}", found="no such split", wanted=" or ".join([*SPLITS, "all"]))
    chosen = [folder for folder in folders if folder.name.isdigit() and int(folder.name) in SPLITS[split]]
    if not chosen:
        wanted = ", ".join(f"{number:02d}" for number in SPLITS[split])
        found = f"sequences {', '.join(folder.name for folder in folders)}"
        raise MissingSplit(f"{path}: split {split}", found=found, wanted=f"one of {wanted}")
    return chosen


def _sequences_in(root: Path) -> list[Path]:
    return [entry for entry in root.iterdir() if (entry / "velodyne").is_dir()]


def _read_sequence(folder: Path) -> _Sequence:
    frames = _numbers(folder / "velodyne", "bin")
    if not frames:
        raise InputError(f"{folder / 'velodyne'}", found="no sweeps", wanted="000000.bin and on")
    orphans = sorted(set(_numbers(folder / "labels", "label")) - set(frames))
    if orphans:
        where = f"{folder / 'labels' / f'{orphans[0]:06d}.label'}"
        raise InputError(where, found="a label without a sweep", wanted=f"velodyne/{orphans[0]:06d}.bin")
    calibration, times = folder / "calib.txt", folder / "times.txt"
    sensors = read_odometry_sensors(calibration)
    stamps_ns = read_seconds_ns(times)
    _refuse_fewer(times, len(stamps_ns), frames)
    poses_path = _poses_path(folder)
    starts = None if poses_path is None else _read_poses(poses_path)
    if starts is not None:
        _refuse_fewer(starts.path, len(starts.matrices), frames)
    cameras = tuple(number for number in CAMERA_NUMBERS if (folder / f"image_{number}").is_dir())
    pictures = {number: folder / f"image_{number}" / f"{frames[0]:06d}.png" for number in cameras}
    sized = {number: (picture, image_size_px(picture)) for number, picture in pictures.items()}
    rig = rig_of(f"kitti_odometry_{folder.name}", sensors, EGO_FROM_LIDAR, sized, LIDAR)
    described = tuple(path for path in (calibration, times, poses_path) if path is not None)
    return _Sequence(folder, frames, stamps_ns, sensors, starts, cameras, rig, described)


def _numbers(folder: Path, suffix: str) -> tuple[int, ...]:
    names = [path.stem for path in folder.glob(f"*.{suffix}")]
    strangers = [name for name in names if not name.isdigit()]
    if strangers:
        found = f"{strangers[0]}.{suffix}"
        raise InputError(f"{folder}", found=found, wanted=f"files named by number, such as 000000.{suffix}")
    return tuple(sorted(int(name) for name in names))


def _poses_path(folder: Path) -> Path | None:
    beside = folder.absolute().parent.parent / "poses" / f"{folder.name}.txt"
    places = (folder / "poses.txt", beside)
    return next((place for place in places if is_there(place)), None)


def _read_poses(path: Path) -> _Poses:
    lines = read_text(path).rstrip().splitlines()
    rows = [_twelve(line, f"{path} line {number}") for number, line in enumerate(lines, start=1)]
    return _Poses(path, np.array(rows, np.float64).reshape(-1, 3, 4))


def _twelve(line: str, where: str) -> list[float]:
    try:
        values = [float(value) for value in line.split()]
    except ValueError as error:
        raise InputError(where, found=f"{error}", wanted="12 numbers") from None
    if len(values) != 12:
        raise InputError(where, found=f"{len(values)} numbers", wanted="12, a 3 x 4 transform")
    return values


def _refuse_fewer(path: Path, num_lines: int, frames: tuple[int, ...]) -> None:
    if num_lines <= frames[-1]:
        found = f"{num_lines} lines"
        raise InputError(f"{path}", found=found, wanted=f"at least {frames[-1] + 1}, for sweep {frames[-1]:06d}.bin")
