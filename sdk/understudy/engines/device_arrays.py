"""Arrays that are on the GPU already: whatever has `__cuda_array_interface__` (cupy, pycuda, numba, torch).

Source: the CUDA array interface, versions 2 and 3, as numba documents it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.errors import EngineError

_WITH_STREAMS = 3


@dataclass(frozen=True)
class DeviceArray:
    """What the interface says.

    Attributes:
        shape: of the array.
        dtype: of its elements.
        address: of its first byte on the GPU.
        stream: handle of the stream that may still write to it; None when it is done, 1 for the legacy default stream,
            2 for that of the thread.
        says_stream: whether its maker speaks of streams: version 3 does, version 2 (torch) leaves them out.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    address: int
    stream: int | None = None
    says_stream: bool = True

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


def is_on_device(value: Any) -> bool:
    """Whether an input is such an array."""
    return hasattr(value, "__cuda_array_interface__")


def device_array(value: Any, name: str) -> DeviceArray:
    """Reads the interface of an input.

    Raises:
        EngineError: when it is masked or not contiguous in C order.
    """
    found = value.__cuda_array_interface__
    shape, dtype = tuple(int(size) for size in found["shape"]), np.dtype(found["typestr"])
    if found.get("mask") is not None:
        raise EngineError(f"input {name}", found="a masked array", wanted="one without a mask")
    strides = found.get("strides")
    if strides is not None and not _is_contiguous(shape, tuple(strides), dtype):
        raise EngineError(
            f"input {name}", found=f"strides {tuple(strides)}", wanted="C order without gaps", remedy="copy it first"
        )
    says_stream = int(found.get("version", 0)) >= _WITH_STREAMS
    return DeviceArray(shape, dtype, int(found["data"][0]), found.get("stream"), says_stream)


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Of an axis with one entry the stride means nothing."""
    step = dtype.itemsize
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True
