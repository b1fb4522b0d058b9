"""What a vehicle differs in: its sensors, where they sit and what they deliver. One YAML file with a content hash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from understudy.configuration import Config, content_hash, read_config, write_yaml
from understudy.distortion import NUM_COEFFICIENTS, DistortionModel, distort
from understudy.errors import GeometryError
from understudy.pose import Pose

Triple = tuple[float, float, float]
Quadruple = tuple[float, float, float, float]


class Mounting(Config):
    """Where a sensor sits: the pose that carries points from its frame to ego (REP 103, ego at ground level)."""

    translation_m: Triple
    rotation_wxyz: Quadruple = (1.0, 0.0, 0.0, 0.0)

    @model_validator(mode="after")
    def _is_a_pose(self) -> Mounting:
        try:
            self.pose()
        except GeometryError as error:
            raise ValueError(str(error)) from None
        return self

    def pose(self) -> Pose:
        """`ego_from_sensor`."""
        return Pose.from_quaternion(self.rotation_wxyz, self.translation_m)

    @classmethod
    def from_pose(cls, ego_from_sensor: Pose) -> Mounting:
        """The mounting that a pose describes."""
        x, y, z = (float(value) for value in ego_from_sensor.translation_m)
        qw, qx, qy, qz = (float(value) for value in ego_from_sensor.quaternion_wxyz)
        return cls(translation_m=(x, y, z), rotation_wxyz=(qw, qx, qy, qz))


class Lidar(Config):
    """A LiDAR of the rig."""

    kind: Literal["lidar"] = "lidar"
    frame_id: str = ""
    """Frame id its messages carry; empty accepts any."""
    ego_from_sensor: Mounting
    intensity_scale: float = Field(1.0, gt=0)
    """Raw intensity that means 1: 1.0 for KITTI, 255 for nuScenes and most drivers."""
    time_offset_ns: int = 0
    """Added to a message's stamp to get the sweep's reference time."""


class Camera(Config):
    """A camera of the rig, optical frame: z forward, x right, y down."""

    kind: Literal["camera"] = "camera"
    frame_id: str = ""
    """Frame id its messages carry; empty accepts any."""
    ego_from_sensor: Mounting
    width_px: int = Field(gt=0)
    height_px: int = Field(gt=0)
    fx_px: float = Field(gt=0)
    fy_px: float = Field(gt=0)
    cx_px: float
    cy_px: float
    distortion_model: DistortionModel = "plumb_bob"
    """As CameraInfo names it; counts only where there are coefficients."""
    distortion: tuple[float, ...] = ()
    """Coefficients as in CameraInfo; empty when images are rectified. plumb_bob: k1, k2, p1, p2, k3;
    rational_polynomial: these and k4, k5, k6; equidistant: k1 to k4."""
    time_offset_ns: int = 0

    @model_validator(mode="after")
    def _coefficients_fit(self) -> Camera:
        numbers = NUM_COEFFICIENTS[self.distortion_model]
        if len(self.distortion) not in numbers:
            wanted = " or ".join(str(number) for number in numbers)
            raise ValueError(f"distortion: {len(self.distortion)} coefficients, {self.distortion_model} has {wanted}")
        return self

    def intrinsic_matrix(self) -> NDArray[np.float64]:
        """The `(3, 3)` camera matrix."""
        return np.array([[self.fx_px, 0.0, self.cx_px], [0.0, self.fy_px, self.cy_px], [0.0, 0.0, 1.0]])

    def project(self, points_ego: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`(N, 3)` ego points to `(N, 2)` pixels (u right, v down) and `(N,)` depths in meters, as the lens bends them.

        Pixels of points behind the camera (depth <= 0) mean nothing.
        """
        points = self.ego_from_sensor.pose().inverse().apply(points_ego)
        depth_m = points[:, 2]
        safe_depth_m = np.where(np.abs(depth_m) < 1e-9, 1e-9, depth_m)
        bent = distort(points[:, :2] / safe_depth_m[:, None], self.distortion_model, self.distortion)
        return bent * [self.fx_px, self.fy_px] + [self.cx_px, self.cy_px], depth_m

    def shows(self, pixels: NDArray[np.floating], depth_m: NDArray[np.floating]) -> NDArray[np.bool_]:
        """`(N,)`: whether points that `project` put at `(N, 2)` pixels and `(N,)` depths lie in the picture."""
        inside = (pixels >= 0).all(axis=1) & (pixels < [self.width_px, self.height_px]).all(axis=1)
        shown: NDArray[np.bool_] = inside & (depth_m > 0)
        return shown


Sensor = Annotated[Lidar | Camera, Field(discriminator="kind")]


class Rig(Config):
    """All sensors of a vehicle by name."""

    schema_version: Literal[1] = 1
    name: str
    sensors: dict[str, Sensor]

    @property
    def lidars(self) -> dict[str, Lidar]:
        """LiDARs by name, in the file's order."""
        return {name: sensor for name, sensor in self.sensors.items() if isinstance(sensor, Lidar)}

    @property
    def cameras(self) -> dict[str, Camera]:
        """Cameras by name, in the file's order."""
        return {name: sensor for name, sensor in self.sensors.items() if isinstance(sensor, Camera)}

    @property
    def hash(self) -> str:
        """SHA-256 of the contents."""
        return content_hash(self)

    def lidar(self, name: str | None = None) -> tuple[str, Lidar]:
        """The LiDAR called `name`, or the only one.

        Raises:
            GeometryError: when there is none of that name, or no name was given and there is not exactly one.
        """
        lidars = self.lidars
        if name is None and len(lidars) == 1:
            return next(iter(lidars.items()))
        if name is None or name not in lidars:
            raise GeometryError(
                f"rig {self.name}: LiDAR {name or '(not named)'}",
                found=", ".join(lidars) or "no LiDAR",
                wanted="one by name",
            )
        return name, lidars[name]

    def write(self, path: Path) -> None:
        """Writes the YAML file that `read_rig` reads."""
        write_yaml(path, self)


def read_rig(path: Path) -> Rig:
    """Reads a rig file.

    Raises:
        InputError: when the file is missing or is not YAML.
        GeometryError: when a key is unknown or a value cannot be right.
    """
    return read_config(path, Rig, GeometryError)
