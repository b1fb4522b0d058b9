"""Scores cases of labels and detections with nuscenes-devkit: reads an npz of `case/side/column`, writes an npz.

The data base that the devkit's filters ask for is a small stand-in: samples, ego poses and bicycle racks are all that
they read of it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES, DETECTION_NAMES, TP_METRICS
from nuscenes.eval.detection.data_classes import DetectionBox, DetectionMetrics

Columns = dict[str, np.ndarray]
CONFIG = config_factory("detection_cvpr_2019")
UNDEFINED = {"traffic_cone": ("attr_err", "vel_err", "orient_err"), "barrier": ("attr_err", "vel_err")}


class Tables:
    """What `add_center_dist` and `filter_eval_boxes` look up."""

    def __init__(self, ego_positions_m: np.ndarray, racks: Columns) -> None:
        self.ego_positions_m = ego_positions_m
        self.racks = racks

    def get(self, table: str, token: str) -> dict[str, Any]:
        """A record of the table."""
        if table == "sample":
            rows = np.flatnonzero(self.racks["samples"] == int(token))
            return {"data": {"LIDAR_TOP": token}, "anns": [str(row) for row in rows]}
        if table == "sample_data":
            return {"ego_pose_token": token}
        if table == "ego_pose":
            return {"translation": self.ego_positions_m[int(token)].tolist()}
        row = int(token)
        return {
            "category_name": "static_object.bicycle_rack",
            "translation": self.racks["centers_m"][row].tolist(),
            "size": self.racks["sizes_m"][row].tolist(),
            "rotation": self.racks["rotations_wxyz"][row].tolist(),
        }


def boxes_of(columns: Columns, num_samples: int, *, scored: bool) -> EvalBoxes:
    """The devkit's boxes, samples in order and boxes in the order given."""
    boxes = EvalBoxes()
    for sample in range(num_samples):
        boxes.add_boxes(str(sample), [])
    for row, sample in enumerate(columns["samples"]):
        attribute = int(columns["attributes"][row])
        box = DetectionBox(
            sample_token=str(sample),
            translation=tuple(columns["centers_m"][row].tolist()),
            size=tuple(columns["sizes_m"][row].tolist()),
            rotation=tuple(columns["rotations_wxyz"][row].tolist()),
            velocity=tuple(columns["velocities_mps"][row].tolist()),
            num_pts=int(columns["num_points"][row]),
            detection_name=DETECTION_NAMES[int(columns["labels"][row])],
            detection_score=float(columns["scores"][row]) if scored else -1.0,
            attribute_name="" if attribute < 0 else ATTRIBUTE_NAMES[attribute],
        )
        boxes.add_boxes(str(sample), [box])
    return boxes


def filtered(boxes: EvalBoxes, tables: Tables) -> EvalBoxes:
    """The devkit's filters; it cannot tell the kind of a set without a single box, which needs none."""
    if not boxes.all:
        return boxes
    return filter_eval_boxes(tables, add_center_dist(tables, boxes), CONFIG.class_range)


def scored(truths: EvalBoxes, detections: EvalBoxes) -> DetectionMetrics:
    """The devkit's metrics, by the steps of its `DetectionEval.evaluate`."""
    metrics = DetectionMetrics(CONFIG)
    for name in CONFIG.class_names:
        curves = {
            limit: accumulate(truths, detections, name, CONFIG.dist_fcn_callable, limit) for limit in CONFIG.dist_ths
        }
        for limit, curve in curves.items():
            metrics.add_label_ap(name, limit, calc_ap(curve, CONFIG.min_recall, CONFIG.min_precision))
        for error in TP_METRICS:
            defined = error not in UNDEFINED.get(name, ())
            value = calc_tp(curves[CONFIG.dist_th_tp], CONFIG.min_recall, error) if defined else np.nan
            metrics.add_label_tp(name, error, value)
    return metrics


def sides(case: Columns) -> tuple[Tables, EvalBoxes, EvalBoxes]:
    """Tables, labels and detections of a case."""
    ego_positions_m = case["ego_positions_m"]
    tables = Tables(ego_positions_m, part(case, "racks"))
    truths = boxes_of(part(case, "truths"), len(ego_positions_m), scored=False)
    return tables, truths, boxes_of(part(case, "detections"), len(ego_positions_m), scored=True)


def part(columns: Columns, name: str) -> Columns:
    """The entries under a name, without it."""
    return {key.removeprefix(f"{name}/"): value for key, value in columns.items() if key.startswith(f"{name}/")}


def answers(metrics: DetectionMetrics) -> Columns:
    """Everything the devkit says, as arrays."""
    names = DETECTION_NAMES
    return {
        "average_precisions": np.array([[metrics.get_label_ap(n, t) for t in CONFIG.dist_ths] for n in names]),
        "errors": np.array([[metrics.get_label_tp(n, error) for error in TP_METRICS] for n in names]),
        "mean_ap": np.array(metrics.mean_ap),
        "mean_errors": np.array([metrics.tp_errors[error] for error in TP_METRICS]),
        "nds": np.array(metrics.nd_score),
    }


def main(question: Path, answer: Path) -> None:
    """Answers every case of the question."""
    with np.load(question, allow_pickle=False) as content:
        cases: dict[str, Columns] = {}
        for key in content.files:
            case, _, column = key.partition("/")
            cases.setdefault(case, {})[column] = content[key]
    said = {}
    for name, case in cases.items():
        tables, truths, detections = sides(case)
        metrics = scored(filtered(truths, tables), filtered(detections, tables))
        said.update({f"{name}/{key}": value for key, value in answers(metrics).items()})
    np.savez(answer, **said)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
