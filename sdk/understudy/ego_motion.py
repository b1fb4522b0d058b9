"""Where the ego was at a stamp: odometry or transforms in, one interpolated pose out, and nothing rather than a guess.

Poses are `world_from_ego` in REP 105's sense: `nav_msgs/Odometry` is the pose of `child_frame_id` in `header.frame_id`,
an edge of `tf2_msgs/TFMessage` that of `child_frame_id` in its header's frame. The world is whatever frame the vehicle
calls so (`odom`, `map`); only motion within it is used. Meters, right-handed, x forward, y left, z up (REP 103).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.errors import FrameError, GeometryError
from understudy.messages.headers import BASE_FRAME, stamp_ns_from_message
from understudy.pose import Pose

KEPT_NS = 10_000_000_000
"""Time that is remembered: ten times what ten sweeps at 10 Hz span."""
KEPT_POSES = 4096
"""Most poses that are remembered, whatever their rate."""
INTERPOLATED_NS = 300_000_000
"""Widest gap that is bridged: two messages lost at 10 Hz. At 5 m/s2 a straight line is off by 6 cm there, at most."""
EXTRAPOLATED_NS = 50_000_000
"""Farthest beyond the newest pose, at constant velocity: 2 cm at 5 m/s2, and never more than one 20 Hz period."""
JUMP_BACK_NS = 1_000_000_000
"""Stamps farther behind the newest are of another time, as in `SyncPolicy.jump_back_ns`."""
JUMP_SEEN = 3
"""Rising messages of that other time that are believed, as in the synchronizer: one late message is no jump."""
FASTEST_MPS = 100.0
"""What moves faster, and by more than `LEAP_M`, was put somewhere else: a localization that was corrected or reset."""
LEAP_M = 1.0


@dataclass(frozen=True, eq=False)
class _Stamped:
    stamp_ns: int
    pose: Pose


class EgoMotion:
    """Remembers where the ego was, for some seconds; for one thread.

    Late messages are put in their place, of equal stamps the first stays. Where time jumps back (a simulation that
    starts over) or the ego leaps, everything begins anew: what was before lies in another world.

    Args:
        base_frame: name of the ego frame.
        odom_frame: name of the world; empty takes the first one that a good message names, and then only that.

    Attributes:
        restarts: how often it has begun anew. Poses from before must not be mixed with those after.
    """

    def __init__(self, base_frame: str = BASE_FRAME, odom_frame: str = "") -> None:
        self._base_frame, self._odom_frame = base_frame.lstrip("/"), odom_frame.lstrip("/")
        self._track: list[_Stamped] = []
        self._behind: list[_Stamped] = []
        self.restarts = 0

    @property
    def odom_frame(self) -> str:
        """Name of the world's frame; empty while nothing was said of it."""
        return self._odom_frame

    def push(self, message: Any) -> None:
        """Takes a `nav_msgs/Odometry`, or of a `tf2_msgs/TFMessage` the edges that end at the base frame.

        A message of transforms that says nothing of the base frame is fine; one that is refused changes nothing.

        Raises:
            FrameError: when it is neither, or its stamp is none.
            GeometryError: when the frames are others, a number is not finite or a quaternion has not length 1.
        """
        entries = list(self._transforms(message) if hasattr(message, "transforms") else self._odometry(message))
        frames = sorted({frame for frame, _ in entries})
        if len(frames) > 1:
            raise GeometryError(f"ego motion: parents of {self._base_frame}", found=", ".join(frames), wanted="one")
        for frame, entry in entries:
            self._odom_frame = frame
            self._take(entry)

    def world_from_ego(self, stamp_ns: int) -> Pose | None:
        """The pose at a stamp: position on the straight line, rotation by slerp; None where nobody knows.

        Nobody knows before the oldest pose, in a gap wider than `INTERPOLATED_NS`, and more than `EXTRAPOLATED_NS`
        after the newest pose.
        """
        after = bisect_left(self._track, stamp_ns, key=lambda entry: entry.stamp_ns)
        if after == len(self._track):
            return self._beyond(stamp_ns)
        if self._track[after].stamp_ns == stamp_ns:
            return self._track[after].pose
        if after == 0 or _gap_ns(self._track[after - 1], self._track[after]) > INTERPOLATED_NS:
            return None
        return _between(self._track[after - 1], self._track[after], stamp_ns)

    def _beyond(self, stamp_ns: int) -> Pose | None:
        """At constant velocity, which is measured over as long a time at least, so that noise no more than doubles."""
        if len(self._track) < 2 or stamp_ns - self._track[-1].stamp_ns > EXTRAPOLATED_NS:
            return None
        newest, before = self._track[-1], self._track[-2]
        for before in reversed(self._track[:-1]):
            if _gap_ns(before, newest) >= EXTRAPOLATED_NS:
                break
        gap_ns = _gap_ns(before, newest)
        return _between(before, newest, stamp_ns) if EXTRAPOLATED_NS <= gap_ns <= INTERPOLATED_NS else None

    def _odometry(self, message: Any) -> Iterator[tuple[str, _Stamped]]:
        try:
            child, turn = str(message.child_frame_id), message.pose.pose.orientation
            shift = message.pose.pose.position
        except AttributeError as error:
            raise FrameError("ego motion", found=f"{error}", wanted="nav_msgs/Odometry or tf2_msgs/TFMessage") from None
        if child.lstrip("/") != self._base_frame:
            remedy = "name the base frame, or choose another topic"
            raise GeometryError(
                "odometry: child_frame_id", found=child or "nothing", wanted=self._base_frame, remedy=remedy
            )
        yield self._entry(message, turn, shift)

    def _transforms(self, message: Any) -> Iterator[tuple[str, _Stamped]]:
        for edge in message.transforms:
            if str(edge.child_frame_id).lstrip("/") == self._base_frame:
                yield self._entry(edge, edge.transform.rotation, edge.transform.translation)

    def _entry(self, stamped: Any, turn: Any, shift: Any) -> tuple[str, _Stamped]:
        stamp_ns, frame = stamp_ns_from_message(stamped), str(stamped.header.frame_id).lstrip("/")
        if not frame or frame == self._base_frame or (self._odom_frame and frame != self._odom_frame):
            wanted = self._odom_frame or "a frame that stands still, such as odom"
            raise GeometryError(f"ego motion: parent of {self._base_frame}", found=frame or "nothing", wanted=wanted)
        pose = Pose.from_quaternion((turn.w, turn.x, turn.y, turn.z), (shift.x, shift.y, shift.z))
        return frame, _Stamped(stamp_ns, pose)

    def _take(self, entry: _Stamped) -> None:
        """Puts a pose in its place, or begins anew."""
        if not self._track:
            self._track = [entry]
            return
        behind_ns = self._track[-1].stamp_ns - entry.stamp_ns
        if behind_ns > JUMP_BACK_NS:
            self._note_behind(entry)
            return
        self._behind = []
        place = bisect_left(self._track, entry.stamp_ns, key=lambda other: other.stamp_ns)
        if place < len(self._track) and self._track[place].stamp_ns == entry.stamp_ns:
            return
        if behind_ns < 0 and _leaps(self._track[-1], entry):
            self._restart([entry])
            return
        self._track.insert(place, entry)
        self._forget()

    def _note_behind(self, entry: _Stamped) -> None:
        """Enough rising poses far behind are the new time; copies and swapped ones neither count nor undo.

        Where time goes back once more meanwhile, those before are of no time that will come again.
        """
        if self._behind and _gap_ns(entry, self._behind[-1]) > JUMP_BACK_NS:
            self._behind = []
        if not self._behind or entry.stamp_ns > self._behind[-1].stamp_ns:
            self._behind.append(entry)
        if len(self._behind) >= JUMP_SEEN:
            self._restart(self._behind)

    def _restart(self, entries: list[_Stamped]) -> None:
        """The last poses of a new world, between which the ego did not leap."""
        kept = max((number for number, pair in enumerate(pairwise(entries), 1) if _leaps(*pair)), default=0)
        self._track, self._behind = entries[kept:], []
        self.restarts += 1

    def _forget(self) -> None:
        oldest_ns = self._track[-1].stamp_ns - KEPT_NS
        if self._track[0].stamp_ns < oldest_ns or len(self._track) > KEPT_POSES:
            first = bisect_left(self._track, oldest_ns, key=lambda entry: entry.stamp_ns)
            del self._track[: max(first, len(self._track) - KEPT_POSES)]


def _gap_ns(first: _Stamped, second: _Stamped) -> int:
    return second.stamp_ns - first.stamp_ns


def _leaps(first: _Stamped, second: _Stamped) -> bool:
    """Whether the ego cannot have driven from one to the other."""
    distance_m = float(np.linalg.norm(second.pose.translation_m - first.pose.translation_m))
    return distance_m > max(LEAP_M, FASTEST_MPS * _gap_ns(first, second) / 1e9)


def _between(first: _Stamped, second: _Stamped, stamp_ns: int) -> Pose:
    """On the line through two poses; `stamp_ns` may lie beyond the second."""
    share = (stamp_ns - first.stamp_ns) / _gap_ns(first, second)
    shift_m = first.pose.translation_m + share * (second.pose.translation_m - first.pose.translation_m)
    return Pose.from_quaternion(slerp(first.pose.quaternion_wxyz, second.pose.quaternion_wxyz, share), shift_m)


def slerp(first: NDArray[np.float64], second: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Between two unit quaternions at constant angular velocity along the shorter arc (Shoemake, SIGGRAPH 1985).

    Args:
        first: `(4,)`, w, x, y, z.
        second: `(4,)`.
        share: 0 gives the first, 1 the second; above 1 goes on at the same velocity.

    Returns:
        `(4,)` of length 1.
    """
    cosine = float(first @ second)
    nearer, cosine = (second, cosine) if cosine >= 0 else (-second, -cosine)
    aside = nearer - cosine * first
    sine = float(np.linalg.norm(aside))
    angle_rad = share * float(np.arctan2(sine, cosine))
    turned: NDArray[np.float64] = np.cos(angle_rad) * first
    if sine > 0:
        turned += np.sin(angle_rad) / sine * aside
    turned /= np.linalg.norm(turned)
    return turned
