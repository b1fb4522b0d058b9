"""A bag through the pipeline under a virtual clock: the same converter, synchronizer and pipeline as on the vehicle.

Time is the recorder's log time. Nothing depends on how fast the machine is: a replay paced in real time and one as fast
as possible give the same detections, bit for bit.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from understudy.bags.reader import BagMessage, BagReader
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter, refuse_occupied
from understudy.errors import BagError, FrameError, GeometryError, InputError, UnderstudyError
from understudy.frame import Frame, Image, PointCloud
from understudy.messages.clouds import cloud_from_message
from understudy.messages.headers import stamp_ns_from_message
from understudy.messages.images import image_from_message
from understudy.messages.outputs import detections_message, markers_message
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent
from understudy.replay_checks import refuse_other_frame_id, refuse_other_mounting, refuse_own_bag
from understudy.replay_summary import SUMMARY_FILE, DetectionsDigest, ReplaySummary, counted
from understudy.synchronizer import Counts, MatchedSet, Stamped, Synchronizer, SyncPolicy
from understudy.topics import DETECTIONS_TOPIC, MARKERS_TOPIC, image_topic, points_topic

POINTS_TYPE = "sensor_msgs/msg/PointCloud2"
_MOST_REASONS = 20
_OTHER = "other reasons"
_RATES = (0.001, 1000.0)
_LATEST_S = 1e9
_LONGEST_WAIT_S = 86_400.0


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay and how.

    Attributes:
        topic: the point clouds; None takes `/sensors/<lidar>/points`, or the only such topic.
        rate: 0 is as fast as possible, 1 as recorded, 2 twice as fast; from 0.001 to 1000.
        start_s: skip the bag's first seconds.
        end_s: stop this many seconds after the bag's start.
        cameras: also synchronize and decode the rig's cameras that are in the bag.
        check_transforms: refuse a rig that differs from the bag's `/tf_static`.
        overwrite: whether a bag of results that is there may go.
        policy: how camera frames are matched to sweeps.
    """

    topic: str | None = None
    rate: float = 0.0
    start_s: float = 0.0
    end_s: float | None = None
    cameras: bool = False
    check_transforms: bool = True
    overwrite: bool = False
    policy: SyncPolicy = field(default_factory=SyncPolicy)

    def __post_init__(self) -> None:
        low, high = _RATES
        if self.rate != 0 and not low <= self.rate <= high:
            raise InputError("--rate", found=self.rate, wanted=f"0 (as fast as possible) or {low:g} to {high:g}")
        end_s = _LATEST_S if self.end_s is None else self.end_s
        if not 0 <= self.start_s < end_s <= _LATEST_S:
            end = "the end" if self.end_s is None else f"{self.end_s:g} s"
            wanted = f"0 <= start < end, up to {_LATEST_S:g} s"
            raise InputError("--start and --end", found=f"{self.start_s:g} s to {end}", wanted=wanted)


def replay_bag(
    bag: Path,
    pipeline: Pipeline,
    out: Path,
    options: ReplayOptions | None = None,
    *,
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
    with BagReader(bag) as reader:
        sources = _sources(reader, pipeline, options)
        refuse_other_frame_id(reader, sources.points, pipeline)
        if options.check_transforms:
            refuse_other_mounting(reader, pipeline)
        with _Run(reader, sources, pipeline, out, options, sleep) as run:
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
        sleep: Callable[[float], None],
    ) -> None:
        self._reader, self._sources, self._pipeline = reader, sources, pipeline
        self._out, self._options, self._sleep = out, options, sleep
        self._writer: BagWriter | None = None
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
        damage = None
        try:
            for message in self._paced(track(self._messages(), "replaying", self._num_messages()), started_s):
                self._detect_all(self._match(message))
            damage = self._shortfall()
        except _DamageError as error:
            damage = str(error)
        self._detect_all(self._synchronizer.flush())
        self._refuse_if_nothing_was_used(damage)
        assert self._writer is not None
        summary = self._summary(time.perf_counter() - started_s, damage)
        summary.write(self._writer.folder / SUMMARY_FILE)
        return summary

    def _shortfall(self) -> str | None:
        """Messages that the bag promises and does not give: an index can be damaged without anyone noticing."""
        if self._options.start_s or self._options.end_s is not None:
            return None
        for topic, read in self._reads.items():
            promised = self._reader.topics[topic].num_messages
            if read < promised:
                what = f"bag {self._reader.path}: {topic}"
                return str(BagError(what, found=f"{read} messages", wanted=f"{promised}, as its metadata say"))
        return None

    def _num_messages(self) -> int:
        return sum(self._reader.topics[topic].num_messages for topic in self._reads)

    def _messages(self) -> Iterator[BagMessage]:
        zero_ns, options = self._reader.start_ns, self._options
        end_ns = None if options.end_s is None else zero_ns + round(options.end_s * 1e9)
        start_ns = zero_ns + round(options.start_s * 1e9) if options.start_s else None
        try:
            yield from self._reader.messages(self._reads, start_ns=start_ns, end_ns=end_ns)
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
        arrival = _Arrival(content, message.log_time_ns)
        return self._synchronizer.push(sensor, stamp_ns, arrival, message.log_time_ns)

    def _converted(self, message: BagMessage) -> tuple[int, Any]:
        content = self._reader.decode(message)
        if message.topic != self._sources.points:
            return stamp_ns_from_message(content), content
        needed = self._pipeline.contract.input.uses_intensity
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
        self._write(DETECTIONS_TOPIC, detections, log_time_ns)
        self._write(MARKERS_TOPIC, markers_message(make_message, boxes, cloud.stamp_ns), log_time_ns)

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

    def _write(self, topic: str, message: Any, log_time_ns: int) -> None:
        """Into the bag of results, which is made when there is a first result."""
        if self._writer is None:
            self._writer = BagWriter(self._out, overwrite=self._options.overwrite)
        self._writer.write(topic, message, log_time_ns)

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
            digest=self._digest.hex,
        )


class _DamageError(Exception):
    """The bag ends in damage; not a mistake in a single message."""


def _span_s(log_times_ns: list[int]) -> float:
    """Time that the sweeps took, each one median period: gaps between drives do not count."""
    if len(log_times_ns) < 2:
        return 0.0
    return float(np.median(np.diff(log_times_ns))) / 1e9 * len(log_times_ns)
