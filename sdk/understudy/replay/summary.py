"""What a replay leaves behind besides detections: counters that add up, speed, and a digest that proves identity."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from understudy.bags.reader import BagReader
from understudy.messages.headers import stamp_ns_from_message
from understudy.messages.outputs import DETECTIONS_TYPE
from understudy.synchronization.matcher import OUTCOMES, Counts
from understudy.topics import DETECTIONS_TOPIC

SUMMARY_FILE = "replay.json"
_HEADS = {"read": 6, "used": 6, "stale": 6, "duplicate": 10, "out_of_order": 9, "unmatched": 10, "rejected": 9}
"""Columns of the table and their widths."""
_SHORT = {"out_of_order": "disorder"}
_TOPIC_WIDTH, _WIDTH = 44, 100
_COUNT, _BOX, _RESULT = struct.Struct("<q"), struct.Struct("<10d"), struct.Struct("<8d")


class DetectionsDigest:
    """SHA-256 over the fields of detection messages; never over serialized bytes, whose padding is anybody's."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, message: Any) -> None:
        """Takes in a `vision_msgs/Detection3DArray`."""
        self._header(message)
        self._hash.update(_COUNT.pack(len(message.detections)))
        for detection in message.detections:
            self._header(detection)
            self._text(detection.id)
            self._hash.update(_BOX.pack(*_pose(detection.bbox.center), *_xyz(detection.bbox.size)))
            self._hash.update(_COUNT.pack(len(detection.results)))
            for result in detection.results:
                self._text(result.hypothesis.class_id)
                self._hash.update(_RESULT.pack(*_pose(result.pose.pose), result.hypothesis.score))

    @property
    def hex(self) -> str:
        """The digest so far."""
        return self._hash.hexdigest()

    def _header(self, stamped: Any) -> None:
        self._hash.update(_COUNT.pack(stamp_ns_from_message(stamped)))
        self._text(stamped.header.frame_id)

    def _text(self, text: str) -> None:
        encoded = text.encode()
        self._hash.update(_COUNT.pack(len(encoded)) + encoded)


def _xyz(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z


def _pose(pose: Any) -> tuple[float, ...]:
    return (*_xyz(pose.position), *_xyz(pose.orientation), pose.orientation.w)


@dataclass(frozen=True)
class ReplaySummary:
    """A replay in numbers.

    Attributes:
        bag: what was replayed.
        out: the bag of results.
        student: name of the network.
        engine: what it ran in.
        rig: name and hash of the rig.
        num_frames: sweeps with a result.
        num_detections: boxes in all.
        topics: for each topic read, how many messages were `read` and what became of them.
        reasons: why messages were rejected, and how many for each reason.
        span_s: time that the replayed sweeps took when they were recorded.
        wall_s: time that the replay took.
        pipeline_s: part of it in the pipeline.
        rate: pace asked for; 0 is as fast as possible.
        damage: what ended the bag before its end, if anything did.
        lost: by topic, messages that the bag's own metadata speak of and that damage took; None when nobody knows.
        digest: `detections_digest` of the output.
        masked: cameras of the student that the bag has no pictures of.
    """

    bag: str
    out: str
    student: str
    engine: str
    rig: str
    num_frames: int
    num_detections: int
    topics: dict[str, dict[str, int]]
    reasons: dict[str, int]
    span_s: float
    wall_s: float
    pipeline_s: float
    rate: float
    damage: str | None
    lost: dict[str, int] | None
    digest: str
    masked: tuple[str, ...] = ()

    @property
    def frames_per_s(self) -> float:
        """Sweeps with a result for each second of the replay."""
        return self.num_frames / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def real_time_factor(self) -> float:
        """How many times as fast as it was recorded; 0 when a single sweep gives no measure."""
        return self.span_s / self.wall_s if self.wall_s > 0 else 0.0

    def write(self, path: Path) -> None:
        """Writes the record as JSON."""
        speed = {"frames_per_s": round(self.frames_per_s, 3), "real_time_factor": round(self.real_time_factor, 3)}
        path.write_text(json.dumps(asdict(self) | speed, indent=2) + "\n", encoding="utf-8")

    def lines(self) -> Iterator[str]:
        """The record as a table of at most 100 columns."""
        yield f"{'topic':<{_TOPIC_WIDTH}}" + "".join(f"{_SHORT.get(head, head):>{w}}" for head, w in _HEADS.items())
        for topic, counts in self.topics.items():
            numbers = "".join(f"{counts[name]:>{width}}" for name, width in _HEADS.items())
            yield f"{_shortened(topic, _TOPIC_WIDTH):<{_TOPIC_WIDTH}}{numbers}"
        for reason, count in self.reasons.items():
            yield _shortened(f"rejected {count}: {reason}", _WIDTH)
        read, ended = (sum(counts[name] for counts in self.topics.values()) for name in ("read", "ended"))
        yield f"read {read} = used + stale + duplicate + disorder + unmatched + rejected {ended}"
        yield from self._lost_lines()
        if self.masked:
            yield _shortened(f"masked, for the bag has no pictures of them: {', '.join(self.masked)}", _WIDTH)
        pace = "as fast as possible" if self.rate == 0 else f"paced at {self.rate:g}x"
        speed = f"{self.frames_per_s:.1f} frames/s" + (
            f", {self.real_time_factor:.1f}x real time" if self.span_s else ""
        )
        yield f"{self.num_frames} frames, {self.num_detections} detections in {self.wall_s:.2f} s ({pace}): {speed}"
        yield f"detections sha256 {self.digest}"

    def _lost_lines(self) -> Iterator[str]:
        if self.lost is None:
            yield "lost in damage: nobody knows how many messages; the bag's own counts are gone too"
        for topic, lost in (self.lost or {}).items():
            if lost:
                yield _shortened(f"lost in damage: {lost} messages of {topic}", _WIDTH)


def counted(reads: Mapping[str, int], counts: Mapping[str, Counts]) -> dict[str, dict[str, int]]:
    """Counters by topic, and the proof that they add up.

    Args:
        reads: messages read, by topic.
        counts: what became of them, by the same topics.
    """
    topics: dict[str, dict[str, int]] = {}
    for topic, read in reads.items():
        outcomes = counts[topic].outcomes
        ended = sum(outcomes.values())
        assert read == ended, f"{topic}: {read} messages read, {ended} accounted for"
        topics[topic] = {"read": read, "ended": ended} | {str(name): outcomes[name] for name in OUTCOMES}
    return topics


def detections_digest(bag: Path, topic: str = DETECTIONS_TOPIC) -> str:
    """SHA-256 over all detections of a bag, in order: equal digests, equal detections to the last bit.

    Raises:
        BagError: when the bag has no such topic of detections or is damaged.
    """
    digest = DetectionsDigest()
    with BagReader(bag) as reader:
        name = reader.topic_of(DETECTIONS_TYPE, name=topic).name
        for message in reader.messages([name]):
            digest.add(reader.decode(message))
    return digest.hex


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
