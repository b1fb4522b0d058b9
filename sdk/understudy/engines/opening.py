"""From a name to an engine: the one table of runtimes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal, get_args

from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Contract, Precision
from understudy.engines.engine import Engine
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.engines.openvino_engine import OpenVinoEngine
from understudy.engines.tensorrt_opening import open_tensorrt_engine
from understudy.engines.tensorrt_rules import refuse_uint8_in_tensorrt
from understudy.errors import EngineError

REFERENCE_GROUP = "understudy.engines"

Runtime = Literal["onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "openvino", "tensorrt"]

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
_ON_CPUS = ("onnxruntime", "openvino")
_ON_GPUS: tuple[Precision, ...] = ("int8", "fp16", "fp32")


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """An engine and the contract of the network it runs."""

    contract: Contract
    engine: Engine


def best_precision(bundle: Bundle, runtime: Runtime | str = "onnxruntime") -> Precision:
    """The fastest that a bundle has for a runtime; the CPU twin is for CPUs alone."""
    if runtime in _ON_CPUS:
        return bundle.best_cpu_precision
    return next(precision for precision in _ON_GPUS if precision in bundle.manifest.models)


def open_engine(
    bundle: Bundle, precision: Precision | None, runtime: Runtime | str = "onnxruntime", threads: int = 1
) -> Engine:
    """The bundle's model of a precision in a runtime.

    Args:
        bundle: where the models are.
        precision: which; None takes `best_precision`.
        runtime: one of `RUNTIMES`.
        threads: of a CPU's engine.

    Raises:
        EngineError: when the runtime is unknown, missing or must not run this precision.
        BundleError: when the bundle has no such precision.
    """
    precision = precision or best_precision(bundle, runtime)
    refuse_uint8_in_tensorrt(precision, runtime)
    model = bundle.model(precision)
    match runtime:
        case "onnxruntime":
            return OnnxRuntimeEngine(model, threads=threads)
        case "onnxruntime-cuda":
            return OnnxRuntimeEngine(model, threads=threads, provider="cuda")
        case "onnxruntime-tensorrt":
            return OnnxRuntimeEngine(model, threads=threads, provider="tensorrt")
        case "openvino":
            return OpenVinoEngine(model, threads=threads)
        case "tensorrt":
            return open_tensorrt_engine(bundle, precision)
        case _:
            raise EngineError("runtime", found=runtime, wanted=" or ".join(RUNTIMES))


def open_reference(run: Path, *, threads: int = 1) -> OpenedModel:
    """The network of a training run in the framework it was trained in, found through the entry point `torch`.

    Raises:
        EngineError: when the training package or its framework is not installed.
    """
    for entry_point in entry_points(group=REFERENCE_GROUP, name="torch"):
        try:
            opener = entry_point.load()
        except ImportError as error:
            remedy = "pip install 'understudy[training]'"
            raise EngineError("torch reference", found=str(error), wanted="PyTorch", remedy=remedy) from error
        opened = opener(run, threads=threads)
        assert isinstance(opened, OpenedModel)
        return opened
    raise EngineError("torch reference", found="no such engine installed", remedy="pip install 'understudy[training]'")
