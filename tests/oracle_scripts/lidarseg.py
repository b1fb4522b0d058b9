"""Segmentation scores of nuscenes-devkit: of arrays of labels (two arguments), or of result files (four or five).

`lidarseg.py QUESTION ANSWER` takes an npz of `truth`, `predicted` (challenge numbers) and `ends` of its cases.
`lidarseg.py ROOT RESULTS SET ANSWER` runs the official evaluation on a release and a results folder.
`lidarseg.py QUESTION ANSWER ROUNDS` also takes `fine`, general numbers, and times mapping and counting case by case.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from nuscenes.eval.lidarseg import utils
from nuscenes.eval.lidarseg.evaluate import LidarSegEval
from nuscenes.eval.lidarseg.utils import ConfusionMatrix, LidarsegClassMapper
from nuscenes.nuscenes import NuScenes

NUM_CLASSES = 17


def row(confusion: ConfusionMatrix) -> np.ndarray:
    """Mean, frequency-weighted and per-class intersection over union."""
    return np.array([confusion.get_mean_iou(), confusion.get_freqweighted_iou(), *confusion.get_per_class_iou()[1:]])


def scored(question: str, answer: str) -> None:
    """A row for each case."""
    with np.load(question, allow_pickle=False) as content:
        truth, predicted, ends = content["truth"], content["predicted"], content["ends"]
    rows = []
    for start, end in zip([0, *ends[:-1]], ends):  # noqa: B905
        confusion = ConfusionMatrix(NUM_CLASSES, 0)
        confusion.update(truth[start:end], predicted[start:end])
        rows.append(row(confusion))
    np.savez(answer, rows=np.array(rows))


def evaluated(root: str, results: str, subset: str, answer: str) -> None:
    """The official evaluation of result files; a small release has splits of its own, in its `splits.json`."""
    splits = json.loads((Path(root) / "v1.0-mini" / "splits.json").read_text())
    utils.create_splits_scenes = lambda verbose: splits
    evaluation = LidarSegEval(NuScenes("v1.0-mini", root, verbose=False), results, subset)
    evaluation.evaluate()
    np.savez(answer, rows=row(evaluation.global_cm)[None])


class Names:
    """What the class mapper reads of a release."""

    def __init__(self, names: np.ndarray) -> None:
        self.lidarseg_name2idx_mapping = {str(name): index for index, name in enumerate(names)}


def timed(question: str, answer: str, rounds: int) -> None:
    """Seconds of the official evaluation's work on every sweep, files left out: map, check, count."""
    with np.load(question, allow_pickle=False) as content:
        fine, predicted, ends, names = (content[name] for name in ("fine", "predicted", "ends", "names"))
    mapper, seconds = LidarsegClassMapper(Names(names)), []
    for _ in range(rounds):
        confusion, start = ConfusionMatrix(NUM_CLASSES, 0), perf_counter()
        for first, end in zip([0, *ends[:-1]], ends):  # noqa: B905
            confusion.update(mapper.convert_label(fine[first:end]), predicted[first:end])
        seconds.append(perf_counter() - start)
    np.savez(answer, seconds=np.array(seconds), rows=row(confusion)[None])


if len(sys.argv) == 3:
    scored(*sys.argv[1:])
elif len(sys.argv) == 4:
    timed(sys.argv[1], sys.argv[2], int(sys.argv[3]))
else:
    evaluated(*sys.argv[1:])
