"""Whether objects look where they drive: a yaw that is converted wrongly shows in no single frame's numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.pose import Pose

_LONGEST_S = 1.5
_MOVING_MPS = 3.0
"""Chosen: faster than labels of standing objects jitter, and than most vehicles reverse."""
_ASIDE_RAD = float(np.radians(60))
_FEWEST = 5
_FLIP_RAD, _FLIP_S, _FLIP_LENGTH_M = float(np.radians(120)), 0.6, 3.0
"""Chosen: nothing as long as a car turns so far in that time; people do."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """One track in two frames that follow each other.

    Attributes:
        class_name: in the later frame.
        track: its identity.
        key: of the later frame.
        seconds: between them.
        moved_m: `(2,)` way over ground in the world.
        headings: `(2, 2)` unit vectors of the earlier and the later heading in the world.
        length_m: of the later box.
    """

    class_name: str
    track: int
    key: str
    seconds: float
    moved_m: NDArray[np.float64]
    headings: NDArray[np.float64]
    length_m: float

    @classmethod
    def of(
        cls, key: str, seconds: float, before: Boxes, old: int, then: Pose, after: Boxes, row: int, now: Pose
    ) -> Sighting:
        """Of row `old` of the earlier frame's boxes and row `row` of the later one's, with both `world_from_ego`."""
        assert after.track_ids is not None
        headings = np.stack([_heading(before, old, then), _heading(after, row, now)])
        moved_m = _place_m(after, row, now) - _place_m(before, old, then)
        length_m = float(after.geometry[row, 3])
        name = after.class_names[after.labels[row]]
        return cls(name, int(after.track_ids[row]), key, seconds, moved_m, headings, length_m)


def flips(sightings: Sequence[Sighting]) -> Iterator[str]:
    """Long objects that look the other way in the next frame."""
    for each in sightings:
        turn_rad = _angle(each.headings[0], each.headings[1])
        if each.length_m >= _FLIP_LENGTH_M and each.seconds <= _FLIP_S and turn_rad > _FLIP_RAD:
            turn = f"{np.degrees(turn_rad):.0f} degrees in {each.seconds:.2f} s"
            yield f"track {each.track} turns by {turn} at {each.key}"


def sideways(sightings: Sequence[Sighting]) -> Iterator[tuple[str, str]]:
    """Classes most of whose moving objects do not drive where they look, each with a message."""
    angles: dict[str, list[float]] = defaultdict(list)
    for each in sightings:
        if 0 < each.seconds <= _LONGEST_S and np.linalg.norm(each.moved_m) > _MOVING_MPS * each.seconds:
            angles[each.class_name].append(_angle(each.moved_m, each.headings[1]))
    for name, found in sorted(angles.items()):
        aside = sum(angle > _ASIDE_RAD for angle in found)
        if len(found) >= _FEWEST and 2 * aside > len(found):
            usual = f"by {np.degrees(np.median(found)):.0f} degrees (median)"
            yield (
                name,
                f"{aside} of {len(found)} that move do not drive where they look, {usual}: is yaw what it should be?",
            )


def _heading(boxes: Boxes, row: int, world_from_ego: Pose) -> NDArray[np.float64]:
    yaw = float(boxes.geometry[row, 6])
    heading: NDArray[np.float64] = (world_from_ego.rotation @ [np.cos(yaw), np.sin(yaw), 0.0])[:2]
    return heading


def _place_m(boxes: Boxes, row: int, world_from_ego: Pose) -> NDArray[np.float64]:
    return world_from_ego.apply(boxes.geometry[row : row + 1, :3].astype(np.float64))[0, :2]


def _angle(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    cross, dot = one[0] * other[1] - one[1] * other[0], one @ other
    return float(abs(np.arctan2(cross, dot)))
