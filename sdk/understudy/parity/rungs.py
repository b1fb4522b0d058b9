"""The rungs of a student: every form it has, in every runtime that is asked for, and as messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Precision, Tolerance
from understudy.engines import openvino_engine
from understudy.engines.cuda_runtime import Cuda
from understudy.engines.opening import OpenedModel, Runtime, open_engine, open_reference
from understudy.errors import BundleError, EngineError, InputError
from understudy.parity.replayed import Vehicle

ORDER: tuple[Precision, ...] = ("fp32", "fp16", "int8", "uint8")
TORCH, SOURCE, REPLAY = "torch", "source", "replay"
DEFAULT_RUNTIME = "onnxruntime"
_PREFIXES = {DEFAULT_RUNTIME: "onnx"}


@dataclass(frozen=True)
class Rung:
    """One form of the student.

    Attributes:
        name: as printed: `torch`, `onnx-fp32`, ...
        open: opens it; whoever calls it closes the engine.
        tolerance: how far it may depart from the first rung.
        model: the ONNX file that it runs; None where there is none whose tensors could be read.
        runtime: what runs it.
        precision: of the file.
        vehicle: where the frames come as messages of a bag, what the vehicle differs in; None for frames as they are.
        skipped: why it is not climbed here; empty when it is.
    """

    name: str
    open: Callable[[], OpenedModel]
    tolerance: Tolerance
    model: Path | None = None
    runtime: str = DEFAULT_RUNTIME
    precision: Precision = "fp32"
    vehicle: Vehicle | None = None
    skipped: str = ""


def rungs_of(
    bundle: Bundle,
    reference: Path | None,
    *,
    threads: int = 1,
    runtimes: Sequence[str] = (DEFAULT_RUNTIME,),
    vehicle: Vehicle | None = None,
    source: Bundle | None = None,
) -> tuple[Rung, ...]:
    """The rungs that can be climbed, in order; the first is what the others are compared with.

    Args:
        bundle: the student.
        reference: training run to start from, or None.
        threads: threads within an operator.
        runtimes: what runs the bundle's models; one that this machine cannot run is skipped with its reason.
        vehicle: ask for the rung `replay`: the same frames as messages of a bag.
        source: another bundle of the student, such as one exported anew from its run, whose full-precision model is a
            rung below this bundle's; unlike torch it shows the tensors inside.

    Raises:
        BundleError: when there is only one.
        EngineError: when there is no such runtime.
    """
    rungs = [rung for runtime in runtimes for rung in _of_runtime(bundle, runtime, threads)]
    if source is not None:
        rungs.insert(0, source_rung(source, threads=threads))
    if reference is not None:
        run = reference
        rungs.insert(0, Rung(TORCH, lambda: open_reference(run, threads=threads), rungs[0].tolerance, runtime=TORCH))
    if vehicle is not None:
        rungs.append(_replay(bundle, vehicle, threads))
    climbed = [rung for rung in rungs if not rung.skipped]
    if not climbed:
        remedy = "add onnxruntime to --runtimes"
        raise BundleError(f"{bundle.folder}: parity ladder", found=f"no rung here: {rungs[0].skipped}", remedy=remedy)
    if len(climbed) < 2:
        raise BundleError(
            f"{bundle.folder}: parity ladder",
            found=f"one rung, {climbed[0].name}",
            wanted="two or more",
            remedy="give --reference RUN, or quantize the export and pack it again",
        )
    return tuple(rungs)


def parse_runtimes(text: str) -> tuple[str, ...]:
    """Runtimes from a list with commas.

    Raises:
        EngineError: when one is unknown.
        InputError: when none is named.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise InputError("--runtimes", found=text or "nothing", wanted=" or ".join(get_args(Runtime)))
    for name in names:
        if name not in get_args(Runtime):
            raise EngineError("runtime", found=name, wanted=" or ".join(get_args(Runtime)))
    return names


def source_rung(bundle: Bundle, *, threads: int = 1) -> Rung:
    """A bundle's full-precision model as what others are compared with."""
    opener = _opener(bundle, "fp32", DEFAULT_RUNTIME, threads)
    return Rung(SOURCE, opener, tolerance_of(bundle, "fp32"), bundle.model("fp32"))


def _of_runtime(bundle: Bundle, runtime: str, threads: int) -> list[Rung]:
    """A rung per precision; TensorRT is never given the twin, whose uint8 it would clip."""
    skipped = _why_not(runtime)
    takes_twin = "tensorrt" not in runtime
    present = [name for name in ORDER if name in bundle.manifest.models and (takes_twin or name != "uint8")]
    return [
        Rung(
            f"{_PREFIXES.get(runtime, runtime)}-{precision}",
            _opener(bundle, precision, runtime, threads),
            tolerance_of(bundle, precision),
            bundle.model(precision),
            runtime,
            precision,
            skipped=skipped,
        )
        for precision in present
    ]


def _why_not(runtime: str) -> str:
    """Why this machine does not run a runtime; empty when it may. Found out without opening a model."""
    if runtime == "openvino" and not openvino_engine.available():
        return "openvino is not installed; pip install 'understudy[openvino]'"
    if runtime == "tensorrt":
        try:
            Cuda().device()
        except EngineError as error:
            return str(error)
    return ""


def _replay(bundle: Bundle, vehicle: Vehicle, threads: int) -> Rung:
    sweeps = bundle.manifest.sweeps
    skipped = f"clouds of {sweeps} sweeps are no messages; replay the drive itself" if sweeps > 1 else ""
    return Rung(
        REPLAY,
        _opener(bundle, "fp32", DEFAULT_RUNTIME, threads),
        tolerance_of(bundle, "fp32"),
        bundle.model("fp32"),
        vehicle=vehicle,
        skipped=skipped,
    )


def _opener(bundle: Bundle, precision: Precision, runtime: str, threads: int) -> Callable[[], OpenedModel]:
    return lambda: OpenedModel(bundle.manifest, open_engine(bundle, precision, runtime, threads=threads))


def tolerance_of(bundle: Bundle, precision: Precision) -> Tolerance:
    """How far a precision may depart.

    Raises:
        BundleError: when the manifest does not say.
    """
    tolerance = bundle.manifest.tolerances.get(precision)
    if tolerance is None:
        raise BundleError(
            f"{bundle.folder}: tolerances", found=f"none for {precision}", wanted="one", remedy="pack it again"
        )
    return tolerance
