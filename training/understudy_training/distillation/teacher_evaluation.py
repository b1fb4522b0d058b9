"""How good a teacher is that no pipeline can run: its maps decoded to boxes, on the frames it would be asked about.

A foreign network has no contract of ours; a camera network with true depth sees a LiDAR that its contract leaves out.
"""

from __future__ import annotations

import torch

from understudy.boxes import Boxes
from understudy.datasets.dataset import Dataset, Sample
from understudy.evaluation import EVALUATED_SCORE, Detector, Evaluation, EvaluationSettings, evaluate
from understudy.frame import Frame
from understudy.metrics.average_precision import MetricSettings
from understudy.progress import Track, silent
from understudy.rig import Rig
from understudy_training.batches import labelled_frame, reach_of
from understudy_training.distillation.foreign import ForeignTeacher
from understudy_training.models.config import DetectorConfig
from understudy_training.models.decoding import decode
from understudy_training.models.detector import BevDetector


def evaluate_as_asked(
    teacher: ForeignTeacher | BevDetector,
    dataset: Dataset,
    *,
    subject: str,
    lidar: str | None = None,
    track: Track = silent,
    metric: MetricSettings | None = None,
) -> Evaluation:
    """Average precision of what its heads say, decoded as a student's.

    Args:
        teacher: opened for the student's classes, or a detector of ours.
        dataset: with labels, its clouds of as many sweeps as the teacher is shown.
        subject: its name in the record.
        lidar: which LiDAR; None where there is one.
        track: progress.
        metric: overlaps and ranges; None takes the usual ones.

    Raises:
        UnderstudyError: as `evaluate`, and when the network cannot be asked.
    """
    if isinstance(teacher, BevDetector):
        engine = f"torch {torch.__version__}, as a teacher"
        pictures = None if teacher.config.lidar_encoder is not None else teacher.config.pictures
    else:
        engine = f"{type(teacher).__name__} {teacher.name}"
        pictures = None if teacher.description.sees_points else teacher.config.pictures
    settings = EvaluationSettings(metric=metric or MetricSettings(), grid=teacher.config.grid, pictures=pictures)
    asked = teacher.eval()
    evaluation = evaluate(lambda rig: _detector(asked, rig, lidar), dataset, settings, subject=subject, track=track)
    return evaluation.model_copy(update={"engine": engine})


def needs_true_depth(config: DetectorConfig) -> bool:
    """Whether it is a camera network that is told how far things are."""
    camera = config.camera_encoder
    return camera is not None and camera.depth != "predicted"


def _detector(teacher: ForeignTeacher | BevDetector, rig: Rig, lidar: str | None) -> Detector:
    config = teacher.config
    reach_m = reach_of(config.grid, None)
    stride = teacher.output_stride if isinstance(teacher, BevDetector) else teacher.description.output_stride

    def detect(frame: Frame) -> Boxes:
        sample = Sample("", frame, rig, Boxes.empty(config.class_names), {})
        seen = labelled_frame(sample, lidar, reach_m, config.pictures).observed
        with torch.no_grad():
            said = teacher(teacher.collate([seen]))
        found = decode(said.heatmap, said.regression, config.grid, stride)
        counts = (found.scores[0] >= EVALUATED_SCORE).numpy()
        geometry, labels, scores = (part[0].numpy()[counts] for part in (found.boxes, found.labels, found.scores))
        return Boxes(geometry, labels, config.class_names, scores=scores)

    return detect
