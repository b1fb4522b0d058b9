"""What of a bag is replayed, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from understudy.errors import InputError
from understudy.live.options import Rule
from understudy.synchronization.matcher import SyncPolicy

_RATES = (0.001, 1000.0)
_LATEST_S = 9e9
ABSOLUTE_S = 1e8
"""Seconds from here on count from 1970, those below from the bag's first message."""


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay and how.

    Attributes:
        topic: the point clouds; None takes `/sensors/<lidar>/points`, or the only such topic.
        rate: 0 is as fast as possible, 1 as recorded, 2 twice as fast; from 0.001 to 1000.
        start_s: where to start, in log time: seconds from the bag's first message, or since 1970 from `ABSOLUTE_S` on.
        end_s: where to stop, counted likewise; what was logged then or later is left out.
        cameras: also synchronize and decode the rig's cameras that are in the bag.
        camera_topics: topics of cameras that are called otherwise, by the camera's name.
        check_transforms: refuse a rig that differs from the bag's `/tf_static`.
        overwrite: whether a bag of results that is there may go.
        salvage: where the bag cannot be opened, replay what its files still give.
        with_input: copy what was read of sensors and odometry, and `/tf_static`, into the bag of results.
        rule: how camera frames are matched to sweeps.
        policy: its numbers.
        odometry: `nav_msgs/Odometry` or `tf2_msgs/TFMessage`; None takes `/ego/odom`, the only odometry or `/tf`, and
            none of them for a student of single sweeps.
        refuse_frozen_after: as in `StreamOptions`.
    """

    topic: str | None = None
    rate: float = 0.0
    start_s: float = 0.0
    end_s: float | None = None
    cameras: bool = False
    camera_topics: Mapping[str, str] = field(default_factory=dict)
    check_transforms: bool = True
    overwrite: bool = False
    salvage: bool = False
    with_input: bool = False
    rule: Rule = "nearest"
    policy: SyncPolicy = field(default_factory=SyncPolicy)
    odometry: str | None = None
    refuse_frozen_after: int = 3

    def __post_init__(self) -> None:
        if self.refuse_frozen_after < 0:
            raise InputError("--frozen-after", found=self.refuse_frozen_after, wanted="0 (never) or more")
        low, high = _RATES
        if self.rate != 0 and not low <= self.rate <= high:
            raise InputError("--rate", found=self.rate, wanted=f"0 (as fast as possible) or {low:g} to {high:g}")
        if not (0 <= self.start_s <= _LATEST_S and (self.end_s is None or 0 < self.end_s <= _LATEST_S)):
            raise self._wrong_part(f"0 <= start < end, up to {_LATEST_S:g} s")
        if self.end_s is not None and self._comparable and not self.start_s < self.end_s:
            raise self._wrong_part("a start before the end")

    @property
    def takes_all(self) -> bool:
        """Whether the whole bag is replayed."""
        return not self.start_s and self.end_s is None

    def window_ns(self, zero_ns: int) -> tuple[int | None, int | None]:
        """First log time and the one to stop before; None at an end that is open.

        Args:
            zero_ns: log time of the bag's first message.

        Raises:
            InputError: when the end is not after the start.
        """
        start_ns = _log_time_ns(self.start_s, zero_ns) if self.start_s else None
        end_ns = None if self.end_s is None else _log_time_ns(self.end_s, zero_ns)
        if end_ns is not None and end_ns <= (zero_ns if start_ns is None else start_ns):
            raise self._wrong_part(f"an end after the start; the bag begins at {zero_ns / 1e9:.3f} s")
        return start_ns, end_ns

    @property
    def _comparable(self) -> bool:
        return self.end_s is not None and (self.start_s >= ABSOLUTE_S) == (self.end_s >= ABSOLUTE_S)

    def _wrong_part(self, wanted: Any) -> InputError:
        end = "the end" if self.end_s is None else f"{self.end_s:.12g} s"
        return InputError("--start and --end", found=f"{self.start_s:.12g} s to {end}", wanted=wanted)


def _log_time_ns(time_s: float, zero_ns: int) -> int:
    return round(time_s * 1e9) + (0 if time_s >= ABSOLUTE_S else zero_ns)
