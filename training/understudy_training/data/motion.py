"""How fast labeled objects and the vehicle itself move, from what the labels say or from where they were before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy_training.data.measures import FrameMeasures

_LONGEST_GAP_NS = 1_500_000_000
"""Between sightings farther apart than this nothing is said about speed (nuScenes' rule)."""


def box_speeds(frames: Sequence[FrameMeasures], drives: Sequence[str] | None) -> list[NDArray[np.float64]]:
    """For each frame `(N,)` speed over ground of its boxes in m/s, NaN where nothing tells it.

    Args:
        frames: in the data set's order.
        drives: the drive of each frame, or None when frames are not neighbors; then only labeled velocities count.
    """
    speeds = []
    for number, frame in enumerate(frames):
        before = frames[number - 1] if drives and number and drives[number - 1] == drives[number] else None
        speeds.append(np.zeros(0) if frame.boxes is None else _speeds(frame, frame.boxes, before))
    return speeds


def _speeds(frame: FrameMeasures, boxes: Boxes, before: FrameMeasures | None) -> NDArray[np.float64]:
    if boxes.velocities_mps is not None:
        return np.linalg.norm(boxes.velocities_mps.astype(np.float64), axis=1)
    unknown = np.full(len(boxes), np.nan)
    return unknown if before is None else _from_tracks(frame, boxes, before, unknown)


def _from_tracks(
    frame: FrameMeasures, boxes: Boxes, before: FrameMeasures, unknown: NDArray[np.float64]
) -> NDArray[np.float64]:
    gap_ns = frame.stamp_ns - before.stamp_ns
    earlier = before.boxes
    known = frame.world_from_ego is not None and before.world_from_ego is not None and 0 < gap_ns <= _LONGEST_GAP_NS
    if not known or earlier is None or boxes.track_ids is None or earlier.track_ids is None:
        return unknown
    assert frame.world_from_ego is not None
    assert before.world_from_ego is not None
    now_m = frame.world_from_ego.apply(boxes.geometry[:, :3].astype(np.float64))
    then_m = before.world_from_ego.apply(earlier.geometry[:, :3].astype(np.float64))
    _, mine, theirs = np.intersect1d(boxes.track_ids, earlier.track_ids, return_indices=True)
    speeds = unknown.copy()
    speeds[mine] = np.linalg.norm(now_m[mine, :2] - then_m[theirs, :2], axis=1) / (gap_ns / 1e9)
    return speeds


def ego_speeds(frames: Sequence[FrameMeasures], drives: Sequence[str]) -> list[float]:
    """The vehicle's speed in m/s between neighbors of a drive whose poses are known."""
    speeds = []
    for number in range(1, len(frames)):
        here, there = frames[number], frames[number - 1]
        seconds = (here.stamp_ns - there.stamp_ns) / 1e9
        if drives[number] != drives[number - 1] or seconds <= 0:
            continue
        if here.world_from_ego is not None and there.world_from_ego is not None:
            moved_m = here.world_from_ego.translation_m - there.world_from_ego.translation_m
            speeds.append(float(np.linalg.norm(moved_m)) / seconds)
    return speeds
