"""What was made of a bag, as a table of at most 100 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from understudy_training.data.pseudo_labels import KEPT, REASONS

_HEADS = {
    **{"read": 7, "used": 7, "not_key_frame": 8, "unmatched": 10, "stale": 6},
    **{"duplicate": 10, "out_of_order": 9, "rejected": 9},
}
"""Columns of the table and their widths."""
_SHORT = {"out_of_order": "disorder", "not_key_frame": "not key"}
_TOPIC_WIDTH, _WIDTH = 34, 100
_MOST_REASONS = 10


@dataclass(eq=False)
class DriveCounts:
    """What became of a bag's messages and points.

    Attributes:
        idle: sweeps and pictures that were matched but belong to no key frame, by sensor.
        reasons: why messages were rejected.
        partial: frames without all of their cameras.
        dropped_points: points that were not finite, of all sweeps.
        posed: frames with a pose.
        labeled: frames with labels.
    """

    idle: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    partial: int = 0
    dropped_points: int = 0
    posed: int = 0
    labeled: int = 0


@dataclass(frozen=True)
class DriveSummary:
    """One bag's drive.

    Attributes:
        drive: its name.
        bag: the bag.
        split: train or val.
        num_frames: frames written; 0 when it was there already.
        counts: what its frames have.
        rig: where the rig is from.
        messages: what became of each message, by topic.
        unused_topics: topics with clouds or pictures that nobody asked for.
        reasons: why messages were rejected.
        damage: what was lost of a damaged bag.
        teacher: name of the teacher, where labels are its.
        judged: boxes of its key frames, by class and verdict.
    """

    drive: str
    bag: Path
    split: str
    num_frames: int = 0
    counts: DriveCounts = field(default_factory=DriveCounts)
    rig: str = ""
    messages: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unused_topics: tuple[str, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)
    damage: str = ""
    teacher: str = ""
    judged: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The record as text."""
        if not self.num_frames:
            yield _cut(f"drive {self.drive} ({self.split}): there already, of {self.bag} with the same settings")
            if self.damage:
                yield f"DAMAGED: {self.damage}"
            return
        yield _cut(f"{'topic':<{_TOPIC_WIDTH}}" + "".join(f"{_SHORT.get(h, h):>{w}}" for h, w in _HEADS.items()))
        for topic, row in self.messages.items():
            numbers = "".join(f"{row.get(head, 0):>{width}}" for head, width in _HEADS.items())
            yield f"{_cut(topic, _TOPIC_WIDTH):<{_TOPIC_WIDTH}}{numbers}"
        read = sum(row["read"] for row in self.messages.values())
        ended = sum(sum(row.values()) - row["read"] for row in self.messages.values())
        yield f"read {read} = used + not key frame + unmatched + stale + duplicate + disorder + rejected {ended}"
        for reason, count in Counter(self.reasons).most_common(_MOST_REASONS):
            yield _cut(f"rejected {count}: {reason}")
        if self.unused_topics:
            yield _cut(f"not taken: {', '.join(self.unused_topics)}")
        if self.teacher:
            yield from judged_lines(self.judged, self.teacher)
        yield _cut(f"rig: {self.rig}")
        counts = self.counts
        yield (
            f"drive {self.drive} ({self.split}): {self.num_frames} frames, {counts.labeled} labeled, "
            f"{counts.posed} with a pose, {counts.partial} without all cameras"
        )
        if counts.dropped_points:
            yield f"{counts.dropped_points} points that are not finite were dropped"
        if self.damage:
            yield f"DAMAGED: {self.damage}"


def judged_lines(judged: Mapping[tuple[str, str], int], teacher: str) -> Iterator[str]:
    """A teacher's boxes by class: kept, and dropped for each reason."""
    heads = (KEPT, *REASONS)
    yield _cut(f"boxes of {teacher} in key frames")
    yield f"  {'class':<18}" + "".join(f"{head:>13}" for head in heads)
    for name in sorted({name for name, _ in judged}):
        yield f"  {_cut(name, 18):<18}" + "".join(f"{judged.get((name, head), 0):>13}" for head in heads)


def _cut(text: str, width: int = _WIDTH) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
