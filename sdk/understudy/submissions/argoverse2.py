"""The benchmark `argoverse2`: detections out as the official Feather table, and such a table scored.

Source: the submission format of the Argoverse 2 3D detection challenge: one row per cuboid, in the vehicle frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.converters.class_maps import ARGOVERSE2_CATEGORIES, chosen_map
from understudy.converters.nuscenes import quaternions_from_yaw
from understudy.datasets.argoverse2 import EGO_FROM_VEHICLE, Argoverse2Dataset
from understudy.datasets.argoverse2_log import Annotations
from understudy.datasets.dataset import Dataset, Place, Sample, Sequential
from understudy.datasets.feather import Columns, read_feather, write_feather
from understudy.errors import InputError
from understudy.metrics.argoverse2 import ERROR_NAMES, Argoverse2Objects, Argoverse2Scores, evaluate
from understudy.metrics.official_result import Benchmark, OfficialResult, Predictions
from understudy.submissions.folders import new_folder, single_file

NAME = "argoverse2"
FILE = "results.feather"

_CENTER, _SIZE, _QUATERNION = ("tx_m", "ty_m", "tz_m"), ("length_m", "width_m", "height_m"), ("qw", "qx", "qy", "qz")
_KINDS = {
    **dict.fromkeys((*_CENTER, *_SIZE, *_QUATERNION, "score"), "float64"),
    **{"log_id": "str", "timestamp_ns": "int64", "category": "str"},
}
_NOT_SCORED = ("ANIMAL", "OFFICIAL_SIGNALER", "RAILED_VEHICLE", "TRAFFIC_LIGHT_TRAILER")
"""Categories that annotations know and the benchmark does not; detections of them are passed over."""


def write_results(out: Path, dataset: Dataset, predictions: Predictions) -> None:
    """Writes `results.feather`, a row per detection.

    Args:
        out: folder, new or empty.
        dataset: not used; samples carry log and stamp in their keys.
        predictions: samples with detections in ego, in categories among the 26.

    Raises:
        InputError: when the folder is in use, a class is not one of the 26, a sample is not Argoverse's or comes twice,
            or boxes have no scores or are flat.
        UnderstudyError: when pyarrow is not installed.
    """
    parts: dict[str, Columns] = {}
    with new_folder(out) as folder:
        for sample, boxes in predictions:
            if sample.key in parts:
                raise InputError(f"sample {sample.key}", found="detections twice", wanted="each sample once")
            parts[sample.key] = _rows(sample, boxes)
        empty: Columns = {name: np.zeros(0, object if kind == "str" else kind) for name, kind in _KINDS.items()}
        columns = {name: np.concatenate([part[name] for part in (empty, *parts.values())]) for name in _KINDS}
        write_feather(folder / FILE, columns)


def score_results(results: Path, dataset: Dataset) -> OfficialResult:
    """Scores a result table (or a folder with one Feather file) against the data set's annotations.

    Scored are the sweeps that the data set has; sweeps without detections need no row.

    Raises:
        InputError: when the file is missing or malformed or names other sweeps, or the data set has no such labels.
    """
    path = single_file(results, FILE)
    if not isinstance(dataset, Sequential):
        raise InputError("data set for the metric argoverse2", found="no logs", wanted="an Argoverse 2 data set")
    places = [dataset.place(index) for index in range(len(dataset))]
    # Logs by name and sweeps by stamp, as the official tables are sorted.
    order = sorted(range(len(places)), key=lambda index: (places[index].drive, places[index].stamp_ns))
    truths = Argoverse2Objects.concatenate([_truths(dataset, index, number) for number, index in enumerate(order)])
    detections = read_file(path, [places[index] for index in order])
    scores = evaluate(truths, detections, len(ARGOVERSE2_CATEGORIES))
    return OfficialResult(metric=NAME, data=dataset.fingerprint, num_frames=len(places), values=values_of(scores))


BENCHMARKS = (Benchmark(NAME, write_results, score_results),)
"""The benchmark by its one name."""


def values_of(scores: Argoverse2Scores) -> dict[str, float | None]:
    """Flat names: CDS and the means over all 26 categories, those over the labeled ones, then each category's.

    Officially a category without labels counts as 0 and with the worst errors; a part of the data rarely holds all 26.
    """
    names = ("AP", *ERROR_NAMES, "CDS")
    table = scores.table()
    means = dict(zip(names, table.mean(axis=0), strict=True))
    labeled = scores.num_truths > 0
    values: dict[str, float | None] = {"CDS": float(means["CDS"])}
    values |= {f"m{name}": float(means[name]) for name in names[:-1]}
    values["labeled categories"] = float(labeled.sum())
    for name in ("CDS", "AP"):
        column = table[labeled, names.index(name)]
        values[f"m{name} of labeled categories".replace("mCDS", "CDS")] = (
            float(column.mean()) if labeled.any() else None
        )
    for category, row in zip(ARGOVERSE2_CATEGORIES, table, strict=True):
        values |= {f"{category}/{name}": float(value) for name, value in zip(names, row, strict=True)}
    return values


def read_file(path: Path, places: Sequence[Place]) -> Argoverse2Objects:
    """All detections of a result table, in its order; sweeps are numbered by their position in `places`.

    Raises:
        InputError: naming file, row and column, when a column is missing or a value is not what the format says, or a
            row is of no sweep in `places`.
    """
    columns = read_feather(path, _KINDS)
    number_of = {(place.drive, place.stamp_ns): number for number, place in enumerate(places)}
    sweeps = zip(columns["log_id"], columns["timestamp_ns"].tolist(), strict=True)
    numbers = np.array([number_of.get((str(log), stamp_ns), -1) for log, stamp_ns in sweeps], np.int64)
    unknown = np.flatnonzero(numbers < 0)
    if len(unknown):
        row = int(unknown[0])
        found = f"log {columns['log_id'][row]} at {columns['timestamp_ns'][row]}, no sweep of the data set"
        raise InputError(f"{path} row {row}", found=found, remedy="score with the split that the results are for")
    category_of = {name: number for number, name in enumerate(ARGOVERSE2_CATEGORIES)}
    categories = np.array([category_of.get(str(name), -1) for name in columns["category"]], np.int64)
    strangers = np.flatnonzero((categories < 0) & ~np.isin(columns["category"].astype(str), _NOT_SCORED))
    if len(strangers):
        row, wanted = int(strangers[0]), f"one of {', '.join(ARGOVERSE2_CATEGORIES)}"
        raise InputError(f"{path} row {row}: category", found=columns["category"][row], wanted=wanted)
    try:
        return _objects(numbers, categories, columns)[categories >= 0]
    except InputError as error:
        raise InputError(f"{path}: {error.what}", found=error.found, wanted=error.wanted) from None


def _objects(sweeps: NDArray[np.int64], categories: NDArray[np.int64], columns: Columns) -> Argoverse2Objects:
    return Argoverse2Objects(
        sweeps=sweeps,
        categories=categories,
        centers_m=_stacked(columns, _CENTER),
        sizes_m=_stacked(columns, _SIZE),
        rotations_wxyz=_stacked(columns, _QUATERNION),
        scores=columns["score"],
        num_points=np.ones(len(sweeps), np.int64),
    )


def _stacked(columns: Columns, names: tuple[str, ...]) -> NDArray[np.float64]:
    return np.stack([columns[name] for name in names], axis=1)


def _rows(sample: Sample, boxes: Boxes) -> Columns:
    """The columns of one sweep's detections."""
    log, _, stamp_ns = sample.key.rpartition("/")
    if not log or not stamp_ns.isdigit():
        raise InputError(f"sample {sample.key}", found="no log and stamp", wanted="an Argoverse 2 sample")
    if boxes.scores is None:
        raise InputError(f"sample {sample.key}: detections", found="no scores", wanted="a score per box")
    try:
        objects = _from_boxes(0, boxes)
    except InputError as error:
        what = f"sample {sample.key}: {error.what}"
        raise InputError(what, found=error.found, wanted=error.wanted, remedy=error.remedy) from None
    count = len(boxes)
    columns: dict[str, Any] = {
        **dict(zip(_CENTER, objects.centers_m.T, strict=True)),
        **dict(zip(_SIZE, objects.sizes_m.T, strict=True)),
        **dict(zip(_QUATERNION, objects.rotations_wxyz.T, strict=True)),
        "score": objects.scores,
        "log_id": np.full(count, log, object),
        "timestamp_ns": np.full(count, int(stamp_ns), np.int64),
        "category": np.array([*ARGOVERSE2_CATEGORIES], object)[objects.categories],
    }
    return columns


def _from_boxes(sweep: int, boxes: Boxes) -> Argoverse2Objects:
    """Boxes in ego as the benchmark's objects in the vehicle frame; `sweep` is their number."""
    strangers = sorted(set(boxes.class_names) - set(ARGOVERSE2_CATEGORIES))
    if strangers:
        wanted = f"categories among {', '.join(ARGOVERSE2_CATEGORIES)}"
        remedy = "train with `data: {classes: official}`; score other classes by `evaluate` without --official"
        raise InputError("Argoverse 2 detection", found=f"class {', '.join(strangers)}", wanted=wanted, remedy=remedy)
    table = np.array([ARGOVERSE2_CATEGORIES.index(name) for name in boxes.class_names], np.int64)
    geometry, count = boxes.geometry.astype(np.float64), len(boxes)
    return Argoverse2Objects(
        sweeps=np.full(count, sweep, np.int64),
        categories=table[boxes.labels],
        centers_m=EGO_FROM_VEHICLE.inverse().apply(geometry[:, :3]),
        sizes_m=geometry[:, 3:6],
        rotations_wxyz=quaternions_from_yaw(geometry[:, 6]),
        scores=np.zeros(count) if boxes.scores is None else boxes.scores.astype(np.float64),
        num_points=np.ones(count, np.int64) if boxes.num_points is None else boxes.num_points.astype(np.int64),
    )


def _truths(dataset: Dataset, index: int, sweep: int) -> Argoverse2Objects:
    """A sample's labels: of Argoverse's own files unrounded and without reading the sweep, else its boxes."""
    if not isinstance(dataset, Argoverse2Dataset):
        sample = dataset[index]
        if sample.boxes is None:
            raise InputError(f"sample {sample.key}", found="no labels", wanted="labels of the 26 categories")
        return _from_boxes(sweep, sample.boxes)
    place = dataset.place(index)
    annotations = dataset.log(index).annotations
    found = None if annotations is None else annotations.at(place.stamp_ns)
    if found is None:
        what = f"sample {place.drive}/{place.stamp_ns}"
        raise InputError(what, found="no annotations", wanted="an annotated sweep: split train or val")
    return _from_annotations(found, sweep)


def _from_annotations(annotations: Annotations, sweep: int) -> Argoverse2Objects:
    categories = chosen_map("argoverse2", "official").labels([str(name) for name in annotations.categories])
    scored = categories >= 0
    geometry = annotations.geometry[scored]
    return Argoverse2Objects(
        sweeps=np.full(len(geometry), sweep, np.int64),
        categories=categories[scored].astype(np.int64),
        centers_m=geometry[:, :3],
        sizes_m=geometry[:, 3:6],
        rotations_wxyz=quaternions_from_yaw(geometry[:, 6]),
        scores=np.zeros(len(geometry)),
        num_points=annotations.num_points[scored].astype(np.int64),
    )
