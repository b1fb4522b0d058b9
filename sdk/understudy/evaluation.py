"""How well a detector does on a labeled data set: the one path over every frame, then average precision."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.bundle.manifest import Contract, Grid, Pictures
from understudy.configuration import Config, check_config, write_json
from understudy.datasets.dataset import Dataset, PartlyLabeled, Sample, Thinned
from understudy.datasets.files import read_json
from understudy.datasets.selection import spread_evenly
from understudy.datasets.sweeps import original_of, with_sweeps
from understudy.engines.opening import OpenedModel
from understudy.errors import InputError
from understudy.frame import Frame
from understudy.metrics.average_precision import ClassPrecision, MetricSettings, Range, average_precision
from understudy.metrics.matching import Overlap, ScoredFrame
from understudy.network_pictures import chosen_cameras, shown_in_pictures
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent
from understudy.rig import Rig

Detector = Callable[[Frame], Boxes]
ContractT = TypeVar("ContractT", bound=Contract)

EVALUATED_SCORE = 0.05
"""Score from which detections enter an evaluation: far below what a vehicle acts on, so that recall is not cut."""

_PLOTTED_POINTS = 64


class EvaluationSettings(Config):
    """What is evaluated, and how."""

    metric: MetricSettings = MetricSettings()
    num_frames: int | None = None
    """Frames to take, evenly spread over the data set; None takes all."""
    grid: Grid | None = None
    """Where the detector looks: labels whose center lies outside are ignored. None counts every label."""
    pictures: Pictures | None = None
    """Which cameras it looks through, when it has nothing else: labels that no picture shows are ignored."""


class EvaluatedClass(Config):
    """One class, overlap and range; the curve thinned for plots."""

    class_name: str
    overlap: Overlap
    range_m: Range
    iou_threshold: float
    num_truths: int
    num_detections: int
    num_correct: int
    ap_percent: float | None = None
    scores: tuple[float, ...]
    precisions: tuple[float, ...]
    recalls: tuple[float, ...]


class Evaluation(Config):
    """What came out, with what it came from; equal inputs give equal records."""

    schema_version: Literal[1] = 1
    subject: str
    """What was evaluated."""
    engine: str = ""
    """Runtime, model file and threads it ran in."""
    data: str
    """Fingerprint of the data set."""
    num_frames: int
    class_names: tuple[str, ...]
    """Classes that both the data set and the detector know."""
    settings: EvaluationSettings
    entries: tuple[EvaluatedClass, ...]

    def entry(self, class_name: str, overlap: Overlap = "3d", range_m: Range | None = None) -> EvaluatedClass:
        """One entry; `range_m` None is the whole range.

        Raises:
            InputError: when nothing of that class, overlap and range was evaluated.
        """
        wanted = (class_name, overlap, range_m or self.settings.metric.ranges_m[0])
        for entry in self.entries:
            if (entry.class_name, entry.overlap, entry.range_m) == wanted:
                return entry
        raise InputError("evaluation entry", found=wanted, wanted=f"one of {', '.join(self.class_names)}")

    def mean_ap_percent(self, overlap: Overlap = "3d", range_m: Range | None = None) -> float | None:
        """Mean over the classes that have labels in the range; None where none has."""
        values = [self.entry(name, overlap, range_m).ap_percent for name in self.class_names]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    def write(self, path: Path) -> None:
        """Writes the record as JSON.

        Raises:
            InputError: when the file cannot be written.
        """
        write_json(path, self)


def read_evaluation(path: Path) -> Evaluation:
    """Reads what `Evaluation.write` wrote.

    Raises:
        InputError: when the file is missing or is no such record.
    """
    return check_config(read_json(path), Evaluation, f"{path}")


def evaluate(
    pipeline_for: Callable[[Rig], Detector],
    dataset: Dataset,
    settings: EvaluationSettings | None = None,
    *,
    subject: str = "detector",
    track: Track = silent,
) -> Evaluation:
    """Runs the detector over the labeled frames and scores what it says.

    Args:
        pipeline_for: gives the detector for a rig, such as `Pipeline.with_rig`; called anew only when the rig changes.
            Its score thresholds should be as low as `at_score_threshold` makes them.
        dataset: frames with labels; frames without are passed over.
        settings: metric, number of frames, region.
        subject: name of the detector in the record.
        track: progress.

    Raises:
        InputError: when no frame has labels, or the detector shares no class with the data set.
        UnderstudyError: when a frame cannot be read or used: an evaluation leaves out nothing silently.
    """
    settings = settings or EvaluationSettings()
    _refuse_lost_regions(original_of(dataset))
    indices = _spread(len(dataset), settings.num_frames)
    frames, detect, rig = [], None, None
    for index in track(indices, f"evaluating {subject}", total=len(indices)):
        sample = dataset[index]
        if detect is None or sample.rig != rig:
            detect, rig = pipeline_for(sample.rig), sample.rig
        if sample.boxes is not None:
            frames.append(_scored(detect(sample.frame), sample, sample.boxes, dataset, settings))
    if not frames:
        raise InputError("evaluation", found=f"no labels in {len(indices)} frames", wanted="a data set with labels")
    return Evaluation(
        subject=subject,
        data=dataset.fingerprint,
        num_frames=len(frames),
        class_names=frames[0].truths.class_names,
        settings=settings,
        entries=tuple(_record(entry) for entry in average_precision(frames, settings.metric)),
    )


def evaluate_model(
    model: OpenedModel,
    dataset: Dataset,
    settings: EvaluationSettings | None = None,
    *,
    subject: str = "",
    lidar: str | None = None,
    without: Collection[str] = (),
    track: Track = silent,
) -> Evaluation:
    """Evaluates a network on the region of its own grid, at the low threshold; arguments and errors as `evaluate`.

    `without` names cameras that deliver nothing, as if they had failed; they must be cameras that the network looks at.
    """
    contract = at_score_threshold(model.contract)
    dataset = with_sweeps(dataset, contract.sweeps, lidar)
    seen = {"grid": contract.grid, "pictures": None if contract.sees_points else contract.pictures}
    settings = (settings or EvaluationSettings()).model_copy(update=seen)

    def pipeline_for(rig: Rig) -> Detector:
        pipeline = Pipeline(contract, model.engine, rig, lidar=lidar, sweeps=contract.sweeps)
        return _with_failed_cameras(pipeline, without) if without else pipeline

    evaluation = evaluate(pipeline_for, dataset, settings, subject=subject or contract.name, track=track)
    engine = f"{model.engine.description}, without {', '.join(without)}" if without else model.engine.description
    return evaluation.model_copy(update={"engine": engine})


def _with_failed_cameras(pipeline: Pipeline, without: Collection[str]) -> Detector:
    strangers = sorted(set(without) - set(pipeline.cameras))
    if strangers:
        wanted = ", ".join(pipeline.cameras) or "none: the network looks at no pictures"
        raise InputError("cameras to do without", found=", ".join(strangers), wanted=f"among {wanted}")

    def detect(frame: Frame) -> Boxes:
        left = {name: frame.images[name] for name in frame.images if name not in without}
        return pipeline(replace(frame, images=left))

    return detect


def at_score_threshold(contract: ContractT, score: float = EVALUATED_SCORE) -> ContractT:
    """The same contract (or manifest) with every class's threshold at `score`."""
    classes = tuple(entry.model_copy(update={"score_threshold": score}) for entry in contract.classes)
    return contract.model_copy(update={"classes": classes})


def renamed(boxes: Boxes, class_names: Sequence[str]) -> Boxes:
    """The boxes of these classes, labeled by this order of names; boxes of other classes are dropped."""
    index = {name: label for label, name in enumerate(class_names)}
    table = np.array([index.get(name, -1) for name in boxes.class_names], np.int32)
    labels = table[boxes.labels]
    kept = boxes[labels >= 0]
    return replace(kept, labels=labels[labels >= 0], class_names=tuple(class_names))


def _refuse_lost_regions(dataset: Dataset) -> None:
    """A right box where nothing was labeled would count as a false alarm."""
    if isinstance(dataset, Thinned) and dataset.left_out_regions:
        raise InputError(
            "evaluation",
            found="a copy that does not know which part of each frame was labeled",
            wanted="the original data set",
            remedy="train on shards, evaluate on what they were made of",
        )


def _spread(length: int, num_frames: int | None) -> list[int]:
    if num_frames is not None and num_frames < 1:
        raise InputError("frames to evaluate", found=num_frames, wanted="at least 1")
    return spread_evenly(length, length if num_frames is None else num_frames)


def _scored(
    detections: Boxes, sample: Sample, truths: Boxes, dataset: Dataset, settings: EvaluationSettings
) -> ScoredFrame:
    """Both sides over the classes they share, with what does not count marked."""
    shared = [name for name in dataset.class_names if name in detections.class_names]
    if not shared:
        found, wanted = ", ".join(detections.class_names), ", ".join(dataset.class_names)
        raise InputError("classes of the detector", found=found, wanted=f"at least one of the data set's: {wanted}")
    detections, truths = renamed(detections, shared), renamed(truths, shared)
    excused = ~dataset.labeled(sample, detections) if isinstance(dataset, PartlyLabeled) else None
    return ScoredFrame(detections, truths, _out_of_sight(truths, sample.rig, settings), excused)


def _out_of_sight(truths: Boxes, rig: Rig, settings: EvaluationSettings) -> NDArray[np.bool_] | None:
    """`(N,)`: whether the detector cannot see a label; None when it sees everything."""
    if settings.grid is None:
        return None
    unseen = ~_inside(settings.grid, truths)
    if settings.pictures is not None:
        cameras = [rig.cameras[name] for name in chosen_cameras(rig, settings.pictures)]
        unseen |= ~shown_in_pictures(truths, cameras)
    return unseen


def _inside(grid: Grid, boxes: Boxes) -> NDArray[np.bool_]:
    """`(N,)`: whether the center lies over the grid."""
    x, y = boxes.geometry[:, 0], boxes.geometry[:, 1]
    along = (x >= grid.x_range_m[0]) & (x < grid.x_range_m[1])
    across = (y >= grid.y_range_m[0]) & (y < grid.y_range_m[1])
    inside: NDArray[np.bool_] = along & across
    return inside


def _record(entry: ClassPrecision) -> EvaluatedClass:
    curve = entry.curve
    chosen = np.unique(np.linspace(0, len(curve.scores) - 1, min(_PLOTTED_POINTS, len(curve.scores))).round())
    rows = chosen.astype(np.int64)
    return EvaluatedClass(
        class_name=entry.class_name,
        overlap=entry.overlap,
        range_m=entry.range_m,
        iou_threshold=entry.iou_threshold,
        num_truths=entry.num_truths,
        num_detections=entry.num_detections,
        num_correct=entry.num_correct,
        ap_percent=entry.ap_percent,
        scores=_rounded(curve.scores[rows]),
        precisions=_rounded(curve.precisions[rows]),
        recalls=_rounded(curve.recalls[rows]),
    )


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)
