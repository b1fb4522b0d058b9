"""A rig held against what a vehicle's own drivers say: transforms and camera infos that contradict it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.distortion import distort, undistort
from understudy.errors import GeometryError
from understudy.messages.headers import is_other_frame
from understudy.messages.images import camera_from_info
from understudy.pose import Pose
from understudy.rig import Camera, Lidar

FARTHEST_M, FARTHEST_DEG = 0.01, 0.1
"""Farthest that a sensor may sit from where the rig puts it."""
FARTHEST_PX = 0.5
"""Farthest that a lens may put a ray from where the rig's puts it."""
_GRID = (9, 7)


def mounting_difference(sensor: Lidar | Camera, ego_from_sensor: Pose) -> str:
    """How far a pose is from the rig's; empty when it is near enough."""
    in_rig = sensor.ego_from_sensor.pose()
    distance_m = float(np.linalg.norm(ego_from_sensor.translation_m - in_rig.translation_m))
    angle_deg = turned_deg(ego_from_sensor, in_rig)
    if distance_m <= FARTHEST_M and angle_deg <= FARTHEST_DEG:
        return ""
    return f"{distance_m:.3f} m and {angle_deg:.2f} degrees away from the rig's mounting"


def turned_deg(one: Pose, other: Pose) -> float:
    """Angle between two rotations, in degrees; exact for small ones too."""
    turn = one.rotation.T @ other.rotation
    sine = np.linalg.norm([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
    return math.degrees(math.atan2(float(sine), (float(np.trace(turn)) - 1) / 2))


def camera_info_difference(camera: Camera, message: Any) -> str:
    """What differs between a rig's camera and a `sensor_msgs/CameraInfo`; empty when nothing does.

    The lenses are compared by where they put rays all over the picture, so that the same lens may be written down
    in another model. Where the rig says that pictures are rectified, the rectified matrix P may fit too. A region of
    interest and binning are applied as the message's definition says, and zeros say that nobody knows the lens.
    """
    frame_id = str(message.header.frame_id)
    if is_other_frame(frame_id, camera.frame_id):
        return f"frame_id {frame_id}, the rig has {camera.frame_id}"
    if not any(message.k):
        return ""
    try:
        lenses = [_lens_of(message, camera)]
    except (GeometryError, ValueError) as error:  # the second is pydantic's, of a size of 0, say
        return " ".join(str(error).split())
    if not any(camera.distortion):
        lenses += _rectified(lenses[0], message)
    width_px, height_px = lenses[0].size_px
    if (width_px, height_px) != (camera.width_px, camera.height_px):
        return f"{width_px} x {height_px} pixels, the rig has {camera.width_px} x {camera.height_px}"
    if min(_apart_px(camera, lens) for lens in lenses) <= FARTHEST_PX:
        return ""
    return _described(camera, lenses[0])


@dataclass(frozen=True, eq=False)
class _Lens:
    """A camera of a message, after region of interest and binning.

    Attributes:
        size_px: width and height of the pictures.
        matrix: `(3, 3)` camera matrix.
        camera: whose distortion counts.
    """

    size_px: tuple[int, int]
    matrix: NDArray[np.float64]
    camera: Camera

    def pixels(self, rays: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(N, 2)` pixels of normalized coordinates."""
        bent = distort(rays, self.camera.distortion_model, self.camera.distortion)
        pixels: NDArray[np.float64] = bent * [self.matrix[0, 0], self.matrix[1, 1]] + self.matrix[:2, 2]
        return pixels


def _lens_of(message: Any, camera: Camera) -> _Lens:
    found = camera_from_info(message, camera.ego_from_sensor)
    region = message.roi
    binning_x, binning_y = max(1, int(message.binning_x)), max(1, int(message.binning_y))
    width_px = (int(region.width) or found.width_px) // binning_x
    height_px = (int(region.height) or found.height_px) // binning_y
    return _Lens((width_px, height_px), _cropped(found.intrinsic_matrix(), message), found)


def _cropped(matrix: NDArray[np.float64], message: Any) -> NDArray[np.float64]:
    """The camera matrix of the pictures that are sent."""
    binning = np.array([max(1, int(message.binning_x)), max(1, int(message.binning_y))])
    cropped: NDArray[np.float64] = matrix.copy()
    cropped[:2, 2] -= [int(message.roi.x_offset), int(message.roi.y_offset)]
    cropped[:2] /= binning[:, None]
    return cropped


def _rectified(lens: _Lens, message: Any) -> list[_Lens]:
    """The lens of the rectified pictures, where the message has one."""
    matrix = np.asarray(message.p, np.float64).reshape(3, 4)[:, :3]
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
        return []
    straight = lens.camera.model_copy(update={"distortion": (), "distortion_model": "plumb_bob"})
    return [_Lens(lens.size_px, _cropped(matrix, message), straight)]


def _apart_px(camera: Camera, lens: _Lens) -> float:
    """The largest distance between where the two put a ray; only rays that the rig's lens can see count."""
    columns, rows = np.meshgrid(np.linspace(0, camera.width_px, _GRID[0]), np.linspace(0, camera.height_px, _GRID[1]))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    normalized = (pixels - [camera.cx_px, camera.cy_px]) / [camera.fx_px, camera.fy_px]
    rays = undistort(normalized, camera.distortion_model, camera.distortion)
    seen = np.isfinite(rays).all(axis=1)
    gaps_px = np.linalg.norm(lens.pixels(rays[seen]) - pixels[seen], axis=1)
    return float(gaps_px.max(initial=0.0))


def _described(camera: Camera, lens: _Lens) -> str:
    named = {"fx": (0, 0), "fy": (1, 1), "cx": (0, 2), "cy": (1, 2)}
    in_rig, found = camera.intrinsic_matrix(), lens.matrix
    parts = [
        f"{name} {found[place]:.1f}, the rig has {in_rig[place]:.1f}"
        for name, place in named.items()
        if abs(found[place] - in_rig[place]) > FARTHEST_PX / 2
    ]
    if lens.camera.distortion != camera.distortion:
        parts.append("another distortion")
    return f"rays up to {_apart_px(camera, lens):.1f} pixels apart: {'; '.join(parts) or 'see K and d'}"
