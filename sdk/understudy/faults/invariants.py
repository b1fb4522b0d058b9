"""What must hold in every scenario, whatever goes wrong. Each gives the text of a violation, or none.

The same functions judge our core in process and any node from outside; `Margins` are what being outside costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise

from understudy.faults.drafts import Sent
from understudy.faults.record import Look, Output, Record
from understudy.faults.scenario import LIDAR_PERIOD_NS
from understudy.faults.script import Script
from understudy.faults.stream_faults import FROZEN_AFTER

NAMED_WITHIN_NS = 1_000_000_000
RECOVERED_WITHIN_NS = 2_000_000_000
QUIET_WITHIN_NS = RECOVERED_WITHIN_NS + 1_000_000_000
"""After this diagnostics find nothing any more: they tell of the second before."""
_LONGEST_GAP_NS = 5 * LIDAR_PERIOD_NS // 2
_SETTLED_NS = 1_000_000_000
_LAST_NS = 4 * LIDAR_PERIOD_NS
"""Sweeps so near to the end need not be published by then."""
_HELD_PER_SENSOR = 20


@dataclass(frozen=True)
class Margins:
    """What is granted to an observer.

    Attributes:
        age_ns: beyond the oldest age that a result may have.
        named_ns: beyond the second in which a sensor must be named.
        published: share of the sweeps that have to be published when all is well.
        sees_cameras: whether outputs tell which pictures were in them.
    """

    age_ns: int = 0
    named_ns: int = 0
    published: float = 0.9
    sees_cameras: bool = True


def no_crash(script: Script, record: Record, margins: Margins) -> str:
    """Nothing comes out of the stream but results; the process lives."""
    return record.crash


def no_deadlock(script: Script, record: Record, margins: Margins) -> str:
    """The stream answers until the end, and stops."""
    return record.stuck


def bounded_memory(script: Script, record: Record, margins: Margins) -> str:
    """No more messages are held than the queues may hold, of each sensor, and those that are worked on."""
    limit = _HELD_PER_SENSOR * len(script.scenario.periods_ns)
    most = max((look.held for look in record.looks if look.held is not None), default=0)
    return record.memory or (f"{most} messages are held, {limit} at most may be" if most > limit else "")


def nothing_stale(script: Script, record: Record, margins: Margins) -> str:
    """Each result is of a sweep that was sent, newer than the one before, and no older than deadline and run allow."""
    wrong = wrong_results(script, record)
    if wrong:
        return wrong
    by_stamp = _sweeps_by_stamp(script)
    for output in record.outputs:
        limit_ns = script.scenario.deadline_ns + output.at_ns - output.begun_ns + margins.age_ns
        age_ns = script.age_ns(by_stamp[output.stamp_ns].taken_ns, output.at_ns)
        if age_ns > limit_ns:
            return f"at {_s(output.at_ns)} a result {_s(age_ns)} old, {_s(limit_ns)} at most may be"
    return ""


def wrong_results(script: Script, record: Record) -> str:
    """What of `nothing_stale` is not about time: results of sweeps that were sent, in order, not of frozen points."""
    by_stamp = _sweeps_by_stamp(script)
    before_ns = -1
    for output in record.outputs:
        sweep = by_stamp.get(output.stamp_ns)
        if sweep is None:
            return f"at {_s(output.at_ns)} a result of {output.stamp_ns}, a stamp that no sweep had"
        if sweep.taken_ns <= before_ns:
            return f"at {_s(output.at_ns)} a result of {_s(sweep.taken_ns)}, after one of {_s(before_ns)}"
        before_ns = sweep.taken_ns
    return _frozen_for_too_long(record.outputs, by_stamp)


def lidar_rate(script: Script, record: Record, margins: Margins) -> str:
    """Whatever cameras do, the LiDAR's sweeps become results at its rate."""
    if not script.scenario.only_cameras_fail:
        return ""
    begin_ns, end_ns = script.start_ns, script.over_ns
    sweeps = _sweeps(script, begin_ns, end_ns)
    stamps = {output.stamp_ns for output in record.outputs}
    published = sum(script.stamp_ns(sweep) in stamps for sweep in sweeps)
    if published < margins.published * len(sweeps):
        return f"{published} of {len(sweeps)} sweeps published while cameras failed"
    times_ns = [output.at_ns for output in record.outputs if begin_ns <= output.at_ns <= end_ns]
    gaps_ns = [later - earlier for earlier, later in pairwise(times_ns)]
    longest_ns = max(gaps_ns, default=0)
    return f"{_s(longest_ns)} without a result" if longest_ns > _LONGEST_GAP_NS + margins.age_ns else ""


def named_in_time(script: Script, record: Record, margins: Margins) -> str:
    """Diagnostics name what is at fault within a second of the first message, or run, that a fault touched.

    Beyond the second there is only what nobody can do without: `Fault.notice_ns`.
    """
    for number, wanted in named(script).items():
        time_ns, limit_ns = naming_ns(script, record, number), wanted.within_ns + margins.named_ns
        if number in record.strikes_ns or not wanted.needs_strike:
            if time_ns is None:
                return f"{wanted.name} never named for {script.scenario.faults[number].text}"
            if time_ns > limit_ns:
                return f"{wanted.name} named after {_s(time_ns)}, {_s(limit_ns)} at most"
    return ""


def recovers(script: Script, record: Record, margins: Margins) -> str:
    """Within two seconds there is a whole result of a sweep taken after all faults, and from then on all are."""
    time_ns = recovery_ns(script, record, margins)
    if time_ns is None:
        return "no whole result after the faults"
    if time_ns > RECOVERED_WITHIN_NS + margins.age_ns:
        return f"recovered after {_s(time_ns)}"
    begin_ns = over_ns(script, record) + RECOVERED_WITHIN_NS
    sweeps = _sweeps(script, begin_ns, script.end_ns - _LAST_NS)
    whole = {output.stamp_ns for output in record.outputs if _is_whole(script, output, margins)}
    num_whole = sum(script.stamp_ns(sweep) in whole for sweep in sweeps)
    needed = margins.published * len(sweeps)
    return f"{num_whole} of {len(sweeps)} sweeps whole long after the faults" if num_whole < needed else ""


def quiet_when_well(script: Script, record: Record, margins: Margins) -> str:
    """Diagnostics find nothing before the faults, and nothing three seconds after them."""
    again_ns = over_ns(script, record) + QUIET_WITHIN_NS + margins.named_ns
    for look in record.looks:
        is_well = _SETTLED_NS + margins.named_ns <= look.at_ns < script.start_ns or look.at_ns > again_ns
        if is_well and look.level != "ok":
            return f"at {_s(look.at_ns)}, all well: {look.message}"
    return ""


def counts_add_up(script: Script, record: Record, margins: Margins) -> str:
    """At every look each message that was pushed is counted, and waits or has exactly one end."""
    for look in record.looks:
        if not look.adds_up:
            return f"at {_s(look.at_ns)} the ends do not add up to what was received"
        if look.received is not None and dict(look.received) != dict(look.pushed):
            return f"at {_s(look.at_ns)} received {dict(look.received)}, pushed {dict(look.pushed)}"
    return ""


Invariant = Callable[[Script, Record, Margins], str]
INVARIANTS: Mapping[str, Invariant] = {
    "no crash": no_crash,
    "no deadlock": no_deadlock,
    "memory": bounded_memory,
    "fresh": nothing_stale,
    "LiDAR rate": lidar_rate,
    "named": named_in_time,
    "recovers": recovers,
    "quiet": quiet_when_well,
    "counts": counts_add_up,
}
"""By the name in the table."""
TIMED = frozenset({"fresh", "LiDAR rate", "named", "recovers", "quiet"})
"""Those that somebody who plays the sensors late can break; the others are the node's own."""


@dataclass(frozen=True)
class Wanted:
    """What diagnostics have to say of a fault.

    Attributes:
        name: that must be in a message.
        within_ns: from the fault's first effect.
        needs_strike: whether the fault has an effect only where the student was called.
    """

    name: str
    within_ns: int
    needs_strike: bool


def named(script: Script) -> dict[int, Wanted]:
    """The faults that have to be named, by their number in the scenario."""
    found = {}
    for number, fault in enumerate(script.scenario.faults):
        name = script.scenario.named_as(fault)
        if name:
            needs_strike = fault.on == "none" and not fault.pauses
            found[number] = Wanted(name, NAMED_WITHIN_NS + fault.notice_ns, needs_strike)
    return found


def naming_ns(script: Script, record: Record, number: int) -> int | None:
    """How long after its first effect a fault was named; None if never."""
    name = script.scenario.named_as(script.scenario.faults[number])
    effect_ns = record.strikes_ns.get(number, script.effects_ns[number])
    for look in record.looks:
        if look.at_ns >= effect_ns and is_named(look, name):
            return look.at_ns - effect_ns
    return None


def is_named(look: Look, name: str) -> bool:
    """Whether a look finds fault with this name."""
    return look.level != "ok" and name in (look.message if look.at_fault is None else look.at_fault)


def over_ns(script: Script, record: Record) -> int:
    """When nothing was wrong any more: a run that a fault has slowed down has to end, too."""
    return max(script.over_ns, record.idle_ns)


def recovery_ns(script: Script, record: Record, margins: Margins) -> int | None:
    """From the end of all faults to the first whole result of a sweep taken after it."""
    begin_ns, by_stamp = over_ns(script, record), _sweeps_by_stamp(script)
    for output in record.outputs:
        sweep = by_stamp.get(output.stamp_ns)
        if sweep is not None and sweep.taken_ns >= begin_ns and _is_whole(script, output, margins):
            return output.at_ns - begin_ns
    return None


def _is_whole(script: Script, output: Output, margins: Margins) -> bool:
    if output.cameras is None or not margins.sees_cameras:
        return True
    return output.cameras == frozenset(script.scenario.cameras)


def _sweeps_by_stamp(script: Script) -> dict[int, Sent]:
    return {script.stamp_ns(sent): sent for sent in script.sent if sent.sensor == script.scenario.lidar}


def _sweeps(script: Script, begin_ns: int, end_ns: int) -> list[Sent]:
    lidar = script.scenario.lidar
    return [sent for sent in script.sent if sent.sensor == lidar and begin_ns <= sent.taken_ns < end_ns]


def _frozen_for_too_long(outputs: list[Output], by_stamp: Mapping[int, Sent]) -> str:
    """A sensor that repeats itself must not be presented as one that sees."""
    contents = [by_stamp[output.stamp_ns].content for output in outputs]
    longest = max((len(list(group)) for _, group in groupby(contents)), default=0)
    return f"{longest} results in a row of the very same points" if longest > FROZEN_AFTER else ""


def _s(time_ns: int) -> str:
    return f"{time_ns / 1e9:.3f} s"
