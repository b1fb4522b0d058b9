"""The forest plot of a study: every method's gain with its interval, overall and class by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from understudy_training.report.figures import GRID, INK, SERIES_COLORS, quiet
from understudy_training.studies.comparing import Difference, MethodResult, StudentResult
from understudy_training.studies.table import interval_of

_SHOWN, _NOT_SHOWN, _MUST_NOT = "#2f9e44", SERIES_COLORS[0], SERIES_COLORS[2]
_BAND = "#eef2f6"


def draw_forest(student: StudentResult, path: Path, title: str) -> None:
    """Writes the plot as PNG.

    Args:
        student: its methods by falling gain.
        path: file to write; its folder is made.
        title: what stands above.
    """
    results = [result for result in student.results if result.overall is not None]
    classes = list(results[0].by_class) if results else []
    height = 1.7 + 0.3 * max(len(results), 3)
    figure = Figure(figsize=(5.2 + 1.75 * len(classes), height), dpi=110, layout="constrained")
    widths = [3.4, *(1.6 for _ in classes)]
    panels = figure.subplots(1, 1 + len(classes), sharey=True, width_ratios=widths, squeeze=False)[0]
    _draw_panel(panels[0], results, [result.overall for result in results], "mean over classes", student.noise)
    for axes, name in zip(panels[1:], classes, strict=True):
        _draw_panel(axes, results, [result.by_class[name] for result in results], name, None)
    _name_rows(panels[0], results)
    _say_intervals(panels[0], results)
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    figure.supxlabel(_legend(student), fontsize=8, color=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _draw_panel(
    axes: Axes, results: Sequence[MethodResult], found: Sequence[Difference | None], name: str, noise: float | None
) -> None:
    if noise is not None:
        axes.axvspan(-2 * noise, 2 * noise, color=_BAND, zorder=0)
    axes.axvline(0, color=INK, linewidth=1.0, zorder=1)
    low, high = _limits(results, found, noise)
    axes.set(xlim=(low, high), ylim=(len(results) - 0.4, -0.6))
    for row, (result, difference) in enumerate(zip(results, found, strict=True)):
        if difference is not None:
            _draw_row(axes, row, difference, _color(result, difference))
    axes.set_title(name, fontsize=9.5, color=INK, loc="left")
    quiet(axes)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _draw_row(axes: Axes, row: int, difference: Difference, color: str) -> None:
    """Bar and point; an arrow at the edge for a point that lies beyond it."""
    low, high = axes.get_xlim()
    if difference.interval is not None:
        axes.plot(difference.interval, (row, row), color=color, linewidth=2.0, solid_capstyle="butt", zorder=2)
    inside = low <= difference.mean <= high
    marker = "o" if inside else "<" if difference.mean < low else ">"
    edge = 0.02 * (high - low)
    place = min(max(difference.mean, low + edge), high - edge)
    axes.plot(place, row, marker=marker, markersize=5, color=color, zorder=3)


def _limits(
    results: Sequence[MethodResult], found: Sequence[Difference | None], noise: float | None
) -> tuple[float, float]:
    """What the methods need; what must not help may lie far beyond."""
    values = [-2 * (noise or 0.0), 2 * (noise or 0.0), -1.0, 1.0]
    for result, difference in zip(results, found, strict=True):
        if difference is not None and result.part == "method":
            values += [difference.mean, *(difference.interval or ())]
    low, high = min(values), max(values)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _name_rows(axes: Axes, results: Sequence[MethodResult]) -> None:
    axes.set_yticks(range(len(results)), [result.label for result in results], fontsize=9, color=INK)
    first = next((row for row, result in enumerate(results) if result.part != "method"), None)
    if first:
        for panel in axes.figure.axes:
            panel.axhline(first - 0.5, color=GRID, linewidth=1.2)


def _say_intervals(axes: Axes, results: Sequence[MethodResult]) -> None:
    """The numbers at the right edge of the panel, behind all intervals."""
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= high])
    axes.set_xlim(low, high + 0.62 * (high - low))
    for row, result in enumerate(results):
        assert result.overall is not None
        text = f"{result.overall.mean:+.1f}  ({interval_of(result.overall)})"
        axes.annotate(text, (1.0, row), xycoords=("axes fraction", "data"), xytext=(-4, 0), textcoords="offset points",
                      ha="right", va="center", fontsize=7.5, color=INK)  # fmt: skip


def _color(result: MethodResult, difference: Difference) -> str:
    if result.part != "method":
        return _MUST_NOT
    return _SHOWN if difference.shows_gain else _NOT_SHOWN


def _legend(student: StudentResult) -> str:
    band = "" if student.noise is None else "; shaded: twice the control's own standard deviation over seeds"
    return (
        "student minus control of the same seed, mean AP in 3D, percent points; bars: 95 % interval (Student's t)"
        f"{band}\ngreen: interval above zero; orange: must not help"
    )
