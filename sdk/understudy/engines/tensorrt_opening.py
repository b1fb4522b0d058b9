"""Which of a bundle's engines runs here: the one built from this very model, for this GPU, by this TensorRT."""

from __future__ import annotations

import hashlib
from pathlib import Path

from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import PointsInput, Precision
from understudy.engines import tensorrt_bridge
from understudy.engines.cuda_runtime import Cuda, Device
from understudy.engines.engine_key import EngineRecord, KnownEngine, known_engines
from understudy.engines.tensorrt_bridge import Library
from understudy.engines.tensorrt_engine import EngineOptions, TensorRtEngine
from understudy.errors import EngineError

POINTS_MULTIPLE = 8192
"""Sweeps are filled up to a multiple of so many points, that their shapes come again: at most 19 for 150,000 points."""

_STATES = {"stale": "built from another model", "damaged": "its file is missing or was changed"}


def open_tensorrt_engine(
    bundle: Bundle, precision: Precision, cuda: Cuda | None = None, *, graphs: bool = True
) -> TensorRtEngine:
    """Opens the bundle's engine of a precision for the GPU that is here; `graphs` as in its options.

    Raises:
        EngineError: when there is no driver or GPU, or none of the engines fits: each is named with the reason.
    """
    cuda = cuda or Cuda()
    device = cuda.device()
    reasons = []
    for known in known_engines(bundle):
        if known.record.precision != precision or not known.record.file:
            continue
        reason = refusal(known, device)
        if not reason:
            return _opened(bundle, known.record, cuda, graphs)
        reasons.append(f"{known.record.file}: {reason}")
    raise EngineError(
        f"{bundle.source}: {precision} engine for {device.name} ({device.architecture})",
        found="; ".join(reasons) or "none",
        wanted="one built for it from this model",
        remedy=f"understudy compile {bundle.source} --target this --precision {precision}",
    )


def refusal(known: KnownEngine, device: Device) -> str:
    """Why an engine does not run on a GPU; empty when it does."""
    record = known.record
    if known.state != "ready":
        return _STATES[known.state]
    library = library_of(record)
    if not tensorrt_bridge.available(library):
        return f"{library} is not installed"
    here = tensorrt_bridge.version(library)
    if record.library != here:
        return f"built by {record.library}, here is {here}"
    if device.architecture not in record.architectures:
        return f"built for {', '.join(record.architectures) or 'an unknown GPU'}"
    if record.gpu and record.gpu != device.name:
        return f"built on {record.gpu}"
    return ""


def library_of(record: EngineRecord) -> Library:
    """The package that built an engine and must open it."""
    return "tensorrt_rtx" if record.library.startswith("tensorrt_rtx ") else "tensorrt"


def _opened(bundle: Bundle, record: EngineRecord, cuda: Cuda, graphs: bool) -> TensorRtEngine:
    path = bundle.engines_folder / Path(record.file).name
    blob = path.read_bytes()
    if hashlib.sha256(blob).hexdigest() != record.sha256:
        raise EngineError(f"{path}", found="changed while it was opened", wanted=f"sha256 {record.sha256[:12]}")
    takes_points = isinstance(bundle.manifest.input, PointsInput)
    options = EngineOptions(graphs, pad_rows={"points": POINTS_MULTIPLE} if takes_points else None)
    return TensorRtEngine(blob, library_of(record), options, source=str(path), cuda=cuda)
