"""What became of each message, how long each stage took, and who is at fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal[
    "published", "superseded", "rejected", "stale", "failed", "discarded", "duplicate", "out_of_order", "unmatched"
]
OUTCOMES: tuple[Outcome, ...] = (
    *("published", "superseded", "rejected", "stale", "failed", "discarded"),
    *("duplicate", "out_of_order", "unmatched"),
)
"""Ends of a message. published: it is in a set whose result was sent; superseded: a newer set came first; rejected: it
cannot be used; stale: too old, or of a time before the clock jumped; failed: a bug of the student or of ours;
discarded: the stream was stopped; duplicate, out_of_order, unmatched: as `Synchronizer` says."""
Level = Literal["ok", "warn", "error"]
STUDENT, CLOCK, MOTION = "student", "clock", "ego motion"
"""Who else than a sensor can be at fault."""


@dataclass(frozen=True)
class Times:
    """How long one set took, in nanoseconds; all but the age on a clock that never jumps.

    Attributes:
        convert_ns: from the pivot's message to its cloud.
        match_ns: until the set was closed: until every camera had passed it, or `max_wait`.
        wait_ns: in the queue, for the student.
        frame_ns: pictures decoded, sweeps accumulated.
        run_ns: from frame to result.
        publish_ns: from result to messages that are sent.
        age_ns: from the pivot's stamp until they were sent, on the clock of the stamps.
    """

    convert_ns: int
    match_ns: int
    wait_ns: int
    frame_ns: int
    run_ns: int
    publish_ns: int
    age_ns: int


def _no_outcomes() -> Mapping[Outcome, int]:
    return dict.fromkeys(OUTCOMES, 0)


@dataclass(frozen=True)
class SensorStatus:
    """One look at a sensor's messages.

    Attributes:
        sensor: its name in the rig.
        received: messages pushed.
        waiting: of these, not yet at an end.
        outcomes: of these, by end.
        silent_ns: since the last message, or since the start when there was none.
        missing: results that were published without this camera.
        jumps: how often its stamps went back for good.
        trouble: the last reason why a message of it was not used; empty when none was.
        reasons: how often each reason was given; the rarest are under `other reasons`.
    """

    sensor: str
    received: int = 0
    waiting: int = 0
    outcomes: Mapping[Outcome, int] = field(default_factory=_no_outcomes)
    silent_ns: int = 0
    missing: int = 0
    jumps: int = 0
    trouble: str = ""
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def adds_up(self) -> bool:
        """Whether each message waits or has exactly one end."""
        return self.waiting >= 0 and self.received == self.waiting + sum(self.outcomes.values())


@dataclass(frozen=True)
class Status:
    """One look at a stream; the counts are of one instant and add up.

    Attributes:
        pivot: name of the sensor that makes sets.
        sensors: the pivot, then the cameras.
        results: sets whose result was published.
        late: of these, older than the deadline when they were.
        busy_ns: how long the student has been at it; 0 when it is idle.
        student_trouble: the last error of the student or of the publisher that was no fault of a sensor.
        clock_jumps: how often the clock of the stamps went back.
        clock_leaps: how often it went far ahead at once.
        clock_still_ns: for how long it has stood still.
        age_ns: of the newest result, from its stamp until now; None before there is one.
        missing: cameras that the newest result was published without.
        motion: odometry or transforms, where there are any or sweeps are accumulated.
        stages_ms: median and largest of the last hundred published, by stage.
        last: the newest result's times.
        started_ns: when the stream began, on the clock that never jumps; tells two streams apart.
    """

    pivot: str
    sensors: Mapping[str, SensorStatus] = field(default_factory=dict)
    results: int = 0
    late: int = 0
    busy_ns: int = 0
    student_trouble: str = ""
    clock_jumps: int = 0
    clock_leaps: int = 0
    clock_still_ns: int = 0
    age_ns: int | None = None
    missing: tuple[str, ...] = ()
    motion: SensorStatus | None = None
    stages_ms: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    last: Times | None = None
    started_ns: int = 0

    @property
    def adds_up(self) -> bool:
        """Whether each message of each sensor waits or has exactly one end."""
        return all(entry.adds_up for entry in self.sensors.values())

    def of(self, sensor: str) -> SensorStatus:
        """One sensor's; nothing where it has none."""
        return self.sensors.get(sensor) or SensorStatus(sensor)


@dataclass(frozen=True)
class Verdict:
    """How a stream is doing, for whoever looks at diagnostics.

    Attributes:
        level: the worst of what was found.
        message: each at fault by name, with the reason.
        at_fault: their names: sensors, then `student`, `clock`, `ego motion`.
    """

    level: Level
    message: str
    at_fault: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Finding:
    who: str
    level: Level
    text: str


def judge(before: Status, now: Status, silent_after_ns: int) -> Verdict:
    """All that happened between two looks at a stream, of the worst level; always names who is at fault.

    What is left out here is never said again, for the next look starts from this one: silence hides no refused message.

    Args:
        before: the last look; one at another stream counts for none, for its counters are others.
        now: this one.
        silent_after_ns: time without a message, or at one and the same frame, or at one and the same moment, after
            which a sensor, the student or the clock is at fault.
    """
    if (before.pivot, before.started_ns) != (now.pivot, now.started_ns):
        before = Status(now.pivot)
    results = now.results - before.results
    findings = list(_findings(before, now, silent_after_ns, "warn" if results else "error"))
    if not findings:
        return Verdict("ok", f"{now.pivot}: {results} published")
    level: Level = "error" if any(finding.level == "error" for finding in findings) else "warn"
    said: dict[str, list[str]] = {}
    for finding in findings:
        said.setdefault(finding.who, []).append(finding.text)
    return Verdict(level, " | ".join(f"{who}: {'; '.join(texts)}" for who, texts in said.items()), tuple(said))


def _findings(before: Status, now: Status, silent_after_ns: int, loss: Level) -> Iterator[_Finding]:
    for name, sensor in now.sensors.items():
        is_pivot = name == now.pivot
        if sensor.silent_ns > silent_after_ns:
            yield _Finding(name, "error" if is_pivot else loss, _silence(sensor))
        for text in _losses(before.of(name), sensor, is_pivot):
            yield _Finding(name, loss, text)
        if not is_pivot and (num := _unmatched_in_vain(before, now, name)):
            yield _Finding(name, loss, f"none of {num} matched")
        if sensor.missing > before.of(name).missing:
            num = sensor.missing - before.of(name).missing
            yield _Finding(name, "warn", f"missing in {num} of {now.results - before.results} results")
    yield from _student_findings(before, now, silent_after_ns, loss)
    yield from _clock_findings(before, now, silent_after_ns)
    yield from _motion_findings(before, now, silent_after_ns, loss)


def _unmatched_in_vain(before: Status, now: Status, camera: str) -> int:
    """Pictures that no sweep could take, while sweeps were lost for want of some."""
    lost = _new(before.of(now.pivot), now.of(now.pivot))["unmatched"]
    new = _new(before.of(camera), now.of(camera))
    return new["unmatched"] if lost and not new["published"] else 0


def _new(before: SensorStatus, now: SensorStatus) -> dict[Outcome, int]:
    return {outcome: now.outcomes[outcome] - before.outcomes[outcome] for outcome in OUTCOMES}


def _losses(before: SensorStatus, now: SensorStatus, is_pivot: bool) -> Iterator[str]:
    new = _new(before, now)
    if new["rejected"]:
        yield f"{new['rejected']} not used; the last: {now.trouble}"
    if new["stale"]:
        yield f"{new['stale']} too old"
    if new["duplicate"]:
        yield f"{new['duplicate']} with a stamp seen before"
    if new["out_of_order"]:
        yield f"{new['out_of_order']} out of order"
    if is_pivot and new["unmatched"]:
        yield f"{new['unmatched']} without a set"
    if now.jumps > before.jumps:
        yield "its stamps went back"


def _student_findings(before: Status, now: Status, busy_after_ns: int, loss: Level) -> Iterator[_Finding]:
    failed = _new(before.of(now.pivot), now.of(now.pivot))["failed"]
    if now.busy_ns > busy_after_ns:
        yield _Finding(STUDENT, "error", f"busy for {now.busy_ns / 1e9:.1f} s")
    if failed:
        yield _Finding(STUDENT, loss, f"{failed} failed; the last: {now.student_trouble}")
    if now.late > before.late:
        yield _Finding(STUDENT, "warn", f"{now.late - before.late} published after the deadline")


def _clock_findings(before: Status, now: Status, still_after_ns: int) -> Iterator[_Finding]:
    if now.clock_jumps > before.clock_jumps:
        yield _Finding(CLOCK, "warn", "jumped back")
    if now.clock_leaps > before.clock_leaps:
        yield _Finding(CLOCK, "warn", "jumped ahead")
    if now.clock_still_ns > still_after_ns:
        yield _Finding(CLOCK, "warn", f"has stood still for {now.clock_still_ns / 1e9:.1f} s")


def _motion_findings(before: Status, now: Status, silent_after_ns: int, loss: Level) -> Iterator[_Finding]:
    if now.motion is None:
        return
    if now.motion.silent_ns > silent_after_ns:
        yield _Finding(MOTION, loss, _silence(now.motion))
    for text in _losses(before.motion or SensorStatus(MOTION), now.motion, is_pivot=False):
        yield _Finding(MOTION, loss, text)


def _silence(sensor: SensorStatus) -> str:
    return f"no message for {sensor.silent_ns / 1e9:.1f} s"
