"""What can be wrong between the samples of a drive, and between splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.datasets.dataset import Place, Sample
from understudy.pose import Pose
from understudy_training.data.findings import Finding, Severity
from understudy_training.data.heading_rules import Sighting, flips, sideways

_FASTEST_MPS = 90.0
_LONG_GAP = 5.0
_NEIGHBORS_NS = 2_000_000_000
_NEIGHBORS_M = 50.0
_SAME_STREET_M = 25.0


@dataclass(frozen=True, eq=False)
class Trace:
    """What is remembered of a sample once it is read: enough to compare it with all others.

    Attributes:
        key: of the sample.
        place: drive and stamp, or None when the data set does not know them.
        cloud_sha: of the points of all its clouds; empty without clouds.
        boxes: its labels, or None.
        world_from_ego: where the ego was, or None.
    """

    key: str
    place: Place | None
    cloud_sha: str
    boxes: Boxes | None
    world_from_ego: Pose | None

    @classmethod
    def of(cls, sample: Sample, place: Place | None) -> Trace:
        """Of a sample."""
        digest = hashlib.sha256()
        for name in sorted(sample.frame.clouds):
            digest.update(sample.frame.clouds[name].points.tobytes())
        sha = digest.hexdigest() if sample.frame.clouds else ""
        return cls(sample.key, place, sha, sample.boxes, sample.frame.world_from_ego)


Traces = Sequence[Trace]


def within_split(split: str, traces: Traces) -> Iterator[Finding]:
    """Everything about one split beyond single samples."""
    yield from _twice(split, traces)
    yield from _without_boxes(split, traces)
    yield from _empty_boxes(split, traces)
    drives = _by_drive(traces)
    for name, message in sideways([each for members in drives.values() for each in _sightings(members)]):
        yield Finding(severity="warning", rule="moves aside of its heading", split=split, key=name, message=message)
    for drive, members in drives.items():
        for rule, severity, find in _DRIVE_RULES:
            for message in find(members):
                yield Finding(severity=severity, rule=rule, split=split, key=drive, message=message)


def between_splits(first: str, ours: Traces, second: str, theirs: Traces) -> Iterator[Finding]:
    """What two splits share that they should not."""
    both = f"{first}, {second}"
    for drive in sorted(set(_by_drive(ours)) & set(_by_drive(theirs))):
        yield _leak("drive in two splits", both, drive, "its frames stand in both")
    known = {trace.cloud_sha: trace.key for trace in ours if trace.cloud_sha}
    for trace in theirs:
        if trace.cloud_sha in known:
            yield _leak("cloud in two splits", both, trace.key, f"the very points of {known[trace.cloud_sha]}")
    yield from _neighbors(both, ours, theirs)


def _leak(rule: str, splits: str, key: str, message: str, severity: Severity = "error") -> Finding:
    return Finding(severity=severity, rule=rule, split=splits, key=key, message=message)


def _neighbors(both: str, ours: Traces, theirs: Traces) -> Iterator[Finding]:
    """Frames of two splits that are the same moment of the same street, and how much street they share."""
    ours, theirs = ([trace for trace in traces if trace.world_from_ego and trace.place] for traces in (ours, theirs))
    if not ours or not theirs:
        return
    positions = np.stack([trace.world_from_ego.translation_m[:2] for trace in ours if trace.world_from_ego])
    stamps = np.array([trace.place.stamp_ns for trace in ours if trace.place], np.int64)
    shared = 0
    for trace in theirs:
        assert trace.world_from_ego is not None
        assert trace.place is not None
        away_m = np.linalg.norm(positions - trace.world_from_ego.translation_m[:2], axis=1)
        moment = (away_m < _NEIGHBORS_M) & (np.abs(stamps - trace.place.stamp_ns) < _NEIGHBORS_NS)
        other_drives = [ours[row].key for row in np.flatnonzero(moment) if ours[row].place != trace.place]
        if other_drives:
            yield _leak("moment in two splits", both, trace.key, f"within 2 s and 50 m of {other_drives[0]}", "warning")
        shared += bool((away_m < _SAME_STREET_M).any())
    if shared:
        share = f"{shared} of {len(theirs)} frames of the second lie within {_SAME_STREET_M:g} m of one of the first"
        yield _leak("street in two splits", both, "", f"{share}, if both count in one world frame", "note")


def _twice(split: str, traces: Traces) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for trace in traces:
        if trace.cloud_sha in seen:
            message = f"the very points of {seen[trace.cloud_sha]}"
            yield Finding(severity="error", rule="cloud twice", split=split, key=trace.key, message=message)
        elif trace.cloud_sha:
            seen[trace.cloud_sha] = trace.key


def _without_boxes(split: str, traces: Traces) -> Iterator[Finding]:
    """Frames that teach a detector nothing, or that nothing is there."""
    unlabeled = sum(trace.boxes is None for trace in traces)
    bare = sum(trace.boxes is not None and len(trace.boxes) == 0 for trace in traces)
    for count, what in ((unlabeled, "have no labels"), (bare, "are labeled without a box")):
        if count:
            message = f"{count} of {len(traces)} frames {what}"
            yield Finding(severity="note", rule="frames without boxes", split=split, key="", message=message)


def _empty_boxes(split: str, traces: Traces) -> Iterator[Finding]:
    """Boxes that nothing hit, by class: to be left out of training, and to know of."""
    empty: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for boxes in (trace.boxes for trace in traces if trace.boxes is not None):
        for row in range(len(boxes)) if boxes.num_points is not None else ():
            counts = empty[boxes.class_names[boxes.labels[row]]]
            counts[0] += int(boxes.num_points[row] == 0)  # type: ignore[index]
            counts[1] += 1
    for name, (missed, total) in sorted(empty.items()):
        if missed:
            message = f"{missed} of {total} boxes ({100 * missed / total:.1f} %) hold no return"
            yield Finding(severity="note", rule="empty boxes", split=split, key=name, message=message)


def _by_drive(traces: Traces) -> dict[str, list[Trace]]:
    drives: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        if trace.place is not None:
            drives[trace.place.drive].append(trace)
    return dict(drives)


def _stamps(members: Traces) -> NDArray[np.int64]:
    return np.array([trace.place.stamp_ns for trace in members if trace.place], np.int64)


def _unsorted(members: Traces) -> Iterator[str]:
    stamps = _stamps(members)
    for row in np.flatnonzero(np.diff(stamps) <= 0):
        yield f"{members[row + 1].key} at {stamps[row + 1]} ns follows {members[row].key} at {stamps[row]} ns"


def _gaps(members: Traces) -> Iterator[str]:
    gaps = np.diff(_stamps(members))
    if len(gaps) < 4:
        return
    usual = float(np.median(gaps))
    for row in np.flatnonzero(gaps > _LONG_GAP * usual):
        yield f"{gaps[row] / 1e9:.2f} s before {members[row + 1].key}, usually {usual / 1e9:.2f} s"


def _ego_jumps(members: Traces) -> Iterator[str]:
    for before, after in _pairs(members):
        if before.world_from_ego is None or after.world_from_ego is None:
            continue
        moved_m = np.linalg.norm(after.world_from_ego.translation_m - before.world_from_ego.translation_m)
        if moved_m > _FASTEST_MPS * _seconds(before, after):
            yield f"the vehicle moves {moved_m:.1f} m in {_seconds(before, after):.2f} s before {after.key}"


def _track_jumps(members: Traces) -> Iterator[str]:
    for before, after in _pairs(members):
        for row, old in _same_tracks(before, after):
            moved_m = float(np.linalg.norm(_center(after, row) - _center(before, old)))
            if moved_m > _FASTEST_MPS * _seconds(before, after):
                span = f"{moved_m:.1f} m in {_seconds(before, after):.2f} s"
                yield f"track {_track(after, row)} moves {span} at {after.key}"


def _track_flips(members: Traces) -> Iterator[str]:
    return flips(list(_sightings(members)))


def _sightings(members: Traces) -> Iterator[Sighting]:
    """All tracks in two frames that follow each other."""
    for before, after in _pairs(members):
        for row, old in _same_tracks(before, after):
            assert before.boxes is not None
            assert after.boxes is not None
            assert before.world_from_ego is not None
            assert after.world_from_ego is not None
            then, now = before.world_from_ego, after.world_from_ego
            yield Sighting.of(after.key, _seconds(before, after), before.boxes, old, then, after.boxes, row, now)


def _track_classes(members: Traces) -> Iterator[str]:
    for before, after in _pairs(members):
        for row, old in _same_tracks(before, after):
            names = [_class_name(trace, index) for trace, index in ((before, old), (after, row))]
            if names[0] != names[1]:
                yield f"track {_track(after, row)} turns from {names[0]} into {names[1]} at {after.key}"


_DRIVE_RULES: tuple[tuple[str, Severity, Callable[[Traces], Iterator[str]]], ...] = (
    ("stamps that do not rise", "error", _unsorted),
    ("gap in a drive", "warning", _gaps),
    ("vehicle jumps", "warning", _ego_jumps),
    ("track jumps", "warning", _track_jumps),
    ("track turns around", "warning", _track_flips),
    ("track changes class", "warning", _track_classes),
)


def _pairs(members: Traces) -> Iterator[tuple[Trace, Trace]]:
    """Neighbors whose stamps rise; the others are told of by their own rule."""
    return (pair for pair in pairwise(members) if _seconds(*pair) > 0)


def _seconds(before: Trace, after: Trace) -> float:
    assert before.place is not None
    assert after.place is not None
    return (after.place.stamp_ns - before.place.stamp_ns) / 1e9


def _same_tracks(before: Trace, after: Trace) -> Iterator[tuple[int, int]]:
    """Rows of the later and the earlier frame that are one track; none where the world is not known."""
    ids = [None if trace.boxes is None else trace.boxes.track_ids for trace in (after, before)]
    if ids[0] is None or ids[1] is None or before.world_from_ego is None or after.world_from_ego is None:
        return iter(())
    _, rows, olds = np.intersect1d(ids[0], ids[1], return_indices=True)
    return zip(rows.tolist(), olds.tolist(), strict=True)


def _center(trace: Trace, row: int) -> NDArray[np.float64]:
    assert trace.boxes is not None
    assert trace.world_from_ego is not None
    center: NDArray[np.float64] = trace.world_from_ego.apply(trace.boxes.geometry[row : row + 1, :3].astype(float))[0]
    return center


def _track(trace: Trace, row: int) -> int:
    assert trace.boxes is not None
    assert trace.boxes.track_ids is not None
    return int(trace.boxes.track_ids[row])


def _class_name(trace: Trace, row: int) -> str:
    assert trace.boxes is not None
    return trace.boxes.class_names[trace.boxes.labels[row]]
