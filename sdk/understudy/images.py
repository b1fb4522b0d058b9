"""Compressed pictures to pixels and back: the one module that knows Pillow and simplejpeg."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.errors import FrameError, InputError, UnderstudyError

_JPEG_START = b"\xff\xd8"
_REMEDY = "pip install 'understudy[bags]'"


def decode_image(data: bytes, source: str = "compressed image") -> NDArray[np.uint8]:
    """A JPEG, PNG or other picture as `(H, W, 3)` uint8 RGB.

    Args:
        data: the file's or message's bytes.
        source: where they came from, for the message.

    Raises:
        FrameError: when the bytes are not a whole picture.
        UnderstudyError: when no decoder is installed.
    """
    jpeg = _simplejpeg() if data[:2] == _JPEG_START else None
    try:
        pixels = jpeg.decode_jpeg(data, colorspace="RGB") if jpeg else _pillow_pixels(data)
    except (OSError, ValueError, SyntaxError) as error:
        raise _no_picture(source, error) from error
    return np.asarray(pixels, dtype=np.uint8)


def encoded_size_px(data: bytes, source: str = "compressed image") -> tuple[int, int]:
    """Width and height that a JPEG, PNG or other picture says of itself, without decoding it.

    Args:
        data: the file's or message's bytes.
        source: where they came from, for the message.

    Raises:
        FrameError: when the bytes do not begin as a picture does.
        UnderstudyError: when no decoder is installed.
    """
    jpeg = _simplejpeg() if data[:2] == _JPEG_START else None
    try:
        if jpeg:
            height_px, width_px = jpeg.decode_jpeg_header(data)[:2]
        else:
            with _opened(data) as picture:
                width_px, height_px = picture.size
    except (OSError, ValueError, SyntaxError) as error:
        raise _no_picture(source, error) from error
    return int(width_px), int(height_px)


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 90) -> bytes:
    """`(H, W, 3)` uint8 RGB as JPEG.

    Raises:
        UnderstudyError: when no encoder is installed.
    """
    jpeg = _simplejpeg()
    if jpeg:
        return bytes(jpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality, colorspace="RGB"))
    stream = io.BytesIO()
    _pillow().fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """`(H, W, 3)` uint8 RGB, or `(H, W)` of a single channel of uint8 or uint16, as PNG.

    Raises:
        UnderstudyError: when Pillow is not installed.
    """
    stream = io.BytesIO()
    _pillow().fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def read_image(path: Path) -> NDArray[np.uint8]:
    """A picture file as `(H, W, 3)` uint8 RGB.

    Raises:
        InputError: when the file is missing or is not a whole picture.
    """
    try:
        return decode_image(path.read_bytes(), f"{path}")
    except (OSError, FrameError) as error:
        raise _unreadable(path, error) from error


def read_channel(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A picture file of one channel, such as depths or classes, as `(H, W)` uint8 or uint16.

    Raises:
        InputError: when the file is missing, is not a whole picture or has several channels.
    """
    try:
        with _opened(path.read_bytes()) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except (OSError, ValueError, SyntaxError) as error:
        raise _unreadable(path, error) from error
    if mode == "L":
        return values.astype(np.uint8)
    if mode in {"I;16", "I"} and values.ndim == 2:
        return values.astype(np.uint16)
    raise InputError(f"{path}", found=f"a picture of mode {mode}", wanted="one channel of 8 or 16 bit")


def image_size_px(path: Path) -> tuple[int, int]:
    """Width and height from the file's header, without decoding.

    Raises:
        InputError: when the file is missing or is not a picture.
    """
    try:
        with _pillow().open(path) as picture:
            width_px, height_px = picture.size
    except OSError as error:
        raise _unreadable(path, error) from error
    return int(width_px), int(height_px)


def _no_picture(source: str, error: Exception) -> FrameError:
    return FrameError(source, found=str(error) or type(error).__name__, wanted="a whole JPEG or PNG")


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}", found="no such file", wanted="a picture")
    found = error.found if isinstance(error, UnderstudyError) else type(error).__name__
    return InputError(f"{path}", found=found, wanted="a whole JPEG or PNG", remedy="copy the file again")


def _pillow_pixels(data: bytes) -> NDArray[np.uint8]:
    with _opened(data) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.uint8)


def _opened(data: bytes) -> Any:
    """Pillow's picture, not decoded yet.

    Raises:
        ValueError: when it is none, or so large that Pillow does not trust it.
    """
    pillow = _pillow()
    try:
        return pillow.open(io.BytesIO(data))
    except pillow.UnidentifiedImageError:  # whose text holds an address: no two reasons would be the same
        raise ValueError(f"{len(data)} bytes of no known format") from None
    except pillow.DecompressionBombError as error:
        raise ValueError(str(error)) from None


def _simplejpeg() -> Any:
    """The faster JPEG codec, or None where it is not installed."""
    return _imported(lambda: __import__("simplejpeg"))


def _pillow() -> Any:
    pillow = _imported(lambda: __import__("PIL.Image").Image)
    if pillow is None:
        raise UnderstudyError("pictures", found="Pillow not installed", remedy=_REMEDY)
    return pillow


def _imported(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except ImportError:
        return None
