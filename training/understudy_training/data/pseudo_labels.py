"""A teacher's boxes as labels, of a key frame only those that tracks and changed views of the scene speak for.

Every sweep is detected and followed, so that what came before and after is known, unlike on the vehicle (C. R. Qi et
al., "Offboard 3D Object Detection from Point Cloud Sequences", CVPR 2021); then the teacher is shown each key frame
mirrored and turned, and what it no longer sees is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.boxes import Boxes, wrap_angle
from understudy.configuration import Config
from understudy.frame import Frame, PointCloud
from understudy.interior import count_points_inside
from understudy.overlap import bev_iou
from understudy.pose import Pose
from understudy.rig import Rig
from understudy.tracking import TrackingSettings
from understudy.tracking_drive import Seen, Tracked, track_drive

Detector = Callable[[Frame], Boxes]
KEPT = "kept"
REASONS = ("score", "short track", "few points", "inconsistent", "same place")
"""Why a box is dropped, in the order in which it is asked; the first reason counts."""


class PseudoRules(Config):
    """Which of a teacher's boxes become labels."""

    detected_score: float = Field(0.1, ge=0, le=1)
    """Score from which a box is followed; low, for a track is more than its sweeps."""
    min_score: float = Field(0.3, ge=0, le=1)
    """Score that a label must have."""
    min_scores: dict[str, float] = Field(default_factory=dict)
    """The same for single classes."""
    min_track_sweeps: int = Field(3, ge=1)
    """Sweeps in which the teacher must have seen the object."""
    min_points: int = Field(5, ge=0)
    """Returns that must lie in the box."""
    consistency_iou: float = Field(0.3, ge=0, le=1)
    """Overlap from above with a box of the same class that a changed view must show; 0 asks for no views."""
    agreeing_views: int = Field(1, ge=1)
    """Changed views that must show it; as many as there are at most."""
    same_place_iou: float = Field(0.5, gt=0, le=1)
    """Of two labels that overlap so much from above, whatever their classes, the one with the lower score goes."""
    mirrored: bool = True
    """Whether one view is mirrored left to right."""
    turned_deg: float = 10.0
    """Turn of the other view; 0 for none."""
    tracking: TrackingSettings = TrackingSettings()

    def min_score_of(self, class_name: str) -> float:
        """The score that labels of a class must have."""
        return self.min_scores.get(class_name, self.min_score)

    def views(self) -> tuple[View, ...]:
        """The changed views that the teacher is shown."""
        if self.consistency_iou == 0:
            return ()
        turned = (View(turn_rad=float(np.radians(self.turned_deg))),) if self.turned_deg else ()
        return (*((View(mirrored=True),) if self.mirrored else ()), *turned)


@dataclass(frozen=True)
class View:
    """A scene changed so that a right answer changes along: mirrored left to right, or turned about z."""

    mirrored: bool = False
    turn_rad: float = 0.0

    def of(self, frame: Frame, rig: Rig) -> Frame:
        """The frame with every cloud changed, still in its sensor's frame; without pictures."""
        clouds = {
            name: self._changed(cloud, rig.lidars[name].ego_from_sensor.pose()) for name, cloud in frame.clouds.items()
        }
        return replace(frame, clouds=clouds, images={})

    def back(self, boxes: Boxes) -> Boxes:
        """Boxes seen in the changed scene, where they are in the real one."""
        straight = boxes.transformed(Pose.from_yaw(-self.turn_rad))
        if not self.mirrored:
            return straight
        geometry = straight.geometry * np.array([1, -1, 1, 1, 1, 1, -1], np.float32)
        geometry[:, 6] = wrap_angle(geometry[:, 6])
        return replace(straight, geometry=geometry)

    def _changed(self, cloud: PointCloud, ego_from_sensor: Pose) -> PointCloud:
        in_ego = ego_from_sensor.apply(cloud.points[:, :3])
        if self.mirrored:
            in_ego[:, 1] *= -1
        points = cloud.points.copy()
        points[:, :3] = ego_from_sensor.inverse().apply(Pose.from_yaw(self.turn_rad).apply(in_ego))
        return replace(cloud, points=points)


class Annotator:
    """Collects what a teacher says of a drive; after `follow`, `labels` gives the boxes of its key frames.

    Args:
        detector: the teacher, from `rules.detected_score` on.
        rig: the drive's rig.
        class_names: the teacher's classes.
        rules: which boxes become labels.
        sweeps: how many sweeps the clouds hold that the teacher is shown.

    Attributes:
        sweeps: the same.
        counts: how many boxes of a class were kept, or dropped for which reason, in the key frames labeled so far.
    """

    def __init__(
        self, detector: Detector, rig: Rig, class_names: tuple[str, ...], rules: PseudoRules, sweeps: int = 1
    ) -> None:
        self.class_names, self.rules, self.sweeps = class_names, rules, sweeps
        self.counts: Counter[tuple[str, str]] = Counter()
        self._detector, self._rig = detector, rig
        self._sweeps: list[Seen] = []
        self._keys: list[tuple[int, tuple[Boxes, ...]]] = []
        self._tracked: tuple[Tracked, ...] = ()

    @property
    def num_sweeps(self) -> int:
        """Sweeps seen."""
        return len(self._sweeps)

    def see(self, frame: Frame, *, is_key: bool) -> None:
        """Takes in a sweep, and if it is a key frame also changed views of it.

        Args:
            frame: stamps rise, and `world_from_ego` is known.
            is_key: whether it is to get labels.

        Raises:
            UnderstudyError: when the teacher cannot use it.
        """
        assert frame.world_from_ego is not None
        boxes = self._detector(frame)
        if is_key:
            views = tuple(view.back(self._detector(view.of(frame, self._rig))) for view in self.rules.views())
            self._keys.append((len(self._sweeps), views))
        self._sweeps.append(Seen(frame.stamp_ns, boxes, frame.world_from_ego))

    def follow(self) -> None:
        """The drive has ended: tracks its objects."""
        self._tracked = track_drive(self._sweeps, self.rules.tracking)

    def labels(self, key_number: int, points_ego: NDArray[np.floating]) -> Boxes:
        """Boxes of a key frame, which `(N, 3+)` points in ego lie in."""
        sweep, views = self._keys[key_number]
        tracked = self._tracked[sweep]
        boxes = replace(tracked.boxes, num_points=count_points_inside(tracked.boxes, points_ego))
        verdicts = judge(replace(tracked, boxes=boxes), views, self.rules)
        names = [boxes.class_names[label] for label in boxes.labels]
        self.counts.update(zip(names, verdicts, strict=True))
        return boxes[np.array([verdict == KEPT for verdict in verdicts], bool)]


def judge(tracked: Tracked, views: Sequence[Boxes], rules: PseudoRules) -> list[str]:
    """For each box `KEPT` or the first of `REASONS` that speaks against it.

    Boxes that fill a gap were not seen in the frame itself, so no view is asked about them.

    Args:
        tracked: a key frame's boxes; points in them must be counted.
        views: what the teacher said of the changed scenes, carried back.
        rules: the rules.
    """
    boxes = tracked.boxes
    assert boxes.scores is not None
    assert boxes.num_points is not None
    thresholds = np.array([rules.min_score_of(name) for name in boxes.class_names])[boxes.labels]
    agreements = [_best_overlaps(boxes, view) >= rules.consistency_iou for view in views]
    agreed = np.sum(agreements, axis=0) >= min(rules.agreeing_views, len(views))
    against = (
        boxes.scores < thresholds,
        tracked.num_seen < rules.min_track_sweeps,
        boxes.num_points < rules.min_points,
        np.logical_not(agreed | tracked.filled),
    )
    speaks = np.stack([np.zeros(len(boxes), bool), *against], axis=1)
    first = np.argmax(speaks, axis=1)
    first[_beaten(boxes, first == 0, rules.same_place_iou)] = 1 + REASONS.index("same place")
    return [(KEPT, *REASONS)[place] for place in first]


def _beaten(boxes: Boxes, kept: NDArray[np.bool_], iou: float) -> NDArray[np.int64]:
    """Rows of kept boxes that stand where a kept one of higher score stands (of equals the first)."""
    assert boxes.scores is not None
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(-boxes.scores[rows], kind="stable")]
    overlaps = np.triu(bev_iou(boxes.geometry[rows], boxes.geometry[rows]) >= iou, k=1)
    stays = np.ones(len(rows), bool)
    for better in range(len(rows)):
        if stays[better]:
            stays &= ~overlaps[better]
    return rows[~stays]


def _best_overlaps(boxes: Boxes, view: Boxes) -> NDArray[np.float64]:
    """`(N,)` largest overlap from above with a box of the same class."""
    if not len(view):
        return np.zeros(len(boxes))
    overlaps = bev_iou(boxes.geometry, view.geometry)
    overlaps[boxes.labels[:, None] != view.labels[None]] = 0.0
    best: NDArray[np.float64] = overlaps.max(axis=1)
    return best
