"""Pictures as a pinhole camera would have taken them: undistorted, with the camera that fits them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from understudy.distortion import distort
from understudy.errors import GeometryError
from understudy.frame import Image
from understudy.rig import Camera, Rig

_CAMERAS_KEPT = 16


def undistorted_camera(camera: Camera) -> Camera:
    """The same camera without distortion: same matrix, size and mounting."""
    return camera.model_copy(update={"distortion": (), "distortion_model": "plumb_bob"})


def undistorted_rig(rig: Rig) -> Rig:
    """The rig that fits `Undistorted` pictures."""
    sensors = {
        name: undistorted_camera(sensor) if isinstance(sensor, Camera) else sensor
        for name, sensor in rig.sensors.items()
    }
    return rig.model_copy(update={"sensors": sensors})


def undistort_map(camera: Camera, target: Camera | None = None) -> NDArray[np.float32]:
    """`(H, W, 2)`: for each pixel of the undistorted picture, u and v in the camera's own.

    Args:
        camera: the camera that took the picture.
        target: the pinhole camera to take it with instead, such as one of another focal length; None keeps the matrix.

    Raises:
        GeometryError: when the target has distortion of its own.
    """
    target = target or undistorted_camera(camera)
    if any(target.distortion):
        raise GeometryError("target of an undistortion", found="a camera with distortion", wanted="one without")
    u_px, v_px = np.meshgrid(np.arange(target.width_px, dtype=np.float64), np.arange(target.height_px))
    rays = np.stack([(u_px - target.cx_px) / target.fx_px, (v_px - target.cy_px) / target.fy_px], axis=-1)
    bent = distort(rays.reshape(-1, 2), camera.distortion_model, camera.distortion).reshape(rays.shape)
    pixels = bent * [camera.fx_px, camera.fy_px] + [camera.cx_px, camera.cy_px]
    mapped: NDArray[np.float32] = pixels.astype(np.float32)
    return mapped


def remap(pixels: NDArray[np.uint8], source_px: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`(H, W, 3)` picture taken at other places, bilinear; black where those lie outside.

    Args:
        pixels: `(h, w, 3)`.
        source_px: `(H, W, 2)` u and v in it.
    """
    height, width = pixels.shape[:2]
    # One black pixel around: beyond it everything is black.
    framed = np.zeros((height + 2, width + 2, 3), np.uint8)
    framed[1:-1, 1:-1] = pixels
    u_px = np.clip(source_px[..., 0], -1, width) + 1
    v_px = np.clip(source_px[..., 1], -1, height) + 1
    left, top = np.minimum(u_px.astype(np.int32), width), np.minimum(v_px.astype(np.int32), height)
    share_u, share_v = (u_px - left)[..., None], (v_px - top)[..., None]
    flat, corner = framed.reshape(-1, 3), top * (width + 2) + left
    upper = flat[corner] * (1 - share_u) + flat[corner + 1] * share_u
    lower = flat[corner + width + 2] * (1 - share_u) + flat[corner + width + 3] * share_u
    remapped: NDArray[np.uint8] = (upper * (1 - share_v) + lower * share_v + 0.5).astype(np.uint8)
    return remapped


def undistort_image(image: Image, camera: Camera, target: Camera | None = None) -> tuple[Image, Camera]:
    """The picture as the target camera would have taken it, and that camera; untouched where there is no distortion.

    Raises:
        GeometryError: when the picture is not of the camera's size, or the target has distortion of its own.
    """
    height, width = image.pixels.shape[:2]
    if (width, height) != (camera.width_px, camera.height_px):
        found, wanted = f"{width} x {height}", f"{camera.width_px} x {camera.height_px}, as its camera has"
        raise GeometryError(f"picture of {image.frame_id or 'a camera'}", found=found, wanted=wanted)
    if target is None and not any(camera.distortion):
        return image, undistorted_camera(camera)
    pixels = remap(image.pixels, _kept_map(camera, target))
    return Image(pixels, image.stamp_ns, image.frame_id), target or undistorted_camera(camera)


class Undistorted(Mapping[str, Image]):
    """Undistorted pictures by camera name, each made when someone looks; they fit `undistorted_rig(rig)`.

    Raises:
        GeometryError: at access, when a picture is not of its camera's size.
    """

    def __init__(self, images: Mapping[str, Image], rig: Rig) -> None:
        self._images, self._cameras = images, rig.cameras

    def __getitem__(self, name: str) -> Image:
        """The picture without distortion."""
        return undistort_image(self._images[name], self._cameras[name])[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


@lru_cache(maxsize=_CAMERAS_KEPT)
def _kept_map(camera: Camera, target: Camera | None) -> NDArray[np.float32]:
    """The map of a camera, which is the same for all its pictures."""
    return undistort_map(camera, target)
