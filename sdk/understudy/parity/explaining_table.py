"""An explanation as text of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from understudy.parity.departing import SAME_DB, GraphReport, TapReport
from understudy.parity.explaining import Explanation
from understudy.parity.verdict import RANGES_M, Departures, RungReport

_WIDTH = 100
_LABEL = 12


def describe_explanation(explanation: Explanation, departing: RungReport) -> Iterator[str]:
    """What differs, from the feeds to the boxes, and where: by class and range."""
    what = f"where {departing.name} differs, which passes" if departing.passes else f"why {departing.name} departs"
    yield f"{what}, held against {explanation.partner}:"
    for label, text in _findings(explanation):
        yield from textwrap.wrap(
            text, _WIDTH, initial_indent=f"  {label:{_LABEL}s}", subsequent_indent=" " * (_LABEL + 2)
        )
    if departing.cells:
        yield from _cells(departing)


def _findings(explanation: Explanation) -> Iterator[tuple[str, str]]:
    if explanation.refusal:
        yield "refused", explanation.refusal
        return
    if explanation.feeds:
        yield "feeds", _named(explanation.feeds, "the same")
    yield "thresholds", "; ".join(explanation.contract) or "the same, of the same classes"
    if explanation.graph is not None:
        yield from _inside(explanation.graph)
    else:
        yield "inside", f"not compared: {explanation.outside}"
    if explanation.outputs:
        yield "outputs", _named(explanation.outputs, "the same on the same feeds")


def _inside(graph: GraphReport) -> Iterator[tuple[str, str]]:
    if graph.first is None:
        yield "inside", f"none of {graph.num_taps} tensors is below {graph.floor_db:g} dB"
    else:
        first = graph.first
        yield "inside", f"first departing tensor: {_tap(first)}, below {graph.floor_db:g} dB; {_reaches(first)}"
    for loss in graph.losses:
        yield "most lost", f"{_tap(loss)}"


def _tap(tap: TapReport) -> str:
    return f"{tap.name} ({tap.operator} {tap.node}), {tap.sqnr_db:.1f} dB{_before(tap)}"


def _before(tap: TapReport) -> str:
    if tap.before_db is None:
        return ""
    return " from inputs that are the same" if tap.before_db >= SAME_DB else f" from inputs of {tap.before_db:.1f} dB"


def _reaches(tap: TapReport) -> str:
    return f"it reaches {', '.join(tap.heads) or 'no output'}"


def _named(differences: Mapping[str, str], same: str) -> str:
    differing = [f"{name} {text}" for name, text in differences.items() if text]
    equal = [name for name, text in differences.items() if not text]
    return "; ".join([*differing, *([f"{same}: {', '.join(equal)}"] if equal else [])])


def _cells(rung: RungReport) -> Iterator[str]:
    """Boxes that agree of those compared, a row per class."""
    yield f"  {'agree':{_LABEL}s}" + "".join(f"{name:>16s}" for name in (*RANGES_M, "all"))
    rows = {**rung.cells, "all": rung.ranges}
    totals = {**rung.classes, "all": rung.total}
    for name, ranges in rows.items():
        cells = [*(ranges[within] for within in RANGES_M), totals[name]]
        yield f"  {name[: _LABEL - 1]:{_LABEL}s}" + "".join(f"{_share(cell):>16s}" for cell in cells)


def _share(departures: Departures) -> str:
    return f"{departures.num_within} of {departures.num_compared}" if departures.num_compared else "-"
