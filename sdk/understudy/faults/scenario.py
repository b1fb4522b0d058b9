"""A scenario: which faults happen to whom and when, all of it following from its number; and the messages it means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from understudy.errors import InputError
from understudy.faults.catalog import FAULTS, STREAM_FAULTS
from understudy.faults.clocks import ClockScript
from understudy.faults.contents import Contents
from understudy.faults.fault import CLOCK, PUBLISHER, STUDENT, Fault, Situation, drawn_ns
from understudy.faults.stream_faults import FROZEN_AFTER
from understudy.faults.system_faults import SimTimePause
from understudy.live.options import StreamOptions
from understudy.synchronizer import SyncPolicy

LIDAR_PERIOD_NS = 100_000_000
DEADLINE_NS = 400_000_000
SILENT_AFTER_NS = 500_000_000
_FREE_CAMERA_PERIOD_NS = 83_333_333
_SECOND_FAULT = 0.3
_MOST_CAMERAS = 3


@dataclass(frozen=True, eq=False)
class Scenario:
    """What happens, before anything did.

    Attributes:
        number: from which all of it follows.
        contents: what the sensors see.
        cameras: those of the rig that are used.
        periods_ns: from one message to the next, by sensor; the LiDAR first.
        student_ns: how long the student takes.
        faults: what goes wrong; the first is the one that the number stands for.
    """

    number: int
    contents: Contents
    cameras: tuple[str, ...]
    periods_ns: dict[str, int]
    student_ns: int
    faults: tuple[Fault, ...]

    @property
    def kind(self) -> str:
        """The fault that it is about."""
        return self.faults[0].kind

    @property
    def name(self) -> str:
        """Number and faults in one line."""
        return f"{self.number}: " + " + ".join(fault.text for fault in self.faults)

    @property
    def lidar(self) -> str:
        """Name of the sensor that makes sets."""
        return self.contents.lidar

    @property
    def options(self) -> StreamOptions:
        """Of the stream under test: partial sets are used, and what is too old is not."""
        return StreamOptions(
            pivot=self.lidar,
            cameras=self.cameras,
            policy=SyncPolicy(),
            deadline_ns=DEADLINE_NS,
            refuse_frozen_after=FROZEN_AFTER,
        )

    @property
    def clock(self) -> ClockScript:
        """What the clock of the stamps does."""
        return ClockScript(
            tuple(jump for fault in self.faults for jump in fault.jumps),
            tuple(pause for fault in self.faults for pause in fault.pauses),
        )

    @property
    def only_cameras_fail(self) -> bool:
        """Whether nothing is wrong but cameras."""
        return all(fault.target in self.cameras for fault in self.faults)

    def named_as(self, fault: Fault) -> str:
        """What diagnostics must say of a fault; empty where they need not name it.

        A camera is not asked for while sets come to nothing for another reason: then that one has to be named. In a
        pause it is the LiDAR, which is silent.
        """
        if not fault.must_be_named or (fault.target in self.cameras and not self.only_cameras_fail):
            return ""
        if isinstance(fault, SimTimePause):
            return self.lidar
        return {PUBLISHER: STUDENT}.get(fault.target, fault.target)


def numbers(seed: int, count: int, only: str = "") -> list[int]:
    """Numbers of `count` scenarios from `seed` on, all of them or those about one fault."""
    kinds = list(FAULTS)
    fitting = (number for number in _from(seed) if not only or kinds[number % len(kinds)] == only)
    return list(islice(fitting, count))


def draw_scenario(number: int, contents: Contents) -> Scenario:
    """The scenario of a number, with what the sensors see.

    Raises:
        InputError: when the rig has no camera, which some of the faults happen to.
    """
    if not contents.cameras:
        raise InputError(f"rig {contents.rig.name}", found="no camera", wanted="one at least, for its faults")
    rng = np.random.default_rng(number)
    kind = FAULTS[list(FAULTS)[number % len(FAULTS)]]
    num_cameras = int(rng.integers(1, min(_MOST_CAMERAS, len(contents.cameras)) + 1))
    cameras = contents.cameras[:num_cameras]
    periods_ns = {contents.lidar: LIDAR_PERIOD_NS}
    periods_ns |= {name: LIDAR_PERIOD_NS if rng.random() < 0.5 else _FREE_CAMERA_PERIOD_NS for name in cameras}
    student_ns = drawn_ns(rng, 10, 60)
    sensors = (contents.lidar, *cameras)
    targets = [name for name in sensors if kind.on in ("any", "none", _concern(name, contents.lidar))]
    first = _drawn(kind, rng, _choice(rng, targets), contents.lidar, periods_ns)
    faults = [first]
    if first.target != CLOCK and rng.random() < _SECOND_FAULT:
        faults.append(_second(rng, [name for name in sensors if name != first.target], contents.lidar, periods_ns))
    return Scenario(number, contents, cameras, periods_ns, student_ns, tuple(faults))


def _from(seed: int) -> Iterator[int]:
    number = seed
    while True:
        yield number
        number += 1


def _second(rng: np.random.Generator, others: list[str], lidar: str, periods_ns: dict[str, int]) -> Fault:
    """Something that happens to the messages of another sensor."""
    target = _choice(rng, others)
    fitting = [kind for kind in STREAM_FAULTS if kind.on in ("any", _concern(target, lidar))]
    return _drawn(fitting[int(rng.integers(len(fitting)))], rng, target, lidar, periods_ns)


def _drawn(kind: type[Fault], rng: np.random.Generator, target: str, lidar: str, periods_ns: dict[str, int]) -> Fault:
    start_ns = drawn_ns(rng, 1500, 2000)
    end_ns = start_ns + drawn_ns(rng, 1600, 3000)
    max_wait_ns = SyncPolicy().max_wait_ns
    return kind.draw(rng, Situation(target, target != lidar, start_ns, end_ns, periods_ns, DEADLINE_NS, max_wait_ns))


def _concern(name: str, lidar: str) -> str:
    return "lidar" if name == lidar else "camera"


def _choice(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]
