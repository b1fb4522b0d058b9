"""The report for people: tables of at most a hundred columns, and what they say."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from understudy.cards import WIDTH
from understudy.layers.report import REFERENCE, LayerReport, LayerRow, LayerTime
from understudy.layers.roofline import THIS, Peak

ROWS = 20
_NUMBER, _RATIO, _COST = 8, 9, 7
_ESTIMATE, _BOUND = 9, 9


def describe(report: LayerReport, num_rows: int = ROWS) -> Iterator[str]:
    """Times by layer, what was lost first; then, for each target asked for, the estimates.

    Args:
        report: what was found.
        num_rows: layers shown one by one; the others are summed in a row.
    """
    yield (
        f"layers of {report.student} in {report.engine}: {report.statistic} of {report.num_runs} runs,"
        f" {report.num_points} points ({report.data})"
    )
    load = report.machine.load_average
    yield f"{report.machine.cpu} x{report.machine.num_cpus}, load {'unknown' if load is None else f'{load[0]:.2f}'}"
    yield ""
    yield from _times(report, num_rows)
    yield ""
    for line in _findings(report):
        yield from textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    for target in report.targets:
        yield from _estimates(report, target, num_rows)


def _times(report: LayerReport, num_rows: int) -> Iterator[str]:
    others = [name for name in report.totals if name != REFERENCE]
    widths = 2 * _COST + _NUMBER + len(others) * (_NUMBER + _RATIO) + _NUMBER * bool(others)
    name_width = WIDTH - widths
    titles = "".join(f"{name:>{_NUMBER}}{'got/est':>{_RATIO}}" for name in others)
    lost = f"{'lost':>{_NUMBER}}" if others else ""
    yield f"{'layer, milliseconds':<{name_width}}{'GMAC':>{_COST}}{'MB':>{_COST}}{'fp32':>{_NUMBER}}{titles}{lost}"
    shown, rest = report.layers[:num_rows], report.layers[num_rows:]
    for row in shown:
        yield _row(row, others, name_width)
    if rest:
        yield _sum_row(f"{len(rest)} other layers", rest, others, name_width)
    for kind, by_precision in report.overhead_ms.items():
        yield _plain(f"+ {kind}", by_precision, others, name_width, is_lost=True)
    yield _plain("nodes of no layer", report.unmapped_ms, others, name_width)
    between = {name: entry.run_ms - entry.nodes_ms for name, entry in report.totals.items()}
    yield _plain("between nodes", between, others, name_width)
    runs = {name: entry.run_ms for name, entry in report.totals.items()}
    yield _plain("whole run", runs, others, name_width, has_ratio=True)


def _row(row: LayerRow, others: Sequence[str], width: int) -> str:
    reference = row.times[REFERENCE]
    cells = "".join(_pair(reference, row.times[name]) for name in others)
    lost = f"{row.most_lost_ms:>{_NUMBER}.3f}" if others else ""
    name = _cut(row.name, width - 1)
    costs = f"{reference.giga_macs:>{_COST}.3f}{reference.megabytes:>{_COST}.2f}"
    return f"{name:<{width}}{costs}{_ms(reference.ms)}{cells}{lost}"


def _pair(reference: LayerTime, time: LayerTime) -> str:
    """Milliseconds, and how many times faster it became over how many times were promised."""
    got = f"{reference.ms / time.ms:.1f}" if reference.ms and time.ms else "-"
    promised = f"{reference.ms / time.promised_ms:.1f}" if reference.ms and time.promised_ms else "-"
    return f"{_ms(time.ms)}{f'{got}/{promised}':>{_RATIO}}"


def _sum_row(title: str, rows: Sequence[LayerRow], others: Sequence[str], width: int) -> str:
    macs = sum(row.times[REFERENCE].giga_macs for row in rows)
    megabytes = sum(row.times[REFERENCE].megabytes for row in rows)
    cells = "".join(f"{_ms(sum(row.times[name].ms or 0.0 for row in rows))}{'':>{_RATIO}}" for name in others)
    reference = sum(row.times[REFERENCE].ms or 0.0 for row in rows)
    lost = f"{sum(row.most_lost_ms for row in rows):>{_NUMBER}.3f}" if others else ""
    return f"{title:<{width}}{macs:>{_COST}.3f}{megabytes:>{_COST}.2f}{_ms(reference)}{cells}{lost}"


def _plain(
    title: str,
    by_precision: dict[str, float],
    others: Sequence[str],
    width: int,
    *,
    is_lost: bool = False,
    has_ratio: bool = False,
) -> str:
    reference = by_precision.get(REFERENCE)
    cells = ""
    for name in others:
        ms = by_precision.get(name)
        ratio = f"{reference / ms:.1f}" if has_ratio and reference and ms else ""
        cells += f"{_ms(ms)}{ratio:>{_RATIO}}"
    lost = max((by_precision.get(name, 0.0) - (reference or 0.0) for name in others), default=0.0)
    tail = f"{lost:>{_NUMBER}.3f}" if is_lost and others else ""
    return f"{_cut(title, width - 1):<{width}}{'':>{2 * _COST}}{_ms(reference)}{cells}{tail}".rstrip()


def _findings(report: LayerReport) -> Iterator[str]:
    for name, entry in report.totals.items():
        ran = ""
        if entry.num_quantized:
            ran = f"; {entry.num_integer} of {entry.num_quantized} quantized layers ran in integers"
        yield f"{name}: {100 * entry.coverage:.1f} % of the nodes' time is mapped{ran}"
    if THIS in report.peaks and len(report.totals) > 1:
        this = report.peaks[THIS]
        yield (
            f"got/est: how many times faster than fp32, and how many an ESTIMATE promises: the roofline of {this.name},"
            f" measured just now: {_giga_macs(this, 'float32')} fp32 and {_giga_macs(this, 'int8')} int8 GMAC/s,"
            f" {this.gigabytes_per_s:.0f} GB/s. lost: milliseconds beyond what was promised, where it is worst."
            " +: nodes that the fp32 file does not have"
        )


def _giga_macs(peak: Peak, dtype: str) -> str:
    return f"{1e3 * peak.tera_ops[dtype] / 2:.0f}"


def _estimates(report: LayerReport, target: str, num_rows: int) -> Iterator[str]:
    peak = report.peaks[target]
    names = [name for name in report.totals if any(target in row.times[name].estimate_ms for row in report.layers)]
    names = [name for name in names if target in report.totals[name].estimate_ms]
    yield ""
    yield f"ESTIMATE for {peak.name}: each layer by itself at peak rates, no measurement"
    width = WIDTH - len(names) * (_ESTIMATE + _BOUND)
    yield f"{'layer, milliseconds':<{width}}" + "".join(f"{name:>{_ESTIMATE}}{'bound by':>{_BOUND}}" for name in names)
    longest = sorted(report.layers, key=lambda row: -row.times[REFERENCE].estimate_ms.get(target, 0.0))
    for row in longest[:num_rows]:
        cells = "".join(_estimate(row.times[name], target) for name in names)
        yield f"{_cut(row.name, width - 1):<{width}}{cells}".rstrip()
    sums = "".join(f"{report.totals[name].estimate_ms[target]:>{_ESTIMATE}.4f}{'':>{_BOUND}}" for name in names)
    yield f"{'ESTIMATE, all layers':<{width}}{sums}".rstrip()
    yield from textwrap.wrap(f"source: {peak.source}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _estimate(time: LayerTime, target: str) -> str:
    value = time.estimate_ms.get(target)
    cell = "-" if value is None else f"{value:.4f}"
    return f"{cell:>{_ESTIMATE}}{time.bound_by.get(target, ''):>{_BOUND}}"


def _ms(value: float | None) -> str:
    return f"{'-':>{_NUMBER}}" if value is None else f"{value:>{_NUMBER}.3f}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
