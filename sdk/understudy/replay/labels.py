"""The labels of a bag against what a replay finds in the same sweeps, in the one pass."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from understudy.bags.reader import BagReader
from understudy.boxes import Boxes
from understudy.datasets.dataset import Sample
from understudy.errors import BagError, GeometryError
from understudy.evaluation import Evaluation, EvaluationSettings, at_score_threshold, evaluate
from understudy.frame import Frame
from understudy.messages.headers import BASE_FRAME, stamp_ns_from_message
from understudy.messages.outputs import DETECTIONS_TYPE, boxes_from_detections
from understudy.pipeline import Pipeline
from understudy.replay.options import ReplayOptions
from understudy.rig import Rig
from understudy.topics import LABELS_TOPIC

EVALUATION_FILE = "evaluation.json"


class Scoring:
    """The student's pipeline for a replay that is evaluated: each frame runs once, its outputs are read twice.

    What is published has the student's own thresholds; what is scored the low one of every evaluation. A frame that the
    student cannot use after all counts as one in which it found nothing.

    Args:
        pipeline: student and rig.
        topic: `vision_msgs/Detection3DArray` in the base frame, as `understudy record --labels` writes.
    """

    def __init__(self, pipeline: Pipeline, topic: str = LABELS_TOPIC) -> None:
        contract = at_score_threshold(pipeline.contract)
        self._pipeline, self._topic = pipeline, topic
        self._low = Pipeline(contract, pipeline.engine, pipeline.rig, lidar=pipeline.lidar, sweeps=contract.sweeps)
        self._nothing = replace(Boxes.empty(contract.class_names), scores=np.zeros(0, np.float32))
        self._labels: dict[int, Any] = {}
        self._found: dict[int, Boxes] = {}
        self._bag = Path()

    def read_labels(self, reader: BagReader, options: ReplayOptions) -> None:
        """Takes the labels of the part that is replayed, up to damage: what lies behind has no result either.

        Raises:
            BagError: when the bag has no such topic, or a label cannot be read.
            GeometryError: when labels are in another frame.
        """
        self._bag, topic = reader.path, reader.topic_of(DETECTIONS_TYPE, name=self._topic).name
        start_ns, end_ns = options.window_ns(reader.start_ns)
        raw = []
        with suppress(BagError):
            for message in reader.messages([topic], start_ns=start_ns, end_ns=end_ns):
                raw.append(message)
        for message in raw:
            content = reader.decode(message)
            _refuse_other_frame(content, topic)
            self._labels[stamp_ns_from_message(content)] = content

    def __call__(self, frame: Frame) -> Boxes:
        """What the pipeline says; errors as there."""
        if frame.stamp_ns not in self._labels:
            return self._pipeline(frame)
        self._found[frame.stamp_ns] = self._nothing
        outputs = self._pipeline.engine(self._pipeline.prepare(frame))
        boxes = self._pipeline.boxes(outputs)
        self._found[frame.stamp_ns] = self._low.boxes(outputs)
        return boxes

    def evaluation(self) -> Evaluation:
        """Average precision over the labels whose sweeps came to the student, as `evaluate_model` scores it.

        Raises:
            BagError: when no label has such a sweep.
            InputError: when labels and student share no class.
        """
        if not self._found:
            found = f"{len(self._labels)} labels, none at the stamp of a sweep with a result"
            raise BagError(f"bag {self._bag}: {self._topic}", found=found, wanted="labels with their sweeps' stamps")
        contract = self._pipeline.contract
        dataset = _LabeledFrames(self._bag, self._pipeline.rig, {stamp: self._labels[stamp] for stamp in self._found})
        pictures = None if contract.sees_points else contract.pictures
        settings = EvaluationSettings().model_copy(update={"grid": contract.grid, "pictures": pictures})
        evaluation = evaluate(
            lambda rig: lambda frame: self._found[frame.stamp_ns], dataset, settings, subject=contract.name
        )
        return evaluation.model_copy(update={"engine": self._pipeline.engine.description})

    @property
    def told(self) -> str:
        """A line that accounts for the labels."""
        read, used = len(self._labels), len(self._found)
        return f"labels read {read} = used {used} + without a sweep that could be used {read - used}"


class _LabeledFrames:
    """The labels that a replay met, as a `Dataset` whose frames are empty: what was found in them is known already."""

    def __init__(self, bag: Path, rig: Rig, labels: dict[int, Any]) -> None:
        self._bag, self._rig, self._rows = bag, rig, list(labels.items())
        self._class_names = _class_names(labels.values())

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the labels, by name."""
        return self._class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the names and sizes of the bag's files, the rig, the stamps and the classes."""
        files = sorted(self._bag.iterdir()) if self._bag.is_dir() else [self._bag]
        told = [f"{file.name} {file.stat().st_size}" for file in files if file.is_file()]
        told += [self._rig.hash, *self.class_names, *(str(stamp_ns) for stamp_ns, _ in self._rows)]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        stamp_ns, message = self._rows[index]
        boxes = replace(boxes_from_detections(message, self._class_names), scores=None)
        return Sample(f"{stamp_ns}", Frame(stamp_ns), self._rig, boxes, {})


def _refuse_other_frame(message: Any, topic: str) -> None:
    frame_id = str(message.header.frame_id)
    if frame_id != BASE_FRAME:
        raise GeometryError(f"labels on {topic}: frame_id", found=frame_id or "nothing", wanted=BASE_FRAME)


def _class_names(labels: Iterable[Any]) -> tuple[str, ...]:
    counts: Counter[str] = Counter()
    for message in labels:
        counts.update(str(entry.results[0].hypothesis.class_id) for entry in message.detections if entry.results)
    return tuple(sorted(counts))
