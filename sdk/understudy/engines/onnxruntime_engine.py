"""ONNX Runtime behind the engine contract: the default everywhere. The only module that imports onnxruntime."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

from numpy.typing import NDArray

from understudy.engines.engine import Arrays, DescribedEngine, TensorSpec, check_feeds
from understudy.errors import EngineError
from understudy.machine import may_saturate_uint8

Provider = Literal["cpu", "cuda", "tensorrt"]

_PROVIDERS: dict[Provider, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
_PROVIDER_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
"""By default its float32 products have 10 bits of mantissa, which moves a point 100 m away by 5 cm."""
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
_ERRORS_ONLY = 3
_EXACT_UINT8 = ("session.x64quantprecision", "1")
"""Without VNNI, x86 adds pairs of uint8 x int8 products in int16, where they saturate; this takes a slower way.

Never set with VNNI: measured there, the demo's student took 6.3 ms instead of 3.3 ms a frame.
"""
_MOST_THREADS = 1024
"""ONNX Runtime makes whatever is asked for: a hundred thousand threads take minutes and then the machine."""


class OnnxRuntimeEngine(DescribedEngine):
    """One ONNX file in one session: sequential, deterministic, all graph optimizations.

    Args:
        model: the ONNX file.
        threads: threads within an operator; 1 gives the same bits on every machine of one kind.
        provider: where it runs. ONNX Runtime falls back silently; here a fallback is an error.
        profile: how the file begins in which each node's times are written; they are not measured when left out.

    Raises:
        EngineError: when ONNX Runtime is missing, refuses the file, or would run elsewhere than asked.
    """

    def __init__(
        self, model: Path, *, threads: int = 1, provider: Provider = "cpu", profile: Path | None = None
    ) -> None:
        if not 1 <= threads <= _MOST_THREADS:
            raise EngineError("threads", found=threads, wanted=f"1 or more, up to {_MOST_THREADS}")
        runtime = _import_onnxruntime()
        self._session = _open_session(runtime, model, _session_options(runtime, threads, profile), provider)
        _refuse_fallback(self._session.get_providers(), provider)
        self._inputs = tuple(_spec(node) for node in self._session.get_inputs())
        self._outputs = tuple(_spec(node) for node in self._session.get_outputs())
        self._output_names = [spec.name for spec in self._outputs]
        self._description = f"onnxruntime {runtime.__version__}, {provider}, {threads} thread{'s' * (threads > 1)}"

    def __call__(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Runs once and waits; the arrays returned are the caller's.

        Raises:
            EngineError: when the engine is closed, or a feed is missing, unknown, of another dtype or shape.
        """
        if self._session is None:
            raise EngineError("engine", found="closed", wanted="open", remedy="open it again")
        check_feeds(self._inputs, feeds)
        try:
            values = self._session.run(self._output_names, feeds)
        except Exception as error:  # ONNX Runtime's own exceptions share no base of their own
            raise EngineError("onnxruntime run", found=_first_line(error)) from error
        return dict(zip(self._output_names, values, strict=True))

    def end_profile(self) -> Path:
        """Ends measuring nodes; the JSON file with all runs so far. Only once, and only when asked for at opening."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Frees the session; further calls are an error. Closing twice is harmless."""
        self._session = None


def available_providers() -> tuple[str, ...]:
    """Providers of the installed ONNX Runtime; empty when it is not installed. Listed does not mean usable."""
    if importlib.util.find_spec("onnxruntime") is None:
        return ()
    return tuple(_import_onnxruntime().get_available_providers())


def runtime_version() -> str:
    """Name and version, for keys and records.

    Raises:
        EngineError: when it is not installed.
    """
    return f"onnxruntime {_import_onnxruntime().__version__}"


def _import_onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        remedy = "pip install 'understudy[cpu]'"
        raise EngineError("onnxruntime", found=_first_line(error), wanted="ONNX Runtime", remedy=remedy) from error
    return cast(ModuleType, onnxruntime)


def _open_session(runtime: ModuleType, model: Path, options: Any, provider: Provider) -> Any:
    if not model.is_file():
        raise EngineError(f"{model}", found="no such file", wanted="an ONNX file")
    wanted = _PROVIDERS[provider]
    if wanted[0] not in runtime.get_available_providers():
        raise EngineError(
            "onnxruntime provider",
            found=", ".join(runtime.get_available_providers()),
            wanted=wanted[0],
            remedy="pip uninstall onnxruntime, then pip install 'understudy[gpu]'",
        )
    try:
        settings = [_PROVIDER_OPTIONS.get(name, {}) for name in wanted]
        return runtime.InferenceSession(str(model), options, providers=list(wanted), provider_options=settings)
    except Exception as error:  # see __call__
        raise EngineError(f"{model}", found=_first_line(error), wanted="a model ONNX Runtime accepts") from error


def _session_options(runtime: ModuleType, threads: int, profile: Path | None = None) -> Any:
    """Options of every session.

    Memory patterns are off: they are cached per input shape, and every sweep has another number of points.
    """
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.use_deterministic_compute = True
    options.enable_mem_pattern = False
    options.log_severity_level = _ERRORS_ONLY
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    if may_saturate_uint8():
        options.add_session_config_entry(*_EXACT_UINT8)
    return options


def _refuse_fallback(found: list[str], provider: Provider) -> None:
    wanted = _PROVIDERS[provider][0]
    if wanted not in found:
        raise EngineError(
            "onnxruntime provider",
            found=f"fell back to {', '.join(found)}",
            wanted=wanted,
            remedy="check the driver and the CUDA libraries with `understudy doctor`",
        )


def _spec(node: Any) -> TensorSpec:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise EngineError(f"tensor {node.name}", found=node.type, wanted=", ".join(sorted(_DTYPES)))
    shape = tuple(size if isinstance(size, int) else str(size or "?") for size in node.shape)
    return TensorSpec(node.name, dtype, shape)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
