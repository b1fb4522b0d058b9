"""How a node is doing, on `/diagnostics`: every second, and at once when somebody else is at fault or it got worse."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from understudy.live.tally import Level, SensorStatus, Status, Verdict, judge

LEVELS: dict[Level, bytes] = {
    "ok": DiagnosticStatus.OK,
    "warn": DiagnosticStatus.WARN,
    "error": DiagnosticStatus.ERROR,
}
_WORSE: dict[Level, int] = {"ok": 0, "warn": 1, "error": 2}
_EVERY_NS, _LOOK_S = 1_000_000_000, 0.1
_DEPTH = 10
_MOST_REASONS = 3


@dataclass(frozen=True)
class Look:
    """A node at one instant.

    Attributes:
        state: of its lifecycle.
        refusal: why the last transition was refused; empty when it was not.
        student: which one it has; empty without.
        complaints: what is wrong with how it was set up, such as parameters that nobody knows.
        pending: parameters that have changed and do not count yet.
        contradictions: what contradicts the rig, by sensor.
        warn_only: whether these are only reported.
        unheard: inputs that the middleware could not connect, and why.
        transport: what may be lost between a driver and this node, and what to do.
        is_losing: whether it is lost already.
        status: of the stream of an active node.
        silent_ns: time without a message after which a sensor is at fault.
        masked: cameras that the student looks at and nobody listens to.
    """

    state: str
    refusal: str = ""
    student: str = ""
    complaints: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    contradictions: Mapping[str, str] = field(default_factory=dict)
    warn_only: bool = False
    unheard: Mapping[str, str] = field(default_factory=dict)
    transport: str = ""
    is_losing: bool = False
    status: Status | None = None
    silent_ns: int = _EVERY_NS
    masked: tuple[str, ...] = ()


class Diagnostics:
    """Looks at its node ten times a second, also while a simulation's clock stands still.

    Args:
        node: whose name the status has.
        look: what to tell.
    """

    def __init__(self, node: Node, look: Callable[[], Look]) -> None:
        self._node, self._look = node, look
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", _DEPTH)
        self._past: deque[tuple[int, Status]] = deque()
        self._told: Status | None = None
        self._told_ns = 0
        self._last = Verdict("ok", "")
        node.create_timer(_LOOK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def tell(self) -> None:
        """Says all that happened since it was last said."""
        look = self._look()
        self._send(look, verdict_on(look, self._told))
        self._told, self._told_ns = look.status, time.monotonic_ns()

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns - self._told_ns >= _EVERY_NS:
            self.tell()
            return
        look = self._look()
        verdict = verdict_on(look, self._second_ago(look.status, now_ns))
        if _is_worse(verdict, self._last):
            self._send(look, verdict)

    def _second_ago(self, status: Status | None, now_ns: int) -> Status | None:
        """A look from long enough ago that a sensor's usual pace shows."""
        if status is None:
            self._past.clear()
            return None
        self._past.append((now_ns, status))
        while self._past[0][0] < now_ns - _EVERY_NS and len(self._past) > 1:
            self._past.popleft()
        return self._past[0][1]

    def _send(self, look: Look, verdict: Verdict) -> None:
        self._last = verdict
        message = DiagnosticArray(
            status=[
                DiagnosticStatus(
                    level=LEVELS[verdict.level],
                    name=self._node.get_fully_qualified_name().lstrip("/"),
                    message=verdict.message,
                    hardware_id=look.student,
                    values=[KeyValue(key=key, value=value) for key, value in values_of(look, verdict).items()],
                )
            ]
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def verdict_on(look: Look, before: Status | None) -> Verdict:
    """All that is wrong, of the worst level; before: the stream when it was last looked at."""
    if look.refusal:
        return Verdict("error", f"{look.state}: {look.refusal}", ("configuration",))
    parts = [_stream_verdict(look, before)]
    level: Level = "warn" if look.warn_only else "error"
    parts += [Verdict(level, f"{name}: {text}", (name,)) for name, text in look.contradictions.items()]
    parts += [Verdict("error", f"{name}: {text}", (name,)) for name, text in look.unheard.items()]
    parts += [Verdict("warn", text, ("configuration",)) for text in look.complaints]
    parts += [Verdict("warn", look.transport, ("transport",))] if look.is_losing else []
    wrong = [part for part in parts if part.level != "ok"]
    if not wrong:
        return parts[0]
    worst = max((part.level for part in wrong), key=_WORSE.__getitem__)
    names = dict.fromkeys(name for part in wrong for name in part.at_fault)
    return Verdict(worst, " | ".join(part.message for part in wrong), tuple(names))


def _stream_verdict(look: Look, before: Status | None) -> Verdict:
    if look.status is None:
        return Verdict("ok", look.state)
    return judge(before or Status(look.status.pivot), look.status, look.silent_ns)


def _is_worse(now: Verdict, last: Verdict) -> bool:
    return _WORSE[now.level] > _WORSE[last.level] or bool(set(now.at_fault) - set(last.at_fault))


def values_of(look: Look, verdict: Verdict) -> dict[str, str]:
    """Counters, times and reasons, by name."""
    values = {"state": look.state, "at_fault": ", ".join(verdict.at_fault)}
    values["unknown_parameters"] = next((text for text in look.complaints if "unknown parameters" in text), "")
    values["pending_parameters"] = ", ".join(look.pending)
    values["transport"] = look.transport
    values |= {"not_listened_to": ", ".join(look.masked)} if look.masked else {}
    values |= {f"geometry/{name}": text for name, text in look.contradictions.items()}
    values |= {f"qos/{name}": text for name, text in look.unheard.items()}
    return values if look.status is None else values | _stream_values(look.status)


def _stream_values(status: Status) -> dict[str, str]:
    values = {
        "pivot": status.pivot,
        "results": str(status.results),
        "late": str(status.late),
        "missing": ", ".join(status.missing),
        "busy_ms": _ms(status.busy_ns),
        "newest_result_age_ms": "" if status.age_ns is None else _ms(status.age_ns),
        "clock_jumps": str(status.clock_jumps + status.clock_leaps),
        "student_trouble": status.student_trouble,
    }
    for stage, (median_ms, largest_ms) in status.stages_ms.items():
        values |= {f"{stage}_ms": f"{median_ms:.2f}", f"{stage}_max_ms": f"{largest_ms:.2f}"}
    for name, sensor in status.sensors.items():
        values |= _sensor_values(name, sensor)
    return values if status.motion is None else values | _sensor_values("ego_motion", status.motion)


def _sensor_values(name: str, sensor: SensorStatus) -> dict[str, str]:
    values = {f"received/{name}": str(sensor.received), f"waiting/{name}": str(sensor.waiting)}
    values |= {f"{outcome}/{name}": str(count) for outcome, count in sensor.outcomes.items()}
    values |= {f"missing/{name}": str(sensor.missing), f"silent_ms/{name}": _ms(sensor.silent_ns)}
    frequent = sorted(sensor.reasons.items(), key=lambda entry: -entry[1])[:_MOST_REASONS]
    reasons = " | ".join(f"{count} x {reason}" for reason, count in frequent)
    return values | {f"trouble/{name}": sensor.trouble, f"reasons/{name}": reasons}


def level_of(status: Any) -> int:
    """A status's level as a number; rclpy has bytes there, a bag's reader a number."""
    return int(status.level[0]) if isinstance(status.level, bytes) else int(status.level)


def _ms(duration_ns: int) -> str:
    return f"{duration_ns / 1e6:.1f}"
