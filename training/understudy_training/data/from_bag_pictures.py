"""Pictures of a bag as files: compressed ones byte for byte, raw ones as JPEG."""

from __future__ import annotations

from typing import Any

from understudy.datasets.recorded_frame import Picture, PictureEntry
from understudy.errors import FrameError, GeometryError
from understudy.images import encode_jpeg
from understudy.messages.headers import stamp_ns_from_message
from understudy.messages.images import image_from_message
from understudy.rig import Camera

RAW_QUALITY = 95
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
_TAIL = 4096
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers whose segment starts with precision, height and width (ITU-T T.81, table B.1)."""


def picture_of_message(message: Any, name: str, camera: Camera) -> Picture:
    """The picture of an Image or CompressedImage.

    Args:
        message: the message.
        name: name of the camera.
        camera: what the rig says of it.

    Raises:
        FrameError: when the picture is cut, or neither JPEG nor PNG.
        GeometryError: when its size is not the camera's: the calibration is that of another one.
    """
    data = bytes(message.data) if hasattr(message, "format") else encode_jpeg(_pixels(message), RAW_QUALITY)
    suffix, width_px, height_px = _describe(data, name)
    if (width_px, height_px) != (camera.width_px, camera.height_px):
        raise GeometryError(
            f"camera {name}",
            found=f"a picture of {width_px} x {height_px} px",
            wanted=f"{camera.width_px} x {camera.height_px} px, as the rig says",
            remedy="use the rig of that camera",
        )
    frame_id = str(message.header.frame_id)
    return Picture(PictureEntry(name, stamp_ns_from_message(message), frame_id, suffix), data)


def _pixels(message: Any) -> Any:
    return image_from_message(message).pixels


def _describe(data: bytes, name: str) -> tuple[str, int, int]:
    """Ending, width and height of a whole JPEG or PNG, by its first and last bytes."""
    if data.startswith(_JPEG_START) and _JPEG_END in data[-_TAIL:]:
        return (".jpg", *_jpeg_size_px(data, name))
    if data.startswith(_PNG_START) and _PNG_END in data[-_TAIL:]:
        return ".png", int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    is_cut = data.startswith((_JPEG_START, _PNG_START))
    found = "one that is cut" if is_cut else f"bytes {data[:4].hex() or 'none'}"
    raise FrameError(f"picture of {name}", found=found, wanted="a whole JPEG or PNG")


def _jpeg_size_px(data: bytes, name: str) -> tuple[int, int]:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _SIZE_MARKERS:
            height_px = int.from_bytes(data[place + 5 : place + 7], "big")
            return int.from_bytes(data[place + 7 : place + 9], "big"), height_px
        place += 1 if marker == 0xFF else 2 + length
    raise FrameError(f"picture of {name}", found="a JPEG without a size", wanted="a whole JPEG or PNG")
