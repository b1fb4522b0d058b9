"""Result files of the KITTI object benchmark: one `NNNNNN.txt` per frame, 16 columns per detection.

Source: the readme of the benchmark's development kit.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.converters.kitti import KittiCalibration, KittiObjects, objects_from_boxes
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.files import read_text
from understudy.datasets.kitti import CAMERA, EGO_FROM_LIDAR, KittiDataset
from understudy.errors import InputError
from understudy.metrics.kitti import is_oriented, kitti_curves, kitti_values
from understudy.metrics.kitti_rules import LOOSE, NUM_RECALLS, STRICT, MinOverlaps
from understudy.metrics.official_result import Benchmark, OfficialResult, Predictions
from understudy.submissions.folders import new_folder

NUM_FIELDS = 16
_NEAREST_M = 0.1
"""Parts of a box nearer to the image plane than this are cut off before they are projected."""
_EDGES = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)])
_ALONG, _ACROSS = np.array([1, 1, -1, -1] * 2) / 2, np.array([1, -1, -1, 1] * 2) / 2
_UP = np.repeat([0.0, 1.0], 4)

_TYPES = ("car", "van", "truck", "pedestrian", "person_sitting", "cyclist", "tram", "misc", "dontcare")
"""As the development kit compares them: without regard to case."""
_OCCLUSIONS = (-1, 0, 1, 2, 3)

logger = logging.getLogger(__name__)


def write_results(out: Path, dataset: Dataset, predictions: Predictions) -> None:
    """Writes a file for every sample given, an empty one where nothing is seen in the image.

    Args:
        out: folder, new or empty.
        dataset: a `KittiDataset`, for its calibration.
        predictions: samples with detections in ego; classes by our names or by KITTI's.

    Raises:
        InputError: when the folder is in use or the data set is not KITTI's; UnderstudyError when boxes have no scores.
    """
    kitti = _kitti(dataset)
    with new_folder(out) as folder:
        for sample, boxes in predictions:
            objects = results_from_boxes(boxes, kitti.calibration(sample.key), _image_size_px(sample))
            (folder / f"{sample.key}.txt").write_text(format_results(objects), encoding="utf-8")


def score_results(results: Path, dataset: Dataset, *, name: str, min_overlaps: MinOverlaps) -> OfficialResult:
    """Scores result files against the labels of a `KittiDataset`; `name` is the metric's in the record.

    Raises:
        InputError: when the data set is not KITTI's or has no labels, or the result files do not fit it.
    """
    kitti = _kitti(dataset)
    keys = [kitti.place(index).drive for index in range(len(kitti))]
    detections = read_results(results, keys)
    curves = kitti_curves([kitti.objects(key) for key in keys], detections, min_overlaps)
    few = [curve for curve in curves if 0 < curve.num_truths < NUM_RECALLS]
    if few:
        fewest = min(few, key=lambda curve: curve.num_truths)
        where = f"{fewest.class_name} {fewest.difficulty}"
        logger.warning("labels of %s: %d; below 41 the official rules stay under 100 %%", where, fewest.num_truths)
    values = kitti_values(curves, oriented=is_oriented(detections))
    return OfficialResult(metric=name, data=kitti.fingerprint, num_frames=len(keys), values=values, decimals=2)


BENCHMARKS = tuple(
    Benchmark(name, write_results, partial(score_results, name=name, min_overlaps=min_overlaps))
    for name, min_overlaps in (("kitti", STRICT), ("kitti-loose", LOOSE))
)
"""The benchmark, and the same with the looser overlaps that papers report beside it."""


def read_results(folder: Path, keys: Sequence[str]) -> list[KittiObjects]:
    """The detections of each frame; a frame without a file has none, and how many those are is logged.

    Args:
        folder: with `NNNNNN.txt`, or with `data/NNNNNN.txt` as the development kit has it.
        keys: frames in order.

    Raises:
        InputError: when there is no file for any frame, a file for a frame that is none of these, or a malformed line.
    """
    place = folder / "data" if (folder / "data").is_dir() else folder
    found = {path.stem for path in place.glob("*.txt")}
    if not found & set(keys):
        raise InputError(f"{folder}", found="no result file of these frames", wanted=f"files such as {keys[0]}.txt")
    strangers = sorted(found - set(keys))
    if strangers:
        remedy = "score with the split that the results were made for"
        raise InputError(f"{place / strangers[0]}.txt", found="no such frame in the data set", remedy=remedy)
    missing = [key for key in keys if key not in found]
    if missing:
        logger.warning("%s: no file for %d of %d frames: no detections there", place, len(missing), len(keys))
    return [_read(place / f"{key}.txt") if key in found else parse_results("", key) for key in keys]


def parse_results(text: str, source: str) -> KittiObjects:
    """Result lines; `source` names the file in messages.

    Sizes of -1, with location -1000, mean that a detection has no 3D box; alpha -10 means no orientation.

    Raises:
        InputError: naming file and line, when a line has not 16 fields, holds something that is not a finite number,
            a size that is negative but not -1, or an image box turned inside out.
    """
    rows, types = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if fields:
            rows.append(_checked(fields, f"{source} line {number}"))
            types.append(fields[0])
    table = np.array(rows, np.float64).reshape(-1, NUM_FIELDS - 1)
    return KittiObjects(
        types=tuple(types),
        truncated=table[:, 0],
        occluded=table[:, 1].astype(np.int64),
        alpha_rad=table[:, 2],
        boxes_px=table[:, 3:7],
        sizes_m=table[:, 7:10],
        locations_m=table[:, 10:13],
        rotations_y_rad=table[:, 13],
        scores=table[:, 14],
    )


def format_results(objects: KittiObjects) -> str:
    """Result lines: four decimals, scores with nine digits so that no two that differ become a tie."""
    if objects.scores is None:
        raise InputError("KITTI results", found="boxes without scores", wanted="a score for each")
    lines = []
    for row, name in enumerate(objects.types):
        values = [objects.alpha_rad[row], *objects.boxes_px[row], *objects.sizes_m[row], *objects.locations_m[row]]
        values.append(objects.rotations_y_rad[row])
        numbers = " ".join(f"{value:.4f}" for value in values)
        lines.append(f"{name} {objects.truncated[row]:g} {objects.occluded[row]} {numbers} {objects.scores[row]:.9g}\n")
    return "".join(lines)


def results_from_boxes(boxes: Boxes, calibration: KittiCalibration, image_size_px: tuple[int, int]) -> KittiObjects:
    """Detections in ego as result lines; those that the image does not show are dropped.

    The image box surrounds what of the 3D box lies in front of the camera, cut to the image.
    """
    ego_from_rect = EGO_FROM_LIDAR @ calibration.rect_from_lidar.inverse()
    objects = objects_from_boxes(boxes, ego_from_rect)
    boxes_px = project_boxes(objects, calibration)
    width_px, height_px = image_size_px
    boxes_px = np.clip(boxes_px, 0.0, [width_px - 1.0, height_px - 1.0] * 2)
    shown = np.flatnonzero((boxes_px[:, 2] > boxes_px[:, 0]) & (boxes_px[:, 3] > boxes_px[:, 1]))
    return replace(
        objects,
        types=tuple(objects.types[row] for row in shown),
        truncated=objects.truncated[shown],
        occluded=objects.occluded[shown],
        alpha_rad=objects.alpha_rad[shown],
        boxes_px=boxes_px[shown],
        sizes_m=objects.sizes_m[shown],
        locations_m=objects.locations_m[shown],
        rotations_y_rad=objects.rotations_y_rad[shown],
        scores=None if objects.scores is None else objects.scores[shown],
    )


def project_boxes(objects: KittiObjects, calibration: KittiCalibration) -> NDArray[np.float64]:
    """`(N, 4)` left, top, right, bottom of the 3D boxes in camera 2, not cut to the image; zeros where it is behind."""
    corners_m = calibration.camera2_from_rect.apply(_corners_rect(objects).reshape(-1, 3)).reshape(-1, 8, 3)
    starts, ends = corners_m[:, _EDGES[:, 0]], corners_m[:, _EDGES[:, 1]]
    seen = np.stack([_cut(starts, ends), _cut(ends, starts)], axis=1).reshape(-1, 2 * len(_EDGES), 3)
    in_front = seen[..., 2] >= _NEAREST_M - 1e-9
    rays = seen @ calibration.camera_matrix.T
    pixels = rays[..., :2] / np.maximum(rays[..., 2:], _NEAREST_M / 2)
    lowest = np.where(in_front[..., None], pixels, np.inf).min(axis=1)
    highest = np.where(in_front[..., None], pixels, -np.inf).max(axis=1)
    boxes_px = np.concatenate([lowest, highest], axis=1)
    return np.where(in_front.any(axis=1, keepdims=True), boxes_px, 0.0)


def _corners_rect(objects: KittiObjects) -> NDArray[np.float64]:
    """`(N, 8, 3)` corners in the rectified camera frame."""
    height, width, length = (side[:, None] for side in objects.sizes_m.T)
    along, across = length * _ALONG, width * _ACROSS
    cos, sin = np.cos(objects.rotations_y_rad)[:, None], np.sin(objects.rotations_y_rad)[:, None]
    corners = np.stack([cos * along + sin * across, -height * _UP, -sin * along + cos * across], axis=-1)
    moved: NDArray[np.float64] = corners + objects.locations_m[:, None]
    return moved


def _cut(starts: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """The starts of edges, moved along the edge to the nearest plane where they lie behind it and the end does not."""
    behind = (starts[..., 2] < _NEAREST_M) & (ends[..., 2] > _NEAREST_M)
    depths_m = ends[..., 2] - starts[..., 2]
    share = np.divide(_NEAREST_M - starts[..., 2], depths_m, out=np.zeros_like(depths_m), where=behind)
    cut: NDArray[np.float64] = starts + share[..., None] * (ends - starts)
    return cut


def _kitti(dataset: Dataset) -> KittiDataset:
    if not isinstance(dataset, KittiDataset):
        raise InputError("metric kitti", found=f"a data set of kind {type(dataset).__name__}", wanted="KITTI object")
    return dataset


def _image_size_px(sample: Sample) -> tuple[int, int]:
    camera = sample.rig.cameras[CAMERA]
    return camera.width_px, camera.height_px


def _read(path: Path) -> KittiObjects:
    return parse_results(read_text(path), f"{path}")


def _checked(fields: list[str], where: str) -> list[float]:
    if len(fields) != NUM_FIELDS:
        raise InputError(where, found=f"{len(fields)} fields", wanted=f"{NUM_FIELDS}: a label line and a score")
    try:
        values = [float(field) for field in fields[1:]]
    except ValueError as error:
        raise InputError(where, found=str(error), wanted="a class name and 15 numbers") from None
    if not np.isfinite(values).all():
        raise InputError(where, found="a value that is not finite", wanted="finite numbers")
    if fields[0].lower() not in _TYPES:
        raise InputError(where, found=f"class {fields[0]}", wanted=f"one of KITTI's: {', '.join(_TYPES)}")
    if values[1] not in _OCCLUSIONS:
        raise InputError(where, found=f"occlusion {fields[2]}", wanted="-1 to 3")
    if min(values[7:10]) < 0 and values[7:10] != [-1.0, -1.0, -1.0]:
        raise InputError(where, found=f"sizes {values[7:10]}", wanted="sizes >= 0, or three times -1 for no 3D box")
    if values[5] < values[3] or values[6] < values[4]:
        raise InputError(where, found=f"image box {values[3:7]}", wanted="left <= right and top <= bottom")
    return values
