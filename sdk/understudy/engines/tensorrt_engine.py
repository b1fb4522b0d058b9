"""A compiled engine on the GPU behind the engine contract, for TensorRT 10.3 and newer, 11.x and TensorRT-RTX.

Tensor names, `execute_async_v3` and one stream: the calls that all these versions have. All memory is taken when the
engine opens; a run copies into it, launches, waits and copies out. Where the shapes are those of an earlier run, the
whole run, copies included, is one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.engines.cuda_runtime import Cuda, PinnedArray
from understudy.engines.device_arrays import DeviceArray, device_array, is_on_device
from understudy.engines.engine import DescribedEngine, TensorSpec, check_feeds
from understudy.engines.tensorrt_bridge import DTYPES, Library, layer_profiler, load, new_logger, text_of
from understudy.errors import EngineError

MOST_GRAPHS = 32
_MOST_SEEN = 1024
_FAR_AWAY = 1.0e5
_ALIGNMENT_BYTES = 256
"""Of what the GPU's allocators give and TensorRT's kernels count on."""


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is run.

    Attributes:
        graphs: capture a CUDA graph for shapes that come again.
        pad_rows: by input, the number that its rows are filled up to a multiple of, with values of 100,000: for points,
            100 km away and outside of every grid. So that a sweep's shape comes again, and with it its graph.
    """

    graphs: bool = True
    pad_rows: Mapping[str, int] | None = None


class TensorRtEngine(DescribedEngine):
    """One serialized engine in one execution context.

    Args:
        blob: the engine's bytes.
        library: which TensorRT built it.
        options: how it is run.
        source: what to call it in errors.
        cuda: the CUDA runtime.

    Raises:
        EngineError: when there is no driver, GPU or library, or TensorRT refuses the bytes, with its own words.
    """

    def __init__(
        self,
        blob: bytes,
        library: Library,
        options: EngineOptions | None = None,
        *,
        source: str = "engine",
        cuda: Cuda | None = None,
    ) -> None:
        self._options, self._source = options or EngineOptions(), source
        self._cuda = cuda or Cuda()
        self._index = self._cuda.current()
        self._device = self._cuda.device(self._index)
        self._undo: list[Callable[[], None]] = []
        trt = self._trt = load(library)
        self._log = new_logger(trt)
        runtime = trt.Runtime(self._log)
        engine = runtime.deserialize_cuda_engine(blob)
        self._refuse_none(engine, "deserialize")
        context = engine.create_execution_context()
        self._refuse_none(context, "execution context")
        self._kept_alive: tuple[Any, ...] = (runtime, engine)
        self._context: Any = context
        self._inputs, self._outputs = _specs(trt, engine)
        self._without_graphs = "" if self._options.graphs else "not asked for"
        self._description = f"{library} {trt.__version__}, {self._device.name} {self._device.architecture}"
        self._open = True
        try:
            self._take_memory(engine)
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:
        """Library, version and GPU; and why there are no CUDA graphs, where the engine cannot be captured."""
        refused = self._options.graphs and self._without_graphs
        return f"{self._description}, no CUDA graphs: {refused}" if refused else self._description

    def __call__(self, feeds: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Runs once and waits; the arrays returned are the caller's.

        Args:
            feeds: numpy arrays, or arrays on this GPU with `__cuda_array_interface__`, which are read where they are;
                one that starts at no multiple of 256 bytes, as a slice may, is copied on the GPU first.

        Raises:
            EngineError: when the engine is closed, a feed is missing, unknown, of another dtype or shape or larger than
                the engine was built for, or CUDA or TensorRT report an error.
        """
        if not self._open:
            raise EngineError("engine", found="closed", wanted="open", remedy="open it again")
        self._cuda.use(self._index)
        guests = {name: device_array(value, name) for name, value in feeds.items() if is_on_device(value)}
        check_feeds(self._inputs, {**feeds, **guests})
        self._wait_for(guests)
        shapes = tuple(self._stage(spec.name, feeds[spec.name], guests.get(spec.name)) for spec in self._inputs)
        self._bind(shapes)
        if guests or self._without_graphs:
            self._enqueue(shapes, skip=frozenset(guests))
        else:
            self._launch(shapes)
        self._cuda.wait(self._stream)
        return {name: buffer.view(self._output_shapes[name]).copy() for name, buffer in self._results.items()}

    def report_layers(self, report: Callable[[str, float], None]) -> None:
        """Has every layer's name and milliseconds reported during each run; runs that are CUDA graphs report none."""
        self._profiler = layer_profiler(self._trt, report)  # TensorRT does not keep it alive
        self._context.profiler = self._profiler

    def close(self) -> None:
        """Gives all memory back; further calls are an error. Closing twice is harmless."""
        if self._undo:
            self._cuda.use(self._index)
        self._open = False
        self._context = None
        while self._undo:
            self._undo.pop()()
        self._kept_alive = ()

    def _take_memory(self, engine: Any) -> None:
        self._stream = self._cuda.create_stream()
        self._undo.append(lambda: self._cuda.destroy_stream(self._stream))
        largest = {spec.name: _largest_shape(engine, spec) for spec in self._inputs}
        self._staged = {spec.name: self._buffer(spec, largest[spec.name]) for spec in self._inputs}
        self._bound: tuple[tuple[int, ...], ...] | None = None
        self._output_shapes: dict[str, tuple[int, ...]] = {}
        self._graphs: dict[tuple[tuple[int, ...], ...], Any] = {}
        self._seen: set[tuple[tuple[int, ...], ...]] = set()
        self._bind(tuple(largest[spec.name] for spec in self._inputs))
        self._results = {spec.name: self._buffer(spec, self._output_shapes[spec.name]) for spec in self._outputs}

    def _buffer(self, spec: TensorSpec, shape: tuple[int, ...]) -> _Buffer:
        dtype = np.dtype(spec.dtype)
        pinned = self._cuda.allocate_pinned(shape, dtype)
        self._undo.append(lambda: self._cuda.free_pinned(pinned))
        address = self._cuda.allocate(max(1, pinned.array.nbytes))
        self._undo.append(lambda: self._cuda.free(address))
        self._set_address(spec.name, address)
        return _Buffer(pinned, address)

    def _stage(self, name: str, value: Any, guest: DeviceArray | None) -> tuple[int, ...]:
        """Puts a feed where the GPU finds it; its shape there."""
        buffer = self._staged[name]
        if guest is not None:
            buffer.refuse_larger(name, guest.shape)
            self._lend(name, buffer, guest)
            return guest.shape
        if buffer.is_lent:
            self._set_address(name, buffer.address)
            buffer.is_lent = False
        shape = self._padded(name, value.shape)
        buffer.refuse_larger(name, shape)
        view = buffer.view(shape)
        num_rows = len(value) if value.ndim else 0
        np.copyto(view[:num_rows] if value.ndim else view, value)
        if value.ndim and num_rows < shape[0]:
            view[num_rows:] = _FAR_AWAY
        return shape

    def _lend(self, name: str, buffer: _Buffer, guest: DeviceArray) -> None:
        is_lent = guest.address % _ALIGNMENT_BYTES == 0
        if not is_lent:
            self._cuda.copy_on_device(buffer.address, guest.address, buffer.num_bytes(guest.shape), self._stream)
        self._set_address(name, guest.address if is_lent else buffer.address)
        buffer.is_lent = is_lent

    def _padded(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        multiple = (self._options.pad_rows or {}).get(name, 1)
        if not shape or multiple <= 1:
            return shape
        most = self._staged[name].pinned.array.shape[0]
        rows = max(1, -(-shape[0] // multiple)) * multiple
        return (max(shape[0], min(rows, most)), *shape[1:])

    def _bind(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Tells the context the inputs' shapes, where they are not those it knows."""
        if shapes == self._bound:
            return
        self._bound = None
        for spec, shape in zip(self._inputs, shapes, strict=True):
            if not self._context.set_input_shape(spec.name, shape):
                raise self._error(f"input {spec.name} of shape {shape}", "a shape of its profile")
        for spec in self._outputs:
            shape = tuple(int(size) for size in self._context.get_tensor_shape(spec.name))
            if any(size < 0 for size in shape):
                raise EngineError(f"{self._source}: output {spec.name}", found=shape, wanted="a size known beforehand")
            self._output_shapes[spec.name] = shape
        self._bound = shapes

    def _launch(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """As a graph from the third time on: capture needs a run of the same shapes right before it."""
        launchable = self._graphs.get(shapes)
        if launchable is not None:
            self._cuda.launch(launchable, self._stream)
            return
        self._enqueue(shapes)
        if len(self._graphs) >= MOST_GRAPHS:
            return
        if shapes in self._seen:
            self._cuda.wait(self._stream)
            self._keep_graph(shapes)
        elif len(self._seen) < _MOST_SEEN:
            self._seen.add(shapes)

    def _keep_graph(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Captures; an engine that cannot be, as one with a loop in it, goes on without graphs and says so."""
        try:
            self._graphs[shapes] = launchable = self._captured(shapes)
        except EngineError as error:
            self._without_graphs = str(error.found)
            self._cuda.forget_error()
        else:
            self._undo.append(lambda: self._cuda.destroy_graph(launchable))

    def _captured(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        self._cuda.begin_capture(self._stream)
        try:
            self._enqueue(shapes)
        finally:
            graph = self._cuda.end_capture(self._stream)
        return self._cuda.instantiate(graph)

    def _enqueue(self, shapes: tuple[tuple[int, ...], ...], skip: frozenset[str] = frozenset()) -> None:
        for spec, shape in zip(self._inputs, shapes, strict=True):
            if spec.name not in skip:
                buffer = self._staged[spec.name]
                num_bytes = buffer.num_bytes(shape)
                self._cuda.copy_to_device(buffer.address, buffer.pinned.address, num_bytes, self._stream)
        if not self._context.execute_async_v3(int(self._stream)):
            raise self._error("run", "success")
        for name, buffer in self._results.items():
            num_bytes = buffer.num_bytes(self._output_shapes[name])
            self._cuda.copy_to_host(buffer.pinned.address, buffer.address, num_bytes, self._stream)

    def _wait_for(self, guests: Mapping[str, DeviceArray]) -> None:
        """Whoever made a guest may still be writing to it, on the stream it names, or on any if it speaks of none."""
        if any(not guest.says_stream for guest in guests.values()):
            self._cuda.wait_for_all()
            return
        for stream in {guest.stream for guest in guests.values() if guest.stream is not None}:
            self._cuda.wait(stream)

    def _set_address(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise self._error(f"address of {name}", "memory it takes")

    def _refuse_none(self, made: Any, what: str) -> None:
        if made is None:
            raise self._error(what, "an engine built for this GPU by this version")

    def _error(self, what: str, wanted: str) -> EngineError:
        remedy = "compile it again on this machine: understudy compile"
        return EngineError(f"{self._source}: {what}", found=text_of(self._log), wanted=wanted, remedy=remedy)


@dataclass(eq=False)
class _Buffer:
    """An input's or output's memory on both sides, as large as it ever gets."""

    pinned: PinnedArray
    address: int
    is_lent: bool = False

    def view(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The first elements of the host's side, in that shape."""
        size = int(np.prod(shape, dtype=np.int64))
        view: NDArray[Any] = self.pinned.array.reshape(-1)[:size].reshape(shape)
        return view

    def num_bytes(self, shape: tuple[int, ...]) -> int:
        """Of an array of that shape."""
        return int(np.prod(shape, dtype=np.int64)) * self.pinned.array.dtype.itemsize

    def refuse_larger(self, name: str, shape: tuple[int, ...]) -> None:
        """Raises EngineError when an array is larger than the engine was built for."""
        largest = self.pinned.array.shape
        if any(size > most for size, most in zip(shape, largest, strict=True)):
            raise EngineError(f"input {name}", found=f"shape {shape}", wanted=f"{largest} at most (its profile)")


def _specs(trt: Any, engine: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        kind = engine.get_tensor_dtype(name).name
        shape = tuple("?" if size < 0 else int(size) for size in engine.get_tensor_shape(name))
        dtype = DTYPES.get(kind, kind.lower())
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        (inputs if is_input else outputs).append(TensorSpec(name, dtype, shape))
    return tuple(inputs), tuple(outputs)


def _largest_shape(engine: Any, spec: TensorSpec) -> tuple[int, ...]:
    """What the profile allows; a fixed shape is its own."""
    if all(isinstance(size, int) for size in spec.shape):
        return spec.shape  # type: ignore[return-value]
    _, _, largest = engine.get_tensor_profile_shape(spec.name, 0)
    return tuple(int(size) for size in largest)
