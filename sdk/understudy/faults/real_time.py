"""Scenarios in real time, where whoever plays the sensors may be late, which looks as if the node were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from understudy.faults.invariants import TIMED, Margins, wrong_results
from understudy.faults.record import Record
from understudy.faults.script import Script
from understudy.faults.suite import Judged, judge_record

LATE_NS = 100_000_000
"""A period of the LiDAR. Two suites of nodes at a time on two cores made the injector 43 ms late."""
TRIES = 3


def judge_played(play: Callable[[], tuple[Script, Record]], margins: Margins, say: Callable[[str], object]) -> Judged:
    """Plays a scenario until the node alone can have done what is violated.

    A machine that is busy with something else sends punctual sensors' messages late, and reads results later than they
    came. What is violated then is dropped, kept in `Judged.dropped`, and the scenario is played again, `TRIES` times in
    all; the last one counts whatever it was. What kept the machine busy is not known: it may be the node itself.

    Args:
        play: plays it, in real time, and tells by how much it was late.
        margins: what is granted to the observer.
        say: gets a line when it is played again.
    """
    dropped: list[Judged] = []
    while True:
        script, record = play()
        judged = replace(judge_record(script, record, margins, None), dropped=tuple(dropped))
        late_ns = lateness_to_blame(judged, script, record)
        if late_ns is None:
            return judged
        judged = replace(judged, late_ns=late_ns)
        if len(dropped) == TRIES - 1:
            return judged
        dropped.append(judged)
        again = f"played again ({len(dropped) + 1} of {TRIES}), for {late_text(late_ns / 1e9)}"
        say(f"{judged.name}: {again}; did not hold: {', '.join(judged.violations)}")


def lateness_to_blame(judged: Judged, script: Script, record: Record) -> int | None:
    """How late whoever played it was, where that may be why all of this is violated; nanoseconds, or None."""
    is_about_time = bool(judged.violations) and judged.violations.keys() <= TIMED and not wrong_results(script, record)
    is_late = record.late_ns is not None and record.late_ns > LATE_NS
    return record.late_ns if is_about_time and is_late else None


def late_text(late_s: float) -> str:
    """How late, in seconds, in words."""
    return f"the injector itself was up to {late_s:.2f} s late"
