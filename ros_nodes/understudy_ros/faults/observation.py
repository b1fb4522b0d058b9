"""What can be seen of a node under test from outside: its outputs, its diagnostics, its process."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile

from understudy.errors import FrameError, InputError
from understudy.faults.record import Look, Output
from understudy.live.tally import OUTCOMES, Level
from understudy.messages.headers import stamp_ns_from_message
from understudy_ros.diagnostics import level_of
from understudy_ros.make import message_class
from understudy_ros.topics import naming

_LEVELS: dict[int, Level] = {0: "ok", 1: "warn", 2: "error", 3: "error"}
_DEPTH = 100
_KIB = 1024


@dataclass
class Seen:
    """What came since the last time it was taken; moments of the clock that never jumps, in nanoseconds.

    Attributes:
        results: moment and stamp of each output.
        statuses: moment and content of each diagnostic status of the node.
    """

    results: list[tuple[int, int]] = field(default_factory=list)
    statuses: list[tuple[int, Any]] = field(default_factory=list)

    def outputs(self, begin_ns: int, begun_ns: Callable[[int], int]) -> list[Output]:
        """The results since `begin_ns`; `begun_ns` guesses when the student began with one."""
        moments = ((at_ns - begin_ns, stamp_ns) for at_ns, stamp_ns in self.results)
        return [Output(at_ns, begun_ns(at_ns), stamp_ns) for at_ns, stamp_ns in moments]

    def looks(self, begin_ns: int) -> list[Look]:
        """The diagnostics since `begin_ns`."""
        return [_look(at_ns - begin_ns, status) for at_ns, status in self.statuses]


class Observation:
    """Listens to a node under test.

    Args:
        node: who listens.
        name: full name of the node under test; its diagnostic statuses have this name in theirs.
        output: its topic of results.
        output_type: `package/msg/Name`, with a header, or an array of markers.

    Raises:
        InputError: when results of that type cannot tell which sweep they are of.
    """

    def __init__(self, node: Node, name: str, output: str, output_type: str) -> None:
        kind = _stamped_class(output_type)
        self._name = name.lstrip("/")
        self._seen = Seen()
        profile = QoSProfile(depth=_DEPTH)
        told = node.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, profile)
        with naming(output):
            self._subscriptions = [told, node.create_subscription(kind, output, self._take_output, profile)]

    def taken(self) -> Seen:
        """What came since the last call."""
        seen, self._seen = self._seen, Seen()
        return seen

    def _take_output(self, message: Any) -> None:
        at_ns, markers = time.monotonic_ns(), getattr(message, "markers", None)
        try:
            stamp_ns = stamp_ns_from_message(markers[0] if markers else message)
        except FrameError:
            stamp_ns = 0  # a result of no sweep
        self._seen.results.append((at_ns, stamp_ns))

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        at_ns = time.monotonic_ns()
        self._seen.statuses += [(at_ns, status) for status in message.status if self._name in status.name]


class Process:
    """The node's process on this machine.

    Args:
        pid: its number.
        most_growth_mib: by how much its memory may grow in a scenario.
    """

    def __init__(self, pid: int, most_growth_mib: int = 64) -> None:
        self._pid, self._most_growth_mib = pid, most_growth_mib
        self._sizes_mib: list[float] = []

    def begin(self) -> None:
        """Forgets what was measured."""
        self._sizes_mib.clear()

    def measure(self) -> None:
        """Looks at its memory."""
        size_mib = self._size_mib()
        if size_mib is not None:
            self._sizes_mib.append(size_mib)

    @property
    def crash(self) -> str:
        """That it is gone; empty while it lives."""
        return "" if self._size_mib() is not None else f"process {self._pid} has ended"

    @property
    def growth(self) -> str:
        """That its memory grew by too much; empty when it did not."""
        if not self._sizes_mib:
            return ""
        grown_mib = max(self._sizes_mib) - self._sizes_mib[0]
        return f"{grown_mib:.0f} MiB more than before" if grown_mib > self._most_growth_mib else ""

    def _size_mib(self) -> float | None:
        """Its memory; None for a process that has ended, a zombie's included."""
        try:
            os.kill(self._pid, 0)
            lines = Path(f"/proc/{self._pid}/status").read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        sizes = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
        return sizes[0] / _KIB if sizes else None


def _stamped_class(type_name: str) -> Any:
    """The class of a message that tells which sweep it is of."""
    what = "type of results"
    if type_name.count("/") != 2:
        raise InputError(what, found=type_name, wanted="package/msg/Name")
    try:
        kind = message_class(type_name)
    except AttributeError:
        raise InputError(what, found=type_name, wanted="a message of that package") from None
    if not {"header", "markers"} & set(kind.get_fields_and_field_types()):
        remedy = "give a topic whose messages carry the sweep's stamp"
        raise InputError(what, found=f"{type_name}, which has no header", wanted="a stamped message", remedy=remedy)
    return kind


def _look(at_ns: int, status: Any) -> Look:
    values = {pair.key: pair.value for pair in status.values}
    named = values.get("at_fault")
    at_fault = None if named is None else tuple(filter(None, named.split(", ")))
    adds_up = all(counts.adds_up for counts in _counts(values).values())
    return Look(at_ns, _LEVELS.get(level_of(status), "error"), status.message, at_fault, adds_up)


@dataclass
class _Counts:
    received: int | None = None
    ended: int = 0

    @property
    def adds_up(self) -> bool:
        return self.received is None or self.received == self.ended


def _counts(values: dict[str, str]) -> dict[str, _Counts]:
    """Counters by sensor, where a node tells them as ours do: `received/SENSOR`, `waiting/SENSOR`, `END/SENSOR`."""
    found: dict[str, _Counts] = defaultdict(_Counts)
    for what, sensor, number in _numbers(values):
        if what == "received":
            found[sensor].received = number
        elif what == "waiting" or what in OUTCOMES:
            found[sensor].ended += number
    return found


def _numbers(values: dict[str, str]) -> Iterator[tuple[str, str, int]]:
    for key, value in values.items():
        what, slash, sensor = key.partition("/")
        if slash and value.isdigit():
            yield what, sensor, int(value)
