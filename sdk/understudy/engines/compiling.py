"""`understudy compile`: what a target needs before the vehicle starts, made now and proved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Precision, Tensor
from understudy.engines.engine import TensorSpec
from understudy.engines.engine_key import EngineRecord, key_of, record_of, write_record
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine, runtime_version
from understudy.engines.opening import best_precision
from understudy.engines.tensorrt_builder import (
    DEVICE_TARGETS,
    RTX_TARGETS,
    BuildSettings,
    build_device_engine,
    build_rtx_engine,
)
from understudy.errors import EngineError

TARGETS = ("cpu", *RTX_TARGETS, *DEVICE_TARGETS, "all")
_PROBE_ROWS = 1000


@dataclass(frozen=True)
class Compiled:
    """One target made ready.

    Attributes:
        record: what it was made from and what came out.
        is_new: False when its file had been made before, from the same model with the same library and settings.
    """

    record: EngineRecord
    is_new: bool


def compile_bundle(
    bundle: Bundle, target: str = "cpu", precision: Precision | None = None, settings: BuildSettings | None = None
) -> Iterator[Compiled]:
    """Makes a target ready, one result at a time; `all` is the CPU and one engine for all RTX generations.

    Args:
        bundle: where models are and engines go.
        target: one of `TARGETS`.
        precision: which model; None takes the best the bundle has for the target.
        settings: how engines of GPUs are built.

    Raises:
        EngineError: when the target is unknown or refuses the model.
        BundleError: when the bundle has no such precision.
    """
    if target not in TARGETS:
        raise EngineError("target", found=target, wanted=" or ".join(TARGETS))
    for name in ("cpu", "rtx") if target == "all" else (target,):
        if name == "cpu":
            yield _ready_session(bundle, precision or bundle.best_cpu_precision)
        else:
            default = best_precision(bundle, "tensorrt")
            build = build_device_engine if name in DEVICE_TARGETS else build_rtx_engine
            yield Compiled(*build(bundle, precision or default, name, settings))


def _ready_session(bundle: Bundle, precision: Precision) -> Compiled:
    """Opens a session and runs it once; ONNX Runtime optimizes at start, so there is no file to keep.

    Always anew: a record may have come with the folder from another machine and proves nothing here.
    """
    model = bundle.model(precision)
    key = key_of(bundle, precision, "cpu", runtime_version())
    started = time.perf_counter()
    with OnnxRuntimeEngine(model) as engine:
        opened = time.perf_counter()
        engine({spec.name: spec.zeros(_PROBE_ROWS) for spec in engine.inputs})
        first_run_s = time.perf_counter() - opened
        inputs, outputs = _tensors(engine.inputs), _tensors(engine.outputs)
    record = record_of(key, inputs, outputs, opened - started)
    record = record.model_copy(update={"first_run_s": round(first_run_s, 4)})
    write_record(bundle, key, record)
    return Compiled(record, is_new=True)


def _tensors(specs: tuple[TensorSpec, ...]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=spec.name, dtype=spec.dtype, shape=spec.shape) for spec in specs)
