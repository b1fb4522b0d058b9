"""A bag through the pipeline under a virtual clock: the same converter, synchronizer and pipeline as on the vehicle.

Time is the recorder's log time. Nothing depends on how fast the machine is: a replay paced in real time and one as fast
as possible give the same detections, bit for bit.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from understudy.bags.reader import BagMessage, BagReader
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter, refuse_occupied
from understudy.errors import BagError, FrameError, GeometryError, UnderstudyError
from understudy.frame import Frame, Image, PointCloud
from understudy.messages.clouds import cloud_from_message
from understudy.messages.headers import stamp_ns_from_message
from understudy.messages.images import image_from_message
from understudy.messages.outputs import detections_message, markers_message
from understudy.messages.transforms import rig_transforms_message
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent
from understudy.replay_against import AGAINST_FILE, Against
from understudy.replay_checks import refuse_other_frame_id, refuse_other_mounting, refuse_own_bag
from understudy.replay_options import ReplayOptions
from understudy.replay_summary import SUMMARY_FILE, DetectionsDigest, ReplaySummary, counted
from understudy.synchronizer import Counts, MatchedSet, Stamped, Synchronizer
from understudy.topics import (
    AGAINST_DETECTIONS_TOPIC,
    AGAINST_MARKERS_TOPIC,
    DETECTIONS_TOPIC,
    MARKERS_TOPIC,
    STATIC_TRANSFORMS_TOPIC,
    image_topic,
    points_topic,
)

POINTS_TYPE = "sensor_msgs/msg/PointCloud2"
_MOST_REASONS = 20
_OTHER = "other reasons"
_LONGEST_WAIT_S = 86_400.0


def replay_bag(
    bag: Path,
    pipeline: Pipeline,
    out: Path,
    options: ReplayOptions | None = None,
    *,
    against: Against | None = None,
    track: Track = silent,
    sleep: Callable[[float], None] = time.sleep,
) -> ReplaySummary:
    """Runs every sweep of a bag through the pipeline and writes detections and markers with the sweeps' own stamps.

    A bad frame is counted with its reason and left out. Where the bag is damaged, what was read before is kept and the
    summary says so. Any other end before the bag's, an interrupt too, leaves what was at `out` as it was.

    Args:
        bag: folder, or storage file.
        pipeline: student and rig.
        out: folder of the bag of results, with the summary, `replay.json`; it is there when all of it is.
        options: what to replay and how.
        against: another student to compare with, frame by frame; its report is written beside the summary.
        track: shows progress.
        sleep: waits, where a rate was asked for.

    Raises:
        BagError: when the bag cannot be opened or has no such topic, or `out` is the bag or in it.
        GeometryError: when the rig is not the bag's.
        UnderstudyError: when no frame could be used; the message gives the first reason.
    """
    options = options or ReplayOptions()
    refuse_own_bag(bag, out)
    refuse_occupied(out, options.overwrite)
    with BagReader(bag, salvage=options.salvage) as reader:
        sources = _sources(reader, pipeline, options)
        refuse_other_frame_id(reader, sources.points, pipeline)
        if options.check_transforms:
            refuse_other_mounting(reader, pipeline)
        with _Run(reader, sources, pipeline, out, options, against, sleep) as run:
            return run.play(track)


@dataclass(frozen=True)
class _Sources:
    """Which topic is which sensor."""

    points: str
    cameras: Mapping[str, str]

    def sensor_of(self, topic: str, lidar: str) -> str:
        return lidar if topic == self.points else self.cameras[topic]


@dataclass(frozen=True, eq=False)
class _Arrival:
    """A sweep, or a picture that nobody decoded yet, and when the recorder got it."""

    content: Any
    log_time_ns: int


def _sources(reader: BagReader, pipeline: Pipeline, options: ReplayOptions) -> _Sources:
    points = reader.topic_of(POINTS_TYPE, name=options.topic, preferred=points_topic(pipeline.lidar)).name
    wanted = {image_topic(name): name for name in pipeline.rig.cameras} if options.cameras else {}
    return _Sources(points, {topic: name for topic, name in wanted.items() if topic in reader.topics})


class _Run:
    """One pass over a bag; a context manager that publishes the results, or drops them when an error passes."""

    def __init__(
        self,
        reader: BagReader,
        sources: _Sources,
        pipeline: Pipeline,
        out: Path,
        options: ReplayOptions,
        against: Against | None,
        sleep: Callable[[float], None],
    ) -> None:
        self._reader, self._sources, self._pipeline = reader, sources, pipeline
        self._out, self._options, self._sleep = out, options, sleep
        self._against = against
        self._writer: BagWriter | None = None
        self._window_ns = options.window_ns(reader.start_ns)
        offsets_ns = {name: sensor.time_offset_ns for name, sensor in pipeline.rig.sensors.items()}
        self._synchronizer: Synchronizer[_Arrival] = Synchronizer(
            pipeline.lidar, tuple(sources.cameras.values()), options.policy, offsets_ns
        )
        self._reads: Counter[str] = Counter({topic: 0 for topic in (sources.points, *sources.cameras)})
        self._reasons: Counter[str] = Counter()
        self._first_error: UnderstudyError | None = None
        self._digest = DetectionsDigest()
        self._num_detections = 0
        self._pipeline_s = 0.0
        self._log_times_ns: list[int] = []

    def __enter__(self) -> _Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)

    def play(self, track: Track) -> ReplaySummary:
        """Reads, matches, detects and writes until the bag ends or is damaged."""
        started_s = time.perf_counter()
        damage = self._reader.salvage.text if self._reader.salvage else None
        try:
            self._copy_transforms()
            for message in self._paced(track(self._messages(), "replaying", self._num_messages()), started_s):
                self._detect_all(self._match(message))
            damage = damage or self._shortfall()
        except _DamageError as error:
            damage = str(error)
        self._detect_all(self._synchronizer.flush())
        self._refuse_if_nothing_was_used(damage)
        assert self._writer is not None
        summary = self._summary(time.perf_counter() - started_s, damage)
        summary.write(self._writer.folder / SUMMARY_FILE)
        if self._against is not None:
            self._against.report().write(self._writer.folder / AGAINST_FILE)
        return summary

    def _shortfall(self) -> str | None:
        """Messages that the bag promises and does not give: an index can be damaged without anyone noticing."""
        if not self._options.takes_all:
            return None
        for topic, read in self._reads.items():
            promised = self._reader.topics[topic].num_messages
            if read < promised:
                what = f"bag {self._reader.path}: {topic}"
                return str(BagError(what, found=f"{read} messages", wanted=f"{promised}, as its metadata say"))
        return None

    def _lost(self) -> dict[str, int] | None:
        """What the metadata promised and nobody could read, by topic."""
        salvage = self._reader.salvage
        if salvage is not None:
            return None if salvage.lost is None else {topic: salvage.lost.get(topic, 0) for topic in self._reads}
        if not self._options.takes_all:
            return {}
        topics = self._reader.topics
        return {topic: max(0, topics[topic].num_messages - read) for topic, read in self._reads.items()}

    def _num_messages(self) -> int:
        return sum(self._reader.topics[topic].num_messages for topic in self._reads)

    def _messages(self) -> Iterator[BagMessage]:
        return self._guarded(self._reads, self._window_ns)

    def _guarded(self, topics: Iterable[str], window_ns: tuple[int | None, int | None]) -> Iterator[BagMessage]:
        """Messages; damage in the storage is told from what is wrong with a single one."""
        try:
            yield from self._reader.messages(topics, start_ns=window_ns[0], end_ns=window_ns[1])
        except BagError as error:
            raise _DamageError(str(error)) from error

    def _paced(self, messages: Any, started_s: float) -> Iterator[BagMessage]:
        """The same messages, each not before its time has come."""
        first_ns: int | None = None
        for message in messages:
            first_ns = message.log_time_ns if first_ns is None else first_ns
            if self._options.rate > 0:
                due_s = (message.log_time_ns - first_ns) / 1e9 / self._options.rate
                wait_s = due_s - (time.perf_counter() - started_s)
                self._sleep(min(max(0.0, wait_s), _LONGEST_WAIT_S))
            yield message

    def _match(self, message: BagMessage) -> list[MatchedSet[_Arrival]]:
        """Converts a message and hands it to the synchronizer; a bad one is counted."""
        self._reads[message.topic] += 1
        sensor = self._sources.sensor_of(message.topic, self._pipeline.lidar)
        try:
            stamp_ns, content = self._converted(message)
        except (BagError, FrameError) as error:
            self._synchronizer.reject(sensor)
            self._note(error)
            return self._synchronizer.advance(message.log_time_ns)
        if self._options.with_input:
            self._results().write_raw(message.topic, message.type_name, message.raw, message.log_time_ns)
        arrival = _Arrival(content, message.log_time_ns)
        return self._synchronizer.push(sensor, stamp_ns, arrival, message.log_time_ns)

    def _converted(self, message: BagMessage) -> tuple[int, Any]:
        content = self._reader.decode(message)
        if message.topic != self._sources.points:
            return stamp_ns_from_message(content), content
        pipelines = [self._pipeline, *([self._against.pipeline] if self._against else [])]
        needed = any(pipeline.contract.input.uses_intensity for pipeline in pipelines)
        cloud = cloud_from_message(content, extras=False, require_intensity=needed)
        return cloud.stamp_ns, cloud

    def _detect_all(self, sets: list[MatchedSet[_Arrival]]) -> None:
        for matched in sets:
            self._detect(matched)

    def _detect(self, matched: MatchedSet[_Arrival]) -> None:
        cloud: PointCloud = matched.pivot.item.content
        images = self._images(matched.cameras)
        frame = Frame(cloud.stamp_ns, {self._pipeline.lidar: cloud}, images)
        started_s = time.perf_counter()
        try:
            boxes = self._pipeline(frame)
        except (FrameError, GeometryError) as error:
            self._reject_set(images, error)
            return
        finally:
            self._pipeline_s += time.perf_counter() - started_s
        self._num_detections += len(boxes)
        detections = detections_message(make_message, boxes, cloud.stamp_ns)
        self._digest.add(detections)
        log_time_ns = matched.pivot.item.log_time_ns
        self._log_times_ns.append(log_time_ns)
        writer = self._results()
        writer.write(DETECTIONS_TOPIC, detections, log_time_ns)
        writer.write(MARKERS_TOPIC, markers_message(make_message, boxes, cloud.stamp_ns), log_time_ns)
        others = self._against.compare(frame, boxes) if self._against else None
        if others is not None:
            other = detections_message(make_message, others, cloud.stamp_ns)
            writer.write(AGAINST_DETECTIONS_TOPIC, other, log_time_ns)
            writer.write(AGAINST_MARKERS_TOPIC, markers_message(make_message, others, cloud.stamp_ns), log_time_ns)

    def _images(self, partners: Mapping[str, Stamped[_Arrival] | None]) -> dict[str, Image]:
        images = {}
        for name, partner in partners.items():
            if partner is None:
                continue
            try:
                images[name] = image_from_message(partner.item.content)
            except FrameError as error:
                self._synchronizer.counts[name].move("used", "rejected")
                self._note(error)
        return images

    def _reject_set(self, images: Mapping[str, Image], error: UnderstudyError) -> None:
        counts = self._synchronizer.counts
        counts[self._pipeline.lidar].move("used", "rejected")
        for name in images:
            counts[name].move("used", "unmatched")
        self._note(error)

    def _note(self, error: UnderstudyError) -> None:
        self._first_error = self._first_error or error
        reason = str(error)
        is_new = reason not in self._reasons and len(self._reasons) >= _MOST_REASONS
        self._reasons[_OTHER if is_new else reason] += 1

    def _results(self) -> BagWriter:
        """The bag of results, which is made when there is something to write."""
        if self._writer is None:
            self._writer = BagWriter(self._out, overwrite=self._options.overwrite)
        return self._writer

    def _copy_transforms(self) -> None:
        """The bag's static transforms, or those of the rig, at the beginning of what is replayed."""
        if not self._options.with_input:
            return
        begin_ns = self._window_ns[0] or self._reader.start_ns
        copied = False
        for message in self._guarded([STATIC_TRANSFORMS_TOPIC], (None, None)):
            time_ns = max(begin_ns, message.log_time_ns)
            self._results().write_raw(message.topic, message.type_name, message.raw, time_ns, latched=True)
            copied = True
        if not copied:
            transforms = rig_transforms_message(make_message, self._pipeline.rig, begin_ns)
            self._results().write(STATIC_TRANSFORMS_TOPIC, transforms, begin_ns, latched=True)

    def _refuse_if_nothing_was_used(self, damage: str | None) -> None:
        if self._log_times_ns:
            return
        read, what = self._reads[self._sources.points], f"bag {self._reader.path}: {self._sources.points}"
        if damage is not None:
            raise BagError(damage)
        if read == 0:
            raise BagError(what, found="no sweeps", wanted="at least one", remedy="check --start and --end")
        if self._first_error is None:
            raise BagError(what, found=f"{read} sweeps, none with the cameras that are required", wanted="one with")
        kind = type(self._first_error)
        raise kind(f"none of {read} sweeps could be used; the first: {self._first_error}")

    def _summary(self, wall_s: float, damage: str | None) -> ReplaySummary:
        counts = self._synchronizer.counts
        by_topic: dict[str, Counts] = {
            topic: counts[self._sources.sensor_of(topic, self._pipeline.lidar)] for topic in self._reads
        }
        rig = self._pipeline.rig
        return ReplaySummary(
            bag=str(self._reader.path),
            out=str(self._out),
            student=self._pipeline.contract.name,
            engine=self._pipeline.engine.description,
            rig=f"{rig.name} {rig.hash}",
            num_frames=len(self._log_times_ns),
            num_detections=self._num_detections,
            topics=counted(self._reads, by_topic),
            reasons=dict(self._reasons),
            span_s=_span_s(self._log_times_ns),
            wall_s=wall_s,
            pipeline_s=self._pipeline_s,
            rate=self._options.rate,
            damage=damage,
            lost=self._lost(),
            digest=self._digest.hex,
        )


class _DamageError(Exception):
    """The bag ends in damage; not a mistake in a single message."""


def _span_s(log_times_ns: list[int]) -> float:
    """Time that the sweeps took, each one median period: gaps between drives do not count."""
    if len(log_times_ns) < 2:
        return 0.0
    return float(np.median(np.diff(log_times_ns))) / 1e9 * len(log_times_ns)
