"""Where something was over time, and where a camera sits on a vehicle whose two tracks are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.errors import InputError, UnderstudyError
from understudy.pose import Pose


@dataclass(frozen=True, eq=False)
class PoseTrack:
    """Poses at ascending times.

    Attributes:
        stamps_s: `(N,)` float64.
        poses: N poses, world from the moving frame.
    """

    stamps_s: NDArray[np.float64]
    poses: tuple[Pose, ...]

    @classmethod
    def from_records(cls, records: Any, stamps_s: NDArray[np.float64], source: str) -> PoseTrack:
        """From records with `position` x, y, z and `heading` w, x, y, z; `source` names the file in messages.

        Raises:
            InputError: when a record is malformed or their number is not that of the stamps.
        """
        if not isinstance(records, list):
            raise InputError(source, found=type(records).__name__, wanted="a list of poses")
        try:
            poses = tuple(
                Pose.from_quaternion(
                    [record["heading"][axis] for axis in "wxyz"], [record["position"][axis] for axis in "xyz"]
                )
                for record in records
            )
        except (KeyError, TypeError, ValueError, OverflowError, UnderstudyError) as error:
            raise InputError(source, found=f"{error}", wanted="position x, y, z and heading w, x, y, z") from error
        if len(poses) != len(stamps_s):
            raise InputError(source, found=f"{len(poses)} poses", wanted=f"{len(stamps_s)}, one per stamp")
        return cls(stamps_s, poses)

    def at(self, stamp_s: float) -> Pose:
        """The pose at a time: position linear, rotation along the shorter arc; held at the ends.

        Raises:
            InputError: when there is one pose only and it is of another time.
        """
        if len(self.poses) == 1:
            return self._only_pose(stamp_s)
        after = int(np.clip(np.searchsorted(self.stamps_s, stamp_s), 1, len(self.poses) - 1))
        first, second = self.poses[after - 1], self.poses[after]
        begin_s, end_s = self.stamps_s[after - 1], self.stamps_s[after]
        share = float(np.clip((stamp_s - begin_s) / (end_s - begin_s), 0.0, 1.0))
        translation_m = (1 - share) * first.translation_m + share * second.translation_m
        return Pose.from_quaternion(_blend(first.quaternion_wxyz, second.quaternion_wxyz, share), translation_m)

    def _only_pose(self, stamp_s: float) -> Pose:
        if stamp_s != self.stamps_s[0]:
            found = f"one pose, at {self.stamps_s[0]:.6f} s"
            raise InputError("pose track", found=found, wanted=f"poses around {stamp_s:.6f} s")
        return self.poses[0]

    def mounting_on(self, vehicle: PoseTrack) -> Pose:
        """The constant pose vehicle-from-this that fits both tracks best, over the vehicle's span of time."""
        spans = (self.stamps_s >= vehicle.stamps_s[0]) & (self.stamps_s <= vehicle.stamps_s[-1])
        chosen = np.flatnonzero(spans) if spans.any() else np.arange(len(self.poses))
        seen = [vehicle.at(float(self.stamps_s[i])).inverse() @ self.poses[i] for i in chosen]
        translation_m = np.mean([pose.translation_m for pose in seen], axis=0)
        # The orthonormal matrix nearest to the mean rotation.
        u, _, vt = np.linalg.svd(np.mean([pose.rotation for pose in seen], axis=0))
        return Pose(u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt, translation_m)


def _blend(first: NDArray[np.float64], second: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Between two unit quaternions a few degrees apart: the normalized mean, on the nearer of the two signs."""
    nearer = second if first @ second >= 0 else -second
    mixed = (1 - share) * first + share * nearer
    blended: NDArray[np.float64] = mixed / np.linalg.norm(mixed)
    return blended
