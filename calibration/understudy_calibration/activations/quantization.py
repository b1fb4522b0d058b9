"""From an exported student to its INT8 file for TensorRT and its CPU twin, with a record of how."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from pydantic import Field

from understudy.bundle.manifest import Contract, Sha256
from understudy.configuration import Config, file_sha256, read_config, write_yaml
from understudy.datasets.dataset import Dataset
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.errors import InputError
from understudy.pipeline import Feeds
from understudy.progress import Track, silent
from understudy_calibration.activations import checks, graphs
from understudy_calibration.activations.qdq import insert_pairs
from understudy_calibration.activations.ranges import Method, Range, clip_to_percentile, measure_extremes
from understudy_calibration.activations.samples import SampleFeeds, Selection, calibration_fingerprint, select_samples
from understudy_calibration.activations.twin import cpu_twin

SOURCE, INT8, UINT8, RECORD = "model.onnx", "model.int8.onnx", "model.uint8.onnx", "quantization.yaml"


class TensorRecord(Config):
    """One quantized activation: what was seen of it, and the step of its symmetric int8 form."""

    low: float
    high: float
    scale: float


class QuantizationRecord(Config):
    """`quantization.yaml`: enough to repeat the quantization, and to say what it was made from."""

    source_sha256: Sha256
    int8_sha256: Sha256
    uint8_sha256: Sha256
    calibration: Sha256
    """Fingerprint of the data and of the frames taken from it."""
    data: str
    method: Method
    num_frames: int = Field(ge=1)
    frames: tuple[str, ...]
    held_out_frames: tuple[str, ...]
    float_convolutions: tuple[str, ...]
    """Convolutions kept in float on request, by node name."""
    num_quantized_convolutions: int
    activations: dict[str, TensorRecord]
    sqnr_db: dict[str, dict[str, float]]
    """By file, then by head tensor: signal to quantization noise against FP32 on the held-out frames."""
    versions: dict[str, str]


@dataclass(frozen=True)
class QuantizationOptions:
    """How to quantize.

    Attributes:
        num_frames: frames that set the ranges.
        method: `minmax` holds every value seen; `percentile` cuts the rarest off.
        keep_float: patterns (`*`, `?`) of the names of convolutions to leave in float.
        threads: threads of ONNX Runtime while calibrating.
        lidar: which LiDAR of the rigs; may be left out when there is one.
    """

    num_frames: int = 32
    method: Method = "minmax"
    keep_float: tuple[str, ...] = ()
    threads: int = 2
    lidar: str | None = None


def quantize_folder(
    folder: Path, dataset: Dataset, options: QuantizationOptions | None = None, track: Track = silent
) -> QuantizationRecord:
    """Adds `model.int8.onnx`, `model.uint8.onnx` and `quantization.yaml` to an export folder. Same inputs, same bytes.

    Raises:
        InputError: when the folder holds no export, the data has too few frames, or a pattern matches nothing.
        EngineError: when the result is not what TensorRT takes.
    """
    options = options or QuantizationOptions()
    contract = read_config(folder / "contract.yaml", Contract)
    original = graphs.read_model(folder / SOURCE)
    kept_float = _matching(original, options.keep_float)
    selection = select_samples(len(dataset), options.num_frames)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="understudy-quantize-")))
        engine = stack.enter_context(OnnxRuntimeEngine(folder / SOURCE, threads=options.threads))
        feeds = SampleFeeds(contract, engine, dataset, options.lidar)
        run = _Run(options, original, kept_float, selection, feeds, scratch, track)
        ranges = run.ranges()
        models = _quantized(original, ranges, kept_float)
        quality = {name: run.sqnr_db(model, name) for name, model in models.items()}
        for name, model in models.items():
            (folder / name).write_bytes(model.SerializeToString(deterministic=True))
        record = _record(folder, dataset, run, ranges, quality)
    write_yaml(folder / RECORD, record)
    return record


@dataclass(frozen=True, eq=False)
class _Run:
    """What the steps of one quantization share."""

    options: QuantizationOptions
    original: Any
    kept_float: tuple[str, ...]
    selection: Selection
    feeds: SampleFeeds
    scratch: Path
    track: Track

    def ranges(self) -> dict[str, Range]:
        """Ranges of the convolutions' inputs, by the method chosen."""
        tensors = _quantized_inputs(self.original, self.kept_float)
        with self._probe(self.original, tensors, "calibration.onnx") as engine:
            extremes = measure_extremes(engine, tensors, self._frames(self.selection.calibration, "ranges"))
            if self.options.method == "minmax":
                return extremes
            return clip_to_percentile(engine, extremes, self._frames(self.selection.calibration, "percentiles"))

    def sqnr_db(self, model: Any, name: str) -> dict[str, float]:
        """Signal to noise of the heads on the held-out frames."""
        heads = graphs.head_tensors(self.original)
        with (
            self._probe(self.original, heads, "reference.onnx") as reference,
            self._probe(model, heads, name) as candidate,
        ):
            held_out = self._frames(self.selection.held_out, f"checking {name}")
            return checks.sqnr_db(reference, candidate, heads, held_out)

    def _frames(self, numbers: Sequence[int], description: str) -> Iterable[Feeds]:
        return self.track(self.feeds(tuple(numbers)), description, total=len(numbers))

    def _probe(self, model: Any, tensors: tuple[str, ...], name: str) -> OnnxRuntimeEngine:
        path = self.scratch / f"probe-{name}"
        onnx.save(graphs.with_outputs(model, tensors), path)
        return OnnxRuntimeEngine(path, threads=self.options.threads)


def _quantized_inputs(model: Any, kept_float: Sequence[str]) -> tuple[str, ...]:
    nodes = [node for node in graphs.convolutions(model) if node.name not in kept_float]
    return tuple(dict.fromkeys(node.input[0] for node in nodes))


def _matching(model: Any, patterns: Sequence[str]) -> tuple[str, ...]:
    names = [node.name for node in graphs.convolutions(model)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError("--keep-float", found=pattern, wanted=f"the name of a convolution: {', '.join(names)}")
    kept = tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))
    if len(kept) == len(names):
        raise InputError(f"{SOURCE}", found="no convolution to quantize", wanted="at least one")
    return kept


def _quantized(original: Any, ranges: dict[str, Range], kept_float: Sequence[str]) -> dict[str, Any]:
    int8 = insert_pairs(original, ranges, kept_float)
    checks.refuse_uint8(int8, INT8)
    checks.refuse_asymmetric(int8, INT8)
    checks.refuse_other_versions(int8, original, INT8)
    return {INT8: int8, UINT8: cpu_twin(int8, {name for name, limits in ranges.items() if limits.low >= 0.0})}


def _record(
    folder: Path, dataset: Dataset, run: _Run, ranges: dict[str, Range], quality: dict[str, dict[str, float]]
) -> QuantizationRecord:
    keys = run.feeds.keys(run.selection.calibration)
    return QuantizationRecord(
        source_sha256=file_sha256(folder / SOURCE),
        int8_sha256=file_sha256(folder / INT8),
        uint8_sha256=file_sha256(folder / UINT8),
        calibration=calibration_fingerprint(dataset.fingerprint, keys),
        data=dataset.fingerprint,
        method=run.options.method,
        num_frames=run.options.num_frames,
        frames=keys,
        held_out_frames=run.feeds.keys(run.selection.held_out),
        float_convolutions=run.kept_float,
        num_quantized_convolutions=len(graphs.convolutions(run.original)) - len(run.kept_float),
        activations={name: _tensor_record(limits) for name, limits in sorted(ranges.items())},
        sqnr_db={
            name: {tensor: round(value, 2) for tensor, value in values.items()} for name, values in quality.items()
        },
        versions={name: version(name) for name in ("onnx", "onnxruntime", "numpy", "understudy")},
    )


def _tensor_record(limits: Range) -> TensorRecord:
    return TensorRecord(low=limits.low, high=limits.high, scale=float(np.float32(limits.magnitude) / np.float32(127.0)))
