"""A scenario: which faults happen to whom and when, all of it following from its number; and the messages it means."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from understudy.errors import InputError
from understudy.faults.catalog import FAULTS, STREAM_FAULTS
from understudy.faults.clocks import EPOCH_NS, ClockScript
from understudy.faults.contents import Contents
from understudy.faults.fault import CLOCK, PUBLISHER, STUDENT, Fault, Situation, drawn_ns
from understudy.faults.stream_faults import FROZEN_AFTER
from understudy.faults.system_faults import SimTimePause
from understudy.live.options import StreamOptions
from understudy.synchronization.matcher import SyncPolicy

LIDAR_PERIOD_NS = 100_000_000
SILENT_AFTER_NS = 500_000_000
_FREE_CAMERA_PERIOD_NS = 83_333_333
_SECOND_FAULT = 0.3
_NS_PER_MS = 1_000_000
_MOST_CAMERAS = 3


@dataclass(frozen=True)
class Setting:
    """What scenarios have in common; milliseconds, a range where they are drawn.

    Attributes:
        healthy_ms: until the first fault.
        faulty_ms: that a fault lasts.
        afterwards_ms: when all faults are over.
        deadline_ms: oldest that a sweep may be that the stream under test uses.
        every_camera: whether all cameras of the rig are used in each; else one to three of them.
    """

    healthy_ms: tuple[int, int] = (1500, 2000)
    faulty_ms: tuple[int, int] = (1600, 3000)
    afterwards_ms: int = 3500
    deadline_ms: int = 400
    every_camera: bool = False


USUAL = Setting()
SHORT = Setting((1200, 1400), (1500, 2000), 2600, every_camera=True)
"""For real time: five to six seconds, and a node that listens to every camera."""


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
        setting: what it has in common with others.
        epoch_ns: what the clock of the stamps shows when it begins.
    """

    number: int
    contents: Contents
    cameras: tuple[str, ...]
    periods_ns: dict[str, int]
    student_ns: int
    faults: tuple[Fault, ...]
    setting: Setting
    epoch_ns: int = EPOCH_NS

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
            deadline_ns=self.deadline_ns,
            refuse_frozen_after=FROZEN_AFTER,
        )

    @property
    def deadline_ns(self) -> int:
        """Oldest that a sweep may be."""
        return self.setting.deadline_ms * _NS_PER_MS

    @property
    def clock(self) -> ClockScript:
        """What the clock of the stamps does."""
        return ClockScript(
            tuple(jump for fault in self.faults for jump in fault.jumps),
            tuple(pause for fault in self.faults for pause in fault.pauses),
            self.epoch_ns,
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


def numbers(seed: int, count: int, only: str = "", *, with_cameras: bool = True) -> list[int]:
    """Numbers of `count` scenarios from `seed` on, all of them or those about one fault.

    Raises:
        InputError: when that fault happens to cameras alone, and there are none.
    """
    kinds = [kind for kind, fault in FAULTS.items() if with_cameras or fault.on != "camera"]
    wanted = {only} if only else set(kinds)
    if not wanted <= set(kinds):
        raise InputError(f"fault {only}", found="no camera", wanted="one that it can happen to")
    return list(islice((number for number in itertools.count(seed) if kind_of(number) in wanted), count))


def kind_of(number: int) -> str:
    """The fault that the scenario of a number is about."""
    return list(FAULTS)[number % len(FAULTS)]


def draw_scenario(number: int, contents: Contents, setting: Setting = USUAL) -> Scenario:
    """The scenario of a number, with what the sensors see.

    Raises:
        InputError: when its fault happens to cameras alone, and there are none.
    """
    rng, kind = np.random.default_rng(number), FAULTS[kind_of(number)]
    if kind.on == "camera" and not contents.cameras:
        raise InputError(f"scenario {number}, {kind.kind}", found="no camera", wanted="one that it can happen to")
    cameras = contents.cameras
    if cameras and not setting.every_camera:
        cameras = cameras[: int(rng.integers(1, min(_MOST_CAMERAS, len(cameras)) + 1))]
    periods_ns = {contents.lidar: LIDAR_PERIOD_NS}
    periods_ns |= {name: LIDAR_PERIOD_NS if rng.random() < 0.5 else _FREE_CAMERA_PERIOD_NS for name in cameras}
    student_ns = drawn_ns(rng, 10, 60)
    draw = _Draw(rng, contents.lidar, cameras, periods_ns, setting)
    faults = draw.faults(kind)
    return Scenario(number, contents, cameras, periods_ns, student_ns, faults, setting)


@dataclass(frozen=True, eq=False)
class _Draw:
    """Draws the faults of one scenario."""

    rng: np.random.Generator
    lidar: str
    cameras: tuple[str, ...]
    periods_ns: dict[str, int]
    setting: Setting

    def faults(self, kind: type[Fault]) -> tuple[Fault, ...]:
        """One of this kind, and sometimes another one of another sensor's messages."""
        sensors = (self.lidar, *self.cameras)
        first = self._fault(kind, self._choice([name for name in sensors if self._fits(kind, name)]))
        others = [name for name in sensors if name != first.target]
        if not others or first.target == CLOCK or self.rng.random() >= _SECOND_FAULT:
            return (first,)
        target = self._choice(others)
        fitting = [kind for kind in STREAM_FAULTS if self._fits(kind, target)]
        return (first, self._fault(fitting[int(self.rng.integers(len(fitting)))], target))

    def _fits(self, kind: type[Fault], name: str) -> bool:
        return kind.on in ("any", "none", "lidar" if name == self.lidar else "camera")

    def _choice(self, names: Sequence[str]) -> str:
        return names[int(self.rng.integers(len(names)))]

    def _fault(self, kind: type[Fault], target: str) -> Fault:
        start_ns = drawn_ns(self.rng, *self.setting.healthy_ms)
        end_ns = start_ns + drawn_ns(self.rng, *self.setting.faulty_ms)
        max_wait_ns, deadline_ns = SyncPolicy().max_wait_ns, self.setting.deadline_ms * _NS_PER_MS
        is_camera = target != self.lidar
        where = Situation(target, is_camera, start_ns, end_ns, self.periods_ns, deadline_ns, max_wait_ns)
        return kind.draw(self.rng, where)
