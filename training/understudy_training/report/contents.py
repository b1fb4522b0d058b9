"""Sections of the report, each from one kind of record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from understudy.evaluation import Evaluation
from understudy.latency import PERCENTILES, LatencyRecord, percentile_ns
from understudy.metrics.matching import Overlap
from understudy.parity.agreement import MEASURES
from understudy.parity.ladder import LadderReport
from understudy.parity.table import verdict
from understudy.parity.verdict import RungReport
from understudy_training.report.figures import Curve, draw_curves, draw_histogram
from understudy_training.report.page import Section, Table

_OVERLAP: Overlap = "bev"


def accuracy_section(evaluations: Mapping[str, Evaluation]) -> Section:
    """Precision against recall by class, and average precision by range."""
    first = next(iter(evaluations.values()))
    curves = {name: _curves(name, evaluations) for name in first.class_names}
    ranges = [*first.settings.metric.ranges_m]
    header = ("network", *(f"{name} bev / 3d" for name in first.class_names), "mean bev / 3d")
    rows = [(name, *_precisions(evaluation)) for name, evaluation in evaluations.items()]
    by_range = [
        (name, *(_percent(evaluation.mean_ap_percent(_OVERLAP, range_m)) for range_m in ranges))
        for name, evaluation in evaluations.items()
    ]
    range_header = ("mean AP, bev, by range", *(f"{low:g}-{high:g} m" for low, high in ranges))
    return Section(
        title="Precision and recall",
        text=(
            f"Seen from above, over {first.num_frames} validation frames. "
            "The numbers in the legends are average precision in percent.",
        ),
        tables=(Table(header, tuple(rows)), Table(range_header, tuple(by_range))),
        images=(draw_curves(curves),),
    )


def _curves(class_name: str, evaluations: Mapping[str, Evaluation]) -> dict[str, Curve]:
    curves = {}
    for name, evaluation in evaluations.items():
        entry = evaluation.entry(class_name, _OVERLAP)
        curves[name] = Curve(np.array(entry.recalls), np.array(entry.precisions), entry.ap_percent or 0.0)
    return curves


def _precisions(evaluation: Evaluation) -> tuple[str, ...]:
    overlaps: tuple[Overlap, ...] = ("bev", "3d")
    values = [
        [evaluation.entry(name, overlap).ap_percent for overlap in overlaps] for name in evaluation.class_names
    ] + [[evaluation.mean_ap_percent(overlap) for overlap in overlaps]]
    return tuple(" / ".join(_percent(value) for value in pair) for pair in values)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def parity_section(report: LadderReport) -> Section:
    """Every rung against the first, with what was allowed."""
    header = ("rung", "boxes", "agree", *(f"{measure} p99 / max" for measure in MEASURES), "verdict")
    rows = tuple(row for rung in report.rungs for row in (_rung_row(rung), _allowed_row(rung)))
    text = (
        f"The same {len(report.frames)} frames through every form of the student; {report.num_reference_boxes} boxes "
        f"of {report.reference} are the reference. {verdict(report).capitalize()}.",
    )
    return Section("Parity ladder", text, (Table(header, rows),))


def _rung_row(rung: RungReport) -> tuple[str, ...]:
    total = rung.total
    spreads = [total.deviations[measure] for measure in MEASURES]
    cells = [f"{spread.p99:.3f} / {spread.max:.3f}" if spread.max is not None else "-" for spread in spreads]
    verdict_text = "pass" if rung.passes else "departs"
    return (rung.name, str(total.num_compared), f"{100 * total.matched:.1f} %", *cells, verdict_text)


def _allowed_row(rung: RungReport) -> tuple[str, ...]:
    limits = [getattr(rung.tolerance, measure) for measure in MEASURES]
    return ("allowed", "", f">= {100 * rung.tolerance.min_matched:.0f} %", *(f"{limit:g}" for limit in limits), "")


def latency_section(records: Sequence[LatencyRecord]) -> Section:
    """Percentiles by stage, and the histogram of whole calls."""
    samples_ms = {_configuration(record): np.array(record.samples_ns["total"]) / 1e6 for record in records}
    header = ("milliseconds", *(f"p{percent}" for percent in PERCENTILES), "mean")
    tables = [
        Table((_configuration(record), *header[1:]), tuple(_stage_row(*stage) for stage in record.samples_ns.items()))
        for record in records
    ]
    machine = records[0].before
    load = f"load {machine.load_average[0]:.1f}" if machine.load_average else "load unknown"
    text = f"{machine.cpu}, {machine.num_cpus} processors, {load}, {machine.system}; clock {machine.clock}."
    return Section("Latency, points to boxes", (text,), tuple(tables), (draw_histogram(samples_ms),))


def _configuration(record: LatencyRecord) -> str:
    return f"{record.student} {record.precision}, {record.threads} thread{'s' * (record.threads > 1)}"


def _stage_row(stage: str, samples_ns: Sequence[int]) -> tuple[str, ...]:
    values = [percentile_ns(samples_ns, percent) for percent in PERCENTILES] + [
        round(sum(samples_ns) / len(samples_ns))
    ]
    return (stage, *("-" if value is None else f"{value / 1e6:.2f}" for value in values))


def replay_section(summaries: Sequence[Mapping[str, Any]]) -> Section:
    """What each replay read, and what became of it."""
    header = (
        "bag",
        "read",
        "used",
        "stale",
        "unmatched",
        "rejected",
        "frames",
        "boxes",
        "x real time",
        "detections sha256",
    )
    rows = tuple(_replay_row(summary) for summary in summaries)
    text = ("Every message that was read is accounted for; equal digests are equal detections to the last bit.",)
    return Section("Replays", text, (Table(header, rows),))


def _replay_row(summary: Mapping[str, Any]) -> tuple[str, ...]:
    totals = [
        str(sum(counts[name] for counts in summary["topics"].values()))
        for name in ("read", "used", "stale", "unmatched", "rejected")
    ]
    factor = f"{summary.get('real_time_factor', 0):.1f}"
    return (
        summary["bag"].rstrip("/").rpartition("/")[2],
        *totals,
        str(summary["num_frames"]),
        str(summary["num_detections"]),
        factor,
        summary["digest"][:16],
    )
