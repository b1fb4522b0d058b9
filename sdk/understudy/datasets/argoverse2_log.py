"""One log of Argoverse 2: its sweeps, poses, calibration and annotations, as tables in its own vehicle frame.

Source: B. Wilson et al., "Argoverse 2: next generation datasets for self-driving perception and forecasting" (NeurIPS
2021) and the Feather files' columns. The vehicle frame is centered on the rear axle, x forward, y left, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.converters.nuscenes import yaw_from_quaternions
from understudy.datasets.feather import Columns, read_feather, refuse_unless_finite
from understudy.datasets.files import is_there
from understudy.errors import InputError, UnderstudyError
from understudy.pose import Pose

SWEEPS, CAMERAS = Path("sensors", "lidar"), Path("sensors", "cameras")
POSES_FILE, ANNOTATIONS_FILE = "city_SE3_egovehicle.feather", "annotations.feather"
MOUNTINGS_FILE, INTRINSICS_FILE = Path("calibration", "egovehicle_SE3_sensor.feather"), "intrinsics.feather"
_LABELED_SPLITS = {"train", "val"}
_LONGEST_STEP_NS = 1_500_000_000
_FARTHEST_M = 1e7

_QUATERNION, _TRANSLATION = ("qw", "qx", "qy", "qz"), ("tx_m", "ty_m", "tz_m")
_SIZE = ("length_m", "width_m", "height_m")
_POSE_KINDS = dict.fromkeys((*_QUATERNION, *_TRANSLATION), "float64")
_POINT_KINDS = {
    **dict.fromkeys("xyz", "float32"),
    "intensity": "float32",
    "laser_number": "int16",
    "offset_ns": "int64",
}
_INTRINSIC_KINDS = {
    "sensor_name": "str",
    **dict.fromkeys(("fx_px", "fy_px", "cx_px", "cy_px"), "float64"),
    **dict.fromkeys(("width_px", "height_px"), "int64"),
}
_ANNOTATION_KINDS = {
    **{"timestamp_ns": "int64", "track_uuid": "str", "category": "str", "num_interior_pts": "int64"},
    **dict.fromkeys((*_SIZE, *_QUATERNION, *_TRANSLATION), "float64"),
}


@dataclass(frozen=True, eq=False)
class Annotations:
    """Cuboids of a log, or of one sweep of it.

    Attributes:
        stamps_ns: `(N,)` int64 sweep each belongs to.
        categories: `(N,)` names as written.
        track_ids: `(N,)` int64, the first 63 bits of the track's identity.
        geometry: `(N, 7)` float64 center, length, width, height, yaw, in the vehicle frame of the sweep.
        num_points: `(N,)` int32 stored count of returns inside.
        velocities_mps: `(N, 2)` over ground, in the vehicle frame: finite differences along the track (the sweep before
            to the sweep after, where there are both); NaN where the track is seen once.
    """

    stamps_ns: NDArray[np.int64]
    categories: NDArray[np.object_]
    track_ids: NDArray[np.int64]
    geometry: NDArray[np.float64]
    num_points: NDArray[np.int32]
    velocities_mps: NDArray[np.float64]

    def at(self, stamp_ns: int) -> Annotations | None:
        """Those of one sweep; None outside the annotated part of the log."""
        if not len(self.stamps_ns) or not self.stamps_ns.min() <= stamp_ns <= self.stamps_ns.max():
            return None
        rows = np.flatnonzero(self.stamps_ns == stamp_ns)
        return Annotations(
            self.stamps_ns[rows],
            self.categories[rows],
            self.track_ids[rows],
            self.geometry[rows],
            self.num_points[rows],
            self.velocities_mps[rows],
        )


@dataclass(frozen=True, eq=False)
class VehicleTrack:
    """Where the vehicle was, at ascending stamps."""

    path: Path
    stamps_ns: NDArray[np.int64]
    quaternions_wxyz: NDArray[np.float64]
    translations_m: NDArray[np.float64]

    def at(self, stamp_ns: int) -> Pose:
        """City from vehicle at a stamp that the file holds.

        Raises:
            InputError: when it holds no such stamp.
        """
        row = int(np.searchsorted(self.stamps_ns, stamp_ns))
        if row == len(self.stamps_ns) or self.stamps_ns[row] != stamp_ns:
            raise InputError(f"{self.path}", found=f"no pose at {stamp_ns}", wanted="a pose at each sweep's stamp")
        return _pose(self.path, self.quaternions_wxyz[row], self.translations_m[row])


@dataclass(frozen=True, eq=False)
class CameraIntrinsics:
    """A pinhole camera; the released pictures are already undistorted."""

    focal_px: tuple[float, float]
    center_px: tuple[float, float]
    size_px: tuple[int, int]


class Argoverse2Log:
    """A log's folder; its tables are read when first asked for and kept.

    Raises:
        InputError: when the folder holds no sweeps, or a sweep is not named by its stamp; at access, when a file is
            missing or malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        names = [sweep.stem for sweep in (path / SWEEPS).glob("*.feather")]
        strangers = [name for name in names if not name.isdigit()]
        if strangers or not names:
            found = f"{strangers[0]}.feather" if strangers else "no sweeps"
            raise InputError(f"{path / SWEEPS}", found=found, wanted="<stamp in nanoseconds>.feather")
        self.stamps_ns = tuple(sorted(int(name) for name in names))

    def sweep(self, stamp_ns: int) -> tuple[Path, Columns]:
        """The file of a sweep and its columns: x, y, z in the vehicle frame, intensity, laser_number, offset_ns."""
        path = self.path / SWEEPS / f"{stamp_ns}.feather"
        columns = read_feather(path, _POINT_KINDS)
        refuse_unless_finite(path, columns)
        if not len(columns["x"]):
            raise InputError(f"{path}", found="no points", wanted="a LiDAR sweep", remedy="copy the file again")
        return path, columns

    @cached_property
    def track(self) -> VehicleTrack:
        """The vehicle's poses in the city."""
        path = self.path / POSES_FILE
        columns = read_feather(path, {"timestamp_ns": "int64", **_POSE_KINDS})
        refuse_unless_finite(path, columns)
        stamps_ns = columns["timestamp_ns"]
        backward = np.flatnonzero(np.diff(stamps_ns) <= 0)
        if len(backward):
            row = int(backward[0]) + 1
            found = f"{stamps_ns[row]} after {stamps_ns[row - 1]}"
            raise InputError(f"{path} row {row}", found=found, wanted="ascending timestamp_ns")
        return VehicleTrack(path, stamps_ns, _stack(columns, _QUATERNION), _stack(columns, _TRANSLATION))

    @cached_property
    def mountings(self) -> dict[str, Pose]:
        """Vehicle from sensor, for every calibrated camera and LiDAR."""
        path = self.path / MOUNTINGS_FILE
        columns = read_feather(path, {"sensor_name": "str", **_POSE_KINDS})
        refuse_unless_finite(path, columns)
        rows = zip(columns["sensor_name"], _stack(columns, _QUATERNION), _stack(columns, _TRANSLATION), strict=True)
        return {str(name): _pose(path, wxyz, translation_m) for name, wxyz, translation_m in rows}

    @cached_property
    def intrinsics(self) -> dict[str, CameraIntrinsics]:
        """Cameras by name."""
        path = self.path / MOUNTINGS_FILE.parent / INTRINSICS_FILE
        columns = read_feather(path, _INTRINSIC_KINDS)
        refuse_unless_finite(path, columns)
        cameras = zip(*(columns[name] for name in _INTRINSIC_KINDS), strict=True)
        found = {str(name): CameraIntrinsics((fx, fy), (cx, cy), (w, h)) for name, fx, fy, cx, cy, w, h in cameras}
        unmounted = sorted(set(found) - set(self.mountings))
        if unmounted:
            where = self.path / MOUNTINGS_FILE
            raise InputError(f"{where}", found=f"no {', '.join(unmounted)}", wanted=f"each camera of {path.name}")
        return found

    @cached_property
    def annotations(self) -> Annotations | None:
        """All cuboids; None in a log without them, as those of the test split.

        Raises:
            InputError: when the log lies in a folder train or val and has none.
        """
        path = self.path / ANNOTATIONS_FILE
        if not is_there(path) and self.path.parent.name not in _LABELED_SPLITS:
            return None
        columns = read_feather(path, _ANNOTATION_KINDS)
        refuse_unless_finite(path, columns)
        _refuse_senseless(path, columns)
        yaws = yaw_from_quaternions(_stack(columns, _QUATERNION))
        geometry = np.column_stack([_stack(columns, _TRANSLATION), _stack(columns, _SIZE), yaws])
        tracks = np.array([_track_id(path, uuid) for uuid in columns["track_uuid"]], np.int64)
        stamps_ns = columns["timestamp_ns"]
        velocities = self._velocities_mps(stamps_ns, tracks, geometry[:, :3])
        counts = columns["num_interior_pts"].astype(np.int32)
        return Annotations(stamps_ns, columns["category"], tracks, geometry, counts, velocities)

    @cached_property
    def pictures(self) -> dict[str, NDArray[np.int64]]:
        """Ascending stamps of each camera's pictures; cameras without a folder are absent."""
        folders = {name: self.path / CAMERAS / name for name in self.intrinsics}
        return {name: _stamps_of(folder) for name, folder in folders.items() if folder.is_dir()}

    def _velocities_mps(
        self, stamps_ns: NDArray[np.int64], tracks: NDArray[np.int64], centers_m: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """`(N, 2)` in the vehicle frame of each row's own stamp."""
        poses = {stamp: self.track.at(int(stamp)) for stamp in np.unique(stamps_ns)}
        in_city = np.empty_like(centers_m)
        for stamp, pose in poses.items():
            rows = stamps_ns == stamp
            in_city[rows] = pose.apply(centers_m[rows])
        velocities = track_velocities_mps(stamps_ns, tracks, in_city)
        for stamp, pose in poses.items():
            rows = stamps_ns == stamp
            velocities[rows] = velocities[rows] @ pose.rotation
        return velocities[:, :2]


def track_velocities_mps(
    stamps_ns: NDArray[np.int64], tracks: NDArray[np.int64], centers_m: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`(N, 3)` velocities of tracked centers in a frame that stands still.

    The difference from the sighting before to the one after, or to the one neighbor there is at a track's ends; a
    neighbor more than 1.5 s away does not count. NaN where none is left.
    """
    order = np.lexsort((stamps_ns, tracks))
    stamps, ids, centers = stamps_ns[order], tracks[order], centers_m[order]
    linked = (ids[1:] == ids[:-1]) & (np.diff(stamps) <= _LONGEST_STEP_NS) if len(ids) else np.zeros(0, bool)
    places = np.arange(len(ids))
    before = places - np.concatenate([[False], linked])[: len(ids)]
    after = places + np.concatenate([linked, [False]])[: len(ids)]
    seconds = (stamps[after] - stamps[before]) * 1e-9
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (centers[after] - centers[before]) / seconds[:, None]
    velocities = np.full(centers_m.shape, np.nan)
    velocities[order] = np.where(seconds[:, None] > 0, found, np.nan)
    return velocities


def _stamps_of(folder: Path) -> NDArray[np.int64]:
    names = [picture.stem for picture in folder.glob("*.jpg")]
    strangers = [name for name in names if not name.isdigit()]
    if strangers:
        raise InputError(f"{folder}", found=f"{strangers[0]}.jpg", wanted="<stamp in nanoseconds>.jpg")
    return np.array(sorted(int(name) for name in names), np.int64)


def _stack(columns: Columns, names: tuple[str, ...]) -> NDArray[np.float64]:
    return np.stack([columns[name] for name in names], axis=1)


def _pose(path: Path, wxyz: NDArray[np.float64], translation_m: NDArray[np.float64]) -> Pose:
    try:
        return Pose.from_quaternion(wxyz, translation_m)
    except UnderstudyError as error:
        raise InputError(f"{path}: {error.what}", found=error.found, wanted=error.wanted) from None


def _refuse_senseless(path: Path, columns: Columns) -> None:
    """Raises InputError naming the first row whose cuboid is none: a rotation, size, place or count that cannot be."""
    lengths = np.linalg.norm(_stack(columns, _QUATERNION), axis=1)
    sizes, counts = _stack(columns, _SIZE), columns["num_interior_pts"]
    rules = {
        "rotation": ~(np.abs(lengths - 1) < 1e-3),
        "size": (sizes < 0).any(axis=1),
        "center": (np.abs(_stack(columns, _TRANSLATION)) > _FARTHEST_M).any(axis=1),
        "num_interior_pts": (counts < 0) | (counts > np.iinfo(np.int32).max),
    }
    for what, wrong in rules.items():
        if wrong.any():
            row = int(wrong.argmax())
            values = {"rotation": f"a quaternion of length {lengths[row]:.4g}", "size": f"{sizes[row].tolist()} m"}
            found = values.get(what, f"{counts[row]}" if what == "num_interior_pts" else "a place beyond 10,000 km")
            wanted = {"rotation": "length 1", "center": "meters in the vehicle frame"}.get(what, "0 or more")
            raise InputError(f"{path} row {row}: {what}", found=found, wanted=wanted)


def _track_id(path: Path, uuid: str) -> int:
    try:
        return int(str(uuid).replace("-", "")[:16], 16) >> 1
    except ValueError:
        raise InputError(f"{path}: track_uuid", found=uuid, wanted="a hexadecimal UUID") from None
