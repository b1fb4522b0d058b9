"""The CUDA runtime from Python, as far as an engine needs it: memory, copies, one stream, graphs.

Through cuda-bindings, which imports without a driver and reports a missing one as a return code. Every call answers
with a code first; anything but success becomes an `EngineError` that names the call and CUDA's reason.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.errors import EngineError

_PACKAGE = "cuda.bindings.runtime"
_EXTRA = "pip install 'understudy[tensorrt]'"


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        name: as its driver says.
        capability: compute capability, as (8, 7) for Orin.
    """

    name: str
    capability: tuple[int, int]

    @property
    def architecture(self) -> str:
        """As `SM87`."""
        return f"SM{self.capability[0]}{self.capability[1]}"


@dataclass(frozen=True, eq=False)
class PinnedArray:
    """Host memory that the GPU copies from and to without the driver's help.

    Attributes:
        array: what the host reads and writes; valid until `Cuda.free_pinned`.
        address: of its first byte.
    """

    array: NDArray[Any]
    address: int


class Cuda:
    """Calls of the CUDA runtime on the current device.

    Args:
        runtime: the module `cuda.bindings.runtime`; None imports it.

    Raises:
        EngineError: when cuda-bindings is not installed; in every method, when CUDA reports an error.
    """

    def __init__(self, runtime: Any = None) -> None:
        self._runtime = runtime or _import_runtime()

    def num_devices(self) -> int:
        """How many GPUs the driver shows."""
        return int(self._call("cudaGetDeviceCount"))

    def current(self) -> int:
        """Index of the GPU that this thread's calls go to: 0 where nobody chose another."""
        return int(self._call("cudaGetDevice"))

    def use(self, index: int) -> None:
        """Has this thread's calls go to a GPU; CUDA keeps that for each thread by itself."""
        self._call("cudaSetDevice", index)

    def device(self, index: int | None = None) -> Device:
        """What a GPU is; the current one when no index is given."""
        found = self._call("cudaGetDeviceProperties", self.current() if index is None else index)
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        return Device(name.rstrip("\0"), (int(found.major), int(found.minor)))

    def allocate(self, num_bytes: int) -> int:
        """The address of memory on the GPU."""
        return int(self._call("cudaMalloc", num_bytes))

    def free(self, address: int) -> None:
        """Gives `allocate`'s memory back."""
        self._call("cudaFree", address)

    def allocate_pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> PinnedArray:
        """An array in page-locked host memory; its content is undefined."""
        num_bytes = max(1, int(np.prod(shape, dtype=np.int64))) * dtype.itemsize
        address = int(self._call("cudaHostAlloc", num_bytes, self._runtime.cudaHostAllocDefault))
        memory: Any = (ctypes.c_uint8 * num_bytes).from_address(address)
        array = np.frombuffer(memory, np.uint8).view(dtype)
        return PinnedArray(array[: int(np.prod(shape, dtype=np.int64))].reshape(shape), address)

    def free_pinned(self, pinned: PinnedArray) -> None:
        """Gives page-locked memory back; its array must not be touched any more."""
        self._call("cudaFreeHost", pinned.address)

    def create_stream(self) -> Any:
        """A stream that does not wait for the default one; `int()` of it is its handle."""
        return self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)

    def destroy_stream(self, stream: Any) -> None:
        """Ends a stream."""
        self._call("cudaStreamDestroy", stream)

    def wait(self, stream: Any) -> None:
        """Until all that was put on the stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def wait_for_all(self) -> None:
        """Until the GPU is done with all streams of this process."""
        self._call("cudaDeviceSynchronize")

    def copy_on_device(self, address: int, source: int, num_bytes: int, stream: Any) -> None:
        """From one place on the GPU to another."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._call("cudaMemcpyAsync", address, source, num_bytes, kind, stream)

    def copy_to_device(self, address: int, source: int, num_bytes: int, stream: Any) -> None:
        """From page-locked host memory."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source, num_bytes, kind, stream)

    def copy_to_host(self, address: int, source: int, num_bytes: int, stream: Any) -> None:
        """Into page-locked host memory."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", address, source, num_bytes, kind, stream)

    def begin_capture(self, stream: Any) -> None:
        """From here on the stream's work is written down instead of done."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: Any) -> Any:
        """What was written down, as a graph."""
        return self._call("cudaStreamEndCapture", stream)

    def instantiate(self, graph: Any) -> Any:
        """A graph ready to be launched; the graph itself is given back."""
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def forget_error(self) -> None:
        """Clears the error that CUDA keeps for this thread, lest TensorRT's next launch reports it as its own."""
        self._runtime.cudaGetLastError()

    def launch(self, launchable: Any, stream: Any) -> None:
        """Does what was captured, once more."""
        self._call("cudaGraphLaunch", launchable, stream)

    def destroy_graph(self, launchable: Any) -> None:
        """Gives `instantiate`'s back."""
        self._call("cudaGraphExecDestroy", launchable)

    def _call(self, name: str, *arguments: Any) -> Any:
        error, *values = getattr(self._runtime, name)(*arguments)
        if int(error) != 0:
            raise EngineError(f"CUDA: {name}", found=self._reason(error), wanted="success", remedy=_REMEDY)
        return values[0] if values else None

    def _reason(self, error: Any) -> str:
        _, text = self._runtime.cudaGetErrorString(error)
        return f"{text.decode() if isinstance(text, bytes) else text} ({int(error)})"


_REMEDY = "look at `understudy doctor`: driver, GPU and its free memory"


def unavailable_reason() -> str:
    """Why no GPU can be used; empty when one can."""
    try:
        return "" if Cuda().num_devices() else "the driver shows no GPU"
    except EngineError as error:
        return str(error)


def _import_runtime() -> Any:
    try:
        return importlib.import_module(_PACKAGE)
    except ImportError as error:
        raise EngineError("cuda-bindings", found=str(error), wanted="CUDA from Python", remedy=_EXTRA) from error
