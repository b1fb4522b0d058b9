"""Pictures as a network takes them: undistorted, of its own size, from whatever camera the vehicle has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.bundle.inputs import Pictures
from understudy.errors import FrameError, GeometryError
from understudy.frame import Image
from understudy.rig import Camera, Mounting, Rig
from understudy.undistortion import undistort_map

_CAMERAS_KEPT = 32
_ANYWHERE = Mounting(translation_m=(0.0, 0.0, 0.0))
_REDUCED_BELOW = 0.75
"""Below this scale each pixel is the mean of four places, so that thin things do not vanish."""


def chosen_cameras(rig: Rig, pictures: Pictures) -> tuple[str, ...]:
    """Names of the cameras whose pictures a network takes, in its order.

    Raises:
        GeometryError: when the rig has neither cameras of the names the network was trained with nor exactly as many.
    """
    cameras = rig.cameras
    if pictures.cameras and all(name in cameras for name in pictures.cameras):
        return pictures.cameras
    if len(cameras) == pictures.num_cameras:
        return tuple(cameras)
    named = f"called {', '.join(pictures.cameras)}, or that many in all" if pictures.cameras else "in all"
    raise GeometryError(
        f"rig {rig.name}: cameras",
        found=", ".join(cameras) or "none",
        wanted=f"{pictures.num_cameras} {named}",
        remedy="rename them in the rig, or leave others out",
    )


def network_camera(camera: Camera, width_px: int, height_px: int) -> Camera:
    """The pinhole camera whose picture a network takes instead of a camera's own.

    It looks the same way and shows all columns; of the rows, the lowest that fit, or black ones above where there are
    too few. Pixel centers are whole numbers, as in `CameraInfo`.
    """
    scale = width_px / camera.width_px
    top_px = camera.height_px * scale - height_px
    return camera.model_copy(
        update={
            "width_px": width_px,
            "height_px": height_px,
            "fx_px": camera.fx_px * scale,
            "fy_px": camera.fy_px * scale,
            "cx_px": (camera.cx_px + 0.5) * scale - 0.5,
            "cy_px": (camera.cy_px + 0.5) * scale - 0.5 - top_px,
            "distortion": (),
            "distortion_model": "plumb_bob",
        }
    )


class SamplingRoom:
    """Memory for what samplers take from pictures; one thread at a time.

    A buffer of its size is mapped anew for each picture otherwise, which costs as much as filling it.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], tuple[NDArray[np.uint8], NDArray[np.uint16]]] = {}

    def of(self, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """`(T, P, 3)` for pixels and `(P, 3)` for their sums, of `(T, P)` places; what they hold is anybody's."""
        if shape not in self._kept:
            self._kept[shape] = np.empty((*shape, 3), np.uint8), np.empty((shape[1], 3), np.uint16)
        return self._kept[shape]


class PictureSampler:
    """Makes a network's pictures from one camera's.

    Args:
        camera: the camera of the rig, with its distortion.
        width_px: of the result.
        height_px: of the result.
    """

    def __init__(self, camera: Camera, width_px: int, height_px: int) -> None:
        self.camera = camera
        self.size_px = (height_px, width_px)
        self._places, self._black = _places(camera, width_px, height_px)

    def __call__(self, pixels: NDArray[np.uint8], room: SamplingRoom | None = None) -> NDArray[np.uint8]:
        """`(h, w, 3)` RGB of the camera to `(height_px, width_px, 3)`, which is the caller's.

        Args:
            pixels: of the camera.
            room: memory that several calls of one thread may share.

        Raises:
            FrameError: when the picture is not of the camera's size.
        """
        made = np.empty((*self.size_px, 3), np.uint8)
        self.into(made, pixels, room or SamplingRoom())
        return made

    def into(self, made: NDArray[np.uint8], pixels: NDArray[np.uint8], room: SamplingRoom) -> None:
        """As the call, into `(height_px, width_px, 3)` of the caller's."""
        wanted = (self.camera.height_px, self.camera.width_px)
        if pixels.shape[:2] != wanted:
            found = f"{pixels.shape[1]} x {pixels.shape[0]} px"
            raise FrameError("picture", found=found, wanted=f"{wanted[1]} x {wanted[0]} px, as in the rig")
        taken, total = room.of(self._places.shape)
        # "clip" writes straight into `out`, "raise" takes a copy first; every place lies in the picture
        pixels.reshape(-1, 3).take(self._places, axis=0, out=taken, mode="clip")
        flat = made.reshape(-1, 3)
        if len(taken) == 1:
            flat[:] = taken[0]
        else:
            _mean_of_four(taken, total, out=flat)
        flat[self._black] = 0


def picture_sampler(camera: Camera, width_px: int, height_px: int) -> PictureSampler:
    """The sampler of a camera, wherever it is mounted: training turns the scene under it anew for each frame.

    The last few are kept, because a rig's cameras stay what they are.
    """
    return _sampler(camera.model_copy(update={"ego_from_sensor": _ANYWHERE}), width_px, height_px)


@lru_cache(_CAMERAS_KEPT)
def _sampler(camera: Camera, width_px: int, height_px: int) -> PictureSampler:
    return PictureSampler(camera, width_px, height_px)


def network_images(
    images: Mapping[str, NDArray[np.uint8]],
    cameras: Mapping[str, Camera],
    pictures: Pictures,
    room: SamplingRoom | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """`(N, H, W, 3)` pictures for a network and the `(N,)` mask of those that are there.

    Args:
        images: `(h, w, 3)` RGB by camera; one that did not deliver is absent.
        cameras: the chosen cameras, in the network's order.
        pictures: what the network takes.
        room: memory that calls of one thread may share; the result is never in it.

    Raises:
        FrameError: when a picture is not of its camera's size.
    """
    room = room or SamplingRoom()
    made = np.zeros((len(cameras), pictures.height_px, pictures.width_px, 3), np.uint8)
    mask = np.zeros(len(cameras), np.float32)
    for number, (name, camera) in enumerate(cameras.items()):
        pixels = images.get(name)
        if pixels is not None:
            picture_sampler(camera, pictures.width_px, pictures.height_px).into(made[number], pixels, room)
            mask[number] = 1.0
    return made, mask


def shown_in_pictures(boxes: Boxes, cameras: Iterable[Camera]) -> NDArray[np.bool_]:
    """`(N,)`: whether the center of a box lies in the picture of any camera."""
    shown = np.zeros(len(boxes), np.bool_)
    for camera in cameras:
        shown |= camera.shows(*camera.project(boxes.geometry[:, :3]))
    return shown


def refuse_other_picture(name: str, image: Image, camera: Camera) -> None:
    """Raises GeometryError when a picture is not the rig's camera's, by frame id or size."""
    found, wanted = (
        f"{image.pixels.shape[1]} x {image.pixels.shape[0]} px",
        f"{camera.width_px} x {camera.height_px} px",
    )
    if found != wanted:
        remedy = "correct the topic or the rig; a resized picture has another camera matrix"
        raise GeometryError(f"picture of {name}", found=found, wanted=wanted, remedy=remedy)
    if image.frame_id and camera.frame_id and image.frame_id != camera.frame_id:
        remedy = "correct the topic or the rig's frame_id"
        raise GeometryError(f"picture of {name}: frame_id", found=image.frame_id, wanted=camera.frame_id, remedy=remedy)


def _places(camera: Camera, width_px: int, height_px: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """`(T, H * W)` which pixels of the camera each pixel is made of, and `(B,)` those that lie outside."""
    target = network_camera(camera, width_px, height_px)
    finer = 2 if width_px < _REDUCED_BELOW * camera.width_px else 1
    fine = target.model_copy(
        update={
            "width_px": finer * width_px,
            "height_px": finer * height_px,
            "fx_px": finer * target.fx_px,
            "fy_px": finer * target.fy_px,
            "cx_px": finer * (target.cx_px + 0.5) - 0.5,
            "cy_px": finer * (target.cy_px + 0.5) - 0.5,
        }
    )
    nearest = np.rint(undistort_map(camera, fine)).astype(np.int64)
    column, row = nearest[..., 0], nearest[..., 1]
    outside = (column < 0) | (column >= camera.width_px) | (row < 0) | (row >= camera.height_px)
    place = np.where(outside, 0, row * camera.width_px + column).astype(np.intp)
    by_tap = [(a, b) for a in range(finer) for b in range(finer)]
    places = np.stack([place[a::finer, b::finer].ravel() for a, b in by_tap])
    black = np.any([outside[a::finer, b::finer].ravel() for a, b in by_tap], axis=0)
    return places, np.flatnonzero(black)


def _mean_of_four(taken: NDArray[np.uint8], total: NDArray[np.uint16], *, out: NDArray[np.uint8]) -> None:
    """`(4, P, 3)` to `(P, 3)`, rounded."""
    total[:] = taken[0]
    for part in taken[1:]:
        total += part
    total += 2
    total >>= 2
    out[:] = total
