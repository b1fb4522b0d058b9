"""What the students of the reality benchmark find in real frames: rows, a Markdown table, pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from understudy.configuration import Config
from understudy.datasets.dataset import Dataset, Sample
from understudy.evaluation import EvaluatedClass, evaluate_model
from understudy.pipeline import Pipeline
from understudy_training.report.figures import BirdsEye, draw_birds_eye
from understudy_training.torch_engine import open_torch_engine

RANGES_M = ((0.0, 15.0), (15.0, 30.0), (30.0, 50.0))
SURE = 0.3
"""Score from which a recall counts a detection; precision is told at the same score."""
_MIN_POINTS = 5
_PICTURED = {"KITTI": 5, "PandaSet": 0, "Argoverse 2": 0, "nuScenes": 0}
"""Number of the frame that is drawn of each data set."""
_DRAWN_M = 50.0


class Row(Config):
    """One student on one data set: cars from above, overlap 0.5, labels with 5 points or more, 0-50 m."""

    student: str
    seed: int
    data: str
    num_frames: int
    num_boxes: int
    ap_percent: float | None
    precision_percent: float | None
    """At score 0.3."""
    recall_percent: float | None
    """At score 0.3."""
    boxes_by_range: tuple[int, ...]
    """Labels in 0-15, 15-30, 30-50 m."""
    recall_by_range_percent: tuple[float | None, ...]
    """At score 0.3, in 0-15, 15-30, 30-50 m."""


def evaluate_student(run: Path, student: str, seed: int, name: str, dataset: Dataset) -> Row:
    """Runs a student over the labeled frames of a data set."""
    evaluation = evaluate_model(open_torch_engine(run), dataset)
    whole = evaluation.entry("car", "bev")
    bins = [evaluation.entry("car", "bev", range_m) for range_m in RANGES_M]
    precision, recall = _at_score(whole, SURE)
    return Row(
        student=student,
        seed=seed,
        data=name,
        num_frames=evaluation.num_frames,
        num_boxes=whole.num_truths,
        ap_percent=whole.ap_percent,
        precision_percent=precision,
        recall_percent=recall,
        boxes_by_range=tuple(entry.num_truths for entry in bins),
        recall_by_range_percent=tuple(_at_score(entry, SURE)[1] for entry in bins),
    )


def _at_score(entry: EvaluatedClass, score: float) -> tuple[float | None, float | None]:
    """Precision and recall in percent of what is at least so sure; None where there is nothing to count."""
    if entry.num_truths == 0:
        return None, None
    sure = np.flatnonzero(np.array(entry.scores) >= score)
    if not len(sure):
        return None, 0.0
    return 100 * entry.precisions[sure[-1]], 100 * entry.recalls[sure[-1]]


def markdown(rows: Sequence[Row]) -> str:
    """The table: a line for each data set and student, means over seeds."""
    lines = [
        "| data | frames | cars | student | AP | precision | recall | 0-15 m | 15-30 m | 30-50 m |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for data in dict.fromkeys(row.data for row in rows):
        for student in dict.fromkeys(row.student for row in rows if row.data == data):
            same = [row for row in rows if row.data == data and row.student == student]
            lines.append(_line(same))
    return "\n".join(lines)


def _line(rows: Sequence[Row]) -> str:
    first = rows[0]
    values = [_mean([row.ap_percent for row in rows]), _mean([row.precision_percent for row in rows])]
    values.append(_mean([row.recall_percent for row in rows]))
    for number, count in enumerate(first.boxes_by_range):
        recall = _mean([row.recall_by_range_percent[number] for row in rows])
        values.append(f"{recall} of {count}" if count else "none there")
    cells = [first.data, str(first.num_frames), str(first.num_boxes), first.student, *values]
    return f"| {' | '.join(cells)} |"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{fmean(known):.1f}" if known else "-"


def draw(runs: Sequence[tuple[str, Path]], sets: dict[str, Dataset], folder: Path) -> None:
    """Bird's-eye pictures of one frame of each data set, a panel for each student: labels green, boxes orange."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, dataset in sets.items():
        sample = dataset[_PICTURED[name]]
        uri = draw_birds_eye([_panel(f"{name}, {student}", run, sample) for student, run in runs], _DRAWN_M)
        (folder / f"{name.replace(' ', '-').lower()}.png").write_bytes(base64.b64decode(uri.split(",", 1)[1]))


def _panel(title: str, run: Path, sample: Sample) -> BirdsEye:
    opened = open_torch_engine(run)
    detections = Pipeline(opened.contract, opened.engine, sample.rig)(sample.frame)
    name, lidar = sample.rig.lidar()
    points = lidar.ego_from_sensor.pose().apply(sample.frame.clouds[name].points[:, :3])
    assert sample.boxes is not None
    assert sample.boxes.num_points is not None
    return BirdsEye(title, points, sample.boxes[sample.boxes.num_points >= _MIN_POINTS], detections, "#e8590c")
