"""Objects gathered over a drive: cut out of every frame, carried into the object's own frame, pasted where it is at t.

X-Ray Distillation (Gambashidze et al., CVPR 2024, arXiv 2404.00679). Its released tools replace the points in a box by
the union over all frames; here a frame keeps its own points, bit for bit, and gets those of the other frames on top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.errors import InputError
from understudy.pose import Pose
from understudy_training.augmentation.membership import members

Window = Callable[[str], float | None]
"""How far from a frame in time, in seconds, an object of a class is gathered; None is the whole drive."""
Identity = tuple[int, int]
"""Track and class of an object."""
Run = tuple[int, int, int]
"""Stamp of a frame, and the first row and the number of rows of what it shows of an object."""

_AT_THE_FACE_M = 1e-3
"""A point this far outside of its box lies on the face but for rounding."""
_ROUNDING_M = 5e-5
"""Pasted points stay so far inside: float32 coordinates at 200 m are 1.5e-5 m apart."""


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
class SeenObjects:
    """What one frame shows of its objects.

    Attributes:
        stamp_ns: when.
        identities: objects that it shows a point of.
        sizes: `(K,)` int64 points of each.
        points: `(sum of sizes, 4)` float32, object after object, each in its own frame (x along the heading, z up in
            the world), with intensity.
        ring: `(sum of sizes,)` int16, or None.
    """

    stamp_ns: int
    identities: tuple[Identity, ...]
    sizes: NDArray[np.int64]
    points: NDArray[np.float32]
    ring: NDArray[np.int16] | None


@dataclass(frozen=True, eq=False)
class Gathered:
    """What all frames of a drive show of its objects.

    Attributes:
        parts: by object, its runs of `points`: stamp, first row and number of rows for each frame.
        points: `(P, 4)` float32 in the objects' frames.
        ring: `(P,)` int16 beam of each point, 0 where unknown.
    """

    parts: dict[Identity, list[Run]]
    points: NDArray[np.float32]
    ring: NDArray[np.int16]

    @property
    def size_bytes(self) -> int:
        """Memory of the points."""
        return self.points.nbytes + self.ring.nbytes


@dataclass(frozen=True, eq=False)
class Pasted:
    """What a frame gets on top of its own points.

    Attributes:
        points: `(P, 4)` float32 in ego.
        ring: `(P,)` int16 beam that saw each point in its own frame, 0 where unknown.
        rows: `(P,)` box that each point lies in.
    """

    points: NDArray[np.float32]
    ring: NDArray[np.int16]
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
    gathered = gather([cut(frame) for frame in frames])
    return np.concatenate([frames[t].points, paste(frames[t], gathered, window, cap, rng).points])


def cut(frame: SeenFrame) -> SeenObjects:
    """The objects that a frame shows at least a point of; a point in several boxes belongs to one (`owners_of`).

    Raises:
        InputError: when boxes have no identities, or one twice.
    """
    identities = identities_of(frame.boxes, frame.name)
    owners = owners_of(frame.boxes, frame.points)
    inside = np.flatnonzero(owners >= 0)
    inside = inside[np.argsort(owners[inside], kind="stable")]
    rows = owners[inside]
    points = frame.points[inside]
    centers_m = frame.boxes.geometry[rows, :3].astype(np.float64)
    points[:, :3] = _turned(points[:, :3] - centers_m, _object_from_ego(frame)[rows])
    seen, sizes = np.unique(rows, return_counts=True)
    ring = None if frame.ring is None else frame.ring[inside]
    return SeenObjects(frame.stamp_ns, tuple(identities[row] for row in seen), sizes, points, ring)


def gather(seen: Sequence[SeenObjects]) -> Gathered:
    """What several frames of a drive show, object by object."""
    parts: dict[Identity, list[Run]] = {}
    begin = 0
    for frame in seen:
        for identity, size in zip(frame.identities, frame.sizes.tolist(), strict=True):
            parts.setdefault(identity, []).append((frame.stamp_ns, begin, size))
            begin += size
    rings = [np.zeros(len(frame.points), np.int16) if frame.ring is None else frame.ring for frame in seen]
    return Gathered(
        parts,
        np.concatenate([np.zeros((0, 4), np.float32), *(frame.points for frame in seen)]),
        np.concatenate([np.zeros(0, np.int16), *rings]),
    )


def paste(frame: SeenFrame, gathered: Gathered, window: Window, cap: float | None, rng: np.random.Generator) -> Pasted:
    """What other frames saw of a frame's objects, where they are now.

    Left out is what would lie outside of the object's box, or deeper in another one's; under a cap the choice is made
    before.

    Args:
        frame: the frame; its points are not looked at.
        gathered: what any frame of the drive shows, this one included.
        window: as in `complete_frame`.
        cap: as in `complete_frame`.
        rng: as in `complete_frame`.
    """
    runs = [
        _within(frame, row, gathered.parts.get(identity, []), window)
        for row, identity in enumerate(identities_of(frame.boxes, frame.name))
    ]
    chosen = [_others(of, frame.stamp_ns, cap, rng) for of in runs]
    rows = np.repeat(np.arange(len(chosen)), [len(part) for part in chosen])
    source = np.concatenate([np.zeros(0, np.int64), *chosen])
    points, fits = _placed(frame, gathered.points[source], rows)
    disputed = np.flatnonzero(touching(frame.boxes)[rows])
    fits[disputed] &= owners_of(frame.boxes, points[disputed]) == rows[disputed]
    kept = np.flatnonzero(fits)
    return Pasted(points.take(kept, axis=0), gathered.ring.take(source.take(kept)), rows.take(kept))


def owners_of(boxes: Boxes, points: NDArray[np.float32]) -> NDArray[np.int64]:
    """`(M,)` row of the box that each of the `(M, 3+)` points belongs to, -1 for none.

    Where boxes overlap a point belongs to the one in which it lies deepest: farthest from the faces in parts of the
    half size, so that a pedestrian keeps its points beside a truck. Of equals the first.
    """
    found = members(boxes, points)
    owners = np.full(len(points), -1, np.int64)
    if not found:
        return owners
    inside, rows = np.concatenate(found), np.repeat(np.arange(len(found)), [len(part) for part in found])
    owners[inside] = rows
    disputed = np.flatnonzero((np.bincount(inside, minlength=len(points)) > 1)[inside])
    inside, rows = inside[disputed], rows[disputed]
    half_m = np.maximum(boxes.geometry[rows, 3:6] / 2.0, 1e-9)
    reach = (np.abs(_local(boxes, points[inside, :3], rows)) / half_m).max(axis=1, initial=0.0)
    order = np.lexsort((-rows, -reach))  # the deepest is written last, and of equals the first
    owners[inside[order]] = rows[order]
    return owners


def touching(boxes: Boxes) -> NDArray[np.bool_]:
    """`(N,)`: which boxes overlap another one from above; no axis of the two separates them."""
    corners_m = boxes.corners()[:, :4, :2].astype(np.float64)
    yaw_rad = boxes.geometry[:, 6].astype(np.float64)
    axes = np.stack([np.cos(yaw_rad), np.sin(yaw_rad), -np.sin(yaw_rad), np.cos(yaw_rad)], axis=1).reshape(-1, 2, 2)
    offsets_m = corners_m[None] - boxes.geometry[:, None, None, :2]
    along = np.einsum("iak,ijck->ijac", axes, offsets_m)
    half_m = boxes.geometry[:, None, 3:5] / 2.0
    apart = ((along.min(axis=3) > half_m) | (along.max(axis=3) < -half_m)).any(axis=2)
    overlaps = ~(apart | apart.T)
    np.fill_diagonal(overlaps, False)
    shared: NDArray[np.bool_] = overlaps.any(axis=1)
    return shared


def identities_of(boxes: Boxes, source: str) -> list[Identity]:
    """Track and class of each box; `source` names them in messages.

    Raises:
        InputError: when the boxes have no identities, or one twice.
    """
    if len(boxes) == 0:
        return []
    remedy = "follow the boxes first (understudy xray label), or take a data set with tracks"
    if boxes.track_ids is None:
        found = "boxes without identities"
        raise InputError(f"{source}: objects over time", found=found, wanted="track ids", remedy=remedy)
    identities = list(zip(boxes.track_ids.tolist(), boxes.labels.tolist(), strict=True))
    if len(set(identities)) < len(identities):
        twice = next(identity for identity in identities if identities.count(identity) > 1)
        found = f"two boxes of class {boxes.class_names[twice[1]]} with track {twice[0]}"
        raise InputError(
            f"{source}: objects over time", found=found, wanted="each object once", remedy="mend the labels"
        )
    return identities


def _object_from_ego(frame: SeenFrame) -> NDArray[np.float64]:
    """`(N, 3, 3)` rotations to objects that stand upright in the world: the ego's roll and pitch are taken out."""
    yaw_rad = frame.boxes.geometry[:, 6].astype(np.float64)
    headings = np.stack([np.cos(yaw_rad), np.sin(yaw_rad), np.zeros(len(yaw_rad))], axis=1)
    along, across, _ = (headings @ frame.world_from_ego.rotation.T).T
    upright_rad = np.arctan2(across, along)
    rotations: NDArray[np.float64] = _turns(upright_rad).transpose(0, 2, 1) @ frame.world_from_ego.rotation
    return rotations


def _turned(offsets_m: NDArray[np.floating], rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(P, 3)` offsets, each by its own of the `(P, 3, 3)` rotations."""
    turned: NDArray[np.float64] = np.einsum("pij,pj->pi", rotations, offsets_m.astype(np.float64))
    return turned


def _local(boxes: Boxes, points: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """`(P, 3)` points in ego along the axes of their boxes, from the centers."""
    x, y, z = (points.astype(np.float64) - boxes.geometry[rows, :3]).T
    yaw_rad = boxes.geometry[rows, 6].astype(np.float64)
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.stack([cos * x + sin * y, cos * y - sin * x, z], axis=1)


def _placed(
    frame: SeenFrame, points: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """`(P, 4)` points of objects' frames in ego, inside their boxes whatever the rounding; which of them fit.

    Args:
        frame: its boxes.
        points: in the frames of their objects, object after object.
        rows: `(P,)` the box of each, ascending.
    """
    boxes = frame.boxes.geometry
    ego_from_box = _turns(boxes[:, 6])
    object_from_box = (_object_from_ego(frame) @ ego_from_box).astype(np.float32)
    limits_m = np.maximum(boxes[:, 3:6] / 2 - np.float32(_ROUNDING_M), 0).take(rows, axis=0)
    local = _turned_by(points, object_from_box, rows)
    clipped = np.clip(local, -limits_m, limits_m)
    fits = np.asarray(np.abs(local - clipped).max(axis=1, initial=0.0) <= _AT_THE_FACE_M, bool)
    points[:, :3] = _turned_by(clipped, ego_from_box.transpose(0, 2, 1).astype(np.float32), rows)
    points[:, :3] += boxes[:, :3].take(rows, axis=0)
    return points, fits


def _turned_by(
    points: NDArray[np.float32], rotations: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """`(P, 3)`: rows of `(P, 3+)` points times the `(N, 3, 3)` rotation of their box; boxes ascend."""
    turned = np.empty((len(points), 3), np.float32)
    ends = np.cumsum(np.bincount(rows, minlength=len(rotations))).tolist()
    for rotation, begin, end in zip(rotations, [0, *ends], ends, strict=False):
        np.matmul(points[begin:end, :3], rotation, out=turned[begin:end])
    return turned


def _turns(yaw_rad: NDArray[np.floating]) -> NDArray[np.float64]:
    """`(N, 3, 3)` rotations about z."""
    cos, sin = np.cos(yaw_rad.astype(np.float64)), np.sin(yaw_rad.astype(np.float64))
    none = np.zeros(len(cos))
    return np.stack([cos, -sin, none, sin, cos, none, none, none, none + 1], axis=1).reshape(-1, 3, 3)


def _within(frame: SeenFrame, row: int, runs: Sequence[Run], window: Window) -> list[Run]:
    """The runs of an object that are near enough in time."""
    limit_s = window(frame.boxes.class_names[frame.boxes.labels[row]])
    return [run for run in runs if limit_s is None or abs(run[0] - frame.stamp_ns) <= limit_s * 1e9]


def _others(runs: Sequence[Run], stamp_ns: int, cap: float | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of an object's points in other frames: so many that with its own they are not above the cap."""
    spans = [(begin, size) for stamp, begin, size in runs if stamp != stamp_ns]
    rows = np.concatenate([np.zeros(0, np.int64), *(np.arange(begin, begin + size) for begin, size in spans)])
    if cap is None:
        return rows
    own = sum(size for stamp, _, size in runs if stamp == stamp_ns)
    room = max(int(cap * max((size for _, _, size in runs), default=0)) - own, 0)
    return rows if len(rows) <= room else np.sort(rng.choice(rows, room, replace=False, shuffle=False))
