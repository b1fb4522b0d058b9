"""Arrays of an uncompressed npz in memory, out of its bytes: no second checksum, no copy but to align."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.datasets.files import BROKEN_ARRAYS
from understudy.errors import InputError

_LOCAL_HEADER = struct.Struct("<26xHH")


def npz_views(data: memoryview, source: str) -> dict[str, NDArray[Any]]:
    """The arrays by name; they may share memory with `data`.

    Args:
        data: a whole npz file that `numpy.savez` wrote.
        source: names it in messages.

    Raises:
        InputError: when it is damaged, compressed or holds pickled objects.
    """
    try:
        with zipfile.ZipFile(_Reading(data)) as archive:
            return {entry.filename.removesuffix(".npy"): _view(data, entry) for entry in archive.infolist()}
    except (*BROKEN_ARRAYS, KeyError) as error:
        wanted = "an uncompressed npz file without pickled objects"
        raise InputError(source, found=str(error), wanted=wanted) from error


def _view(data: memoryview, entry: zipfile.ZipInfo) -> NDArray[Any]:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed")
    name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(data, entry.header_offset)
    begin = entry.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    member = data[begin : begin + entry.file_size]
    head = io.BytesIO(member[: min(len(member), 4096)])
    version = np.lib.format.read_magic(head)
    if version != (1, 0):
        raise ValueError(f"{entry.filename} is npy version {version}")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(head)
    if dtype.hasobject:
        raise ValueError(f"{entry.filename} holds objects")
    order: Any = "F" if is_fortran else "C"
    array: NDArray[Any] = np.ndarray(shape, dtype, member[head.tell() :], order=order)
    # A zip does not align its members; what is not aligned is copied, for other libraries take that for granted.
    return np.require(array, requirements="A")


class _Reading(io.RawIOBase):
    """A file over a block of memory, without the copy that BytesIO makes."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._place = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + (0, self._place, len(self._data))[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        end = len(self._data) if size is None or size < 0 else min(self._place + size, len(self._data))
        block = bytes(self._data[self._place : end])
        self._place = max(end, self._place)
        return block
