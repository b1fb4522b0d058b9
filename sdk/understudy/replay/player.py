"""A bag through the pipeline under a virtual clock: the vehicle's own intake of messages, and its pipeline.

Time is the recorder's log time. Nothing depends on how fast the machine is: a replay paced in real time and one as fast
as possible give the same detections, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from understudy.bags.reader import BagMessage, BagReader
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter, refuse_occupied
from understudy.boxes import Boxes
from understudy.errors import BagError, FrameError, GeometryError
from understudy.frame import Frame
from understudy.live.accumulating import Matched
from understudy.live.intake import Intake
from understudy.live.options import StreamOptions
from understudy.messages.outputs import detections_message, markers_message
from understudy.messages.transforms import rig_transforms_message
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent
from understudy.replay.against import AGAINST_FILE, Against
from understudy.replay.checks import refuse_other_frame_id, refuse_other_mounting, refuse_own_bag
from understudy.replay.feed import Feed
from understudy.replay.labels import Scoring
from understudy.replay.options import ReplayOptions
from understudy.replay.sources import Sources, find_sources
from understudy.replay.summary import SUMMARY_FILE, DetectionsDigest, ReplaySummary, counted
from understudy.topics import (
    AGAINST_DETECTIONS_TOPIC,
    AGAINST_MARKERS_TOPIC,
    DETECTIONS_TOPIC,
    MARKERS_TOPIC,
    STATIC_TRANSFORMS_TOPIC,
)

_LONGEST_WAIT_S = 86_400.0
_NUM_DECODERS = 2


def replay_bag(
    bag: Path,
    pipeline: Pipeline,
    out: Path,
    options: ReplayOptions | None = None,
    *,
    against: Against | None = None,
    scoring: Scoring | None = None,
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
        scoring: gathers what the student finds where the bag has labels; the evaluation is the caller's.
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
        sources = find_sources(reader, [pipeline, *([against.pipeline] if against else [])], options)
        refuse_other_frame_id(reader, sources.topic, pipeline.rig, sources.pivot)
        if options.check_transforms:
            refuse_other_mounting(reader, pipeline.rig, (sources.pivot, *sources.cameras.values()))
        if scoring is not None:
            scoring.read_labels(reader, options)
        with _Run(reader, sources, pipeline, out, options, against, scoring, sleep) as run:
            return run.play(track)


class _Run:
    """One pass over a bag; a context manager that publishes the results, or drops them when an error passes."""

    def __init__(
        self,
        reader: BagReader,
        sources: Sources,
        pipeline: Pipeline,
        out: Path,
        options: ReplayOptions,
        against: Against | None,
        scoring: Scoring | None,
        sleep: Callable[[float], None],
    ) -> None:
        self._reader, self._sources, self._pipeline = reader, sources, pipeline
        self._out, self._options, self._sleep = out, options, sleep
        self._against = against
        self._detect_boxes: Callable[[Frame], Boxes] = pipeline if scoring is None else scoring
        self._writer: BagWriter | None = None
        self._window_ns = options.window_ns(reader.start_ns)
        self._feed = Feed(reader, sources, _intake(sources, pipeline, options, against))
        self._pool = ThreadPoolExecutor(_NUM_DECODERS, thread_name_prefix="decode") if sources.cameras else None
        self._decode = self._pool.map if self._pool else map
        self._digest = DetectionsDigest()
        self._num_detections = 0
        self._pipeline_s = 0.0
        self._log_times_ns: list[int] = []

    def __enter__(self) -> _Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)

    def play(self, track: Track) -> ReplaySummary:
        """Reads, matches, detects and writes until the bag ends or is damaged."""
        started_s = time.perf_counter()
        damage = self._reader.salvage.text if self._reader.salvage else None
        try:
            self._copy_transforms()
            for message in self._paced(track(self._messages(), "replaying", self._num_messages()), started_s):
                self._take(message)
            damage = damage or self._shortfall()
        except _DamageError as error:
            damage = str(error)
        self._detect_all(self._feed.flush())
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
        for topic, read in self._feed.reads.items():
            promised = self._reader.topics[topic].num_messages
            if read < promised:
                what = f"bag {self._reader.path}: {topic}"
                return str(BagError(what, found=f"{read} messages", wanted=f"{promised}, as its metadata say"))
        return None

    def _lost(self) -> dict[str, int] | None:
        """What the metadata promised and nobody could read, by topic."""
        salvage, reads = self._reader.salvage, self._feed.reads
        if salvage is not None:
            return None if salvage.lost is None else {topic: salvage.lost.get(topic, 0) for topic in reads}
        if not self._options.takes_all:
            return {}
        topics = self._reader.topics
        return {topic: max(0, topics[topic].num_messages - read) for topic, read in reads.items()}

    def _num_messages(self) -> int:
        return sum(self._reader.topics[topic].num_messages for topic in self._sources)

    def _messages(self) -> Iterator[BagMessage]:
        return self._guarded(self._sources, self._window_ns)

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

    def _take(self, message: BagMessage) -> None:
        """Pushes a message, copies it where that is asked for, and detects in the frames that it completes."""
        sets, was_read = self._feed.push(message)
        if was_read and self._options.with_input:
            self._results().write_raw(message.topic, message.type_name, message.raw, message.log_time_ns)
        self._detect_all(sets)

    def _detect_all(self, sets: list[Matched]) -> None:
        for matched in sets:
            frame = self._feed.frame(matched, self._decode)
            boxes = None if frame is None else self._boxes(matched, frame)
            if frame is not None and boxes is not None:
                self._write(frame, boxes, matched.pivot.item.now_ns)

    def _boxes(self, matched: Matched, frame: Frame) -> Boxes | None:
        started_s = time.perf_counter()
        try:
            return self._detect_boxes(frame)
        except (FrameError, GeometryError) as error:
            self._feed.reject(matched, error)
            return None
        finally:
            self._pipeline_s += time.perf_counter() - started_s

    def _write(self, frame: Frame, boxes: Boxes, log_time_ns: int) -> None:
        self._num_detections += len(boxes)
        self._log_times_ns.append(log_time_ns)
        detections = detections_message(make_message, boxes, frame.stamp_ns)
        self._digest.add(detections)
        writer = self._results()
        writer.write(DETECTIONS_TOPIC, detections, log_time_ns)
        writer.write(MARKERS_TOPIC, markers_message(make_message, boxes, frame.stamp_ns), log_time_ns)
        others = self._against.compare(frame, boxes) if self._against else None
        if others is not None:
            other = detections_message(make_message, others, frame.stamp_ns)
            writer.write(AGAINST_DETECTIONS_TOPIC, other, log_time_ns)
            writer.write(AGAINST_MARKERS_TOPIC, markers_message(make_message, others, frame.stamp_ns), log_time_ns)

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
        read, what = self._feed.reads[self._sources.topic], f"bag {self._reader.path}: {self._sources.topic}"
        sets = "pictures" if self._sources.pivot in self._pipeline.rig.cameras else "sweeps"
        if damage is not None:
            raise BagError(damage)
        if read == 0:
            raise BagError(what, found=f"no {sets}", wanted="at least one", remedy="check --start and --end")
        first = self._feed.first_error()
        if first is None:
            raise BagError(what, found=f"{read} {sets}, none with the cameras that are required", wanted="one with")
        raise type(first)(f"none of {read} {sets} could be used; the first: {first}")

    def _summary(self, wall_s: float, damage: str | None) -> ReplaySummary:
        rig = self._pipeline.rig
        return ReplaySummary(
            bag=str(self._reader.path),
            out=str(self._out),
            student=self._pipeline.contract.name,
            engine=self._pipeline.engine.description,
            rig=f"{rig.name} {rig.hash}",
            num_frames=len(self._log_times_ns),
            num_detections=self._num_detections,
            topics=counted(self._feed.reads, self._feed.counts),
            reasons=self._feed.reasons,
            span_s=_span_s(self._log_times_ns),
            wall_s=wall_s,
            pipeline_s=self._pipeline_s,
            rate=self._options.rate,
            damage=damage,
            lost=self._lost(),
            digest=self._digest.hex,
            masked=self._sources.absent,
        )


def _intake(sources: Sources, pipeline: Pipeline, options: ReplayOptions, against: Against | None) -> Intake:
    contracts = [pipeline.contract, *([against.pipeline.contract] if against else [])]
    wanted = StreamOptions(
        pivot=sources.pivot,
        cameras=tuple(sources.cameras.values()),
        policy=options.policy,
        rule=options.rule,
        require_intensity=any(contract.input.uses_intensity for contract in contracts),
        num_sweeps=pipeline.contract.sweeps,
        refuse_frozen_after=options.refuse_frozen_after,
    )
    return Intake(pipeline.rig, wanted)


class _DamageError(Exception):
    """The bag ends in damage; not a mistake in a single message."""


def _span_s(log_times_ns: list[int]) -> float:
    """Time that the sweeps took, each one median period: gaps between drives do not count."""
    if len(log_times_ns) < 2:
        return 0.0
    return float(np.median(np.diff(log_times_ns))) / 1e9 * len(log_times_ns)
