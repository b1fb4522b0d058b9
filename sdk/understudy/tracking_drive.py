"""A whole drive's detections, followed with knowledge of what came after: gaps filled, sizes and speeds made steady."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, wrap_angle
from understudy.pose import Pose
from understudy.tracking import Filters, Tracker, TrackingSettings, motion, motion_noise


@dataclass(frozen=True, eq=False)
class Seen:
    """What a detector said of a sweep.

    Attributes:
        stamp_ns: time of the sweep.
        boxes: in ego.
        world_from_ego: where the ego was.
    """

    stamp_ns: int
    boxes: Boxes
    world_from_ego: Pose


@dataclass(frozen=True, eq=False)
class Tracked:
    """What is known of a sweep after the whole drive was followed.

    Attributes:
        boxes: in ego, with identities and velocities (0 for an object seen once), each track's median size.
        filled: `(N,)` whether the detector did not see it here, but before and after.
        num_seen: `(N,)` int32 number of sweeps in which the detector saw the object.
    """

    boxes: Boxes
    filled: NDArray[np.bool_]
    num_seen: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class _Row:
    """A box of a track at a sweep; geometry `(7,)` and velocity `(2,)` in the drive's frame."""

    track_id: int
    label: int
    score: float
    geometry: NDArray[np.float64]
    velocity_mps: NDArray[np.float64]
    filled: bool
    num_seen: int


def track_drive(sweeps: Sequence[Seen], settings: TrackingSettings | None = None) -> tuple[Tracked, ...]:
    """Follows the objects of a drive, in the frame in which the ego was at its first sweep.

    Detections come first and keep their order; boxes that fill gaps follow. A filled box lies on the line between its
    neighbors and has the lower of their scores.

    Args:
        sweeps: in the order of their stamps, over the same classes.
        settings: how objects are followed.

    Raises:
        InputError: when stamps do not rise.
    """
    if not sweeps:
        return ()
    settings = settings or TrackingSettings()
    drive_from_world = sweeps[0].world_from_ego.inverse()
    drive_from_ego = [drive_from_world @ sweep.world_from_ego for sweep in sweeps]
    placed = [sweep.boxes.transformed(pose) for sweep, pose in zip(sweeps, drive_from_ego, strict=True)]
    tracker = Tracker(settings)
    ids = [tracker.update(sweep.stamp_ns, boxes) for sweep, boxes in zip(sweeps, placed, strict=True)]
    times_s = np.array([sweep.stamp_ns - sweeps[0].stamp_ns for sweep in sweeps]) / 1e9
    rows = _rows_by_sweep(placed, ids, times_s, settings)
    names = sweeps[0].boxes.class_names
    return tuple(_tracked(rows[number], names, pose.inverse()) for number, pose in enumerate(drive_from_ego))


def smoothed_velocities(
    times_s: NDArray[np.float64], centers_m: NDArray[np.float64], speed_mps: float, settings: TrackingSettings
) -> NDArray[np.float64]:
    """`(K, 2)` velocities of an object seen at K times, each from all of them (Rauch, Tung and Striebel, 1965).

    Args:
        times_s: `(K,)`, rising.
        centers_m: `(K, 2)`.
        speed_mps: about the fastest that it may be.
        settings: the filter's noises.
    """
    filters = Filters.born(centers_m[:1], np.array([speed_mps]), settings.position_noise_m)
    means, covariances, first = [filters.means[0]], [filters.covariances[0]], np.zeros(1, np.int64)
    for passed_s, center_m in zip(np.diff(times_s), centers_m[1:], strict=True):
        filters.predict(float(passed_s), settings)
        filters.update(first, center_m[None], settings.position_noise_m)
        means.append(filters.means[0].copy())
        covariances.append(filters.covariances[0].copy())
    for number in range(len(means) - 2, -1, -1):
        passed_s = float(times_s[number + 1] - times_s[number])
        step = motion(passed_s)
        expected = step @ covariances[number] @ step.T + motion_noise(passed_s, settings)
        gain = covariances[number] @ step.T @ np.linalg.inv(expected)
        means[number] = means[number] + gain @ (means[number + 1] - step @ means[number])
        # The smoothed covariance is not needed: the means' recursion uses the filtered one.
    return np.array(means)[:, 2:]


def _rows_by_sweep(
    placed: Sequence[Boxes], ids: Sequence[NDArray[np.int64]], times_s: NDArray[np.float64], settings: TrackingSettings
) -> dict[int, list[_Row]]:
    """The boxes of each sweep: detections in their order, then what fills gaps."""
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, of_sweep in enumerate(ids):
        for row, track_id in enumerate(of_sweep.tolist()):
            places[track_id].append((number, row))
    seen: dict[tuple[int, int], _Row] = {}
    filled: dict[int, list[_Row]] = defaultdict(list)
    for track_id, track in places.items():
        rows = _track_rows(track_id, track, placed, times_s, settings)
        seen |= dict(zip(track, rows, strict=True))
        for number, filling in _fillings([number for number, _ in track], rows, times_s):
            filled[number].append(filling)
    by_sweep: dict[int, list[_Row]] = {number: [] for number in range(len(placed))}
    for place in sorted(seen):
        by_sweep[place[0]].append(seen[place])
    return {number: rows + filled[number] for number, rows in by_sweep.items()}


def _track_rows(
    track_id: int,
    track: list[tuple[int, int]],
    placed: Sequence[Boxes],
    times_s: NDArray[np.float64],
    settings: TrackingSettings,
) -> list[_Row]:
    """A track's detections with its median size and its velocities."""
    geometry = np.array([placed[number].geometry[row] for number, row in track], np.float64)
    geometry[:, 3:6] = np.median(geometry[:, 3:6], axis=0)
    first = placed[track[0][0]]
    label = int(first.labels[track[0][1]])
    speed_mps = settings.gate(first.class_names[label]).speed_mps
    numbers = [number for number, _ in track]
    velocities_mps = smoothed_velocities(times_s[numbers], geometry[:, :2], speed_mps, settings)
    scores = [_score(placed[number], row) for number, row in track]
    columns = zip(scores, geometry, velocities_mps, strict=True)
    return [_Row(track_id, label, score, box, speed, False, len(track)) for score, box, speed in columns]


def _fillings(numbers: list[int], rows: list[_Row], times_s: NDArray[np.float64]) -> Iterator[tuple[int, _Row]]:
    """Boxes for the sweeps between two neighbors of a track."""
    for place, (before, after) in enumerate(pairwise(numbers)):
        first, second = rows[place], rows[place + 1]
        for number in range(before + 1, after):
            share = float((times_s[number] - times_s[before]) / (times_s[after] - times_s[before]))
            geometry = (1 - share) * first.geometry + share * second.geometry
            turn_rad = wrap_angle(np.asarray(second.geometry[6] - first.geometry[6]))
            geometry[6] = first.geometry[6] + share * float(turn_rad)
            velocity_mps = (1 - share) * first.velocity_mps + share * second.velocity_mps
            score = min(first.score, second.score)
            changes = {"geometry": geometry, "velocity_mps": velocity_mps, "score": score, "filled": True}
            yield number, replace(first, **changes)  # type: ignore[arg-type]


def _tracked(rows: list[_Row], class_names: tuple[str, ...], ego_from_drive: Pose) -> Tracked:
    boxes = Boxes(
        np.array([row.geometry for row in rows], np.float32).reshape(-1, 7),
        np.array([row.label for row in rows], np.int32),
        class_names,
        scores=np.array([row.score for row in rows], np.float32),
        track_ids=np.array([row.track_id for row in rows], np.int64),
        velocities_mps=np.array([row.velocity_mps for row in rows], np.float32).reshape(-1, 2),
    )
    filled = np.array([row.filled for row in rows], bool)
    return Tracked(boxes.transformed(ego_from_drive), filled, np.array([row.num_seen for row in rows], np.int32))


def _score(boxes: Boxes, row: int) -> float:
    return 1.0 if boxes.scores is None else float(boxes.scores[row])
