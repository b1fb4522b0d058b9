"""A GPU made of host memory: the CUDA runtime's calls on malloc and memmove, and TensorRT's on ONNX Runtime.

It proves what our side does (copies, shapes, addresses, graphs, who owns what), with a real network behind it. Of a GPU
it proves nothing.
"""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

Operation = Callable[[], None]
SUCCESS, OUT_OF_MEMORY, NOT_OURS = 0, 2, 1
_KINDS = {"tensor(float)": "FLOAT", "tensor(int32)": "INT32", "tensor(float16)": "HALF", "tensor(int64)": "INT64"}
_DTYPES = {"FLOAT": np.float32, "INT32": np.int32, "HALF": np.float16, "INT64": np.int64}


class HostCuda:
    """`cuda.bindings.runtime`, as far as we call it; keeps book of what is not given back."""

    cudaHostAllocDefault = 0
    cudaStreamNonBlocking = 1
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, *, num_devices: int = 1, capability: tuple[int, int] = (8, 6), memory: int = 1 << 30) -> None:
        self.num_devices, self.capability, self.memory_left = num_devices, capability, memory
        self.memory: dict[int, Any] = {}
        self.streams: set[int] = set()
        self.graphs: set[int] = set()
        self.captured: list[Operation] | None = None
        self.calls: list[str] = []
        self.current = threading.local()
        self.refuses_capture = False
        self._kept: dict[int, list[Operation]] = {}

    @property
    def is_all_given_back(self) -> bool:
        return not (self.memory or self.streams or self.graphs)

    def submit(self, operation: Operation) -> None:
        if self.captured is not None:
            self.captured.append(operation)
        else:
            operation()

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:
        return SUCCESS, {OUT_OF_MEMORY: b"out of memory", NOT_OURS: b"invalid argument"}[error]

    def cudaGetDeviceCount(self) -> tuple[int, int]:
        return SUCCESS, self.num_devices

    def cudaGetDevice(self) -> tuple[int, int]:
        return SUCCESS, getattr(self.current, "index", 0)

    def cudaSetDevice(self, index: int) -> tuple[int]:
        self.current.index = index
        return (SUCCESS if index < self.num_devices else NOT_OURS,)

    def cudaGetLastError(self) -> tuple[int]:
        self.calls.append("forget error")
        return (SUCCESS,)

    def cudaDeviceSynchronize(self) -> tuple[int]:
        self.calls.append("wait for all")
        return (SUCCESS,)

    def cudaGetDeviceProperties(self, index: int) -> tuple[int, Any]:
        major, minor = self.capability
        return SUCCESS, SimpleNamespace(name=b"Emulated GPU" + b" 2" * index + b"\0\0", major=major, minor=minor)

    def cudaMalloc(self, num_bytes: int) -> tuple[int, int | None]:
        self.calls.append("cudaMalloc")
        if num_bytes > self.memory_left:
            return OUT_OF_MEMORY, None
        self.memory_left -= num_bytes
        block = ctypes.create_string_buffer(num_bytes)
        address = ctypes.addressof(block)
        self.memory[address] = block
        return SUCCESS, address

    def cudaHostAlloc(self, num_bytes: int, flags: int) -> tuple[int, int | None]:
        return self.cudaMalloc(num_bytes)

    def cudaFree(self, address: int) -> tuple[int]:
        return (SUCCESS if self.memory.pop(address, None) is not None else NOT_OURS,)

    cudaFreeHost = cudaFree

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:
        self.streams.add(7)
        return SUCCESS, 7

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:
        self.streams.discard(stream)
        return (SUCCESS,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        self.calls.append(f"wait {stream}")
        return (SUCCESS if self.captured is None else NOT_OURS,)

    def cudaMemcpyAsync(self, target: int, source: int, num_bytes: int, kind: int, stream: int) -> tuple[int]:
        self.submit(lambda: ctypes.memmove(target, source, num_bytes) and None)
        return (SUCCESS,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:
        self.calls.append("capture")
        self.captured = []
        return (SUCCESS,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, list[Operation]]:
        graph, self.captured = self.captured, None
        if self.refuses_capture:
            return NOT_OURS, []
        assert graph is not None
        return SUCCESS, graph

    def cudaGraphInstantiate(self, graph: list[Operation], flags: int) -> tuple[int, int]:
        number = len(self._kept) + 1
        self._kept[number] = graph
        self.graphs.add(number)
        return SUCCESS, number

    def cudaGraphDestroy(self, graph: list[Operation]) -> tuple[int]:
        return (SUCCESS,)

    def cudaGraphLaunch(self, launchable: int, stream: int) -> tuple[int]:
        self.calls.append("launch")
        for operation in self._kept[launchable]:
            operation()
        return (SUCCESS,)

    def cudaGraphExecDestroy(self, launchable: int) -> tuple[int]:
        self.graphs.discard(launchable)
        return (SUCCESS,)


class HostEngine:
    """`ICudaEngine` of an ONNX file."""

    def __init__(self, cuda: HostCuda, model: Path, largest: int, built_type: str = "FP32") -> None:
        self.cuda, self._largest = cuda, largest
        self._model, self._built_type = model, built_type
        self.session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        self.is_input = {node.name: True for node in self.session.get_inputs()}
        self.is_input |= {node.name: False for node in self.session.get_outputs()}
        nodes = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.kinds = {node.name: _KINDS[node.type] for node in nodes}
        self.shapes = {node.name: tuple(n if isinstance(n, int) else -1 for n in node.shape) for node in nodes}
        self.num_io_tensors = len(nodes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.kinds)[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.kinds[name])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if self.is_input[name] else "OUTPUT"

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [tuple(size if n < 0 else n for n in self.shapes[name]) for size in (1, 100, self._largest)]

    def create_execution_context(self) -> HostContext:
        return HostContext(self)

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": self._layers()}))

    def report_to(self, profiler: Any) -> None:
        profiler.report_layer_time("Reformatting CopyNode for Input Tensor 0", 0.25)
        for layer in self._layers():
            profiler.report_layer_time(layer["Name"], 0.5)

    def _layers(self) -> list[dict[str, Any]]:
        kind = {"Format/Datatype": f"Row major linear {self._built_type} format"}
        return [
            {
                "Name": node.name,
                "LayerType": "CaskConvolution",
                "Inputs": [kind],
                "Outputs": [kind],
                "Weights": {"Type": self._built_type, "Count": 9},
                "Metadata": f"[ONNX Layer: {node.name}]",
            }
            for node in HostNetwork(self._model.read_bytes()).nodes
        ]


class HostContext:
    """`IExecutionContext`: reads and writes the addresses it was told."""

    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self.fails = False
        self.profiler: Any = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        *_, largest = self._engine.get_tensor_profile_shape(name, 0)
        self._shapes[name] = shape
        return all(size <= most for size, most in zip(shape, largest, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes.get(name, self._engine.shapes[name])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address != 0

    def execute_async_v3(self, stream: int) -> bool:
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        self._engine.cuda.submit(lambda: self._run(shapes, addresses))
        return not self.fails

    def _run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        feeds = {name: self._array(name, shapes[name], addresses[name]).copy() for name in shapes}
        names = [name for name, is_input in self._engine.is_input.items() if not is_input]
        for name, value in zip(names, self._engine.session.run(names, feeds), strict=True):
            self._array(name, value.shape, addresses[name])[...] = value
        if self.profiler is not None:
            self._engine.report_to(self.profiler)

    def _array(self, name: str, shape: tuple[int, ...], address: int) -> np.ndarray:
        dtype = np.dtype(_DTYPES[self._engine.kinds[name]])
        size = int(np.prod(shape)) * dtype.itemsize
        return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(shape)


class HostNetwork:
    """`INetworkDefinition` of an ONNX file: its convolutions, in FLOAT."""

    def __init__(self, model: bytes) -> None:
        self.model = model
        graph = onnx.load_from_string(model).graph
        self.nodes = [node for node in graph.node if node.op_type == "Conv"]
        self.num_layers, self.num_inputs, self.num_outputs = len(self.nodes), 0, 0

    def get_layer(self, index: int) -> Any:
        node = self.nodes[index]
        made, taken = (_tensor(name) for name in (node.output[0], node.input[0]))
        return SimpleNamespace(
            name=node.name,
            type=SimpleNamespace(name="CONVOLUTION"),
            metadata=f"[ONNX Layer: {node.name}]",
            num_inputs=1,
            num_outputs=1,
            get_input=lambda index: taken,
            get_output=lambda index: made,
        )


def _tensor(name: str) -> Any:
    return SimpleNamespace(name=name, dtype=SimpleNamespace(name="FLOAT"))


class HostTensorRt:
    """The module `tensorrt`; an engine's bytes are the path of its ONNX file, written to `folder` when it is built.

    Attributes:
        built_type: what the inspector says every convolution computes in.
        caches: timing caches that builds were given.
    """

    __version__ = "11.4.0"
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    ILogger = type("ILogger", (), {})
    IProfiler = type("IProfiler", (), {})
    IProgressMonitor = type("IProgressMonitor", (), {})
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    ComputeCapability = SimpleNamespace(SM86=86, SM87=87)
    BuilderFlag = SimpleNamespace(TF32="TF32")
    ProfilingVerbosity = SimpleNamespace(DETAILED=2)
    LayerInformationFormat = SimpleNamespace(JSON=1)

    def __init__(self, cuda: HostCuda, *, largest: int = 5000, folder: Path = Path()) -> None:
        self._cuda, self._largest, self._folder = cuda, largest, folder
        self.built_type = "FP32"
        self.caches: list[bytes] = []
        self.cleared_flags: list[str] = []

    def Builder(self, log: Any) -> Any:
        return SimpleNamespace(
            create_network=lambda flags: SimpleNamespace(),
            create_builder_config=self._config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=lambda *shapes: None),
            build_serialized_network=self._serialized,
        )

    def OnnxParser(self, network: Any, log: Any) -> Any:
        def parse(model: bytes) -> bool:
            read = HostNetwork(model)
            for name in ("model", "num_layers", "num_inputs", "num_outputs", "get_layer"):
                setattr(network, name, getattr(read, name))
            return True

        return SimpleNamespace(parse=parse)

    def _config(self) -> Any:
        def set_timing_cache(cache: Any, ignore_mismatch: bool) -> bool:
            self.caches.append(cache)
            return not cache.startswith(b"other GPU")

        return SimpleNamespace(
            add_optimization_profile=lambda profile: 0,
            create_timing_cache=lambda kept: kept,
            set_timing_cache=set_timing_cache,
            set_compute_capability=lambda capability, index: True,
            clear_flag=self.cleared_flags.append,
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: b"times of every kernel"),
        )

    def _serialized(self, network: Any, config: Any) -> bytes:
        path = self._folder / f"built-{len(list(self._folder.glob('built-*')))}.onnx"
        path.write_bytes(network.model)
        return str(path).encode()

    def Runtime(self, log: Any) -> Any:
        def deserialize(blob: bytes) -> HostEngine | None:
            if not blob.endswith(b".onnx"):
                log.log(1, "Magic tag does not match")
                return None
            return HostEngine(self._cuda, Path(blob.decode()), self._largest, self.built_type)

        return SimpleNamespace(deserialize_cuda_engine=deserialize)
