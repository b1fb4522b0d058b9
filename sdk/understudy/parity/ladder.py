"""Climbing the ladder: torch, ONNX in FP32, INT8 and its CPU twin, each through the one pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from understudy.boxes import Boxes
from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Precision, Tolerance
from understudy.configuration import Config
from understudy.datasets.dataset import Dataset
from understudy.datasets.selection import spread_evenly
from understudy.datasets.sweeps import with_sweeps
from understudy.engines.opening import OpenedModel, open_engine, open_reference
from understudy.errors import BundleError, InputError
from understudy.parity.agreement import compare_boxes
from understudy.parity.verdict import FrameAgreement, RungReport, judge
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent

ORDER: tuple[Precision, ...] = ("fp32", "fp16", "int8", "uint8")
TORCH = "torch"


@dataclass(frozen=True)
class Rung:
    """One form of the student.

    Attributes:
        name: as printed: `torch`, `onnx-fp32`, ...
        open: opens it; whoever calls it closes the engine.
        tolerance: how far it may depart from the first rung.
    """

    name: str
    open: Callable[[], OpenedModel]
    tolerance: Tolerance


class LadderReport(Config):
    """Every rung against the first."""

    student: str
    bundle: str
    """Fingerprint of the bundle; empty when there was none."""
    data: str
    frames: tuple[str, ...]
    reference: str
    num_reference_boxes: int
    rungs: tuple[RungReport, ...]

    @property
    def first_departing(self) -> RungReport | None:
        """The lowest rung that does not pass."""
        return next((rung for rung in self.rungs if not rung.passes), None)


@dataclass(frozen=True, eq=False)
class _Climb:
    """A rung's detections over the frames."""

    engine: str
    contract_name: str
    thresholds: tuple[float, ...]
    keys: tuple[str, ...]
    boxes: tuple[Boxes, ...]


def rungs_of(bundle: Bundle, reference: Path | None, *, threads: int = 1) -> tuple[Rung, ...]:
    """The rungs that can be climbed, in order; the first is what the others are compared with.

    Raises:
        BundleError: when there is only one.
    """
    manifest = bundle.manifest
    present = [precision for precision in ORDER if precision in manifest.models]
    rungs = [
        Rung(f"onnx-{precision}", _opener(bundle, precision, threads), _tolerance(bundle, precision))
        for precision in present
    ]
    if reference is not None:
        run = reference
        rungs.insert(0, Rung(TORCH, lambda: open_reference(run, threads=threads), rungs[0].tolerance))
    if len(rungs) < 2:
        raise BundleError(
            f"{bundle.folder}: parity ladder",
            found=f"one rung, {rungs[0].name}",
            wanted="two or more",
            remedy="give --reference RUN, or quantize the export and pack it again",
        )
    return tuple(rungs)


def climb(
    rungs: Sequence[Rung],
    dataset: Dataset,
    *,
    num_frames: int = 8,
    lidar: str | None = None,
    bundle: str = "",
    track: Track = silent,
) -> LadderReport:
    """Runs every rung on the same frames, spread evenly over the data set, and compares it with the first.

    Raises:
        InputError: when there is no frame.
        EngineError: when two rungs have different classes.
    """
    numbers = spread_evenly(len(dataset), num_frames)
    if not numbers:
        raise InputError("frames to compare", found=f"{num_frames} of {len(dataset)}", wanted="at least 1 of 1")
    reference = _run(rungs[0], dataset, numbers, lidar, track)
    reports = [_compare(reference, rung, dataset, numbers, lidar, track) for rung in rungs[1:]]
    return LadderReport(
        student=reference.contract_name,
        bundle=bundle,
        data=dataset.fingerprint,
        frames=reference.keys,
        reference=rungs[0].name,
        num_reference_boxes=sum(len(boxes) for boxes in reference.boxes),
        rungs=tuple(reports),
    )


def _compare(
    reference: _Climb, rung: Rung, dataset: Dataset, numbers: Sequence[int], lidar: str | None, track: Track
) -> RungReport:
    candidate = _run(rung, dataset, numbers, lidar, track)
    thresholds = np.array(reference.thresholds, np.float32)
    frames = [
        FrameAgreement(key, compare_boxes(wanted, found, thresholds, rung.tolerance))
        for key, wanted, found in zip(reference.keys, reference.boxes, candidate.boxes, strict=True)
    ]
    return judge(rung.name, candidate.engine, reference.boxes[0].class_names, frames, rung.tolerance)


def _run(rung: Rung, dataset: Dataset, numbers: Sequence[int], lidar: str | None, track: Track) -> _Climb:
    opened = rung.open()
    seen = with_sweeps(dataset, opened.contract.sweeps, lidar)
    keys: list[str] = []
    boxes: list[Boxes] = []
    with opened.engine as engine:
        for number in track(numbers, rung.name, total=len(numbers)):
            sample = seen[number]
            pipeline = Pipeline(opened.contract, engine, sample.rig, lidar=lidar, sweeps=opened.contract.sweeps)
            keys.append(sample.key)
            boxes.append(pipeline(sample.frame))
        thresholds = tuple(entry.score_threshold for entry in opened.contract.classes)
        return _Climb(engine.description, opened.contract.name, thresholds, tuple(keys), tuple(boxes))


def _opener(bundle: Bundle, precision: Precision, threads: int) -> Callable[[], OpenedModel]:
    return lambda: OpenedModel(bundle.manifest, open_engine(bundle, precision, threads=threads))


def _tolerance(bundle: Bundle, precision: Precision) -> Tolerance:
    tolerance = bundle.manifest.tolerances.get(precision)
    if tolerance is None:
        raise BundleError(
            f"{bundle.folder}: tolerances", found=f"none for {precision}", wanted="one", remedy="pack it again"
        )
    return tolerance
