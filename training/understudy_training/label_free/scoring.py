"""How far a student came without labels, against the same student with labels: average precision and its share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.boxes import Boxes
from understudy.bundle.manifest import Grid
from understudy.configuration import Config
from understudy.datasets.dataset import Dataset, PartlyLabeled, Place, Sample, Sequential
from understudy.errors import InputError
from understudy.evaluation import Evaluation, EvaluationSettings, at_score_threshold, evaluate
from understudy.frame import Frame
from understudy.metrics.average_precision import MetricSettings
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent
from understudy.rig import Rig
from understudy_training.checkpoint import read_record
from understudy_training.label_free.classes import OBJECT
from understudy_training.torch_engine import open_torch_engine

IOUS = (0.25, 0.5)
"""The paper's overlap, and a stricter one."""
OVERLAP = "bev"


class ScoreSettings(Config):
    """What is counted."""

    ious: tuple[float, ...] = IOUS
    max_range_m: float = Field(50.0, gt=0)
    min_points: int = Field(5, ge=0)
    num_frames: int | None = Field(None, gt=0)


class ScoreRow(Config):
    """One class (or all objects), overlap and range."""

    class_name: str
    iou: float
    range_m: tuple[float, float]
    num_truths: int
    ap_percent: float | None = Field(ge=0, le=100)
    supervised_ap_percent: float | None = Field(None, ge=0, le=100)

    @property
    def share(self) -> float | None:
        """Label-free over supervised; None where there is no supervised score above 0."""
        if self.ap_percent is None or not self.supervised_ap_percent:
            return None
        return self.ap_percent / self.supervised_ap_percent


class ScoredRun(Config):
    """Which network was scored."""

    seed: int
    recipe: str
    """Content hash of its resolved recipe."""
    weights: str
    """SHA-256 of its weights."""
    frames: int
    steps: int

    @classmethod
    def of(cls, run: Path) -> ScoredRun:
        """That of a run's folder."""
        record = read_record(run)
        return cls(
            seed=record.seed, recipe=record.recipe, weights=record.weights, frames=record.frames, steps=record.steps
        )


class LabelFreeScore(Config):
    """What came out."""

    schema_version: Literal[1] = 1
    run: ScoredRun | None = None
    """Trained without labels; None in records of before it was written down."""
    supervised: ScoredRun | None = None
    """Trained with them."""
    data: str
    """Fingerprint of the data set."""
    num_frames: int
    overlap: str = OVERLAP
    settings: ScoreSettings
    rows: tuple[ScoreRow, ...]

    def row(self, class_name: str, iou: float) -> ScoreRow:
        """That of a class over the whole range.

        Raises:
            InputError: when there is none.
        """
        for row in self.rows:
            if (row.class_name, row.iou, row.range_m[0]) == (class_name, iou, 0.0):
                return row
        raise InputError("score", found=f"{class_name} at {iou}", wanted="a class and overlap that were counted")


class AsObjects:
    """A data set whose boxes are all of one class.

    Args:
        dataset: any.
    """

    class_names: tuple[str, ...] = (OBJECT,)

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @property
    def fingerprint(self) -> str:
        """That of the data set within: its files are the same."""
        return self._dataset.fingerprint

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """The sample with its boxes as objects."""
        sample = self._dataset[index]
        return sample if sample.boxes is None else replace(sample, boxes=as_objects(sample.boxes))

    def place(self, index: int) -> Place:
        """That of the data set within."""
        assert isinstance(self._dataset, Sequential)
        return self._dataset.place(index)

    def labeled(self, sample: Sample, boxes: Boxes) -> NDArray[np.bool_]:
        """As the data set within says; everything where that is labeled all around."""
        if isinstance(self._dataset, PartlyLabeled):
            return self._dataset.labeled(sample, boxes)
        return np.ones(len(boxes), bool)


def as_objects(boxes: Boxes) -> Boxes:
    """The boxes, whatever they are, as objects."""
    return replace(boxes, labels=np.zeros(len(boxes), np.int32), class_names=(OBJECT,))


def score_runs(
    run: Path,
    supervised: Path | None,
    dataset: Dataset,
    settings: ScoreSettings | None = None,
    *,
    threads: int = 1,
    lidar: str | None = None,
    track: Track = silent,
) -> LabelFreeScore:
    """Average precision from above of a label-free run, and of a supervised one beside it.

    Args:
        run: run folder of the label-free student.
        supervised: run folder of the same student trained with labels, or None.
        dataset: labeled frames that neither was trained on.
        settings: overlaps, range.
        threads: of the students.
        lidar: LiDAR of the rig; needed only where there are several.
        track: progress.

    Raises:
        InputError: when a folder is no run, or a student's classes are not the data set's.
    """
    settings = settings or ScoreSettings()
    rows: list[ScoreRow] = []
    found = _evaluations(run, dataset, settings, threads, lidar, track)
    compared = None if supervised is None else _evaluations(supervised, dataset, settings, threads, lidar, track)
    for key, evaluation in found.items():
        other = None if compared is None else compared.get(key)
        rows += _rows(evaluation, key[1], other)
    some = next(iter(found.values()))
    return LabelFreeScore(
        run=ScoredRun.of(run),
        supervised=None if supervised is None else ScoredRun.of(supervised),
        data=dataset.fingerprint,
        num_frames=some.num_frames,
        settings=settings,
        rows=tuple(rows),
    )


def describe_score(score: LabelFreeScore) -> list[str]:
    """The table for a terminal."""
    title = f"{'class':<12} {'IoU':>5} {'range':>9} {'truths':>7} {'label-free':>11} {'supervised':>11} {'share':>6}"
    lines = [f"average precision from above, {score.num_frames} frames", title]
    for row in score.rows:
        low, high = row.range_m
        share = "-" if row.share is None else f"{row.share:.0%}"
        own, other = _told(row.ap_percent), _told(row.supervised_ap_percent)
        place = f"{low:.0f}-{high:.0f} m"
        name = f"{row.class_name:<12} {row.iou:>5.2f} {place:>9} {row.num_truths:>7}"
        lines.append(f"{name} {own:>11} {other:>11} {share:>6}")
    return lines


def _told(ap_percent: float | None) -> str:
    return "-" if ap_percent is None else f"{ap_percent:.1f}"


def _evaluations(
    run: Path, dataset: Dataset, settings: ScoreSettings, threads: int, lidar: str | None, track: Track
) -> dict[tuple[bool, float], Evaluation]:
    """By whether classes are told apart, and by overlap: objects first; by class where the student has classes."""
    model = open_torch_engine(run, threads=threads)
    contract = at_score_threshold(model.contract)

    def objects_for(rig: Rig) -> Callable[[Frame], Boxes]:
        pipeline = Pipeline(contract, model.engine, rig, lidar=lidar)
        return lambda frame: as_objects(pipeline(frame))

    def classes_for(rig: Rig) -> Callable[[Frame], Boxes]:
        return Pipeline(contract, model.engine, rig, lidar=lidar)

    found = {}
    for iou in settings.ious:
        asked = _asked((OBJECT,), iou, settings, contract.grid)
        found[(False, iou)] = evaluate(objects_for, AsObjects(dataset), asked, subject=run.name, track=track)
    if contract.class_names != (OBJECT,):
        for iou in settings.ious:
            asked = _asked(dataset.class_names, iou, settings, contract.grid)
            found[(True, iou)] = evaluate(classes_for, dataset, asked, subject=run.name, track=track)
    return found


def _asked(class_names: tuple[str, ...], iou: float, settings: ScoreSettings, grid: Grid) -> EvaluationSettings:
    near = min(30.0, settings.max_range_m)
    bins = ((0.0, near), (near, settings.max_range_m)) if near < settings.max_range_m else ((0.0, near),)
    metric = MetricSettings(
        iou_thresholds=dict.fromkeys(class_names, iou),
        min_points=settings.min_points,
        max_range_m=settings.max_range_m,
        range_bins_m=bins,
    )
    return EvaluationSettings(metric=metric, num_frames=settings.num_frames, grid=grid)


def _rows(evaluation: Evaluation, iou: float, other: Evaluation | None) -> list[ScoreRow]:
    rows = []
    for entry in evaluation.entries:
        if entry.overlap != OVERLAP:
            continue
        known = other is not None and entry.class_name in other.class_names
        beside = other.entry(entry.class_name, OVERLAP, entry.range_m) if known and other is not None else None
        rows.append(
            ScoreRow(
                class_name=entry.class_name,
                iou=iou,
                range_m=entry.range_m,
                num_truths=entry.num_truths,
                ap_percent=entry.ap_percent,
                supervised_ap_percent=None if beside is None else beside.ap_percent,
            )
        )
    return rows
