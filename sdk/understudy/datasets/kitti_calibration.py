"""KITTI's three ways to write a calibration (object, raw, odometry) as one record, and the rig that follows from it.

Source: A. Geiger, P. Lenz, C. Stiller, R. Urtasun, "Vision meets robotics: the KITTI dataset" (IJRR 2013) and the
development kits' readme files. "rect" is camera 0's frame after its rectifying rotation; all cameras share its axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.datasets.files import is_there, read_text
from understudy.errors import GeometryError, InputError
from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig

CAMERA_NUMBERS = (0, 1, 2, 3)
CAMERA_FILE, LIDAR_FILE, IMU_FILE = "calib_cam_to_cam.txt", "calib_velo_to_cam.txt", "calib_imu_to_velo.txt"
OBJECT_FILE = "calib_object_format.txt"
_OFF_CENTER = 0.25
_FORWARD = 0.5


@dataclass(frozen=True, eq=False)
class KittiSensors:
    """What a recording's calibration says.

    Attributes:
        files: where it was read.
        rect_from_lidar: LiDAR points to the rectified frame.
        projections: `(3, 4)` P by camera number, pixels from the rectified frame.
        sizes_px: width and height of the rectified pictures by camera number, where the calibration says them.
        lidar_from_imu: where the inertial unit is, or None.
    """

    files: tuple[Path, ...]
    rect_from_lidar: Pose
    projections: Mapping[int, NDArray[np.float64]]
    sizes_px: Mapping[int, tuple[int, int]]
    lidar_from_imu: Pose | None


def camera_name(number: int) -> str:
    """Name of a camera in frames and rigs."""
    return f"camera_{number}"


def read_raw_sensors(day: Path) -> KittiSensors:
    """A day's calibration from KITTI raw's own three files; that of the inertial unit may be missing.

    Raises:
        InputError: when a file or an entry is missing or malformed.
        GeometryError: when a transform is not rigid.
    """
    cameras, lidar = _Matrices(day / CAMERA_FILE), _Matrices(day / LIDAR_FILE)
    rectifying = _rigid(cameras, cameras.get("R_rect_00", (3, 3)), np.zeros(3))
    imu = _Matrices(day / IMU_FILE) if is_there(day / IMU_FILE) else None
    known = [number for number in CAMERA_NUMBERS if f"P_rect_{number:02d}" in cameras.names]
    sizes = {number: cameras.get(f"S_rect_{number:02d}", (2,)) for number in known}
    return KittiSensors(
        files=tuple(path for path in (cameras.path, lidar.path, imu and imu.path) if path),
        rect_from_lidar=rectifying @ _rigid(lidar, lidar.get("R", (3, 3)), lidar.get("T", (3,))),
        projections={number: cameras.get(f"P_rect_{number:02d}", (3, 4)) for number in known},
        sizes_px={number: (round(float(size[0])), round(float(size[1]))) for number, size in sizes.items()},
        lidar_from_imu=_rigid(imu, imu.get("R", (3, 3)), imu.get("T", (3,))) if imu else None,
    )


def read_object_sensors(path: Path) -> KittiSensors:
    """A calibration file in the object benchmark's format, all its cameras.

    Raises:
        InputError: when the file or an entry is missing or malformed.
        GeometryError: when a transform is not rigid.
    """
    matrices = _Matrices(path)
    rectifying = _rigid(matrices, matrices.get("R0_rect", (3, 3)), np.zeros(3))
    imu = matrices.get("Tr_imu_to_velo", (3, 4)) if "Tr_imu_to_velo" in matrices.names else None
    return KittiSensors(
        files=(path,),
        rect_from_lidar=rectifying @ _rigid_matrix(matrices, "Tr_velo_to_cam"),
        projections=_numbered_projections(matrices),
        sizes_px={},
        lidar_from_imu=None if imu is None else _rigid(matrices, imu[:, :3], imu[:, 3]),
    )


def read_odometry_sensors(path: Path) -> KittiSensors:
    """A sequence's `calib.txt`: P0 to P3, and Tr from LiDAR to the rectified frame.

    Raises:
        InputError: when the file or an entry is missing or malformed.
        GeometryError: when Tr is not rigid.
    """
    matrices = _Matrices(path)
    return KittiSensors((path,), _rigid_matrix(matrices, "Tr"), _numbered_projections(matrices), {}, None)


def rig_of(
    name: str,
    sensors: KittiSensors,
    ego_from_lidar: Pose,
    pictures: Mapping[int, tuple[Path, tuple[int, int]]],
    lidar: str,
) -> Rig:
    """The rig: the LiDAR and each camera that has pictures.

    Args:
        name: of the rig.
        sensors: the calibration.
        ego_from_lidar: where the LiDAR sits.
        pictures: by camera number, one picture and its width and height.
        lidar: name of the LiDAR.

    Raises:
        InputError: when a camera with pictures has no camera matrix.
        GeometryError: when a camera cannot be the one that took its pictures.
    """
    ego_from_rect = ego_from_lidar @ sensors.rect_from_lidar.inverse()
    cameras = {}
    for number, (picture, size_px) in pictures.items():
        if number not in sensors.projections:
            raise InputError(f"{sensors.files[0]}", found=f"no P of camera {number}", wanted=f"one, as for {picture}")
        said = sensors.sizes_px.get(number, size_px)
        if said != size_px:
            wanted = f"a picture of {said[0]} x {said[1]}, as {sensors.files[0]} says"
            raise GeometryError(f"{picture}", found=f"{size_px[0]} x {size_px[1]} pixels", wanted=wanted)
        source = f"{sensors.files[0]}: P{number}"
        cameras[camera_name(number)] = _camera(number, sensors.projections[number], ego_from_rect, size_px, source)
    mounted = Lidar(frame_id=lidar, ego_from_sensor=Mounting.from_pose(ego_from_lidar), intensity_scale=1.0)
    return Rig(name=name, sensors={lidar: mounted, **cameras})


def rectified_camera(
    name: str, matrix: NDArray[np.float64], ego_from_camera: Pose, size_px: tuple[int, int], source: str
) -> Camera:
    """The camera of a `(3, 3)` matrix in pixels, whose pictures have this width and height.

    Raises:
        InputError: when it is no matrix of a rectified camera.
        GeometryError: when its center is far from the picture's, or the camera looks aside; `source` names the file.
    """
    _refuse_other_camera(matrix, ego_from_camera, size_px, source)
    return Camera(
        frame_id=name,
        ego_from_sensor=Mounting.from_pose(ego_from_camera),
        width_px=size_px[0],
        height_px=size_px[1],
        fx_px=float(matrix[0, 0]),
        fy_px=float(matrix[1, 1]),
        cx_px=float(matrix[0, 2]),
        cy_px=float(matrix[1, 2]),
    )


def _refuse_other_camera(
    matrix: NDArray[np.float64], ego_from_camera: Pose, size_px: tuple[int, int], source: str
) -> None:
    """Raises when the matrix cannot be that of a forward camera whose pictures have this size."""
    if np.any(matrix[[0, 1, 2, 2], [1, 0, 0, 1]]) or matrix[2, 2] != 1 or min(matrix[0, 0], matrix[1, 1]) <= 0:
        found = " ".join(f"{value:g}" for value in matrix.ravel())
        raise InputError(source, found=found, wanted="a rectified camera: fx 0 cx, 0 fy cy, 0 0 1 with fx, fy above 0")
    off_center = np.abs(matrix[:2, 2] / size_px - 0.5)
    if off_center.max() > _OFF_CENTER:
        raise GeometryError(
            source,
            found=f"center ({matrix[0, 2]:.1f}, {matrix[1, 2]:.1f}) px",
            wanted=f"one near the middle of pictures of {size_px[0]} x {size_px[1]}",
            remedy="the calibration is of another camera, or the pictures were scaled",
        )
    forward = float(ego_from_camera.rotation[0, 2])
    if forward < _FORWARD:
        found = f"a camera that looks {np.degrees(np.arccos(np.clip(forward, -1, 1))):.0f} degrees aside"
        raise GeometryError(source, found=found, wanted="a forward camera", remedy="check the LiDAR's transform")


class _Matrices:
    """Lines `name: numbers` of a calibration file; lines of other things, such as dates, are not numbers to anyone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = [line.split(":", 1) for line in read_text(path).splitlines() if ":" in line]
        self.names = {name.strip(): text for name, text in lines}

    def get(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """The numbers after a name."""
        if name not in self.names:
            found = ", ".join(self.names) or "no matrices"
            raise InputError(f"{self.path}: {name}", found=found, wanted=f"a line starting with {name}:")
        try:
            values = np.array([float(value) for value in self.names[name].split()])
        except ValueError as error:
            raise InputError(f"{self.path}: {name}", found=str(error), wanted="numbers") from None
        if values.size != np.prod(shape) or not np.isfinite(values).all():
            found = f"{values.size} numbers, {int(np.isfinite(values).sum())} finite"
            raise InputError(f"{self.path}: {name}", found=found, wanted=f"{np.prod(shape)} finite numbers")
        return values.reshape(shape)


def _numbered_projections(matrices: _Matrices) -> dict[int, NDArray[np.float64]]:
    known = [number for number in CAMERA_NUMBERS if f"P{number}" in matrices.names]
    return {number: matrices.get(f"P{number}", (3, 4)) for number in known}


def _rigid_matrix(matrices: _Matrices, name: str) -> Pose:
    matrix = matrices.get(name, (3, 4))
    return _rigid(matrices, matrix[:, :3], matrix[:, 3])


def _rigid(matrices: _Matrices, rotation: NDArray[np.float64], translation_m: NDArray[np.float64]) -> Pose:
    try:
        return Pose(rotation, translation_m)
    except GeometryError as error:
        raise GeometryError(f"{matrices.path}: {error.what}", found=error.found, wanted=error.wanted) from None


def _camera(
    number: int, projection: NDArray[np.float64], ego_from_rect: Pose, size_px: tuple[int, int], source: str
) -> Camera:
    matrix = projection[:, :3]
    try:
        # The camera sits where P maps to no pixel: -matrix^-1 @ column, in the rectified frame.
        center_m = np.asarray(-np.linalg.solve(matrix, projection[:, 3]), np.float64)
    except np.linalg.LinAlgError:
        raise InputError(source, found="a singular camera matrix", wanted="focal lengths above 0") from None
    return rectified_camera(camera_name(number), matrix, ego_from_rect @ Pose(np.eye(3), center_m), size_px, source)
