"""One bridge over TensorRT 10.x, 11.x and TensorRT-RTX: the calls all of them have, and nothing else.

Networks are strongly typed, so precision lives in the ONNX graph: no precision flag, calibrator, tactic or algorithm
is ever touched. A builder answers None instead of raising; the reason is then what its logger heard.
"""

from __future__ import annotations

import importlib
import importlib.util
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from understudy.bundle.manifest import Tensor
from understudy.engines.attestation import Attestation, attest_inspection, attest_network
from understudy.errors import EngineError

Library = Literal["tensorrt_rtx", "tensorrt"]
Profile = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
"""Least, usual and largest shape of each input that varies."""

_EXTRAS: Mapping[Library, str] = {"tensorrt_rtx": "rtx", "tensorrt": "tensorrt"}
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
_WARNING = 2
_KEPT_MESSAGES = 3


class Phases(Protocol):
    """Told what a builder is at; from any thread, and it must not raise."""

    def start(self, phase: str, parent: str | None, num_steps: int) -> None:
        """A phase begins, within another one or by itself."""

    def step(self, phase: str, step: int) -> None:
        """It has come so far, from 0."""

    def finish(self, phase: str) -> None:
        """It ends."""


class _SilentPhases:
    """Tells nobody."""

    def start(self, phase: str, parent: str | None, num_steps: int) -> None:
        """Nothing."""

    def step(self, phase: str, step: int) -> None:
        """Nothing."""

    def finish(self, phase: str) -> None:
        """Nothing."""


silent_phases: Phases = _SilentPhases()


@dataclass(frozen=True)
class BuiltEngine:
    """A serialized engine and what the network said when it was built.

    Attributes:
        blob: the engine's bytes.
        inputs: of the network.
        outputs: of the network.
        layer_types: number of layers by kind and by the type of their first output.
        num_convolutions: all convolutions.
        num_int8_convolutions: those whose input is dequantized from INT8.
        attestation: precision of every layer, read from the network.
    """

    blob: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    layer_types: dict[str, dict[str, int]]
    num_convolutions: int
    num_int8_convolutions: int
    attestation: Attestation


def available(library: Library) -> bool:
    """Whether the package is installed; says nothing of a GPU."""
    return importlib.util.find_spec(library) is not None


def load(library: Library) -> ModuleType:
    """The module.

    Raises:
        EngineError: when it is not installed or its libraries do not load.
    """
    try:
        return importlib.import_module(library)
    except (ImportError, OSError) as error:
        remedy = f"pip install 'understudy[{_EXTRAS[library]}]'"
        raise EngineError(f"package {library}", found=str(error), wanted="installed", remedy=remedy) from error


def version(library: Library) -> str:
    """Name and version, for keys and records."""
    return f"{library} {load(library).__version__}"


def build(
    library: Library,
    model: Path,
    profile: Profile,
    capabilities: tuple[str, ...] = (),
    timing_cache: Path | None = None,
    track: Phases = silent_phases,
) -> BuiltEngine:
    """Builds an engine.

    Args:
        library: which TensorRT.
        model: the ONNX file.
        profile: shapes of the inputs that vary.
        capabilities: names such as `SM86` of the GPUs to build for; empty builds for the one that is here.
        timing_cache: file with the kernels' measured times, read where it is there and written anew; needs a GPU.
        track: told of the builder's phases.

    Raises:
        EngineError: when parser or builder refuse, with their own words.
    """
    trt = load(library)
    log = new_logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.read_bytes()):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise EngineError(
            f"{library}: {model}", found=_joined(errors or log.messages), wanted="a graph its parser takes"
        )
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default: float32 products of 10 bits, 5 cm at 100 m
    _set_profile(builder, config, profile)
    _set_capabilities(trt, config, capabilities, library)
    _set_timing_cache(config, timing_cache)
    with _interruptible() as interrupts:
        config.progress_monitor = _monitor(trt, track, interrupts)
        serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise EngineError(
            f"{library}: build of {model} for {', '.join(capabilities) or 'this GPU'}",
            found=text_of(log),
            wanted="an engine",
            remedy="choose another target, or change the operator it names",
        )
    if timing_cache is not None:
        _keep(timing_cache, config)
    return _built(bytes(serialized), network)


def inspect(library: Library, blob: bytes) -> Attestation:
    """Precision of every layer of an engine built for the GPU that is here, as its inspector tells it.

    Raises:
        EngineError: when the engine cannot be opened, or was built without detailed verbosity.
    """
    trt = load(library)
    log = new_logger(trt)
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(blob)
    if engine is None:
        raise EngineError(f"{library}: inspector", found=text_of(log), wanted="an engine of this GPU")
    inspector = engine.create_engine_inspector()
    return attest_inspection(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def new_logger(trt: ModuleType) -> Any:
    """Keeps the last warnings and errors, for TensorRT answers None and logs why."""

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        """Keeps warnings and errors; TensorRT calls it from its own threads."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: deque[str] = deque(maxlen=_KEPT_MESSAGES)

        def log(self, severity: Any, message: str) -> None:
            if int(severity) < _WARNING:
                self.messages.append(message)

    return Log()


def layer_profiler(trt: ModuleType, report: Callable[[str, float], None]) -> Any:
    """An `IProfiler` that passes on what TensorRT reports after each run: a layer's name and its milliseconds."""

    class Reporting(trt.IProfiler):  # type: ignore[name-defined, misc]
        """TensorRT calls it once for each layer."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            report(layer_name, ms)

    return Reporting()


def _network_flags(trt: ModuleType) -> int:
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _set_profile(builder: Any, config: Any, shapes: Profile) -> None:
    if not shapes:
        return
    profile = builder.create_optimization_profile()
    for name, (least, usual, largest) in shapes.items():
        profile.set_shape(name, least, usual, largest)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError("optimization profile", found=str(dict(shapes)), wanted="least <= usual <= largest")


def _set_capabilities(trt: ModuleType, config: Any, capabilities: tuple[str, ...], library: Library) -> None:
    if not capabilities:
        return
    known = getattr(trt, "ComputeCapability", None)
    setter = getattr(config, "set_compute_capability", None)
    unknown = [name for name in capabilities if not hasattr(known, name)]
    if known is None or setter is None or unknown:
        raise EngineError(
            f"{library} {trt.__version__}: compute capability",
            found=", ".join(unknown or capabilities),
            wanted="one this version builds for ahead of time",
            remedy="choose another target or install another version",
        )
    config.num_compute_capabilities = len(capabilities)
    for index, name in enumerate(capabilities):
        setter(getattr(known, name), index)


def _set_timing_cache(config: Any, path: Path | None) -> None:
    if path is None:
        return
    kept = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(kept)
    if cache is None or not config.set_timing_cache(cache, False):
        raise EngineError(
            f"{path}",
            found="no timing cache of this GPU and this version",
            wanted="one that an earlier build wrote here",
            remedy="name another file, or remove it",
        )


def _keep(path: Path, config: Any) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(bytes(config.get_timing_cache().serialize()))
    partial.replace(path)


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Keeps an interrupt until the end: TensorRT prints and forgets what is raised in a callback of its build."""
    kept: list[int] = []
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield kept
        return
    signal.signal(signal.SIGINT, lambda number, frame: kept.append(number))
    try:
        yield kept
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if kept:
        raise KeyboardInterrupt


def _monitor(trt: ModuleType, track: Phases, interrupts: list[int]) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        """Passes the builder's phases on; called from its threads. After an interrupt it tells the build to end."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            track.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            track.step(phase_name, step)
            return not interrupts

        def phase_finish(self, phase_name: str) -> None:
            track.finish(phase_name)

    return Monitor()


def _built(blob: bytes, network: Any) -> BuiltEngine:
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds: dict[str, Counter[str]] = {}
    for layer in layers:
        kinds.setdefault(layer.type.name, Counter())[_first_output_type(layer)] += 1
    producer = {layer.get_output(i).name: layer.type.name for layer in layers for i in range(layer.num_outputs)}
    convolutions = [layer for layer in layers if layer.type.name == "CONVOLUTION"]
    return BuiltEngine(
        blob=blob,
        inputs=tuple(_tensor(network.get_input(index)) for index in range(network.num_inputs)),
        outputs=tuple(_tensor(network.get_output(index)) for index in range(network.num_outputs)),
        layer_types={kind: dict(sorted(kinds[kind].items())) for kind in sorted(kinds)},
        num_convolutions=len(convolutions),
        num_int8_convolutions=sum(producer.get(layer.get_input(0).name) == "DEQUANTIZE" for layer in convolutions),
        attestation=attest_network(network),
    )


def _first_output_type(layer: Any) -> str:
    return str(layer.get_output(0).dtype.name) if layer.num_outputs else "none"


def _tensor(tensor: Any) -> Tensor:
    dtype = DTYPES.get(tensor.dtype.name, tensor.dtype.name.lower())
    shape = tuple("?" if size < 0 else int(size) for size in tensor.shape)
    return Tensor(name=tensor.name, dtype=dtype, shape=shape)


def text_of(log: Any) -> str:
    """The last of what a logger of `new_logger` heard."""
    return _joined(log.messages)


def _joined(messages: Iterable[str]) -> str:
    return " | ".join(list(messages)[-_KEPT_MESSAGES:]) or "no reason given"
