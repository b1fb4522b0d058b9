"""How good a teacher is that is no run of ours: its maps decoded to boxes, on the frames it would be asked about."""

from __future__ import annotations

import torch

from understudy.boxes import Boxes
from understudy.datasets.dataset import Dataset, Sample
from understudy.evaluation import EVALUATED_SCORE, Detector, Evaluation, EvaluationSettings, evaluate
from understudy.frame import Frame
from understudy.progress import Track, silent
from understudy.rig import Rig
from understudy_training.batches import labelled_frame, reach_of
from understudy_training.distillation.foreign import ForeignTeacher
from understudy_training.models.decoding import decode


def evaluate_foreign(
    teacher: ForeignTeacher,
    dataset: Dataset,
    *,
    subject: str,
    lidar: str | None = None,
    track: Track = silent,
) -> Evaluation:
    """Average precision of what its heads say, decoded as a student's.

    Args:
        teacher: opened for the student's classes.
        dataset: with labels, its clouds of as many sweeps as the teacher is shown.
        subject: its name in the record.
        lidar: which LiDAR; None where there is one.
        track: progress.

    Raises:
        UnderstudyError: as `evaluate`, and when the network cannot be asked.
    """
    settings = EvaluationSettings(grid=teacher.config.grid)
    evaluation = evaluate(
        lambda rig: _detector(teacher, rig, lidar),
        dataset,
        settings,
        subject=subject,
        track=track,
    )
    return evaluation.model_copy(update={"engine": f"{type(teacher).__name__} {teacher.name}"})


def _detector(teacher: ForeignTeacher, rig: Rig, lidar: str | None) -> Detector:
    config = teacher.config
    reach_m = reach_of(config.grid, None)

    def detect(frame: Frame) -> Boxes:
        sample = Sample("", frame, rig, Boxes.empty(config.class_names), {})
        seen = labelled_frame(sample, lidar, reach_m, config.pictures).observed
        with torch.no_grad():
            said = teacher(teacher.collate([seen]))
        found = decode(said.heatmap, said.regression, config.grid, teacher.description.output_stride)
        counts = (found.scores[0] >= EVALUATED_SCORE).numpy()
        geometry, labels, scores = (part[0].numpy()[counts] for part in (found.boxes, found.labels, found.scores))
        return Boxes(geometry, labels, config.class_names, scores=scores)

    return detect
