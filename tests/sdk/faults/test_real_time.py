"""Whoever plays the sensors may be late: what that can have violated is played again, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from understudy.faults.contents import NUM_CONTENTS
from understudy.faults.harness import play
from understudy.faults.invariants import INVARIANTS, TIMED, Margins
from understudy.faults.real_time import LATE_NS, TRIES, judge_played
from understudy.faults.record import Record
from understudy.faults.report import describe, report_of
from understudy.faults.scenario import draw_scenario, numbers
from understudy.faults.script import Script, write_script
from understudy.faults.suite import Bench, Judged
from understudy.live.stream import SensorStream

Change = Callable[[Record], Record]


@pytest.fixture
def played(bench: Bench) -> tuple[Script, Record]:
    (number,) = numbers(0, 1, "corrupt_jpeg")
    script = write_script(draw_scenario(number, bench.contents))
    return script, play(script, bench.student, bench.make, SensorStream)


def on_time(record: Record) -> Record:
    return replace(record, late_ns=LATE_NS // 2)


def late(record: Record) -> Record:
    """Results that are read a second after they came."""
    outputs = [replace(one, at_ns=one.at_ns + 1_000_000_000, begun_ns=one.begun_ns + 10**9) for one in record.outputs]
    return replace(record, outputs=outputs, late_ns=10 * LATE_NS)


def punctual(record: Record) -> Record:
    return replace(late(record), late_ns=LATE_NS // 2)


def crashed(record: Record) -> Record:
    return replace(late(record), crash="process 7 has ended")


def disordered(record: Record) -> Record:
    first, second, *others = record.outputs
    swapped = [replace(first, stamp_ns=second.stamp_ns), replace(second, stamp_ns=first.stamp_ns)]
    return replace(record, outputs=[*swapped, *others], late_ns=10 * LATE_NS)


def made_up(record: Record) -> Record:
    first, *others = record.outputs
    return replace(record, outputs=[replace(first, stamp_ns=7), *others], late_ns=10 * LATE_NS)


def frozen(record: Record) -> Record:
    """Results of the very same points in a row: the sensors see so many things in turn."""
    return replace(record, outputs=record.outputs[::NUM_CONTENTS], late_ns=10 * LATE_NS)


def judged_after(played: tuple[Script, Record], *changes: Change) -> tuple[Judged, list[str]]:
    """Each time the scenario is played, the next change happens to what was seen."""
    script, record = played
    left: Iterator[Change] = iter(changes)
    lines: list[str] = []
    judged = judge_played(lambda: (script, next(left)(record)), Margins(), lines.append)
    assert next(left, None) is None, "it was not played that often"
    return judged, lines


def test_what_being_late_can_have_violated_is_played_again(played: tuple[Script, Record]) -> None:
    judged, lines = judged_after(played, late, late, on_time)
    assert not judged.violations
    assert [set(one.violations) for one in judged.dropped] == [set(judged.dropped[0].violations)] * 2
    assert "fresh" in judged.dropped[0].violations
    assert "played again (2 of 3), for the injector itself was up to 1.00 s late; did not hold: fresh" in lines[0]
    report = report_of([judged], seed=0, only="", student="/node")
    assert report.holds
    assert {violation.late_s for violation in report.played_again} == {1.0}
    told = " ".join(describe(report))
    assert "1 of 1 scenarios had to be played again, for the injector itself was up to 1.00 s late" in told
    assert max(len(line) for line in describe(report)) <= 100


def test_the_last_try_counts_whatever_it_was(played: tuple[Script, Record]) -> None:
    judged, lines = judged_after(played, *[late] * TRIES)
    assert "fresh" in judged.violations
    assert len(lines) == len(judged.dropped) == TRIES - 1
    report = report_of([judged], seed=0, only="", student="/node")
    assert {violation.late_s for violation in report.violations} == {1.0}
    told = " ".join(" ".join(describe(report)).split())
    assert f"in scenario {judged.name}; the injector itself was up to 1.00 s late" in told


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (on_time, ""),
        (punctual, " s old"),
        (crashed, "process 7 has ended"),
        (disordered, "after one of"),
        (made_up, "a stamp that no sweep had"),
        (frozen, "in a row of the very same points"),
    ],
)
def test_nothing_else_is_played_again(played: tuple[Script, Record], change: Change, found: str) -> None:
    judged, lines = judged_after(played, change)
    assert not lines
    assert not judged.dropped
    assert bool(judged.violations) == bool(found)
    assert found in " ".join(judged.violations.values())
    report = report_of([judged], seed=0, only="", student="/node")
    assert all(violation.late_s is None for violation in report.violations)
    assert "injector" not in " ".join(describe(report))


def test_what_is_about_time_is_an_invariant() -> None:
    assert INVARIANTS.keys() >= TIMED
