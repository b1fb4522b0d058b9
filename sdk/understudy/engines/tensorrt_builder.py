"""Engine files for NVIDIA GPUs, built from a bundle on a machine that need not have one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Precision
from understudy.engines import tensorrt_bridge
from understudy.engines.attestation import SOURCES, refuse_departures
from understudy.engines.engine_key import (
    EngineKey,
    EngineRecord,
    key_of,
    ready_record,
    record_of,
    write_attestation,
    write_record,
)
from understudy.engines.opening import refuse_uint8_in_tensorrt
from understudy.engines.tensorrt_bridge import BuiltEngine, Profile
from understudy.engines.tensorrt_rules import refuse_forbidden_graph
from understudy.errors import EngineError

RTX_TARGETS: Mapping[str, tuple[str, ...]] = {
    "rtx-sm75": ("SM75",),
    "rtx-sm80": ("SM80",),
    "rtx-sm86": ("SM86",),
    "rtx-sm89": ("SM89",),
    "rtx-sm120": ("SM120",),
    "rtx": ("SM80", "SM86", "SM89", "SM120"),
}
"""Compute capabilities of each target; `rtx` is one file for Ampere, Ada and Blackwell."""

_USUAL_SHARE = 4


def build_rtx_engine(bundle: Bundle, precision: Precision, target: str) -> tuple[EngineRecord, bool]:
    """Builds the engine of a target, or finds the one built before.

    Returns:
        Its record, and whether it was built now.

    Raises:
        EngineError: when the graph, the library or the target refuse, or the precision was not honored.
    """
    refuse_uint8_in_tensorrt(precision, "tensorrt")
    profile = profile_of(bundle)
    flags = ("strongly typed", "detailed layers", f"profile {sorted(profile.items())}", *RTX_TARGETS[target])
    key = key_of(bundle, precision, target, tensorrt_bridge.version("tensorrt_rtx"), flags)
    known = ready_record(bundle, key)
    if known is not None:
        return known, False
    model = bundle.model(precision)
    refuse_forbidden_graph(model)
    started = time.perf_counter()
    built = tensorrt_bridge.build("tensorrt_rtx", model, profile, RTX_TARGETS[target])
    build_s = time.perf_counter() - started
    _refuse_other_precision(model, precision, built)
    refuse_departures(model, built.attestation)
    return _write(bundle, key, built, build_s), True


def profile_of(bundle: Bundle) -> Profile:
    """Shapes of the inputs with a dimension that varies: one, a quarter of the most, and the most the student takes."""
    contract_input = bundle.manifest.input
    largest = contract_input.max_points if contract_input.kind == "points" else contract_input.max_pillars
    sizes = (1, max(1, largest // _USUAL_SHARE), largest)
    varying = [tensor for tensor in bundle.manifest.inputs if any(isinstance(size, str) for size in tensor.shape)]
    return {tensor.name: tuple(_filled(tensor.shape, size) for size in sizes) for tensor in varying}  # type: ignore[misc]


def _filled(shape: tuple[int | str, ...], size: int) -> tuple[int, ...]:
    return tuple(size if isinstance(entry, str) else entry for entry in shape)


def _refuse_other_precision(model: Path, precision: Precision, built: BuiltEngine) -> None:
    types = {dtype for kinds in built.layer_types.values() for dtype in kinds}
    honored = {
        "fp32": not types & {"INT8", "HALF"},
        "fp16": "HALF" in types,
        "int8": built.num_int8_convolutions > 0,
        "uint8": False,
    }
    if not honored[precision]:
        raise EngineError(
            f"{model}: precision",
            found=f"types {', '.join(sorted(types))}; {built.num_int8_convolutions} of {built.num_convolutions} "
            "convolutions in INT8",
            wanted=precision,
            remedy="quantize or export it again; precision is in the graph",
        )


def _write(bundle: Bundle, key: EngineKey, built: BuiltEngine, build_s: float) -> EngineRecord:
    bundle.engines_folder.mkdir(exist_ok=True)
    path = bundle.engines_folder / f"{key.stem}.engine"
    partial = path.with_suffix(".partial")
    partial.write_bytes(built.blob)
    partial.replace(path)
    record = record_of(key, built.inputs, built.outputs, build_s).model_copy(
        update={
            "file": path.name,
            "sha256": hashlib.sha256(built.blob).hexdigest(),
            "size_bytes": len(built.blob),
            "num_convolutions": built.num_convolutions,
            "num_int8_convolutions": built.num_int8_convolutions,
            "layer_types": built.layer_types,
            "types_read_from": SOURCES[built.attestation.source],
        }
    )
    write_attestation(bundle, key, built.attestation)
    write_record(bundle, key, record)
    return record
