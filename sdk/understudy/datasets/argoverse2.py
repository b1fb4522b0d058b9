"""Argoverse 2's sensor data set: two stacked 32-beam LiDARs as one cloud, up to nine cameras, tracked cuboids."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.configuration import check_config
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.datasets.argoverse2_log import (
    ANNOTATIONS_FILE,
    CAMERAS,
    INTRINSICS_FILE,
    MOUNTINGS_FILE,
    POSES_FILE,
    SWEEPS,
    Argoverse2Log,
    CameraIntrinsics,
)
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.feather import Columns
from understudy.datasets.files import fingerprint, is_there
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.errors import GeometryError, InputError, MissingSplit
from understudy.frame import Frame, PointCloud
from understudy.pose import Pose
from understudy.rig import Lidar, Mounting, Rig

LIDAR = "lidar"
UP_LIDAR, DOWN_LIDAR = "up_lidar", "down_lidar"
INTENSITY_SCALE = 255.0
AXLE_HEIGHT_M = 0.33
"""Height of the vehicle frame (rear axle) above the road. Measured on log 7fab2350: 2,706 poses stand 0.323 m (5 to
95 %: 0.27 to 0.36 m) above the map's ground raster, the ground points within 8 m lie 0.338 m below the origin."""

EGO_FROM_VEHICLE = Pose(np.eye(3), np.array([0.0, 0.0, AXLE_HEIGHT_M]))
"""Ego is the point of the road below Argoverse's vehicle frame, with the same axes."""

SPLITS = ("train", "val", "test")
_PICTURE_TOLERANCE_NS = 50_000_000
_BEAMS_PER_LIDAR = 32
_LOGS_KEPT = 4
Lidars = Literal["merged", "separate"]


class Argoverse2Dataset:
    """Sweeps of one log, of a split's logs, or of all splits.

    Args:
        path: a log's folder, a folder of logs, or one with `train`, `val`, `test` (or `sensor/` with these).
        split: one of those three; None takes every log found.
        classes: which categories count and as what.
        lidars: "merged" gives both LiDARs as one, `lidar`, in the vehicle frame: the release has brought their points
            to one instant and rounded them to float16 there, detectors are compared on both together, and laser
            numbers 0 to 63 stay as rings. Its mounting is the vehicle frame's, so it is no center of rays. "separate"
            gives `up_lidar` (lasers 0-31) and `down_lidar` (32-63), each in its own frame at its calibrated mounting.

    A sample is a sweep at its own stamp; time offsets of points are as stored (0 to 0.1 s), though the points are
    already at the stamp's instant. The world is the city frame. `num_points` is the count stored with the label,
    velocities are finite differences along tracks (NaN for a track seen once). A camera's picture is the nearest
    within 50 ms, without one the camera is absent from the frame; all calibrated cameras are in the rig. Without
    annotations, or outside their stamps, samples carry no boxes.

    Raises:
        InputError: when a folder or split is missing; at access, when a file is missing or malformed.
    """

    def __init__(
        self,
        path: Path,
        split: str | None = None,
        *,
        classes: ClassChoice | None = None,
        lidars: Lidars = "merged",
    ) -> None:
        self._class_map = chosen_map("argoverse2", classes)
        self._lidars = lidars
        logs = [Argoverse2Log(folder) for folder in log_folders(path, split)]
        self._logs = {log.path.name: log.path for log in logs}
        self._places = [Place(log.path.name, stamp_ns) for log in logs for stamp_ns in log.stamps_ns]
        self._recent: dict[str, Argoverse2Log] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_recent": {}}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the class map."""
        return self._class_map.class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over sweeps' and pictures' names and sizes and the contents of all tables."""
        folders = self._logs.values()
        described = [folder / name for folder in folders for name in (POSES_FILE, MOUNTINGS_FILE)]
        described += [folder / MOUNTINGS_FILE.parent / INTRINSICS_FILE for folder in folders]
        described += [path for folder in folders if is_there(path := folder / ANNOTATIONS_FILE)]
        sweeps = [self._logs[place.drive] / SWEEPS / f"{place.stamp_ns}.feather" for place in self._places]
        pictures = [picture for folder in folders for picture in (folder / CAMERAS).glob("*/*.jpg")]
        root = next(iter(folders)).parent  # the same, whichever folder above the logs was opened
        return fingerprint(root, [*sweeps, *pictures], described)

    def __len__(self) -> int:
        return len(self._places)

    def place(self, index: int) -> Place:
        """The drive is the log."""
        return self._places[index]

    def log(self, index: int) -> Argoverse2Log:
        """The log that a sample belongs to, with its tables."""
        name = self._places[index].drive
        if name not in self._recent:
            if len(self._recent) == _LOGS_KEPT:
                del self._recent[next(iter(self._recent))]
            self._recent[name] = Argoverse2Log(self._logs[name])
        return self._recent[name]

    def __getitem__(self, index: int) -> Sample:
        """The sweep with its cuboids."""
        place, log = self._places[index], self.log(index)
        world_from_ego = log.track.at(place.stamp_ns) @ EGO_FROM_VEHICLE.inverse()
        frame = Frame(place.stamp_ns, self._clouds(log, place.stamp_ns), _images(log, place.stamp_ns), world_from_ego)
        return Sample(f"{place.drive}/{place.stamp_ns}", frame, self._rig(log), self._boxes(log, place.stamp_ns), {})

    def _clouds(self, log: Argoverse2Log, stamp_ns: int) -> dict[str, PointCloud]:
        path, columns = log.sweep(stamp_ns)
        if self._lidars == "merged":
            return {LIDAR: _cloud(columns, stamp_ns, LIDAR, np.ones(len(columns["x"]), bool), Pose.identity())}
        upper = columns["laser_number"] < _BEAMS_PER_LIDAR
        clouds = {}
        for name, chosen in ((UP_LIDAR, upper), (DOWN_LIDAR, ~upper)):
            if not chosen.any():
                raise InputError(f"{path}", found=f"no points of {name}", wanted="laser_number 0 to 63")
            clouds[name] = _cloud(columns, stamp_ns, name, chosen, _mounting(log, name).inverse())
        return clouds

    def _rig(self, log: Argoverse2Log) -> Rig:
        mounted = {LIDAR: Pose.identity()}
        if self._lidars == "separate":
            mounted = {name: _mounting(log, name) for name in (UP_LIDAR, DOWN_LIDAR)}
        lidars = {name: _lidar(name, vehicle_from_lidar) for name, vehicle_from_lidar in mounted.items()}
        cameras = {name: _camera(name, camera, log.mountings[name]) for name, camera in log.intrinsics.items()}
        values = {"name": f"argoverse2_{log.path.name}", "sensors": {**lidars, **cameras}}
        return check_config(values, Rig, f"{log.path / MOUNTINGS_FILE.parent / INTRINSICS_FILE}", GeometryError)

    def _boxes(self, log: Argoverse2Log, stamp_ns: int) -> Boxes | None:
        found = log.annotations.at(stamp_ns) if log.annotations is not None else None
        if found is None:
            return None
        labels = self._class_map.labels([str(name) for name in found.categories])
        known = labels >= 0
        geometry = found.geometry[known]
        geometry[:, 2] += AXLE_HEIGHT_M
        return Boxes(
            geometry=geometry.astype(np.float32),
            labels=labels[known],
            class_names=self._class_map.class_names,
            track_ids=found.track_ids[known],
            num_points=found.num_points[known],
            velocities_mps=found.velocities_mps[known].astype(np.float32),
        )


def log_folders(path: Path, split: str | None) -> list[Path]:
    """Folders of logs below a folder, sorted.

    Raises:
        InputError: when there are none, or none of that split.
    """
    if _is_log(path):
        return _of_split([path], split, path)
    root = path / "sensor" if (path / "sensor").is_dir() else path
    places = [root / name for name in SPLITS if (root / name).is_dir()] or [root]
    logs = [folder for place in places for folder in sorted(place.iterdir()) if _is_log(folder)]
    if not logs:
        raise InputError(f"{path}", found="no logs", wanted=f"<log>/{SWEEPS.as_posix()}/*.feather")
    return _of_split(logs, split, path)


def _of_split(logs: list[Path], split: str | None, path: Path) -> list[Path]:
    chosen = [log for log in logs if split in {None, log.parent.name}]
    if not chosen:
        found = ", ".join(sorted({log.parent.name for log in logs} & set(SPLITS))) or "logs of no named split"
        raise MissingSplit(f"{path}: split {split}", found=found, wanted=f"a folder {split} that holds logs")
    return chosen


def _is_log(path: Path) -> bool:
    return (path / SWEEPS).is_dir()


def _cloud(
    columns: Columns, stamp_ns: int, name: str, chosen: NDArray[np.bool_], lidar_from_vehicle: Pose
) -> PointCloud:
    points = np.stack([columns[axis][chosen] for axis in (*"xyz", "intensity")], axis=1)
    if name != LIDAR:
        points[:, :3] = lidar_from_vehicle.apply(points[:, :3])
    offsets_s = (columns["offset_ns"][chosen] * 1e-9).astype(np.float32)
    return PointCloud(points, stamp_ns, name, time_offset_s=offsets_s, ring=columns["laser_number"][chosen])


def _mounting(log: Argoverse2Log, name: str) -> Pose:
    if name not in log.mountings:
        found = ", ".join(log.mountings) or "no sensors"
        raise InputError(f"{log.path / MOUNTINGS_FILE}", found=found, wanted=f"the mounting of {name}")
    return log.mountings[name]


def _lidar(name: str, vehicle_from_lidar: Pose) -> Lidar:
    mounting = Mounting.from_pose(EGO_FROM_VEHICLE @ vehicle_from_lidar)
    return Lidar(frame_id=name, ego_from_sensor=mounting, intensity_scale=INTENSITY_SCALE)


def _camera(name: str, camera: CameraIntrinsics, vehicle_from_camera: Pose) -> dict[str, Any]:
    return {
        "kind": "camera",
        "frame_id": name,
        "ego_from_sensor": Mounting.from_pose(EGO_FROM_VEHICLE @ vehicle_from_camera),
        **{"width_px": camera.size_px[0], "height_px": camera.size_px[1]},
        **{"fx_px": camera.focal_px[0], "fy_px": camera.focal_px[1]},
        **{"cx_px": camera.center_px[0], "cy_px": camera.center_px[1]},
    }


def _images(log: Argoverse2Log, stamp_ns: int) -> ImageFiles:
    files = {}
    for name, stamps_ns in log.pictures.items():
        nearest = int(stamps_ns[np.abs(stamps_ns - stamp_ns).argmin()]) if len(stamps_ns) else None
        if nearest is not None and abs(nearest - stamp_ns) <= _PICTURE_TOLERANCE_NS:
            files[name] = ImageFile(log.path / CAMERAS / name / f"{nearest}.jpg", nearest, name)
    return ImageFiles(files)
