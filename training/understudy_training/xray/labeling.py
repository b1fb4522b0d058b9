"""Labels for unlabeled drives: a base detector's boxes are followed, objects gathered, and the teacher sees them whole.

The semi-supervised part of X-Ray Distillation (arXiv 2404.00679) with a fixed teacher, no moving average of weights.
Thresholds per class are chosen on labeled drives that neither network was trained on, by the same path from raw
clouds to the teacher's boxes. The paper's thresholds are not known.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from understudy.boxes import NOT_ASKED, Boxes
from understudy.configuration import Config
from understudy.datasets.dataset import Dataset, Place, Sample, Sequential
from understudy.datasets.relabeled import RelabeledDataset, RelabeledDescription, write_relabeled
from understudy.engines.opening import OpenedModel
from understudy.errors import InputError
from understudy.evaluation import Evaluation, EvaluationSettings, at_score_threshold, evaluate_model, renamed
from understudy.interior import count_points_inside
from understudy.metrics.average_precision import MetricSettings
from understudy.overlap import bev_iou
from understudy.pipeline import Pipeline
from understudy.pose import Pose
from understudy.progress import Track, silent
from understudy.rig import Rig
from understudy.tracking import TrackingSettings
from understudy.tracking_drive import Seen, Tracked, track_drive
from understudy_training.xray.complete_objects import CompleteObjects, ObjectComplete

NOTHING = 2.0
"""Threshold of a class whose boxes are never right often enough: no score reaches it."""


class LabelingRules(Config):
    """How unlabeled drives get boxes."""

    followed_score: float = Field(0.3, ge=0, le=1)
    """Score from which the base detector's boxes are followed and their points gathered."""
    min_track_frames: int = Field(2, ge=1)
    """Frames in which the base detector must have seen an object whose points are gathered."""
    precision: float = Field(0.8, gt=0, le=1)
    """How many of a class's boxes must be right, on the drives held out, from the score on that its threshold is."""
    doubtful_score: float | None = Field(0.1, gt=0, le=1)
    """Score from which a box that is not sure enough to be a label is not background either; null takes it for
    background."""
    complete_objects: CompleteObjects = CompleteObjects()
    tracking: TrackingSettings = TrackingSettings()
    metric: MetricSettings = MetricSettings()
    """When a box is right."""


@dataclass(frozen=True, eq=False)
class Networks:
    """The detector whose boxes are followed, on raw frames, and the teacher, on complete ones."""

    base: OpenedModel
    teacher: OpenedModel


class MadeLabels(Config):
    """What became of the unlabeled drives, by class."""

    class_name: str
    threshold: float | None
    """Score from which the teacher's boxes are labels; None where none are."""
    precision: float | None
    """Of those boxes, on the drives held out."""
    recall: float | None
    num_boxes: int
    num_doubtful: int = 0
    """Boxes around which nothing is learned."""


class RelabeledFrames:
    """A data set whose boxes are replaced; its samples keep their order and drives.

    Args:
        dataset: a data set of drives.
        boxes: for each sample.
    """

    def __init__(self, dataset: Dataset, boxes: Sequence[Boxes | None]) -> None:
        assert isinstance(dataset, Sequential)
        self._dataset, self._drives, self._boxes = dataset, dataset, boxes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the data set."""
        return self._dataset.class_names

    @property
    def fingerprint(self) -> str:
        """That of the data set."""
        return self._dataset.fingerprint

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """The sample with its other boxes."""
        return self._dataset[index].relabeled(self._boxes[index])

    def place(self, index: int) -> Place:
        """That of the data set."""
        return self._drives.place(index)


class _Judged(RelabeledFrames):
    """What other boxes made of the frames, under the data set's own labels."""

    def __init__(self, dataset: Dataset, shown: Dataset) -> None:
        super().__init__(dataset, ())
        self._shown = shown

    def __getitem__(self, index: int) -> Sample:
        return replace(self._shown[index], boxes=self._dataset[index].boxes)


def compare_frames(
    model: OpenedModel,
    dataset: Dataset,
    settings: CompleteObjects,
    *,
    num_frames: int | None = None,
    lidar: str | None = None,
    track: Track = silent,
) -> tuple[Evaluation, Evaluation]:
    """A network on raw frames and on complete ones, judged by the same labels.

    What complete frames show was gathered by those labels: how good a teacher is that is told where the objects are.
    """
    chosen = EvaluationSettings(num_frames=num_frames)
    complete = ObjectComplete(dataset, settings, lidar, recount=False)
    raw = evaluate_model(model, dataset, chosen, subject="raw frames", lidar=lidar, track=track)
    return raw, evaluate_model(model, complete, chosen, subject="complete frames", lidar=lidar, track=track)


def follow(model: OpenedModel, dataset: Dataset, rules: LabelingRules, track: Track = silent) -> list[Boxes]:
    """The boxes that a detector sees in each sample, followed over its drive, with those that fill gaps.

    Raises:
        InputError: when a sample does not tell where the ego was, or the network wants several sweeps.
    """
    said = _detections(model, dataset, rules.followed_score, "following", track)
    assert isinstance(dataset, Sequential)
    followed: list[Boxes] = []
    for _, drive in groupby(range(len(dataset)), lambda index: dataset.place(index).drive):
        tracked = track_drive([said[index] for index in drive], rules.tracking)
        followed += [_steady(of_sweep, rules.min_track_frames) for of_sweep in tracked]
    return followed


def thresholds_of(evaluation: Evaluation, class_names: Sequence[str], precision: float) -> list[MadeLabels]:
    """For each class the lowest score from which so many of its boxes are right.

    Args:
        evaluation: of the teacher.
        class_names: classes asked for; those that were not evaluated get no threshold.
        precision: how many of the boxes must be right.
    """
    found = []
    for name in class_names:
        made = MadeLabels(class_name=name, threshold=None, precision=None, recall=None, num_boxes=0)
        if name in evaluation.class_names:
            entry = evaluation.entry(name)
            right = [place for place, value in enumerate(entry.precisions) if value >= precision]
            if right and entry.num_truths:
                last = right[-1]
                measured = {"precision": entry.precisions[last], "recall": entry.recalls[last]}
                made = made.model_copy(update={"threshold": entry.scores[last], **measured})
        found.append(made)
    return found


def label_drives(
    share: RelabeledDataset,
    held_out: Dataset,
    networks: Networks,
    out: Path,
    rules: LabelingRules,
    made_with: dict[str, str],
    track: Track = silent,
) -> list[MadeLabels]:
    """Writes the share of labels again, with made ones for its unlabeled drives.

    Args:
        share: its unlabeled drives.
        held_out: its drives held out.
        networks: the base detector and the teacher.
        out: folder to make.
        rules: how.
        made_with: what to say of the networks in the description.
        track: progress.

    Raises:
        InputError: when the teacher's boxes reach the precision in no class, or a sample cannot be used.
    """
    shown = _completed(held_out, networks.base, rules, track)
    settings = EvaluationSettings(metric=rules.metric)
    judged = evaluate_model(networks.teacher, _Judged(held_out, shown), settings, subject="teacher", track=track)
    made = thresholds_of(judged, share.class_names, rules.precision)
    thresholds = [NOTHING if entry.threshold is None else entry.threshold for entry in made]
    if min(thresholds) >= NOTHING:
        found = f"no class in which {rules.precision:.0%} of the teacher's boxes are right on the drives held out"
        raise InputError("labels", found=found, wanted="one", remedy="train the teacher longer, or on more labels")
    complete = _completed(share, networks.base, rules, track)
    lowest = [min(threshold, rules.doubtful_score or NOTHING) for threshold in thresholds]
    seen = _detections(networks.teacher, complete, min(lowest), "labeling", track)
    labels = [
        replace(entry, boxes=_labels(share[index], entry.boxes, thresholds, lowest)) for index, entry in enumerate(seen)
    ]
    made = _counted(made, Boxes.concatenate([entry.boxes for entry in labels]))
    record = {**made_with, "rules": rules.model_dump(), "classes": [entry.model_dump() for entry in made]}
    _write(share, out, labels, rules.tracking, record)
    return made


def _write(
    share: RelabeledDataset, out: Path, labels: list[Seen], tracking: TrackingSettings, record: dict[str, Any]
) -> None:
    source = (share.path / share.description.source).resolve()
    changes = {"source": os.path.relpath(source, out.resolve()), "made_by": record}
    description: RelabeledDescription = share.description.model_copy(update=changes)
    by_drive, begin = [], 0
    for number, drive in enumerate(description.drives):
        if drive.role == "unlabeled":
            end = begin + drive.num_frames
            by_drive.append((number, _with_tracks(labels[begin:end], tracking)))
            begin = end
    write_relabeled(out, description, by_drive)


def _with_tracks(labels: list[Seen], tracking: TrackingSettings) -> list[Boxes]:
    """The boxes of a drive with identities, as they are in all else; doubtful ones are nobody's."""
    sure = [replace(own, boxes=own.boxes[own.boxes.num_points != NOT_ASKED]) for own in labels]
    followed = []
    for own, certain, tracked in zip(labels, sure, track_drive(sure, tracking), strict=True):
        assert tracked.boxes.track_ids is not None
        ids = np.full(len(own.boxes), -1, np.int64)
        ids[own.boxes.num_points != NOT_ASKED] = tracked.boxes.track_ids[: len(certain.boxes)]
        followed.append(replace(own.boxes, track_ids=ids))
    return followed


def _completed(dataset: Dataset, base: OpenedModel, rules: LabelingRules, track: Track) -> ObjectComplete:
    followed = follow(base, dataset, rules, track)
    return ObjectComplete(RelabeledFrames(dataset, followed), rules.complete_objects, recount=False)


def _detections(model: OpenedModel, dataset: Dataset, score: float, what: str, track: Track) -> list[Seen]:
    """What a network says of each sample from a score on, over the data set's classes."""
    if model.contract.sweeps > 1:
        found = f"{model.contract.name}, which takes {model.contract.sweeps} sweeps"
        raise InputError("labels over time", found=found, wanted="a network of single sweeps")
    contract, pipeline, rig = at_score_threshold(model.contract, score), None, None
    seen: list[Seen] = []
    for index in track(range(len(dataset)), f"{what} with {contract.name}", total=len(dataset)):
        sample = dataset[index]
        if pipeline is None or sample.rig != rig:
            pipeline, rig = Pipeline(contract, model.engine, sample.rig), sample.rig
        if sample.frame.world_from_ego is None:
            found = "nothing of where the ego was"
            raise InputError(f"sample {sample.key}", found=found, wanted="a pose to follow objects")
        boxes = renamed(pipeline(sample.frame), dataset.class_names)
        seen.append(Seen(sample.frame.stamp_ns, boxes, sample.frame.world_from_ego))
    return seen


def _steady(tracked: Tracked, min_frames: int) -> Boxes:
    return tracked.boxes[tracked.num_seen >= min_frames]


def _counted(made: Sequence[MadeLabels], boxes: Boxes) -> list[MadeLabels]:
    """The classes with how many boxes became labels, and how many were doubtful."""
    doubtful = boxes.num_points == NOT_ASKED
    numbers = zip(
        *(np.bincount(boxes.labels[rows], minlength=len(made)) for rows in (~doubtful, doubtful)), strict=True
    )
    return [
        entry.model_copy(update={"num_boxes": int(sure), "num_doubtful": int(unsure)})
        for entry, (sure, unsure) in zip(made, numbers, strict=True)
    ]


def _labels(sample: Sample, said: Boxes, thresholds: Sequence[float], lowest: Sequence[float]) -> Boxes:
    """The teacher's boxes that are labels, with the returns that the raw frame has in them, then doubtful ones.

    A doubtful box that overlaps a label is left out: what is there is explained.
    """
    assert said.scores is not None
    is_sure = said.scores >= np.array(thresholds)[said.labels]
    sure, doubtful = said[is_sure], said[~is_sure & (said.scores >= np.array(lowest)[said.labels])]
    counts = np.zeros(len(sure), np.int32)
    for name, cloud in sample.frame.clouds.items():
        counts += count_points_inside(sure, _ego_from(sample.rig, name).apply(cloud.points[:, :3]))
    explained = (bev_iou(doubtful.geometry, sure.geometry) > 0).any(axis=1)
    doubtful = doubtful[~explained]
    unknown = replace(doubtful, num_points=np.full(len(doubtful), NOT_ASKED, np.int32))
    return Boxes.concatenate([replace(sure, num_points=counts), unknown])


def _ego_from(rig: Rig, lidar: str) -> Pose:
    return rig.lidars[lidar].ego_from_sensor.pose()
