"""OpenVINO behind the engine contract: an optional engine for CPUs. The only module that imports openvino.

It runs the quantized files that TensorRT takes without the detour through uint8, and the CPU twin faster than ONNX
Runtime does. Left alone it computes in bfloat16 on CPUs that have it; here that is asked for by nobody, so it never is.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from understudy.engines.engine import Arrays, DescribedEngine, TensorSpec, check_feeds
from understudy.errors import EngineError
from understudy.layers.profiles import NodeTime

_MOST_THREADS = 1024
_PRECISION = "INFERENCE_PRECISION_HINT"
_TELEMETRY = "openvino_telemetry"


class OpenVinoEngine(DescribedEngine):
    """One ONNX file compiled for this CPU: one stream, whole precision, waits for each result.

    Args:
        model: the ONNX file.
        threads: threads within an operator.
        profile: whether to measure each node's time.

    Raises:
        EngineError: when OpenVINO is missing, refuses the file, or would compute in less than was asked for.
    """

    def __init__(self, model: Path, *, threads: int = 1, profile: bool = False) -> None:
        if not 1 <= threads <= _MOST_THREADS:
            raise EngineError("threads", found=threads, wanted=f"1 or more, up to {_MOST_THREADS}")
        if not model.is_file():
            raise EngineError(f"{model}", found="no such file", wanted="an ONNX file")
        openvino = _import_openvino()
        try:
            core = openvino.Core()
            network = core.read_model(str(model))
            compiled = core.compile_model(network, "CPU", _settings(openvino, threads, profile))
        except Exception as error:  # OpenVINO raises RuntimeError for all of it
            raise EngineError(f"{model}: openvino", found=_last_line(error), wanted="a graph it takes") from error
        _refuse_less_precision(model, openvino, compiled)
        self._inputs = tuple(_spec(port, port.get_any_name()) for port in network.inputs)
        self._outputs = tuple(_output_spec(result) for result in network.get_results())
        self._request = compiled.create_infer_request()
        self._sources = _sources(compiled) if profile else {}
        self._description = f"openvino {openvino.__version__.split('-')[0]}, cpu, {threads} thread{'s' * (threads > 1)}"

    def __call__(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Runs once and waits; the arrays returned are the caller's.

        Raises:
            EngineError: when the engine is closed, or a feed is missing, unknown, of another dtype or shape.
        """
        if self._request is None:
            raise EngineError("engine", found="closed", wanted="open", remedy="open it again")
        check_feeds(self._inputs, feeds)
        try:
            values = self._request.infer(dict(feeds), share_inputs=True, share_outputs=False)
        except Exception as error:
            raise EngineError("openvino run", found=_last_line(error)) from error
        return {spec.name: np.array(values[index]) for index, spec in enumerate(self._outputs)}

    def last_profile(self) -> tuple[NodeTime, ...]:
        """The nodes of the last run, when it was opened to measure them; what was computed beforehand is left out."""
        return tuple(
            NodeTime(
                node.node_name,
                node.node_type,
                (node.real_time.total_seconds() * 1e3,),
                self._sources.get(node.node_name, ()),
                node.exec_type,
            )
            for node in self._request.get_profiling_info()
            if node.status == node.Status.EXECUTED
        )

    def close(self) -> None:
        """Frees the network; further calls are an error. Closing twice is harmless."""
        self._request = None


def available() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("openvino") is not None


def _import_openvino() -> ModuleType:
    """OpenVINO without its telemetry, which would otherwise leave a file in the home folder and call its maker."""
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]  # None: whoever imports it gets an ImportError
    try:
        import openvino
    except ImportError as error:
        remedy = "pip install 'understudy[openvino]'"
        raise EngineError("openvino", found=_last_line(error), wanted="OpenVINO", remedy=remedy) from error
    return cast(ModuleType, openvino)


def _settings(openvino: ModuleType, threads: int, profile: bool) -> dict[str, Any]:
    return {
        "PERF_COUNT": profile,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # a vehicle's other processes are not ours to push aside
        _PRECISION: openvino.Type.f32,
    }


def _sources(compiled: Any) -> dict[str, tuple[str, ...]]:
    """By node of the compiled network: the nodes of the file that it was made from."""
    return {
        node.get_friendly_name(): tuple(node.get_rt_info()["originalLayersNames"].astype(str).split(","))
        for node in compiled.get_runtime_model().get_ops()
        if "originalLayersNames" in node.get_rt_info()
    }


def _refuse_less_precision(model: Path, openvino: ModuleType, compiled: Any) -> None:
    found = compiled.get_property(_PRECISION)
    if found != openvino.Type.f32:
        raise EngineError(f"{model}: openvino", found=f"it would compute in {found}", wanted="float32")


def _output_spec(result: Any) -> TensorSpec:
    """Under the graph's own name: OpenVINO may keep several for a tensor, and lists any of them first."""
    port = result.input_value(0)
    name = result.get_friendly_name().partition("/sink_port_")[0]
    return _spec(port, name if name in port.get_names() else port.get_any_name())


def _spec(port: Any, name: str) -> TensorSpec:
    shape = tuple("?" if size.is_dynamic else int(size.get_length()) for size in port.get_partial_shape())
    return TensorSpec(name, str(np.dtype(port.get_element_type().to_dtype())), shape)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
