"""What many scenarios showed: a record for JSON and two tables, by fault."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from understudy.configuration import Config
from understudy.faults.invariants import INVARIANTS
from understudy.faults.real_time import late_text
from understudy.faults.suite import Judged, recovered

_SHORT = {
    "no crash": "crash",
    "no deadlock": "stuck",
    "memory": "memory",
    "fresh": "fresh",
    "LiDAR rate": "rate",
    "named": "named",
    "recovers": "recovers",
    "quiet": "quiet",
    "counts": "counts",
}
_MOST_LISTED = 20
_WIDTH = 100


class Violation(Config):
    """One invariant that did not hold."""

    scenario: int
    """Number to run it again with: `--scenarios 1 --seed NUMBER`."""
    name: str
    invariant: str
    text: str
    late_s: float | None = None
    """By how much whoever played the scenario was late at worst, where that may be why; else null."""


class Share(Config):
    """Some of many."""

    num: int = 0
    of: int = 0

    @property
    def text(self) -> str:
        """In percent."""
        return f"{100 * self.num / self.of:.0f} %" if self.of else "-"


class FaultRow(Config):
    """All scenarios about one fault."""

    fault: str
    scenarios: int
    violated: dict[str, int]
    """Scenarios by invariant that did not hold."""
    worst_named_s: float | None
    """Longest from a fault's first effect until diagnostics named it; null where nothing had to be named."""
    worst_recovery_s: float | None
    """Longest from the end of the faults to a whole result."""
    published: Share
    """Sweeps taken while faults lasted that were published."""
    recovered: Share
    """Scenarios with a whole result within two seconds."""
    stock_published: Share
    """As `published`, behind the stock Python ApproximateTimeSynchronizer."""
    stock_recovered: Share
    stock_stale: int
    """Scenarios in which that one published an older sweep after a newer one, or a frozen sensor's as if it saw."""


class FaultReport(Config):
    """What the scenarios showed."""

    schema_version: Literal[1] = 1
    seed: int
    only: str
    student: str
    scenarios: int
    invariants: tuple[str, ...] = tuple(INVARIANTS)
    rows: tuple[FaultRow, ...]
    violations: tuple[Violation, ...]
    played_again: tuple[Violation, ...] = ()
    """What did not hold when a scenario was played by somebody who was late; it was played again, which counts."""

    @property
    def holds(self) -> bool:
        """Whether every invariant held in every scenario."""
        return not self.violations


def report_of(judged: Sequence[Judged], *, seed: int, only: str, student: str) -> FaultReport:
    """The record of scenarios that were judged."""
    kinds = dict.fromkeys(one.kind for one in judged)
    rows = [_row(kind, [one for one in judged if one.kind == kind]) for kind in kinds]
    if len(rows) > 1:
        rows.append(_row("all", judged))
    return FaultReport(
        seed=seed,
        only=only,
        student=student,
        scenarios=len(judged),
        rows=tuple(rows),
        violations=tuple(_violations(judged)),
        played_again=tuple(_violations([dropped for one in judged for dropped in one.dropped])),
    )


def describe(report: FaultReport) -> list[str]:
    """Two tables and what was violated, in lines of at most 100 characters."""
    names = "".join(f"{_SHORT[name]:>9}" for name in INVARIANTS)
    lines = [f"{'':18}scenarios in which an invariant was violated", f"{'fault':18}{names}"]
    lines += [_violations_line(row) for row in report.rows]
    lines += ["", f"{'':25}{'worst, in seconds':>20}{'sweeps published':>21}{'recovered in 2 s':>19}{'stale':>8}"]
    lines.append(
        f"{'fault':18}{'number':>7}{'named':>9}{'recovered':>11}" + f"{'ours':>11}{'stock':>8}" * 2 + f"{'stock':>8}"
    )
    lines += [_times_line(row) for row in report.rows]
    lines += ["", *_again(report), *_listed(report)]
    return lines


def _violations(judged: Sequence[Judged]) -> Iterator[Violation]:
    for one in judged:
        late_s = None if one.late_ns is None else one.late_ns / 1e9
        for invariant, text in one.violations.items():
            yield Violation(scenario=one.number, name=one.name, invariant=invariant, text=text, late_s=late_s)


def _again(report: FaultReport) -> list[str]:
    """What a report must not be silent about: scenarios that were played more than once."""
    if not report.played_again:
        return []
    scenarios = len({violation.scenario for violation in report.played_again})
    counts = Counter(violation.invariant for violation in report.played_again)
    found = ", ".join(f"{name} {count}" for name, count in counts.items())
    worst_s = max(violation.late_s or 0.0 for violation in report.played_again)
    line = f"{scenarios} of {report.scenarios} scenarios had to be played again, for {late_text(worst_s)}"
    return _wrapped(f"{line}; did not hold before: {found}")


def _row(kind: str, judged: Sequence[Judged]) -> FaultRow:
    named_ns = [time_ns for one in judged for time_ns in one.named_ns]
    recovery_ns = [one.recovery_ns for one in judged if one.recovery_ns is not None]
    with_stock = [one for one in judged if one.stock_published is not None]
    return FaultRow(
        fault=kind,
        scenarios=len(judged),
        violated={name: sum(name in one.violations for one in judged) for name in INVARIANTS},
        worst_named_s=max(named_ns) / 1e9 if named_ns else None,
        worst_recovery_s=max(recovery_ns) / 1e9 if recovery_ns else None,
        published=_total([one.published for one in judged]),
        recovered=Share(num=sum(recovered(one.recovery_ns) for one in judged), of=len(judged)),
        stock_published=_total([one.stock_published for one in with_stock if one.stock_published]),
        stock_recovered=Share(num=sum(recovered(one.stock_recovery_ns) for one in with_stock), of=len(with_stock)),
        stock_stale=sum(one.stock_stale for one in with_stock),
    )


def _total(shares: Sequence[tuple[int, int]]) -> Share:
    return Share(num=sum(num for num, _ in shares), of=sum(of for _, of in shares))


def _violations_line(row: FaultRow) -> str:
    return f"{row.fault:18}" + "".join(f"{row.violated[name] or '.':>9}" for name in INVARIANTS)


def _times_line(row: FaultRow) -> str:
    shares = (row.published, row.stock_published, row.recovered, row.stock_recovered)
    texts = [share.text for share in shares]
    cells = f"{texts[0]:>11}{texts[1]:>8}{texts[2]:>11}{texts[3]:>8}{row.stock_stale or '.':>8}"
    return f"{row.fault:18}{row.scenarios:>7}{_s(row.worst_named_s):>9}{_s(row.worst_recovery_s):>11}{cells}"


def _s(value_s: float | None) -> str:
    return "-" if value_s is None else f"{value_s:.2f}"


def _listed(report: FaultReport) -> list[str]:
    if report.holds:
        return [f"all {len(INVARIANTS)} invariants held in {report.scenarios} scenarios"]
    lines = []
    for violation in report.violations[:_MOST_LISTED]:
        lines += _wrapped(f"VIOLATED {violation.invariant}: {violation.text}")
        excuse = "" if violation.late_s is None else f"; {late_text(violation.late_s)}"
        lines += _wrapped(f"  in scenario {violation.name}{excuse}")
    left_out = len(report.violations) - _MOST_LISTED
    lines += [f"and {left_out} more"] if left_out > 0 else []
    numbers = sorted({violation.scenario for violation in report.violations})
    shown = ", ".join(str(number) for number in numbers[:_MOST_LISTED])
    return [*lines, *_wrapped(f"run one again with --scenarios 1 --seed N, N being one of {shown}")]


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH, subsequent_indent="    ")
