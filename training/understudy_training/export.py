"""From a training run to one ONNX file that says the same as PyTorch, checked before anyone may use it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from pydantic import Field

from understudy.bundle.manifest import Contract, Fingerprints, Sha256, Tensor
from understudy.bundle.names import MANIFEST
from understudy.bundle.onnx_facts import read_onnx_facts
from understudy.configuration import Config, file_sha256, write_yaml
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.errors import EngineError, InputError
from understudy.onnx_rules import check_graph
from understudy_training.checkpoint import WEIGHTS, load_detector, read_record
from understudy_training.made_up_feeds import made_up_feeds
from understudy_training.models.counting import detector_cost
from understudy_training.models.detector import BevDetector
from understudy_training.models.graph import ExportSpec
from understudy_training.torch_engine import TorchEngine

OPSET = 18
MODEL, HALF_MODEL, CONTRACT, RECORD = "model.onnx", "model.fp16.onnx", "contract.yaml", "export.yaml"

_LARGEST_DEPARTURE, _SMALLEST_SHARE = 5e-3, 0.98
_LARGEST_HALF_DEPARTURE, _SMALLEST_HALF_SHARE = 0.25, 0.9
"""Of float16: a sieve for broken exports; `understudy compare` judges on real frames.

Measured: a trained student's 289 boxes within 0.012, the median at 0.0007. Random weights with heads turned up
twentyfold keep 95 % of the boxes within 0.2.
"""
_SCORE_MARGIN = 1e-4
"""Rows within this of the weakest are not compared: which of equal scores TopK takes is rounding."""
_CHECK_CLOUD_SIZES = (2_000, 20_000)


class Parity(Config):
    """How far ONNX Runtime departs from PyTorch on made-up clouds, over rows that rounding cannot rank otherwise."""

    clouds: int
    rows: int
    """Rows of PyTorch compared, over all clouds; none for a network that is not trained."""
    matched_share: float = Field(ge=0, le=1)
    """Rows that ONNX Runtime has too: same class, every number within the largest departure."""
    largest_departure: float = Field(ge=0)
    """Over matched rows: meters, radians or score."""


class ExportRecord(Config):
    """`export.yaml`: what was exported, from what, and the proof that it says the same."""

    schema_version: int = 1
    onnx_sha256: Sha256
    opset: int
    ir_version: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    fingerprints: Fingerprints
    """Recipe hash, data fingerprint and SHA-256 of the weights."""
    gmacs: float
    parameters: int
    torch: str
    parity: Parity
    fp16_sha256: Sha256 | None = None
    fp16_parity: Parity | None = None
    """Of the float16 model, when one was asked for, against PyTorch in float32."""


def export_run(run: Path, out: Path, *, half: bool = False) -> ExportRecord:
    """Writes `model.onnx`, `contract.yaml` and `export.yaml` of a finished run.

    Args:
        run: the run's folder.
        out: where to write.
        half: write `model.fp16.onnx`, too: the dense part in float16.

    Raises:
        InputError: when the folder is no finished run, or `out` is a run or a bundle, whose files would be lost.
        EngineError: when the graph breaks a rule of some runtime or departs from PyTorch.
    """
    _refuse_foreign(out)
    detector, contract = load_detector(run)
    made = read_record(run)
    fingerprints = Fingerprints(recipe=made.recipe, data=made.data, weights=file_sha256(run / WEIGHTS))
    return export_detector(detector, contract, out, fingerprints, half=half)


def _refuse_foreign(out: Path) -> None:
    if (out / MANIFEST).is_file():
        remedy = "choose another --out, then pack it; the bundle's models would be replaced"
        raise InputError(f"{out}", found="a bundle", wanted="a folder for the export", remedy=remedy)
    if (out / CONTRACT).is_file() and (out / WEIGHTS).is_file():
        remedy = "choose another --out; its contract.yaml would be replaced"
        raise InputError(f"{out}", found="a training run", wanted="a folder for the export", remedy=remedy)


def export_detector(
    detector: BevDetector,
    contract: Contract,
    out: Path,
    fingerprints: Fingerprints | None = None,
    *,
    half: bool = False,
) -> ExportRecord:
    """The same for a detector in memory.

    Raises:
        EngineError: when the graph breaks a rule of some runtime or departs from PyTorch.
    """
    spec = detector.export_spec()
    out.mkdir(parents=True, exist_ok=True)
    path = out / MODEL
    path.write_bytes(onnx_bytes(spec))
    versions, facts = check_graph(path), read_onnx_facts(path)
    parity = _proven_parity(detector, contract, path, _LARGEST_DEPARTURE, _SMALLEST_SHARE)
    half_path = out / HALF_MODEL
    half_path.unlink(missing_ok=True)  # of an earlier export: no longer the same student
    if half:
        half_path.write_bytes(onnx_bytes(detector.export_spec(half=True)))
        check_graph(half_path)
    cost = detector_cost(detector)
    record = ExportRecord(
        onnx_sha256=file_sha256(path),
        opset=versions.opset,
        ir_version=versions.ir_version,
        inputs=facts.inputs,
        outputs=facts.outputs,
        fingerprints=fingerprints or Fingerprints(),
        gmacs=round(cost.gmacs, 4),
        parameters=cost.parameters,
        torch=torch.__version__,
        parity=parity,
        fp16_sha256=file_sha256(half_path) if half else None,
        fp16_parity=_proven_half_parity(detector, contract, half_path) if half else None,
    )
    write_yaml(out / CONTRACT, contract)
    write_yaml(out / RECORD, record)
    return record


def onnx_bytes(spec: ExportSpec) -> bytes:
    """The model as one ONNX file; the same weights give the same bytes, and no path of this machine is in it."""
    axes = {
        name: {axis: torch.export.Dim(label) for axis, label in dynamic.items()}
        for name, dynamic in spec.dynamic.items()
    }
    with _quiet():
        program = torch.onnx.export(
            spec.module,
            spec.example,
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=list(spec.input_names),
            output_names=list(spec.output_names),
            dynamic_shapes=tuple(axes.get(name) for name in spec.input_names),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_the_maker(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _forget_the_maker(model: onnx.ModelProto) -> None:
    """Drops stack traces and other notes of the exporter, which hold paths and change from run to run."""
    graph = model.graph
    for entry in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's notes about packages that it does not need here."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _proven_half_parity(detector: BevDetector, contract: Contract, path: Path) -> Parity:
    return _proven_parity(detector, contract, path, _LARGEST_HALF_DEPARTURE, _SMALLEST_HALF_SHARE)


def _proven_parity(
    detector: BevDetector, contract: Contract, path: Path, largest_departure: float, smallest_share: float
) -> Parity:
    with TorchEngine(detector, contract) as reference, OnnxRuntimeEngine(path) as candidate:
        pairs = [
            (reference(feeds), candidate(feeds))
            for feeds in (made_up_feeds(contract, size) for size in _CHECK_CLOUD_SIZES)
        ]
    parity = parity_of(pairs, largest_departure)
    if parity.matched_share < smallest_share:
        raise EngineError(
            f"{path}: boxes of ONNX Runtime",
            found=f"{parity.matched_share:.1%} of PyTorch's {parity.rows}",
            wanted=f"{smallest_share:.0%} within {largest_departure}",
            remedy="the exporter changed the network; report it with the recipe",
        )
    return parity


def parity_of(
    pairs: Sequence[tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]],
    largest_departure: float = _LARGEST_DEPARTURE,
) -> Parity:
    """Compares outputs cloud by cloud; rows may be swapped, because equal scores have no order."""
    departures = np.concatenate([np.zeros(0), *(_departures(wanted, found) for wanted, found in pairs)])
    matched = departures[departures <= largest_departure]
    return Parity(
        clouds=len(pairs),
        rows=len(departures),
        matched_share=len(matched) / len(departures) if len(departures) else 1.0,
        largest_departure=float(matched.max(initial=0.0)),
    )


def _departures(wanted: dict[str, NDArray[Any]], found: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """`(R,)` for each row compared: the largest difference to the row of its class that is nearest in all."""
    weakest = float(wanted["scores"][wanted["scores"] > 0].min(initial=1.0))
    chosen, present = wanted["scores"] > weakest + _SCORE_MARGIN, found["scores"] > 0
    wanted_rows = np.column_stack([wanted["boxes"], wanted["scores"]])[chosen].astype(np.float64)
    found_rows = np.column_stack([found["boxes"], found["scores"]])[present]
    difference = np.abs(wanted_rows[:, None] - found_rows[None])
    difference[..., 6] = np.minimum(difference[..., 6], 2 * np.pi - difference[..., 6])
    largest = difference.max(2)
    largest[wanted["labels"][chosen][:, None] != found["labels"][present][None]] = np.inf
    nearest: NDArray[np.float64] = largest.min(1, initial=np.inf)
    return nearest
