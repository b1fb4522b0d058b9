from __future__ import annotations

import struct
import sys
import zlib

import numpy as np
import pytest

from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.errors import FrameError, InputError, UnderstudyError
from understudy.images import decode_image, encode_jpeg, encode_png, encoded_size_px, image_size_px, read_image

GRADIENT = np.stack(np.broadcast_arrays(*np.ogrid[0:48, 0:64], 30), axis=-1).astype(np.uint8) * 2


def test_png_gives_every_pixel_back():
    np.testing.assert_array_equal(decode_image(encode_png(GRADIENT)), GRADIENT)


@pytest.mark.parametrize("without", [(), ("simplejpeg",)], ids=["simplejpeg", "Pillow"])
def test_jpeg_gives_nearly_every_pixel_back(monkeypatch, without):
    for name in without:
        monkeypatch.setitem(sys.modules, name, None)
    pixels = decode_image(encode_jpeg(GRADIENT, quality=95))
    assert pixels.shape == GRADIENT.shape
    assert np.abs(pixels.astype(int) - GRADIENT).mean() < 3, "red, green and blue stay in order"


@pytest.mark.parametrize("data", [b"", b"picture", encode_jpeg(GRADIENT)[:40], encode_png(GRADIENT)[:80]])
def test_what_is_no_whole_picture_is_refused(data):
    with pytest.raises(FrameError, match=r"front camera: .*wanted a whole JPEG or PNG"):
        decode_image(data, "front camera")


@pytest.mark.parametrize("without", [(), ("simplejpeg",)], ids=["simplejpeg", "Pillow"])
def test_a_picture_tells_its_size_before_it_is_decoded(monkeypatch, without):
    for name in without:
        monkeypatch.setitem(sys.modules, name, None)
    jpeg = encode_jpeg(GRADIENT)
    assert encoded_size_px(jpeg[:-100]) == encoded_size_px(encode_png(GRADIENT)[:80]) == (64, 48)
    for data in (b"", b"picture", jpeg[:10]):
        with pytest.raises(FrameError, match=r"front camera: .*wanted a whole JPEG or PNG"):
            encoded_size_px(data, "front camera")


def test_a_picture_that_would_take_all_memory_is_refused():
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(13, header), (0, b"IDAT")]
    parts = [struct.pack(">I", size) + data + struct.pack(">I", zlib.crc32(data)) for size, data in chunks]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    for read in (decode_image, encoded_size_px):
        with pytest.raises(FrameError, match=r"3600000000 pixels"):
            read(bomb)


def test_without_any_decoder_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UnderstudyError, match=r"Pillow not installed; pip install 'understudy\[bags\]'"):
        encode_png(GRADIENT)


def test_files_are_read_late_but_missed_early(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(InputError, match=r"a\.png: found no such file"):
        ImageFiles({"front": ImageFile(path, 5, "front")})
    path.write_bytes(b"not yet")
    images = ImageFiles({"front": ImageFile(path, 5, "front")})
    with pytest.raises(InputError, match=r"a\.png"):
        images["front"]
    path.write_bytes(encode_png(GRADIENT))
    assert images["front"].stamp_ns == 5
    np.testing.assert_array_equal(images["front"].pixels, GRADIENT)
    assert image_size_px(path) == (64, 48)
    assert list(images) == ["front"]
    for read in (read_image, image_size_px):
        with pytest.raises(InputError, match=r"b\.png: found no such file"):
            read(tmp_path / "b.png")
