"""The labeled sweeps of a bag as a data set, so that a student is evaluated on a recording as on any other data."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.bags.reader import BagMessage, BagReader
from understudy.boxes import Boxes
from understudy.datasets.dataset import Sample
from understudy.engines.opening import OpenedModel
from understudy.errors import BagError, GeometryError
from understudy.evaluation import Evaluation, EvaluationSettings, evaluate_model
from understudy.frame import Frame, PointCloud
from understudy.messages.clouds import cloud_from_message
from understudy.messages.headers import BASE_FRAME, stamp_ns_from_message
from understudy.messages.outputs import DETECTIONS_TYPE, boxes_from_detections
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent
from understudy.replay_options import ReplayOptions
from understudy.rig import Rig
from understudy.topics import LABELS_TOPIC, points_topic

EVALUATION_FILE = "evaluation.json"
_CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"


class LabeledBag:
    """Sweeps of a bag that have labels of the very same stamp; a `Dataset`.

    Args:
        reader: an open bag; it must stay open.
        rig: of the recording.
        lidar: name of the LiDAR.
        options: which clouds, and which part of the bag.
        labels_topic: `vision_msgs/Detection3DArray` in the base frame, as `understudy record --labels` writes.

    Attributes:
        num_labels: label messages read.
        num_lonely: those among them without a sweep of their stamp.

    Raises:
        BagError: when there are no labels, or none has a sweep.
        GeometryError: when labels are in another frame.
    """

    def __init__(
        self, reader: BagReader, rig: Rig, lidar: str, options: ReplayOptions, labels_topic: str = LABELS_TOPIC
    ) -> None:
        self._reader, self._rig, self._lidar = reader, rig, lidar
        self._window_ns = options.window_ns(reader.start_ns)
        self._points = reader.topic_of(_CLOUD_TYPE, name=options.topic, preferred=points_topic(lidar)).name
        topic = reader.topic_of(DETECTIONS_TYPE, name=labels_topic).name
        labels = {stamp_ns_from_message(message): message for message in self._decoded(topic)}
        for message in labels.values():
            _refuse_other_frame(message, topic)
        log_times_ns = self._log_times_ns(labels)
        self.num_labels, self.num_lonely = len(labels), len(labels) - len(log_times_ns)
        if not log_times_ns:
            found = f"{len(labels)} labels, none at the stamp of a sweep on {self._points}"
            raise BagError(f"bag {reader.path}: {topic}", found=found, wanted="labels with their sweeps' stamps")
        self._rows = [(stamp_ns, log_time_ns, labels[stamp_ns]) for stamp_ns, log_time_ns in log_times_ns.items()]
        self._class_names = _class_names(labels.values())

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the labels, by name."""
        return self._class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the names and sizes of the bag's files, the rig, the stamps and the classes."""
        path = self._reader.path
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        told = [f"{file.name} {file.stat().st_size}" for file in files if file.is_file()]
        told += [self._rig.hash, *self.class_names, *(str(stamp_ns) for stamp_ns, _, _ in self._rows)]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        stamp_ns, log_time_ns, message = self._rows[index]
        frame = Frame(stamp_ns, {self._lidar: self._cloud(stamp_ns, log_time_ns)}, {})
        return Sample(f"{stamp_ns}", frame, self._rig, self._boxes(message), {})

    def _boxes(self, message: Any) -> Boxes:
        return replace(boxes_from_detections(message, self._class_names), scores=None)

    def _cloud(self, stamp_ns: int, log_time_ns: int) -> PointCloud:
        for message in self._messages(self._points, (log_time_ns, log_time_ns + 1)):
            content = self._reader.decode(message)
            if stamp_ns_from_message(content) == stamp_ns:
                return cloud_from_message(content, extras=False)
        raise BagError(f"bag {self._reader.path}: sweep {stamp_ns}", found="nothing", wanted="what was there before")

    def _log_times_ns(self, labels: Mapping[int, Any]) -> dict[int, int]:
        """Log time of the first sweep of each stamp that has labels; a sweep that cannot be read has none."""
        found: dict[int, int] = {}
        for message in self._messages(self._points, self._window_ns):
            try:
                stamp_ns = stamp_ns_from_message(self._reader.decode(message))
            except BagError:
                continue
            if stamp_ns in labels:
                found.setdefault(stamp_ns, message.log_time_ns)
        return found

    def _decoded(self, topic: str) -> list[Any]:
        return [self._reader.decode(message) for message in self._messages(topic, self._window_ns)]

    def _messages(self, topic: str, window_ns: tuple[int | None, int | None]) -> Iterator[BagMessage]:
        """Up to the damage: what lies behind it has no result either."""
        with suppress(BagError):
            yield from self._reader.messages([topic], start_ns=window_ns[0], end_ns=window_ns[1])


def evaluate_on_bag(
    pipeline: Pipeline,
    bag: Path,
    options: ReplayOptions,
    labels_topic: str = LABELS_TOPIC,
    *,
    track: Track = silent,
) -> tuple[Evaluation, str]:
    """Average precision on the labeled sweeps of a bag, by the one path that `understudy evaluate` takes.

    Returns:
        The evaluation, and a line that accounts for the labels.

    Raises:
        BagError: when the bag cannot be read or holds no labels with sweeps.
    """
    with BagReader(bag, salvage=options.salvage) as reader:
        dataset = LabeledBag(reader, pipeline.rig, pipeline.lidar, options, labels_topic)
        model = OpenedModel(pipeline.contract, pipeline.engine)
        evaluation = evaluate_model(model, dataset, EvaluationSettings(), lidar=pipeline.lidar, track=track)
        used = dataset.num_labels - dataset.num_lonely
        told = f"labels read {dataset.num_labels} = used {used} + without a sweep {dataset.num_lonely}"
        return evaluation, told


def refuse_unlabeled(bag: Path, options: ReplayOptions, labels_topic: str = LABELS_TOPIC) -> None:
    """Raises BagError when a bag has no such labels."""
    with BagReader(bag, salvage=options.salvage) as reader:
        reader.topic_of(DETECTIONS_TYPE, name=labels_topic)


def _refuse_other_frame(message: Any, topic: str) -> None:
    frame_id = str(message.header.frame_id)
    if frame_id != BASE_FRAME:
        raise GeometryError(f"labels on {topic}: frame_id", found=frame_id or "nothing", wanted=BASE_FRAME)


def _class_names(labels: Iterable[Any]) -> tuple[str, ...]:
    counts: Counter[str] = Counter()
    for message in labels:
        counts.update(str(entry.results[0].hypothesis.class_id) for entry in message.detections if entry.results)
    return tuple(sorted(counts))
