"""Climbing the ladder: torch, ONNX at each precision and runtime, and messages of a bag, through the one pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from understudy.boxes import Boxes
from understudy.bundle.manifest import Contract
from understudy.configuration import Config
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.selection import spread_evenly
from understudy.datasets.sweeps import with_sweeps
from understudy.engines.opening import OpenedModel
from understudy.errors import InputError, UnderstudyError
from understudy.parity.agreement import compare_boxes
from understudy.parity.replayed import replay_samples
from understudy.parity.rungs import Rung
from understudy.parity.verdict import FrameAgreement, RungReport, judge, refusal
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent


class SkippedRung(Config):
    """A rung that this machine cannot climb."""

    name: str
    reason: str


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
    skipped: tuple[SkippedRung, ...] = ()

    @property
    def least_agreeing(self) -> RungReport | None:
        """The first departing rung, else the one that agrees least; None where all agree in every box."""
        differing = [rung for rung in self.rungs if rung.total.matched < 1.0]
        return self.first_departing or min(differing, key=lambda rung: rung.total.matched, default=None)

    @property
    def first_departing(self) -> RungReport | None:
        """The lowest rung that does not pass."""
        return next((rung for rung in self.rungs if not rung.passes), None)


@dataclass(frozen=True, eq=False)
class Frames:
    """Which samples of a data set are shown to each rung.

    Attributes:
        dataset: where they are from.
        numbers: of the samples.
        lidar: the LiDAR of the rig that is the student's; None where there is one.
        track: shows progress.
    """

    dataset: Dataset
    numbers: tuple[int, ...]
    lidar: str | None = None
    track: Track = silent

    def samples(self, contract: Contract, label: str) -> list[Sample]:
        """With as many sweeps in their clouds as the contract asks for."""
        seen = with_sweeps(self.dataset, contract.sweeps, self.lidar)
        return [seen[number] for number in self.track(self.numbers, label, total=len(self.numbers))]


@dataclass(frozen=True, eq=False)
class Climbed:
    """A rung's detections over the frames."""

    engine: str
    contract: Contract
    keys: tuple[str, ...]
    boxes: tuple[Boxes, ...]


def choose_frames(dataset: Dataset, num_frames: int, lidar: str | None = None, track: Track = silent) -> Frames:
    """Frames spread evenly over a data set.

    Raises:
        InputError: when there is none.
    """
    numbers = spread_evenly(len(dataset), num_frames)
    if not numbers:
        raise InputError("frames to compare", found=f"{num_frames} of {len(dataset)}", wanted="at least 1 of 1")
    return Frames(dataset, tuple(numbers), lidar, track)


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

    A rung that refuses its model, rig or frames does not pass; what the first one refuses is raised.

    Raises:
        InputError: when there is no frame.
        EngineError: when two rungs have different classes.
    """
    frames = choose_frames(dataset, num_frames, lidar, track)
    climbed = [rung for rung in rungs if not rung.skipped]
    reference = run_rung(climbed[0], frames)
    reports = [compare_rung(reference, rung, frames) for rung in climbed[1:]]
    return ladder_report(reference, climbed[0], reports, frames, bundle, rungs)


def ladder_report(
    reference: Climbed,
    first: Rung,
    reports: Sequence[RungReport],
    frames: Frames,
    bundle: str = "",
    asked: Sequence[Rung] = (),
) -> LadderReport:
    """What the rungs were found to be, with those that were asked for and skipped."""
    return LadderReport(
        student=reference.contract.name,
        bundle=bundle,
        data=frames.dataset.fingerprint,
        frames=reference.keys,
        reference=first.name,
        num_reference_boxes=sum(len(boxes) for boxes in reference.boxes),
        rungs=tuple(reports),
        skipped=tuple(SkippedRung(name=rung.name, reason=rung.skipped) for rung in asked if rung.skipped),
    )


def run_rung(rung: Rung, frames: Frames) -> Climbed:
    """A rung's detections.

    Raises:
        UnderstudyError: when it refuses its model, the rig or a frame.
    """
    opened = rung.open()
    with opened.engine as engine:
        samples = frames.samples(opened.contract, rung.name)
        if rung.vehicle is not None:
            boxes = replay_samples(opened, samples, frames.lidar, rung.vehicle).boxes
        else:
            boxes = tuple(pipeline_of(opened, sample, frames.lidar)(sample.frame) for sample in samples)
        keys = tuple(sample.key for sample in samples)
        return Climbed(engine.description, opened.contract, keys, boxes)


def pipeline_of(opened: OpenedModel, sample: Sample, lidar: str | None) -> Pipeline:
    """The pipeline around an engine for the rig that a sample was seen with."""
    return Pipeline(opened.contract, opened.engine, sample.rig, lidar=lidar, sweeps=opened.contract.sweeps)


def compare_rung(reference: Climbed, rung: Rung, frames: Frames) -> RungReport:
    """One rung against what the first said; a rung that refuses to run does not pass.

    Raises:
        EngineError: when its classes are others.
    """
    try:
        candidate = run_rung(rung, frames)
    except UnderstudyError as error:
        return refusal(rung.name, str(error), rung.tolerance)
    thresholds = np.array([entry.score_threshold for entry in reference.contract.classes], np.float32)
    agreements = [
        FrameAgreement(key, compare_boxes(wanted, found, thresholds, rung.tolerance))
        for key, wanted, found in zip(reference.keys, reference.boxes, candidate.boxes, strict=True)
    ]
    return judge(rung.name, candidate.engine, reference.contract.class_names, agreements, rung.tolerance)
