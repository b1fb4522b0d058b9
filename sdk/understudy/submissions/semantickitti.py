"""Result files of SemanticKITTI: `sequences/NN/predictions/NNNNNN.label`, one uint32 per point, native class numbers.

Source: the SemanticKITTI interface (J. Behley et al., ICCV 2019), single-scan segmentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from understudy.boxes import Segments
from understudy.converters.segment_maps import SEMANTICKITTI
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.kitti import LIDAR
from understudy.datasets.semantickitti import SemanticKittiDataset
from understudy.errors import InputError
from understudy.metrics.official_result import Benchmark, OfficialResult, Predictions
from understudy.metrics.segmentation import Confusion, semantickitti_values
from understudy.submissions.folders import new_folder

NAME = "semantickitti"
_CLASS_BITS = 0xFFFF


def write_results(out: Path, dataset: Dataset, predictions: Predictions) -> None:
    """Writes a file for every sample given; a point of no class is written as 0.

    Args:
        out: folder, new or empty.
        dataset: a `SemanticKittiDataset`.
        predictions: samples with `Segments` of the 19 classes, one per point of the sweep.

    Raises:
        InputError: when the folder is in use, or the segments have other classes or another length.
    """
    _semantickitti(dataset)
    with new_folder(out) as folder:
        for sample, segments in predictions:
            _refuse_misfit(sample, segments)
            path = folder / _place(sample)
            path.parent.mkdir(parents=True, exist_ok=True)
            SEMANTICKITTI.numbers(segments.labels).astype("<u4").tofile(path)


def score_results(results: Path, dataset: Dataset) -> OfficialResult:
    """Scores result files against the labels of a `SemanticKittiDataset`; sweeps without labels are passed over.

    Raises:
        InputError: when a file is missing, malformed or of no sweep, or no sweep has labels.
    """
    labeled = _semantickitti(dataset)
    confusion, places = Confusion(SEMANTICKITTI.class_names), set()
    num_frames = 0
    for sample in _samples(labeled):
        path = results / _place(sample)
        places.add(path)
        truth = sample.segments.get(LIDAR)
        if truth is not None:
            confusion.add(truth, read_prediction(path), f"{path}")
            num_frames += 1
    strangers = sorted(set(results.glob("sequences/*/predictions/*.label")) - places)
    if strangers:
        remedy = "score with the split that the results were made for"
        raise InputError(f"{strangers[0]}", found="no such sweep in the data set", remedy=remedy)
    if not num_frames:
        raise InputError("metric semantickitti", found=f"no labels in {len(dataset)} sweeps", wanted="labels/*.label")
    values = semantickitti_values(confusion)
    return OfficialResult(metric=NAME, data=dataset.fingerprint, num_frames=num_frames, values=values)


BENCHMARKS = (Benchmark(NAME, write_results, score_results, predicts="segments", classes=None),)


def read_prediction(path: Path) -> Segments:
    """The 19 classes, -1 elsewhere, from a file of labels; its upper 16 bits (instances) are passed over.

    Raises:
        InputError: when the file is missing, holds no whole number of labels or a number that is no class.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}", found="no such file", wanted="a class per point of its sweep") from None
    if len(content) % 4:
        raise InputError(f"{path}", found=f"{len(content)} bytes", wanted="a multiple of 4: uint32 labels")
    return SEMANTICKITTI.segments(np.frombuffer(content, "<u4") & _CLASS_BITS, f"{path}")


def _samples(dataset: SemanticKittiDataset) -> Iterator[Sample]:
    return (dataset[index] for index in range(len(dataset)))


def _place(sample: Sample) -> Path:
    sequence, _, frame = sample.key.partition("/")
    return Path("sequences") / sequence / "predictions" / f"{frame}.label"


def _refuse_misfit(sample: Sample, segments: Segments) -> None:
    if segments.class_names != SEMANTICKITTI.class_names:
        found, wanted = ", ".join(segments.class_names), ", ".join(SEMANTICKITTI.class_names)
        raise InputError(f"prediction of {sample.key}: classes", found=found, wanted=wanted)
    num_points = len(sample.frame.clouds[LIDAR])
    if len(segments) != num_points:
        raise InputError(f"prediction of {sample.key}", found=f"{len(segments)} points", wanted=f"{num_points}")


def _semantickitti(dataset: Dataset) -> SemanticKittiDataset:
    if not isinstance(dataset, SemanticKittiDataset):
        found = f"a data set of kind {type(dataset).__name__}"
        raise InputError(f"metric {NAME}", found=found, wanted="SemanticKITTI")
    return dataset
