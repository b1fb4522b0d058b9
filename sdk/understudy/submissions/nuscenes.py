"""The benchmark `nuscenes`: detections out as an official result file, and such a file scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.converters.class_maps import NUSCENES_DETECTION_NAMES
from understudy.datasets.dataset import Dataset, Sample
from understudy.errors import InputError
from understudy.metrics.nuscenes import ERROR_NAMES, MAX_BOXES_PER_SAMPLE, THRESHOLDS_M, NuscenesScores, evaluate
from understudy.metrics.nuscenes_objects import ATTRIBUTE_NAMES, NO_ATTRIBUTE, NuscenesObjects, NuscenesTruths
from understudy.metrics.official_result import Benchmark, OfficialResult, Predictions
from understudy.submissions.folders import new_folder, single_file
from understudy.submissions.nuscenes_results import Modalities, read_file, write_file
from understudy.submissions.nuscenes_truths import objects_of, truths_of, world_from_ego

NAME = "nuscenes"
FILE = "results.json"
MOVING_MPS = 0.2
"""Speed from which an object counts as moving when its attribute is filled in."""

_ATTRIBUTES = {
    **dict.fromkeys(("car", "truck", "trailer", "construction_vehicle"), ("vehicle.moving", "vehicle.parked")),
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    **dict.fromkeys(("motorcycle", "bicycle"), ("cycle.with_rider", "cycle.without_rider")),
}
"""By class: the attribute of one that moves, and of one that stands. Cones and barriers have none."""
_UNKNOWN_SPEED_MOVES = ("bus", "pedestrian")
"""Classes that are taken to move when nothing is known of their speed; the others stand, as most of them do."""


def write_results(out: Path, dataset: Dataset, predictions: Predictions, meta: Modalities | None = None) -> None:
    """Writes `results.json` with every sample given; velocities that are not predicted become 0.

    Attributes are filled in by class and speed. Of more than 500 boxes in a sample the best 500 are kept.

    Args:
        out: folder, new or empty.
        dataset: not used; samples carry their tokens and poses.
        predictions: samples with detections in ego, in classes among the ten.
        meta: what was used to detect; None says LiDAR only.

    Raises:
        InputError: when the folder is in use, a class is not one of the ten, a sample tells no pose, comes twice, or
            boxes have no scores or are flat.
    """
    with new_folder(out) as folder:
        write_file(folder / FILE, _entries(predictions), meta or Modalities())


def score_results(results: Path, dataset: Dataset) -> OfficialResult:
    """Scores a result file (or a folder with one JSON file) against the data set's labels.

    Raises:
        InputError: when the file is missing or malformed or is for other samples, or the data set has no such labels.
    """
    path = single_file(results, FILE)
    truths = truths_of(dataset)
    scores = evaluate(truths, read_file(path, truths.tokens))
    values = values_of(scores, truths)
    return OfficialResult(metric=NAME, data=dataset.fingerprint, num_frames=len(truths.tokens), values=values)


BENCHMARKS = (Benchmark(NAME, write_results, score_results),)
"""The benchmark by its one name."""


def values_of(scores: NuscenesScores, truths: NuscenesTruths) -> dict[str, float | None]:
    """Flat names; None where a class has no such error, or the labels cannot tell it.

    Labels without velocities or attributes leave AVE or AAE, and with them NDS, unknown; the score of the remaining
    errors then goes by a name of its own. Classes of which nothing is detected count as 0, as officially; what they
    cost is seen by comparing `mAP` with `mAP of detected classes`.
    """
    untold = {"AVE": not truths.has_velocities, "AAE": not truths.has_attributes}
    told = tuple(name for name in ERROR_NAMES if not untold.get(name))
    values: dict[str, float | None] = {"NDS": scores.nds if told == ERROR_NAMES else None}
    if told != ERROR_NAMES:
        values[f"NDS without {', '.join(name for name in ERROR_NAMES if name not in told)}"] = scores.nds_from(told)
    values["mAP"] = scores.mean_ap
    values |= {
        f"m{name}": _value(error, name in told) for name, error in zip(ERROR_NAMES, scores.mean_errors, strict=True)
    }
    detected = scores.num_detections > 0
    values["detected classes"] = float(detected.sum())
    values["mAP of detected classes"] = float(scores.average_precisions[detected].mean()) if detected.any() else None
    for label, name in enumerate(NUSCENES_DETECTION_NAMES):
        precisions = scores.average_precisions[label]
        values |= {f"{name}/AP/{limit}": float(value) for limit, value in zip(THRESHOLDS_M, precisions, strict=True)}
        values[f"{name}/AP/mean"] = float(precisions.mean())
    for label, name in enumerate(NUSCENES_DETECTION_NAMES):
        errors = zip(ERROR_NAMES, scores.errors[label], strict=True)
        values |= {f"{name}/{error}": _value(value, error in told) for error, value in errors}
    return values


def _value(error: float, told: bool) -> float | None:
    return float(error) if told and not np.isnan(error) else None


def _entries(predictions: Predictions) -> Iterator[tuple[str, NuscenesObjects]]:
    seen: set[str] = set()
    for sample, boxes in predictions:
        if sample.key in seen:
            raise InputError(f"sample {sample.key}", found="detections twice", wanted="each sample once")
        seen.add(sample.key)
        try:
            yield sample.key, detections_of(sample, boxes)
        except InputError as error:
            raise InputError(
                f"sample {sample.key}: {error.what}", found=error.found, wanted=error.wanted, remedy=error.remedy
            ) from None


def detections_of(sample: Sample, boxes: Boxes) -> NuscenesObjects:
    """Detections in ego as the result file has them: in the global frame, with velocities and attributes.

    Raises:
        InputError: as `write_results`.
    """
    if boxes.scores is None:
        raise InputError("detections", found="no scores", wanted="a score per box")
    if len(boxes) > MAX_BOXES_PER_SAMPLE:
        boxes = boxes[np.sort(np.argsort(-boxes.scores, kind="stable")[:MAX_BOXES_PER_SAMPLE])]
    objects = objects_of(0, boxes, world_from_ego(sample))
    attributes = _filled_in(objects)
    return replace(objects, attributes=attributes, velocities_mps=np.nan_to_num(objects.velocities_mps, nan=0.0))


def _filled_in(objects: NuscenesObjects) -> NDArray[np.int64]:
    """`(N,)` the usual attribute of each object's class and speed."""
    speeds_mps = np.hypot(objects.velocities_mps[:, 0], objects.velocities_mps[:, 1])
    by_default = np.isin(objects.labels, [NUSCENES_DETECTION_NAMES.index(name) for name in _UNKNOWN_SPEED_MOVES])
    moves = np.where(np.isnan(speeds_mps), by_default, speeds_mps > MOVING_MPS)
    table = np.full((len(NUSCENES_DETECTION_NAMES), 2), NO_ATTRIBUTE, np.int64)
    for name, (moving, standing) in _ATTRIBUTES.items():
        row = NUSCENES_DETECTION_NAMES.index(name)
        table[row] = ATTRIBUTE_NAMES.index(standing), ATTRIBUTE_NAMES.index(moving)
    attributes: NDArray[np.int64] = table[objects.labels, moves.astype(np.int64)]
    return attributes
