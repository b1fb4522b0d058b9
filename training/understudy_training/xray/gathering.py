"""Objects gathered over a drive: cut out of every frame, carried into the object's own frame, pasted where it is at t.

X-Ray Distillation (Gambashidze et al., CVPR 2024, arXiv 2404.00679). Its released tools replace the points in a box by
the union over all frames; here a frame keeps its own points, bit for bit, and gets those of the other frames on top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.errors import InputError
from understudy.pose import Pose
from understudy_training.augmentation.membership import members
from understudy_training.augmentation.object_frame import local_points, placed_points

Window = Callable[[str], float | None]
"""How far from a frame in time, in seconds, an object of a class is gathered; None is the whole drive."""
Identity = tuple[int, int]
"""Track and class of an object."""

_AT_THE_FACE_M = 1e-3
"""A point this far outside of its box lies on the face but for rounding."""


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """What gathering needs of a frame.

    Attributes:
        stamp_ns: its reference time.
        points: `(N, 4)` float32 in ego: x, y, z, intensity in whatever scale.
        boxes: labels in ego with identities.
        world_from_ego: where the ego was.
        ring: `(N,)` int16 beam of each point, or None.
        name: of the frame, in messages.
    """

    stamp_ns: int
    points: NDArray[np.float32]
    boxes: Boxes
    world_from_ego: Pose
    ring: NDArray[np.int16] | None = None
    name: str = "frame"


@dataclass(frozen=True, eq=False)
class SeenObject:
    """What one frame shows of an object.

    Attributes:
        identity: track and class.
        stamp_ns: when.
        points: `(M, 4)` float32 in the object's frame (its x along the heading, z up in the world) with intensity.
        ring: `(M,)` int16, or None.
    """

    identity: Identity
    stamp_ns: int
    points: NDArray[np.float32]
    ring: NDArray[np.int16] | None


@dataclass(frozen=True, eq=False)
class Pasted:
    """What a frame gets on top of its own points.

    Attributes:
        points: `(P, 4)` float32 in ego.
        ring: `(P,)` int16 beam that saw each point in its own frame, or None.
        rows: `(P,)` box that each point lies in.
    """

    points: NDArray[np.float32]
    ring: NDArray[np.int16] | None
    rows: NDArray[np.int64]


def complete_frame(
    frames: Sequence[SeenFrame], t: int, window: Window, cap: float | None, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The points of frame `t` with every object whole: `(N', 4)` in ego, the frame's own first.

    Args:
        frames: of one drive.
        t: number of the frame.
        window: how far from `t` an object of a class is gathered.
        cap: an object's points at most, in multiples of the densest frame of its window; None keeps all.
        rng: chooses which to keep where there are more.

    Raises:
        InputError: when boxes have no identities, or one twice.
    """
    gathered = by_identity([seen for frame in frames for seen in cut(frame)])
    return np.concatenate([frames[t].points, paste(frames[t], gathered, window, cap, rng).points])


def cut(frame: SeenFrame) -> tuple[SeenObject, ...]:
    """The objects that a frame shows at least a point of; a point in several boxes belongs to one (`owners_of`).

    Raises:
        InputError: when boxes have no identities, or one twice.
    """
    owners = owners_of(frame.boxes, frame.points)
    found = []
    for row, identity in enumerate(identities_of(frame.boxes, frame.name)):
        inside = np.flatnonzero(owners == row)
        if len(inside):
            points = frame.points[inside]
            points[:, :3] = (points[:, :3] - frame.boxes.geometry[row, :3]) @ _ego_from_object(frame, row)
            ring = None if frame.ring is None else frame.ring[inside]
            found.append(SeenObject(identity, frame.stamp_ns, points, ring))
    return tuple(found)


def by_identity(seen: Sequence[SeenObject]) -> dict[Identity, list[SeenObject]]:
    """The same, object by object, each in the order given."""
    gathered: dict[Identity, list[SeenObject]] = {}
    for one in seen:
        gathered.setdefault(one.identity, []).append(one)
    return gathered


def paste(
    frame: SeenFrame,
    gathered: Mapping[Identity, Sequence[SeenObject]],
    window: Window,
    cap: float | None,
    rng: np.random.Generator,
) -> Pasted:
    """What other frames saw of a frame's objects, where they are now.

    Left out is what would lie outside of the object's box, or deeper in another one's.

    Args:
        frame: the frame.
        gathered: what any frame of the drive shows, this one included.
        window: as in `complete_frame`.
        cap: as in `complete_frame`.
        rng: as in `complete_frame`.
    """
    seen = [
        _within(frame, row, gathered.get(identity, ()), window)
        for row, identity in enumerate(identities_of(frame.boxes, frame.name))
    ]
    parts = [_others(frame, row, of_box) for row, of_box in enumerate(seen)]
    rows = np.repeat(np.arange(len(parts)), [len(points) for points, _ in parts])
    points = np.concatenate([np.zeros((0, 4), np.float32), *(points for points, _ in parts)])
    rings = np.concatenate([np.zeros(0, np.int16), *(ring for _, ring in parts)])
    kept = np.flatnonzero(owners_of(frame.boxes, points) == rows)
    if cap is not None:
        kept = np.concatenate(
            [kept[:0], *(_capped(frame, of, kept[rows[kept] == row], cap, rng) for row, of in enumerate(seen))]
        )
    return Pasted(points[kept], rings[kept] if frame.ring is not None else None, rows[kept])


def owners_of(boxes: Boxes, points: NDArray[np.float32]) -> NDArray[np.int64]:
    """`(M,)` row of the box that each of the `(M, 3+)` points belongs to, -1 for none.

    Where boxes overlap a point belongs to the one in which it lies deepest: farthest from the faces in parts of the
    half size, so that a pedestrian keeps its points beside a truck. Of equals the first.
    """
    owners, depths = np.full(len(points), -1, np.int64), np.full(len(points), np.inf)
    for row, inside in enumerate(members(boxes, points)):
        reach = np.abs(local_points(points[inside], boxes.geometry[row])).max(axis=1, initial=0.0)
        deeper = reach < depths[inside]
        owners[inside[deeper]], depths[inside[deeper]] = row, reach[deeper]
    return owners


def identities_of(boxes: Boxes, source: str) -> list[Identity]:
    """Track and class of each box; `source` names them in messages.

    Raises:
        InputError: when the boxes have no identities, or one twice.
    """
    if len(boxes) == 0:
        return []
    remedy = "follow the boxes first (understudy xray label), or take a data set with tracks"
    if boxes.track_ids is None:
        raise InputError(
            f"{source}: objects over time", found="boxes without identities", wanted="track ids", remedy=remedy
        )
    identities = list(zip(boxes.track_ids.tolist(), boxes.labels.tolist(), strict=True))
    if len(set(identities)) < len(identities):
        twice = next(identity for identity in identities if identities.count(identity) > 1)
        found = f"two boxes of class {boxes.class_names[twice[1]]} with track {twice[0]}"
        raise InputError(
            f"{source}: objects over time", found=found, wanted="each object once", remedy="mend the labels"
        )
    return identities


def _ego_from_object(frame: SeenFrame, row: int) -> NDArray[np.float64]:
    """Rotation of an object that stands upright in the world: the ego's roll and pitch are taken out of it."""
    world_from_ego = frame.world_from_ego.rotation
    yaw_rad = float(frame.boxes.geometry[row, 6])
    heading = world_from_ego @ np.array([np.cos(yaw_rad), np.sin(yaw_rad), 0.0])
    upright = Pose.from_yaw(float(np.arctan2(heading[1], heading[0])))
    rotation: NDArray[np.float64] = world_from_ego.T @ upright.rotation
    return rotation


def _within(frame: SeenFrame, row: int, seen: Sequence[SeenObject], window: Window) -> list[SeenObject]:
    limit_s = window(frame.boxes.class_names[frame.boxes.labels[row]])
    return [one for one in seen if limit_s is None or abs(one.stamp_ns - frame.stamp_ns) <= limit_s * 1e9]


def _others(frame: SeenFrame, row: int, seen: Sequence[SeenObject]) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """`(P, 4)` points of a box's object from other frames, inside the box, and their beams (0 where unknown)."""
    chosen = [one for one in seen if one.stamp_ns != frame.stamp_ns]
    if not chosen:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.int16)
    points = np.concatenate([one.points for one in chosen])
    rings = np.concatenate([np.zeros(len(one.points), np.int16) if one.ring is None else one.ring for one in chosen])
    box = frame.boxes.geometry[row]
    points[:, :3] = points[:, :3] @ _ego_from_object(frame, row).T + box[:3]
    local = local_points(points, box)
    fits = np.flatnonzero(((np.abs(local) - 1) * box[3:6] / 2 <= _AT_THE_FACE_M).all(axis=1))
    points = points[fits]
    points[:, :3] = placed_points(local[fits], box)
    return points, rings[fits]


def _capped(
    frame: SeenFrame, seen: Sequence[SeenObject], mine: NDArray[np.int64], cap: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Those of an object's pasted points that stay, ascending: its own come first and are never left out."""
    own = sum(len(one.points) for one in seen if one.stamp_ns == frame.stamp_ns)
    room = int(cap * max((len(one.points) for one in seen), default=0)) - own
    return mine if len(mine) <= room else np.sort(rng.choice(mine, max(room, 0), replace=False))
