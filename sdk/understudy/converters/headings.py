"""Yaw between frames whose z axes are not quite parallel, in both directions without loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def project_yaw(rotation: NDArray[np.float64], yaw_rad: NDArray[np.floating]) -> NDArray[np.float64]:
    """Yaw in the target frame of a heading that is level in the source frame.

    Args:
        rotation: `(3, 3)` target from source.
        yaw_rad: `(N,)` in the source frame.
    """
    return _angle(rotation[:2, :2], yaw_rad)


def unproject_yaw(rotation: NDArray[np.float64], yaw_rad: NDArray[np.floating]) -> NDArray[np.float64]:
    """The level heading in the source frame that `project_yaw` turns into `yaw_rad`: its exact inverse."""
    return _angle(np.linalg.inv(rotation[:2, :2]), yaw_rad)


def _angle(plane: NDArray[np.floating], yaw_rad: NDArray[np.floating]) -> NDArray[np.float64]:
    headings = np.stack([np.cos(yaw_rad), np.sin(yaw_rad)], axis=-1) @ plane.T
    angles: NDArray[np.float64] = np.arctan2(headings[..., 1], headings[..., 0]).astype(np.float64)
    return angles
