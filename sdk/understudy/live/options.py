"""What differs between streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from understudy.errors import GeometryError, InputError
from understudy.rig import Camera, Lidar, Rig, Sensor
from understudy.synchronization.matcher import SyncPolicy

Rule = Literal["nearest", "approximate_time"]


@dataclass(frozen=True)
class StreamOptions:
    """What differs between streams.

    Attributes:
        pivot: name in the rig of the sensor that makes sets: a LiDAR, or a camera.
        cameras: names of the cameras that are matched to it; none makes each of its messages a set of its own.
        policy: tolerance, waiting time, what is required, and how many messages of a sensor wait at most.
        rule: `nearest` for `Synchronizer`; `approximate_time` for the C++ rule, which takes from the policy no more
            than the queue's size and the jump.
        require_intensity: refuse clouds without.
        deadline_ns: sets older than this are not used any more, and results that become older count as late; None takes
            any age. It needs stamps of the clock that the stream is given: one more than a second, or than the deadline
            where that is longer, ahead of the clock is then refused.
        num_sweeps: how many sweeps a cloud holds at most, its own counted; more than one needs ego motion.
        refuse_frozen_after: the very same content with so many new stamps in a row is refused as frozen, from the last
            of them on; 0 never refuses. A simulation without noise may well send the same twice.

    Raises:
        InputError: when a number is out of its range or a sensor is named twice.
    """

    pivot: str
    cameras: tuple[str, ...] = ()
    policy: SyncPolicy = field(default_factory=SyncPolicy)
    rule: Rule = "nearest"
    require_intensity: bool = False
    deadline_ns: int | None = None
    num_sweeps: int = 1
    refuse_frozen_after: int = 3

    def __post_init__(self) -> None:
        names = (self.pivot, *self.cameras)
        if len(set(names)) < len(names):
            raise InputError("sensors to match", found=", ".join(names), wanted="each name once")
        if self.rule not in ("nearest", "approximate_time"):
            raise InputError("rule", found=self.rule, wanted="nearest or approximate_time")
        lowest = {"num_sweeps": 1, "refuse_frozen_after": 0}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise InputError(name, found=getattr(self, name), wanted=f"{low} or more")
        if self.deadline_ns is not None and self.deadline_ns <= 0:
            raise InputError("deadline_ns", found=self.deadline_ns, wanted="more than 0, or None for any age")

    def sensors(self, rig: Rig) -> dict[str, Sensor]:
        """The rig's entries of the pivot and the cameras, the pivot first.

        Raises:
            GeometryError: when the rig has no such sensor, or one that is no camera is to be matched, or sweeps of a
                camera are to be accumulated.
        """
        found = {name: _entry(rig, name) for name in (self.pivot, *self.cameras)}
        for name in self.cameras:
            if not isinstance(found[name], Camera):
                raise GeometryError(f"rig {rig.name}: {name}", found="a LiDAR", wanted="a camera to match")
        if self.num_sweeps > 1 and not isinstance(found[self.pivot], Lidar):
            raise GeometryError(f"rig {rig.name}: {self.pivot}", found="a camera", wanted="a LiDAR to accumulate")
        return found


def _entry(rig: Rig, name: str) -> Sensor:
    if name not in rig.sensors:
        wanted = f"one of {', '.join(rig.sensors)}"
        raise GeometryError(f"rig {rig.name}: sensor", found=name or "no name", wanted=wanted)
    return rig.sensors[name]
