"""Where sensors sit and where the ego was, from a bag's transforms and odometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.datasets.pose_tracks import PoseTrack
from understudy.errors import GeometryError
from understudy.messages.transforms import WORLD_FRAME
from understudy.pose import Pose
from understudy_training.data.from_bag_facts import BagFacts, StampedPose, frame_name

LONGEST_GAP_NS = 500_000_000
"""Farthest that two poses may be apart for the ego between them to be known."""
_FARTHEST_M, _FARTHEST_RAD = 0.01, np.radians(0.1)
_LONGEST_CHAIN = 64


@dataclass(frozen=True, eq=False)
class Course:
    """Poses over time, in whole nanoseconds since the first.

    Attributes:
        stamps_ns: `(N,)` int64, rising.
        track: the poses at the same times in seconds since the first stamp.
    """

    stamps_ns: NDArray[np.int64]
    track: PoseTrack

    @classmethod
    def of(cls, poses: list[StampedPose]) -> Course:
        """Of stamped poses in any order; of two with one stamp the first counts."""
        stamps_ns, first = np.unique(np.array([stamp_ns for stamp_ns, _ in poses], np.int64), return_index=True)
        seconds = (stamps_ns - stamps_ns[0]) / 1e9
        return cls(stamps_ns, PoseTrack(seconds, tuple(poses[place][1] for place in first)))

    def at(self, stamp_ns: int) -> Pose | None:
        """The pose at a time, interpolated; None before the first, after the last and in long gaps."""
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        if after < len(self.stamps_ns) and self.stamps_ns[after] == stamp_ns:
            return self.track.poses[after]
        if not 0 < after < len(self.stamps_ns) or self.stamps_ns[after] - self.stamps_ns[after - 1] > LONGEST_GAP_NS:
            return None
        return self.track.at((stamp_ns - int(self.stamps_ns[0])) / 1e9)


class EgoPoses:
    """`world_from_ego` at any time, where the bag knows it.

    Args:
        facts: the bag's.
        base_frame: name of the ego frame.
        bag: names the bag in messages.

    Raises:
        GeometryError: when the odometry is of a frame whose place on the vehicle is not known, or a frame on the way
            from the world to the ego hangs on several others.
    """

    def __init__(self, facts: BagFacts, base_frame: str, bag: str, *, use_transforms: bool = True) -> None:
        self._fixed_after = Pose.identity()
        self._edges: list[Course | Pose] = []
        if facts.odometry:
            self._edges = [Course.of(facts.odometry)]
            child = facts.odometry_child or base_frame
            self._fixed_after = Pose.identity() if child == base_frame else _on_vehicle(facts, child, base_frame, bag)
        elif use_transforms:
            self._edges = _chain_from_world(facts, base_frame, bag)

    @property
    def known(self) -> bool:
        """Whether there is any pose at all."""
        return bool(self._edges)

    def at(self, stamp_ns: int) -> Pose | None:
        """`world_from_ego`, or None when it is not known at that time."""
        if not self._edges:
            return None
        total = Pose.identity()
        for edge in self._edges:
            pose = edge.at(stamp_ns) if isinstance(edge, Course) else edge
            if pose is None:
                return None
            total = total @ pose
        return total @ self._fixed_after


def mounted(facts: BagFacts, base_frame: str, frame_id: str) -> Pose | None:
    """`base_from_frame` by the static transforms, or None when they do not connect the two."""
    wanted = frame_name(frame_id)
    from_base, from_wanted = _ancestors(facts, base_frame), _ancestors(facts, wanted)
    for ancestor, base_pose in from_base.items():
        if ancestor in from_wanted:
            return base_pose.inverse() @ from_wanted[ancestor]
    return None


def is_elsewhere(one: Pose, other: Pose) -> str:
    """How far two mountings are apart, as text; empty when it is less than a centimeter and a tenth of a degree."""
    difference = one.inverse() @ other
    distance_m = float(np.linalg.norm(difference.translation_m))
    cosine = (float(np.trace(difference.rotation)) - 1) / 2
    angle_rad = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
    if distance_m <= _FARTHEST_M and angle_rad <= _FARTHEST_RAD:
        return ""
    return f"{distance_m:.3f} m and {np.degrees(angle_rad):.2f} degrees away"


def _ancestors(facts: BagFacts, frame: str) -> dict[str, Pose]:
    """`ancestor_from_frame` of the frame itself and all above it."""
    poses = {frame: Pose.identity()}
    while frame in facts.static:
        parent, parent_from_frame = facts.static[frame]
        if parent in poses:  # frames that hang on each other, or one on itself
            break
        poses[parent] = parent_from_frame @ poses[frame]
        frame = parent
    return poses


def _on_vehicle(facts: BagFacts, child: str, base_frame: str, bag: str) -> Pose:
    child_from_base = mounted(facts, child, base_frame)
    if child_from_base is None:
        raise GeometryError(
            f"bag {bag}: odometry of {child}",
            found="no transform to it in /tf_static",
            wanted=base_frame,
            remedy="say --base-frame, or --odometry-topic none",
        )
    return child_from_base


def _chain_from_world(facts: BagFacts, base_frame: str, bag: str) -> list[Course | Pose]:
    """The edges from the world down to the ego; empty when nothing on the way moves."""
    edges: list[Course | Pose] = []
    frame = base_frame
    while len(edges) < _LONGEST_CHAIN:
        if frame in facts.moving:
            frame, poses = _moving_parent(facts, frame, bag)
            edges.insert(0, Course.of(poses))
        elif frame in facts.static:
            frame, pose = facts.static[frame]
            edges.insert(0, pose)
        else:
            break
        if frame == WORLD_FRAME:
            break
    return edges if any(isinstance(edge, Course) for edge in edges) else []


def _moving_parent(facts: BagFacts, frame: str, bag: str) -> tuple[str, list[StampedPose]]:
    """The one frame that another moves in; poses of two worlds must not be mixed."""
    parents = facts.moving[frame]
    if len(parents) > 1:
        found = f"several parents: {', '.join(sorted(parents))}"
        remedy = "name an odometry with --odometry-topic, or say none"
        raise GeometryError(f"bag {bag}: transforms of {frame}", found=found, wanted="one", remedy=remedy)
    return next(iter(parents.items()))
