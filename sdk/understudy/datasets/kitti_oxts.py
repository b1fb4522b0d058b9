"""Where a KITTI raw drive's vehicle was: the inertial unit's packets as poses.

Source: A. Geiger et al., "Vision meets robotics: the KITTI dataset" (IJRR 2013), and the raw data development kit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from understudy.datasets.files import read_text
from understudy.errors import InputError
from understudy.pose import Pose

EARTH_RADIUS_M = 6_378_137.0
_NUMBERS_PER_PACKET = 30
_HIGHEST_LATITUDE_DEG = 89.0


class OxtsTrack:
    """World from the inertial unit, frame by frame, from a folder `oxts/data`.

    Latitude and longitude go through a Mercator projection at the scale of the first packet's latitude, as in the
    development kit. The world here is x east, y north, z up (REP 105) with its origin where the first packet was; the
    development kit also turns it so that the first pose is the identity, which changes no motion.

    Raises:
        InputError: when the folder holds no packets; when one is missing or malformed.
    """

    def __init__(self, folder: Path) -> None:
        self.paths = tuple(sorted(folder.glob("*.txt")))
        if not self.paths:
            raise InputError(f"{folder}", found="no packets", wanted="0000000000.txt and on")
        self._folder = folder
        first = read_packet(self.paths[0])
        self._scale = float(np.cos(np.radians(first[0])))
        self._origin_m = mercator_m(first[0], first[1], first[2], self._scale)

    def world_from_imu(self, key: str) -> Pose:
        """The pose at a frame, named as its sweep is."""
        latitude_deg, longitude_deg, altitude_m, *angles_rad = read_packet(self._folder / f"{key}.txt")
        position_m = mercator_m(latitude_deg, longitude_deg, altitude_m, self._scale) - self._origin_m
        return Pose(_rotation(*angles_rad), position_m)


def read_packet(path: Path) -> tuple[float, float, float, float, float, float]:
    """Latitude and longitude in degrees, altitude in meters, roll, pitch and yaw (east is 0) in radians.

    Raises:
        InputError: when the file is missing or is no packet of 30 finite numbers.
    """
    try:
        values = [float(value) for value in read_text(path).split()]
    except ValueError as error:
        raise InputError(f"{path}", found=f"{error}", wanted="30 numbers") from None
    if len(values) != _NUMBERS_PER_PACKET or not np.isfinite(values).all():
        found = f"{len(values)} numbers, {int(np.isfinite(values).sum())} finite"
        raise InputError(f"{path}", found=found, wanted=f"{_NUMBERS_PER_PACKET} finite numbers")
    if abs(values[0]) > _HIGHEST_LATITUDE_DEG:
        raise InputError(f"{path}", found=f"latitude {values[0]:g}", wanted="degrees, first number of the packet")
    latitude_deg, longitude_deg, altitude_m, roll_rad, pitch_rad, yaw_rad = values[:6]
    return latitude_deg, longitude_deg, altitude_m, roll_rad, pitch_rad, yaw_rad


def mercator_m(
    latitude_deg: float, longitude_deg: float, altitude_m: float, scale: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """`(3,)` east, north, up in meters."""
    east_m = scale * np.radians(longitude_deg) * EARTH_RADIUS_M
    north_m = scale * EARTH_RADIUS_M * np.log(np.tan(np.pi * (90.0 + latitude_deg) / 360.0))
    return np.array([east_m, north_m, altitude_m])


def _rotation(roll_rad: float, pitch_rad: float, yaw_rad: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Turn by roll about x, then pitch about y, then yaw about z."""
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll_rad, pitch_rad, yaw_rad]), np.sin([roll_rad, pitch_rad, yaw_rad])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    rotation: np.ndarray[tuple[int, int], np.dtype[np.float64]] = about_z @ about_y @ about_x
    return rotation
