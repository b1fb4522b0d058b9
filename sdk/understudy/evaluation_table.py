"""An evaluation as text of at most 100 columns."""

from __future__ import annotations

from collections.abc import Iterator

from understudy.evaluation import Evaluation
from understudy.metrics.average_precision import Range
from understudy.metrics.matching import OVERLAPS, Overlap

_TITLES: dict[Overlap, str] = {"bev": "from above", "3d": "in 3D"}


def describe(evaluation: Evaluation) -> Iterator[str]:
    """A block of average precisions for each overlap: classes down, ranges across."""
    metric = evaluation.settings.metric
    yield f"{evaluation.subject}: {evaluation.num_frames} frames, {evaluation.engine}"[:100].rstrip(", ")
    yield f"average precision in % (40 recalls), objects with {metric.min_points} or more points"
    for overlap in OVERLAPS:
        yield _line(_TITLES[overlap], "IoU", "objects", [_title(range_m) for range_m in metric.ranges_m])
        for name in evaluation.class_names:
            whole = evaluation.entry(name, overlap)
            cells = [_percent(evaluation.entry(name, overlap, range_m).ap_percent) for range_m in metric.ranges_m]
            yield _line(f"  {name}", f"{whole.iou_threshold:.2f}", f"{whole.num_truths}", cells)
        means = [_percent(evaluation.mean_ap_percent(overlap, range_m)) for range_m in metric.ranges_m]
        yield _line("  mean", "", "", means)


def _line(name: str, threshold: str, count: str, cells: list[str]) -> str:
    columns = "".join(f"{cell:>10s}" for cell in cells[:6])
    return f"{name[:20]:20s}{threshold:>6s}{count:>9s}{columns}"


def _title(range_m: Range) -> str:
    return f"{range_m[0]:g}-{range_m[1]:g} m"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
