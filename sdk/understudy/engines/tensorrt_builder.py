"""Engine files for NVIDIA GPUs: TensorRT-RTX ahead of time on any machine, TensorRT on the GPU that will run them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Precision
from understudy.engines import tensorrt_bridge
from understudy.engines.attestation import SOURCES, Attestation, completed, refuse_departures
from understudy.engines.cuda_runtime import Cuda, Device
from understudy.engines.engine_key import (
    EngineKey,
    EngineRecord,
    key_of,
    ready_record,
    record_of,
    write_attestation,
    write_record,
)
from understudy.engines.tensorrt_bridge import BuiltEngine, Library, Phases, Profile, silent_phases
from understudy.engines.tensorrt_engine import TensorRtEngine
from understudy.engines.tensorrt_rules import refuse_forbidden_graph, refuse_uint8_in_tensorrt
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

DEVICE_TARGETS: Mapping[str, tuple[str, ...]] = {"orin": ("SM87",), "thor": ("SM110", "SM101"), "this": ()}
"""Targets built on the GPU itself, with what it must be; Thor is SM101 up to CUDA 12.9 and SM110 from CUDA 13 on."""

_PROBE_ROWS = 1000
_USUAL_SHARE = 4


@dataclass(frozen=True)
class BuildSettings:
    """How engines are built.

    Attributes:
        timing_cache: file that keeps what TensorRT measured of its kernels, read before and written after a build on
            the GPU itself; a second build then takes seconds. Ahead of time there is nothing to measure.
        only_build: do not open and run what was built.
        track: shows the builder's phases.
    """

    timing_cache: Path | None = None
    only_build: bool = False
    track: Phases = silent_phases


def build_rtx_engine(
    bundle: Bundle, precision: Precision, target: str, settings: BuildSettings | None = None
) -> tuple[EngineRecord, bool]:
    """Builds the engine of a target ahead of time, or finds the one built before.

    Returns:
        Its record, and whether it was built now.

    Raises:
        EngineError: when the graph, the library or the target refuse, or the precision was not honored.
    """
    place = _Place("tensorrt_rtx", target, RTX_TARGETS[target])
    return _build(bundle, precision, place, settings or BuildSettings(), None)


def build_device_engine(
    bundle: Bundle, precision: Precision, target: str, settings: BuildSettings | None = None, cuda: Cuda | None = None
) -> tuple[EngineRecord, bool]:
    """Builds the engine of the GPU that is here, reads its layers back and runs it once.

    Args:
        bundle: where the model is and the engine goes.
        precision: which model.
        target: `this`, or `orin` or `thor`, which it must then be.
        settings: how it is built.
        cuda: the CUDA runtime.

    Returns:
        Its record, and whether it was built now.

    Raises:
        EngineError: when there is no GPU or another one, no TensorRT, or anything refuses.
    """
    device = _device(target, cuda)
    library: Library = "tensorrt"
    if target == "this" and not tensorrt_bridge.available("tensorrt"):
        library = "tensorrt_rtx"
    tensorrt_bridge.load(library)
    place = _Place(library, target, (device.architecture,), device)
    return _build(bundle, precision, place, settings or BuildSettings(), cuda)


@dataclass(frozen=True)
class _Place:
    """What an engine is for; `device` is None ahead of time."""

    library: Library
    target: str
    architectures: tuple[str, ...]
    device: Device | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """What of it decides the engine's bytes."""
        return (*((self.device.name,) if self.device else ()), *self.architectures)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """To be named to the builder: TensorRT itself takes the GPU it finds."""
        return self.architectures if self.library == "tensorrt_rtx" else ()


def _device(target: str, cuda: Cuda | None) -> Device:
    wanted = DEVICE_TARGETS[target]
    try:
        device = (cuda or Cuda()).device()
    except EngineError as error:
        remedy = "run this on the machine that will run the engine"
        raise EngineError(f"target {target}", found=error.found, wanted=_named(wanted), remedy=remedy) from error
    if wanted and device.architecture not in wanted:
        raise EngineError(
            f"target {target}",
            found=f"{device.name} ({device.architecture})",
            wanted=_named(wanted),
            remedy=f"run this on that machine, or take --target this for the {device.name}",
        )
    return device


def _named(architectures: tuple[str, ...]) -> str:
    return f"a GPU of {' or '.join(architectures)}" if architectures else "a GPU"


def _build(
    bundle: Bundle, precision: Precision, place: _Place, settings: BuildSettings, cuda: Cuda | None
) -> tuple[EngineRecord, bool]:
    refuse_uint8_in_tensorrt(precision, "tensorrt")
    profile = profile_of(bundle)
    flags = ("strongly typed", "no TF32", "detailed layers", f"profile {sorted(profile.items())}", *place.flags)
    key = key_of(bundle, precision, place.target, tensorrt_bridge.version(place.library), flags)
    runs_now = place.device is not None and not settings.only_build
    known = ready_record(bundle, key)
    if known is not None:
        is_unproved = runs_now and known.first_run_s is None
        return (_proved(bundle, key, known, place.library, cuda) if is_unproved else known), False
    model = bundle.model(precision)
    refuse_forbidden_graph(model)
    started = time.perf_counter()
    cache = settings.timing_cache if place.device else None
    built = tensorrt_bridge.build(place.library, model, profile, place.capabilities, cache, settings.track)
    build_s = time.perf_counter() - started
    if place.device:
        built = replace(built, attestation=_read_back(place.library, model, built))
    _refuse_other_precision(model, precision, built)
    refuse_departures(model, built.attestation)
    record = _write(bundle, key, built, build_s, place)
    return (_proved(bundle, key, record, place.library, cuda) if runs_now else record), True


def _read_back(library: Library, model: Path, built: BuiltEngine) -> Attestation:
    """The engine's own table; of TensorRT-RTX, which makes kernels when it runs and may tell nothing, the network's."""
    try:
        return completed(tensorrt_bridge.inspect(library, built.blob), built.attestation, model)
    except EngineError:
        if library != "tensorrt_rtx":
            raise
        return built.attestation


def _proved(bundle: Bundle, key: EngineKey, record: EngineRecord, library: Library, cuda: Cuda | None) -> EngineRecord:
    """Has the engine file that was written run once; one that does not run is taken away with its records."""
    path = bundle.engines_folder / f"{key.stem}.engine"
    num_rows = min([_PROBE_ROWS, *(largest[0] for _, _, largest in profile_of(bundle).values())])
    try:
        with TensorRtEngine(path.read_bytes(), library, source=str(path), cuda=cuda) as engine:
            first_run_s = _first_run_s(engine, num_rows)
    except EngineError:
        for made in bundle.engines_folder.glob(f"{key.stem}.*"):
            made.unlink()
        raise
    record = record.model_copy(update={"first_run_s": round(first_run_s, 4)})
    write_record(bundle, key, record)
    return record


def _first_run_s(engine: TensorRtEngine, num_rows: int) -> float:
    feeds = {spec.name: spec.zeros(num_rows) for spec in engine.inputs}
    started = time.perf_counter()
    engine(feeds)
    return time.perf_counter() - started


def profile_of(bundle: Bundle) -> Profile:
    """Shapes of the inputs with a dimension that varies: one, a quarter of the most, and the most the student takes."""
    contract_input = bundle.manifest.input
    largest = contract_input.max_pillars if contract_input.kind == "pillars" else contract_input.max_points
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


def _write(bundle: Bundle, key: EngineKey, built: BuiltEngine, build_s: float, place: _Place) -> EngineRecord:
    bundle.engines_folder.mkdir(exist_ok=True)
    path = bundle.engines_folder / f"{key.stem}.engine"
    partial = path.with_suffix(".partial")
    partial.write_bytes(built.blob)
    partial.replace(path)
    record = record_of(key, built.inputs, built.outputs, build_s).model_copy(
        update={
            "file": path.name,
            "gpu": place.device.name if place.device else "",
            "architectures": place.architectures,
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
