"""`sensor_msgs/Image`, `CompressedImage` and `CameraInfo` to records and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.distortion import NUM_COEFFICIENTS, DistortionModel
from understudy.errors import FrameError, GeometryError
from understudy.frame import Image
from understudy.images import decode_image, encode_jpeg
from understudy.messages.bayer import RED_AT, demosaiced
from understudy.messages.headers import Make, header_message, stamp_ns_from_message
from understudy.rig import Camera, Mounting

_CHANNELS: dict[str, tuple[int, ...]] = {
    "rgb8": (0, 1, 2),
    "bgr8": (2, 1, 0),
    "rgba8": (0, 1, 2),
    "bgra8": (2, 1, 0),
    "mono8": (0, 0, 0),
}
"""For each encoding, the byte of a pixel that holds red, green and blue."""
_BYTES = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, **dict.fromkeys(RED_AT, 1)}
_UNDISTORTED = (0.0, 0.0, 0.0, 0.0, 0.0)


def image_from_message(message: Any) -> Image:
    """The picture of a `sensor_msgs/Image` or `CompressedImage` (JPEG, PNG).

    Encodings: rgb8, bgr8, rgba8, bgra8, mono8, and bayer_rggb8, bayer_bggr8, bayer_gbrg8, bayer_grbg8.

    Raises:
        FrameError: when the encoding is not one of these, the sizes contradict, or the picture cannot be decoded.
    """
    stamp_ns = stamp_ns_from_message(message)
    pixels = _decoded(message) if hasattr(message, "format") else _raw(message)
    return Image(pixels, stamp_ns, str(message.header.frame_id))


def compressed_image_message(make: Make, image: Image, quality: int = 90) -> Any:
    """`sensor_msgs/msg/CompressedImage`, JPEG."""
    return make(
        "sensor_msgs/msg/CompressedImage",
        header=header_message(make, image.stamp_ns, image.frame_id),
        format="jpeg",
        data=np.frombuffer(encode_jpeg(image.pixels, quality), np.uint8),
    )


def camera_info_message(make: Make, camera: Camera, stamp_ns: int, frame_id: str) -> Any:
    """`sensor_msgs/msg/CameraInfo`."""
    matrix = camera.intrinsic_matrix()
    roi = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
    return make(
        "sensor_msgs/msg/CameraInfo",
        header=header_message(make, stamp_ns, frame_id),
        height=camera.height_px,
        width=camera.width_px,
        distortion_model=camera.distortion_model if camera.distortion else "plumb_bob",
        d=np.array(camera.distortion or _UNDISTORTED),
        k=matrix.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.hstack([matrix, np.zeros((3, 1))]).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=make("sensor_msgs/msg/RegionOfInterest", **roi),
    )


def camera_from_info(message: Any, ego_from_sensor: Mounting) -> Camera:
    """The rig's camera that a `sensor_msgs/CameraInfo` describes, mounted where the caller says.

    Raises:
        GeometryError: when the camera is not calibrated, its model is unknown or has another number of
            coefficients.
    """
    k = np.asarray(message.k, np.float64).reshape(3, 3)
    distortion = tuple(float(value) for value in message.d)
    name = str(message.header.frame_id)
    if not (k[0, 0] > 0 and k[1, 1] > 0):
        raise GeometryError(f"camera info of {name}", found="a focal length of 0", remedy="calibrate the camera")
    model = _distortion_model(message.distortion_model, distortion, f"camera info of {name}")
    return Camera(
        frame_id=name,
        ego_from_sensor=ego_from_sensor,
        width_px=int(message.width),
        height_px=int(message.height),
        fx_px=float(k[0, 0]),
        fy_px=float(k[1, 1]),
        cx_px=float(k[0, 2]),
        cy_px=float(k[1, 2]),
        distortion_model=model,
        distortion=distortion if any(distortion) else (),
    )


def _distortion_model(name: str, distortion: tuple[float, ...], source: str) -> DistortionModel:
    """The model a message names; without coefficients, or with ROS 1's empty name, plumb-bob."""
    if not any(distortion):
        return "plumb_bob"
    for model, numbers in NUM_COEFFICIENTS.items():
        if model == (name or "plumb_bob"):
            if len(distortion) not in numbers:
                wanted = " or ".join(str(number) for number in numbers if number)
                raise GeometryError(f"{source}: {model}", found=f"{len(distortion)} coefficients", wanted=wanted)
            return model
    raise GeometryError(source, found=name, wanted=", ".join(NUM_COEFFICIENTS))


def _decoded(message: Any) -> NDArray[np.uint8]:
    kind = str(message.format).lower()
    if not any(name in kind for name in ("jpeg", "jpg", "png")):
        raise FrameError("compressed image format", found=message.format or "nothing", wanted="jpeg or png")
    return decode_image(bytes(message.data))


def _raw(message: Any) -> NDArray[np.uint8]:
    encoding, height, width, step = message.encoding, int(message.height), int(message.width), int(message.step)
    if encoding not in _BYTES:
        raise FrameError("image encoding", found=encoding, wanted=", ".join(_BYTES))
    size = _BYTES[encoding]
    data = np.frombuffer(message.data, np.uint8)
    if height < 1 or width < 1 or step < width * size or len(data) < height * step:
        raise FrameError(
            "image", found=f"{width} x {height}, step {step}, {len(data)} bytes", wanted="sizes that agree"
        )
    pixels = np.ndarray((height, width, size), np.uint8, data.data, 0, (step, size, 1))
    if encoding in RED_AT:
        return demosaiced(pixels[:, :, 0], encoding)
    chosen: NDArray[np.uint8] = pixels[:, :, list(_CHANNELS[encoding])].copy()
    return chosen
