"""Rigid transforms whose names prove their composition: `ego_from_lidar @ lidar_from_camera = ego_from_camera`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.errors import GeometryError

_ORTHONORMAL_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Pose:
    """A rigid transform `target_from_source` (REP 103: meters, right-handed, x forward, y left, z up).

    Attributes:
        rotation: `(3, 3)` float64, orthonormal with determinant +1.
        translation_m: `(3,)` float64, origin of the source frame in the target frame.

    Raises:
        GeometryError: when shapes are wrong, a value is not finite or the rotation is not one.
    """

    rotation: NDArray[np.float64]
    translation_m: NDArray[np.float64]

    def __post_init__(self) -> None:
        rotation = np.asarray(self.rotation, dtype=np.float64)
        translation_m = np.asarray(self.translation_m, dtype=np.float64)
        if rotation.shape != (3, 3) or translation_m.shape != (3,):
            raise GeometryError(
                "pose", found=f"shapes {rotation.shape} and {translation_m.shape}", wanted="(3, 3) and (3,)"
            )
        if not (np.isfinite(rotation).all() and np.isfinite(translation_m).all()):
            raise GeometryError("pose", found="values that are not finite", wanted="finite rotation and translation")
        identity_error: float = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
        if identity_error > _ORTHONORMAL_TOLERANCE or np.linalg.det(rotation) < 0:
            raise GeometryError(
                "pose rotation",
                found=f"{identity_error:.2g} away from orthonormal, determinant {np.linalg.det(rotation):+.3f}",
                wanted="a right-handed rotation",
                remedy="check the calibration's axis order and units",
            )
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation_m", translation_m)

    @classmethod
    def identity(cls) -> Pose:
        """The transform that changes nothing."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Pose:
        """From a `(4, 4)` or `(3, 4)` homogeneous matrix."""
        values = np.asarray(matrix, dtype=np.float64)
        if values.shape not in {(4, 4), (3, 4)}:
            raise GeometryError("pose matrix", found=f"shape {values.shape}", wanted="(4, 4) or (3, 4)")
        return cls(values[:3, :3], values[:3, 3])

    @classmethod
    def from_quaternion(cls, wxyz: ArrayLike, translation_m: ArrayLike) -> Pose:
        """From a unit quaternion in (w, x, y, z) order and a translation.

        Raises:
            GeometryError: when the quaternion's length is more than 1e-3 away from one.
        """
        quaternion = np.asarray(wxyz, dtype=np.float64)
        if quaternion.shape != (4,):
            raise GeometryError("quaternion", found=f"shape {quaternion.shape}", wanted="(4,) in w, x, y, z order")
        norm = float(np.linalg.norm(quaternion))
        if not abs(norm - 1.0) < 1e-3:
            raise GeometryError("quaternion", found=f"length {norm:.4f}", wanted="length 1", remedy="normalize it")
        return cls(_matrix_from_quaternion(quaternion / norm), np.asarray(translation_m, dtype=np.float64))

    @classmethod
    def from_yaw(cls, yaw_rad: float, translation_m: ArrayLike = (0.0, 0.0, 0.0)) -> Pose:
        """A turn by `yaw_rad` counter-clockwise about z, then a translation."""
        cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
        rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        return cls(rotation, np.asarray(translation_m, dtype=np.float64))

    def __matmul__(self, other: Pose) -> Pose:
        """Compose: `a_from_b @ b_from_c` is `a_from_c`."""
        rotation: NDArray[np.float64] = self.rotation @ other.rotation
        return Pose(rotation, self.rotation @ other.translation_m + self.translation_m)

    def inverse(self) -> Pose:
        """`source_from_target`."""
        return Pose(self.rotation.T, -(self.rotation.T @ self.translation_m))

    def apply(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """`(..., 3)` points in the source frame to the target frame, as float64."""
        moved: NDArray[np.float64] = np.asarray(points, dtype=np.float64) @ self.rotation.T
        moved += self.translation_m
        return moved

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The `(4, 4)` homogeneous matrix."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.translation_m
        return matrix

    @property
    def yaw_rad(self) -> float:
        """Heading of the source x axis in the target's x-y plane, in (-pi, pi]."""
        return float(np.arctan2(self.rotation[1, 0], self.rotation[0, 0]))

    @property
    def quaternion_wxyz(self) -> NDArray[np.float64]:
        """Unit quaternion (w, x, y, z) with w >= 0."""
        return _quaternion_from_matrix(self.rotation)


def _matrix_from_quaternion(wxyz: NDArray[np.float64]) -> NDArray[np.float64]:
    w, x, y, z = wxyz
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _quaternion_from_matrix(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The eigenvector of Bar-Itzhack's symmetric matrix (2000), stable for every rotation."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0.0, 0.0, 0.0],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0.0, 0.0],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0.0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    _, vectors = np.linalg.eigh(k / 3.0)
    x, y, z, w = vectors[:, -1]
    wxyz = np.array([w, x, y, z])
    return wxyz if w >= 0 else -wxyz
