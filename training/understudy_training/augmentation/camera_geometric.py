"""Pictures zoomed, shifted, rolled and resized, with the camera that would have taken them so.

The camera's numbers change along, so that a point of the scene is found on the same spot of the picture as before. A
mirrored picture alone has no right-handed camera: that is the step `flip`, which mirrors the scene too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from understudy.configuration import Config
from understudy.distortion import turned_lens
from understudy.pose import Pose
from understudy.rig import Camera, Mounting
from understudy_training.augmentation.scene import Scene
from understudy_training.augmentation.step import Range, Step, ordered, uniform


class Window(Config):
    """What part of a picture is shown, and how large: first rolled about the optical axis, then zoomed, then cut."""

    zoom: float = Field(gt=0)
    left_px: float
    """Columns cut off on the left, after the zoom."""
    top_px: float
    roll_rad: float
    width_px: int
    height_px: int

    def camera(self, camera: Camera) -> Camera:
        """The camera that takes the changed picture."""
        pose, roll = camera.ego_from_sensor.pose(), _roll(self.roll_rad)
        mounting = Mounting.from_pose(Pose(pose.rotation @ roll.T, pose.translation_m))
        intrinsics = {
            "fx_px": camera.fx_px * self.zoom,
            "fy_px": camera.fy_px * self.zoom,
            "cx_px": (camera.cx_px + 0.5) * self.zoom - 0.5 - self.left_px,
            "cy_px": (camera.cy_px + 0.5) * self.zoom - 0.5 - self.top_px,
        }
        size = {"width_px": self.width_px, "height_px": self.height_px}
        distortion = turned_lens(camera.distortion_model, camera.distortion, roll[:2, :2])
        return camera.model_copy(update={"ego_from_sensor": mounting, "distortion": distortion, **intrinsics, **size})

    def picture(self, pixels: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
        """The changed picture of a `(H, W, 3)` one that `camera` took; black where it saw nothing."""
        after_from_before = self.camera(camera).intrinsic_matrix() @ _roll(self.roll_rad)
        before_from_after = camera.intrinsic_matrix() @ np.linalg.inv(after_from_before)
        return sampled(pixels, before_from_after, self.width_px, self.height_px)


class DrawnCameraGeometric(Config):
    """A window for each camera."""

    kind: Literal["camera_geometric"] = "camera_geometric"
    windows: dict[str, Window]

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`."""
        images, cameras = dict(scene.images), dict(scene.cameras)
        for name, window in self.windows.items():
            images[name] = window.picture(scene.images[name], scene.cameras[name])
            cameras[name] = window.camera(scene.cameras[name])
        return replace(scene, images=images, cameras=cameras)


class CameraGeometric(Step):
    """Zooms, shifts, rolls and resizes pictures; clouds and boxes stay where they are."""

    kind: Literal["camera_geometric"] = "camera_geometric"
    zoom_range: Range = (0.9, 1.2)
    """Beyond the resizing to `size_px`: above 1 cuts off the borders."""
    max_shift: float = Field(0.05, ge=0, le=0.5)
    """By how much of the size the window may be off the middle, either way."""
    max_roll_rad: float = Field(0.03, ge=0, le=0.5)
    size_px: tuple[int, int] | None = None
    """Width and height of the result; None keeps each picture's own. Sides keep their ratio, what is over is cut."""

    @field_validator("zoom_range")
    @classmethod
    def _zooms(cls, value: Range) -> Range:
        if value[0] < 0.25:
            raise ValueError("zoom_range: at least 0.25")
        return ordered(value, "zoom_range")

    @field_validator("size_px")
    @classmethod
    def _sizes(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("size_px: above 0")
        return value

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnCameraGeometric:
        """A window for each picture."""
        return DrawnCameraGeometric(
            windows={name: self._window(generator, scene.cameras[name]) for name in sorted(scene.images)}
        )

    def _window(self, generator: np.random.Generator, camera: Camera) -> Window:
        width_px, height_px = self.size_px or (camera.width_px, camera.height_px)
        fitting = max(width_px / camera.width_px, height_px / camera.height_px)
        zoom = fitting * uniform(generator, self.zoom_range)
        across, down = generator.uniform(-self.max_shift, self.max_shift, 2) * [width_px, height_px]
        return Window(
            zoom=zoom,
            left_px=float((camera.width_px * zoom - width_px) / 2 + across),
            top_px=float((camera.height_px * zoom - height_px) / 2 + down),
            roll_rad=uniform(generator, (-self.max_roll_rad, self.max_roll_rad)),
            width_px=width_px,
            height_px=height_px,
        )


def sampled(
    pixels: NDArray[np.uint8], source_from_target: NDArray[np.float64], width_px: int, height_px: int
) -> NDArray[np.uint8]:
    """A `(height_px, width_px, 3)` picture whose pixels are looked up in another, linear between its four neighbors.

    Args:
        pixels: `(H, W, 3)` the picture to look up in.
        source_from_target: `(3, 3)` affine map of pixel places (u, v, 1).
        width_px: of the result.
        height_px: of the result; pixels that fall outside of the source are black.
    """
    u_target, v_target = np.arange(width_px, dtype=np.float64)[None], np.arange(height_px, dtype=np.float64)[:, None]
    (a, b, c), (d, e, f) = source_from_target[:2]
    u, v = (a * u_target + b * v_target + c).ravel(), (d * u_target + e * v_target + f).ravel()
    left, top = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    right, down = (u - left).astype(np.float32)[:, None], (v - top).astype(np.float32)[:, None]
    # a border of two black pixels stands for everything outside
    framed = np.pad(pixels, ((2, 2), (2, 2), (0, 0)))
    height, width = framed.shape[:2]
    place = np.clip(top + 2, 0, height - 2) * width + np.clip(left + 2, 0, width - 2)
    flat = framed.reshape(-1, 3)
    upper = flat[place] * (1 - right) + flat[place + 1] * right
    lower = flat[place + width] * (1 - right) + flat[place + width + 1] * right
    mixed = np.rint(upper * (1 - down) + lower * down)
    return mixed.astype(np.uint8).reshape(height_px, width_px, 3)


def _roll(roll_rad: float) -> NDArray[np.float64]:
    """The rolled camera's axes from the camera's."""
    return Pose.from_yaw(roll_rad).rotation
