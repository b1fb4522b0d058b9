"""The ladder as text of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from understudy.parity.agreement import MEASURES
from understudy.parity.ladder import LadderReport
from understudy.parity.verdict import Departures, RungReport

_WIDTH = 100
_TITLES = {"position_m": "position m", "size_m": "size m", "yaw_rad": "yaw rad", "score": "score"}


def describe(report: LadderReport) -> Iterator[str]:
    """One line per rung, one per class below it, then the verdict."""
    yield (
        f"{report.student}: {len(report.frames)} frames, {report.num_reference_boxes} boxes of {report.reference}"
        " as reference; deviations are p99 / max"
    )
    titles = "".join(f"{_TITLES[measure]:>15s}" for measure in MEASURES)
    yield f"{'rung':15s}{'boxes':>6s}{'matched':>9s}{titles}  verdict"
    for rung in report.rungs:
        yield from _rung_lines(rung)
    for reason in dict.fromkeys(skipped.reason for skipped in report.skipped):
        names = ", ".join(skipped.name for skipped in report.skipped if skipped.reason == reason)
        yield from textwrap.wrap(f"{names}: skipped ({reason})", _WIDTH, subsequent_indent="  ")
    yield from textwrap.wrap(verdict(report), _WIDTH, subsequent_indent="  ")


def verdict(report: LadderReport) -> str:
    """The last line: all pass, or which rung departs first and how."""
    departing = report.first_departing
    if departing is None:
        return "every rung agrees with the reference"
    return f"first departing rung: {departing.name} ({departing.reason})"


def _rung_lines(rung: RungReport) -> Iterator[str]:
    yield f"{_line(rung.name, rung.total)}  {'pass' if rung.passes else 'DEPARTS'}"
    yield f"{'  allowed':15s}{'':6s}{_allowed(rung)}"
    for name, departures in {**rung.classes, **rung.ranges}.items():
        if departures.num_compared or departures.num_excused:
            yield _line(f"  {name}", departures)


def _line(name: str, departures: Departures) -> str:
    matched = f"{100 * departures.matched:.1f} %" if departures.num_compared else "-"
    cells = "".join(f"{_cell(departures, measure):>15s}" for measure in MEASURES)
    return f"{name[:14]:15s}{departures.num_compared:6d}{matched:>9s}{cells}"


def _cell(departures: Departures, measure: str) -> str:
    spread = departures.deviations[measure]
    return "-" if spread.p99 is None or spread.max is None else f"{spread.p99:.3f} / {spread.max:.3f}"


def _allowed(rung: RungReport) -> str:
    tolerance = rung.tolerance
    values = (tolerance.position_m, tolerance.size_m, tolerance.yaw_rad, tolerance.score)
    return f"{100 * tolerance.min_matched:7.1f} %" + "".join(f"{value:15.3f}" for value in values)
