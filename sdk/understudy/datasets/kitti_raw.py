"""A KITTI raw drive: consecutive sweeps with up to four cameras, poses and tracked boxes where the drive has them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, wrap_angle
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import fingerprint, is_there, read_float_records
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.datasets.kitti import CAMERA, EGO_FROM_LIDAR, LIDAR
from understudy.datasets.kitti_calibration import (
    CAMERA_FILE,
    CAMERA_NUMBERS,
    IMU_FILE,
    OBJECT_FILE,
    KittiSensors,
    camera_name,
    read_object_sensors,
    read_raw_sensors,
    rig_of,
)
from understudy.datasets.kitti_oxts import OxtsTrack
from understudy.datasets.kitti_tracklets import TrackedBox, read_tracklets
from understudy.datasets.stamps import read_dates_ns
from understudy.errors import InputError
from understudy.frame import Frame, PointCloud
from understudy.images import image_size_px
from understudy.interior import count_points_inside
from understudy.pose import Pose
from understudy.rig import Rig

TRACKLETS_FILE, STAMPS_FILE = "tracklet_labels.xml", "timestamps.txt"
_PERIOD_NS = 100_000_000
_SWEEPS = Path("velodyne_points")


class KittiRawDataset:
    """A drive folder with `velodyne_points/data`, and what else of KITTI raw is there.

    Args:
        path: the drive's folder (`..._sync`: rectified pictures, one set per sweep).
        classes: which types of tracklets count and as what.

    Calibration: the day's `calib_cam_to_cam.txt`, `calib_velo_to_cam.txt` and `calib_imu_to_velo.txt` beside the drive
    or in it, or else one `calib_object_format.txt`. Stamps: `timestamps.txt` of LiDAR and cameras; without the LiDAR's
    they are synthetic, 10 Hz by frame number. Poses: `oxts/`. Boxes: `tracklet_labels.xml`, which labels what camera 2
    sees; `labeled` says so of boxes. Cameras: those with `image_00` to `image_03`, gray ones as RGB. Ego as in
    `KittiDataset`.

    Raises:
        InputError: when calibration, sweeps or a described file are missing or malformed, stamps do not ascend or are
            fewer than sweeps; at access, when a file is missing or malformed.
        GeometryError: when the calibration cannot be that of the pictures.
    """

    def __init__(self, path: Path, *, classes: ClassChoice | None = None) -> None:
        self._class_map = chosen_map("kitti", classes)
        self._root = path
        self._sensors = _read_sensors(path)
        self._keys = sorted(sweep.stem for sweep in (path / _SWEEPS / "data").glob("*.bin"))
        if not self._keys:
            raise InputError(f"{path}", found="no sweeps", wanted=f"{_SWEEPS}/data/*.bin")
        strangers = [key for key in self._keys if not key.isdigit()]
        if strangers:
            found = f"{strangers[0]}.bin"
            raise InputError(f"{path / _SWEEPS / 'data'}", found=found, wanted="sweeps named by number")
        self._cameras = [number for number in CAMERA_NUMBERS if (path / f"image_{number:02d}" / "data").is_dir()]
        self._stamps_ns = self._read_stamps()
        tracklets = path / TRACKLETS_FILE
        self._tracklets = read_tracklets(tracklets) if is_there(tracklets) else None
        self._oxts = OxtsTrack(path / "oxts" / "data") if (path / "oxts").is_dir() else None
        if self._oxts is not None and self._sensors.lidar_from_imu is None:
            where = self._sensors.files[0].parent / IMU_FILE
            raise InputError(f"{where}", found="no such file", wanted="the inertial unit's place, as there are oxts")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the class map."""
        return self._class_map.class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over sweeps' and images' names and sizes, calibration, stamps, poses and tracklets."""
        pictures = [self._image_path(number, key) for key in self._keys for number in self._cameras]
        described = [path for path in (self._root / TRACKLETS_FILE, self._stamps_path(_SWEEPS)) if is_there(path)]
        described += [path for number in self._cameras if is_there(path := self._stamps_path(_image(number)))]
        described += [] if self._oxts is None else self._oxts.paths
        sweeps = [self._sweep_path(key) for key in self._keys]
        root = self._sensors.files[0].parent
        return fingerprint(root, [*sweeps, *pictures], [*described, *self._sensors.files])

    @cached_property
    def rig(self) -> Rig:
        """The drive's rig."""
        paths = {number: self._image_path(number, self._keys[0]) for number in self._cameras}
        pictures = {number: (path, image_size_px(path)) for number, path in paths.items()}
        return rig_of("kitti", self._sensors, EGO_FROM_LIDAR, pictures, LIDAR)

    def __len__(self) -> int:
        return len(self._keys)

    def place(self, index: int) -> Place:
        """All frames are of one drive, the folder."""
        return Place(self._root.name, self._stamp_ns(LIDAR, self._keys[index]))

    def __getitem__(self, index: int) -> Sample:
        """The frame, with points counted in each tracked box."""
        key = self._keys[index]
        stamp_ns = self._stamp_ns(LIDAR, key)
        cloud = PointCloud(read_float_records(self._sweep_path(key), 4), stamp_ns, LIDAR)
        images = {camera_name(number): self._image_file(number, key) for number in self._cameras}
        frame = Frame(stamp_ns, {LIDAR: cloud}, ImageFiles(images), self._world_from_ego(key))
        return Sample(key, frame, self.rig, self._boxes(int(key), cloud), {})

    def tracked(self, index: int) -> tuple[TrackedBox, ...]:
        """Tracklets at a frame as written, nothing dropped: their names, occlusion and truncation."""
        return () if self._tracklets is None else self._tracklets.get(int(self._keys[index]), ())

    def labeled(self, sample: Sample, boxes: Boxes) -> NDArray[np.bool_]:
        """`(N,)`: whether a box's center lies in camera 2's picture: only what that camera sees has tracklets."""
        camera = sample.rig.cameras.get(CAMERA)
        if camera is None:
            return np.ones(len(boxes), bool)
        return camera.shows(*camera.project(boxes.geometry[:, :3]))

    def _boxes(self, number: int, cloud: PointCloud) -> Boxes | None:
        if self._tracklets is None:
            return None
        found = self._tracklets.get(number, ())
        labels = self._class_map.labels([box.name for box in found])
        geometry = np.array([box.geometry for box in found], np.float64).reshape(-1, 7)[labels >= 0]
        geometry[:, :3] = EGO_FROM_LIDAR.apply(geometry[:, :3])
        geometry[:, 6] = wrap_angle(geometry[:, 6])
        boxes = Boxes(
            geometry=geometry.astype(np.float32),
            labels=labels[labels >= 0],
            class_names=self._class_map.class_names,
            track_ids=np.array([box.track_id for box in found], np.int64)[labels >= 0],
        )
        return _counted(boxes, cloud)

    def _world_from_ego(self, key: str) -> Pose | None:
        if self._oxts is None or self._sensors.lidar_from_imu is None:
            return None
        return self._oxts.world_from_imu(key) @ (EGO_FROM_LIDAR @ self._sensors.lidar_from_imu).inverse()

    def _read_stamps(self) -> dict[str, tuple[int, ...]]:
        """Stamps by sensor; none when the LiDAR has none."""
        if not is_there(self._stamps_path(_SWEEPS)):
            return {}
        folders = {LIDAR: _SWEEPS, **{camera_name(number): _image(number) for number in self._cameras}}
        stamps_ns = {}
        for name, folder in folders.items():
            path = self._stamps_path(folder)
            stamps_ns[name] = read_dates_ns(path)
            if len(stamps_ns[name]) <= int(self._keys[-1]):
                found, wanted = f"{len(stamps_ns[name])} lines", f"at least {int(self._keys[-1]) + 1}"
                raise InputError(f"{path}", found=found, wanted=f"{wanted}, for sweep {self._keys[-1]}.bin")
        return stamps_ns

    def _stamp_ns(self, name: str, key: str) -> int:
        return self._stamps_ns[name][int(key)] if self._stamps_ns else int(key) * _PERIOD_NS

    def _image_file(self, number: int, key: str) -> ImageFile:
        name = camera_name(number)
        return ImageFile(self._image_path(number, key), self._stamp_ns(name, key), name)

    def _stamps_path(self, folder: Path) -> Path:
        return self._root / folder / STAMPS_FILE

    def _sweep_path(self, key: str) -> Path:
        return self._root / _SWEEPS / "data" / f"{key}.bin"

    def _image_path(self, number: int, key: str) -> Path:
        return self._root / _image(number) / "data" / f"{key}.png"


def _image(number: int) -> Path:
    return Path(f"image_{number:02d}")


def _counted(boxes: Boxes, cloud: PointCloud) -> Boxes:
    counts = count_points_inside(boxes, EGO_FROM_LIDAR.apply(cloud.points[:, :3]))
    columns: dict[str, Any] = {"track_ids": boxes.track_ids, "num_points": counts}
    return Boxes(boxes.geometry, boxes.labels, boxes.class_names, **columns)


def _read_sensors(path: Path) -> KittiSensors:
    """The day's own files first: they say more than one file in the object benchmark's format."""
    for folder in (path.parent, path):
        if (folder / CAMERA_FILE).is_file():
            return read_raw_sensors(folder)
    for folder in (path.parent, path):
        if (folder / OBJECT_FILE).is_file():
            return read_object_sensors(folder / OBJECT_FILE)
    wanted = f"{CAMERA_FILE} and its two fellows, or {OBJECT_FILE}, beside or in the drive folder"
    raise InputError(f"{path}", found="no calibration", wanted=wanted)
