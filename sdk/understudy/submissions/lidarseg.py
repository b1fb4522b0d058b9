"""Result files of nuScenes-lidarseg: `lidarseg/SET/TOKEN_lidarseg.bin`, one byte per point, and `SET/submission.json`.

Source: the task description of nuScenes-lidarseg (W. K. Fong et al., RA-L 2022). Bytes are the 16 classes from 1 on;
0, the class that is not scored, may not be predicted.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from understudy.boxes import Segments
from understudy.converters.class_maps import NUSCENES_LIDARSEG_NAMES, chosen_map
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.nuscenes_tables import LIDAR, NuscenesTables
from understudy.errors import InputError
from understudy.metrics.official_result import Benchmark, OfficialResult, Predictions
from understudy.metrics.segmentation import Confusion, lidarseg_values
from understudy.submissions.folders import new_folder

NAME = "nuscenes-lidarseg"
_META = {"use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False, "use_external": False}


def write_results(out: Path, dataset: Dataset, predictions: Predictions) -> None:
    """Writes a file for every sample given, and what they were made with: the LiDAR alone.

    Args:
        out: folder, new or empty.
        dataset: a `NuscenesTables`, for the tokens that files are named by.
        predictions: samples with `Segments` of the 16 classes, one per point of the sweep, none left open.

    Raises:
        InputError: when the folder is in use, or the segments have other classes, another length or open points.
    """
    nuscenes = _nuscenes(dataset)
    tokens = nuscenes.lidar_tokens()
    with new_folder(out) as folder:
        labels_folder = _labels_folder(folder, nuscenes)
        labels_folder.mkdir(parents=True)
        for sample, segments in predictions:
            _refuse_misfit(sample, segments)
            (segments.labels + 1).astype(np.uint8).tofile(labels_folder / _file_name(tokens[sample.key]))
        (folder / nuscenes.subset).mkdir()
        meta = json.dumps({"meta": _META}, indent=2) + "\n"
        (folder / nuscenes.subset / "submission.json").write_text(meta, encoding="utf-8")


def score_results(results: Path, dataset: Dataset) -> OfficialResult:
    """Scores result files against the labels of a `NuscenesTables`; key frames without labels are passed over.

    Raises:
        InputError: when a file is missing, malformed or of no key frame, or no key frame has labels.
    """
    nuscenes = _nuscenes(dataset)
    tokens, folder = nuscenes.lidar_tokens(), _labels_folder(results, nuscenes)
    _refuse_strangers(folder, tokens)
    confusion, num_frames = Confusion(NUSCENES_LIDARSEG_NAMES), 0
    for index in range(len(nuscenes)):
        sample = nuscenes[index]
        if LIDAR in sample.segments:
            path = folder / _file_name(tokens[sample.key])
            confusion.add(official_segments(sample.segments[LIDAR]), read_prediction(path), f"{path}")
            num_frames += 1
    if not num_frames:
        raise InputError(f"metric {NAME}", found=f"no labels in {len(dataset)} key frames", wanted="lidarseg.json")
    values = lidarseg_values(confusion)
    return OfficialResult(metric=NAME, data=dataset.fingerprint, num_frames=num_frames, values=values)


BENCHMARKS = (Benchmark(NAME, write_results, score_results, predicts="segments", classes=None),)


def official_segments(segments: Segments) -> Segments:
    """Points of the 32 general classes as points of the 16 that are scored, -1 elsewhere."""
    if segments.class_names == NUSCENES_LIDARSEG_NAMES:
        return segments
    return chosen_map(NAME, "official").relabel_segments(segments)


def read_prediction(path: Path) -> Segments:
    """The 16 classes from a file of bytes.

    Raises:
        InputError: when the file is missing, or holds a byte that is not 1 to 16.
    """
    try:
        numbers = np.frombuffer(path.read_bytes(), np.uint8)
    except FileNotFoundError:
        raise InputError(f"{path}", found="no such file", wanted="a class per point of its sweep") from None
    lowest, highest = int(numbers.min(initial=1)), int(numbers.max(initial=1))
    if lowest < 1 or highest > len(NUSCENES_LIDARSEG_NAMES):
        wrong = highest if highest > len(NUSCENES_LIDARSEG_NAMES) else lowest
        raise InputError(f"{path}", found=f"class {wrong}", wanted=f"1 to {len(NUSCENES_LIDARSEG_NAMES)}")
    return Segments(numbers.astype(np.int16) - np.int16(1), NUSCENES_LIDARSEG_NAMES)


def _labels_folder(results: Path, dataset: NuscenesTables) -> Path:
    return results / "lidarseg" / dataset.subset


def _file_name(token: str) -> str:
    return f"{token}_lidarseg.bin"


def _refuse_strangers(folder: Path, tokens: dict[str, str]) -> None:
    if not folder.is_dir():
        remedy = "score with the split that the results were made for"
        raise InputError(f"{folder}", found="no such folder", wanted="the results of this split", remedy=remedy)
    strangers = sorted({path.name for path in folder.glob("*.bin")} - {_file_name(token) for token in tokens.values()})
    if strangers:
        raise InputError(
            f"{folder / strangers[0]}", found="no such key frame in the data set", wanted="its sweeps' tokens"
        )


def _refuse_misfit(sample: Sample, segments: Segments) -> None:
    what = f"prediction of {sample.key}"
    if segments.class_names != NUSCENES_LIDARSEG_NAMES:
        found, wanted = ", ".join(segments.class_names), ", ".join(NUSCENES_LIDARSEG_NAMES)
        raise InputError(f"{what}: classes", found=found, wanted=wanted)
    num_points = len(sample.frame.clouds[LIDAR])
    if len(segments) != num_points:
        raise InputError(what, found=f"{len(segments)} points", wanted=f"{num_points}")
    if segments.labels.min(initial=0) < 0:
        raise InputError(what, found="points without a class", wanted="one of the 16 for every point")


def _nuscenes(dataset: Dataset) -> NuscenesTables:
    if not isinstance(dataset, NuscenesTables):
        found = f"a data set of kind {type(dataset).__name__}"
        raise InputError(f"metric {NAME}", found=found, wanted="nuScenes with its tables")
    return dataset
