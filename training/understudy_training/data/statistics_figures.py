"""Plots of a data set's statistics, one picture per question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from understudy.metrics.matching import ground_ranges_m
from understudy_training.data.measures import RING_EDGES_M, FrameMeasures
from understudy_training.data.statistics import DataStatistics
from understudy_training.report.figures import FAINT, INK, SERIES_COLORS, quiet

_WIDE = (9.0, 3.4)
_BIN_M = 5.0
_FEW_FRAMES = 20


def write_figures(folder: Path, statistics: DataStatistics, frames: Sequence[FrameMeasures]) -> list[Path]:
    """Writes PNG files into a folder that is there, and says which."""
    figures = {"lidar": _lidars(statistics, frames)}
    if statistics.num_labeled:
        figures |= {"labels": _labels(statistics), "ranges": _ranges(statistics, frames)}
    if any(frame.pictures for frame in frames):
        figures["cameras"] = _cameras(frames)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], format="png")
    return paths


def _figure(columns: int) -> Figure:
    return Figure(figsize=_WIDE if columns == 1 else (4.6 * columns, _WIDE[1]), dpi=110, layout="constrained")


def _labels(statistics: DataStatistics) -> Figure:
    """How many boxes of each class there are, and how many of them nothing hit."""
    figure = _figure(1)
    axes = figure.subplots()
    names = [name for name, of_class in statistics.classes.items() if of_class.num_boxes]
    full = [statistics.classes[name].num_boxes - statistics.classes[name].num_empty for name in names]
    empty = [statistics.classes[name].num_empty for name in names]
    axes.barh(names, full, color=SERIES_COLORS[0], label="with returns")
    axes.barh(names, empty, left=full, color=SERIES_COLORS[2], label="without a return")
    axes.invert_yaxis()
    axes.set(xlabel="boxes")
    axes.set_title(f"Labels of {statistics.name}, {statistics.num_read} frames", fontsize=11, color=INK, loc="left")
    axes.legend(fontsize=8, frameon=False)
    quiet(axes)
    return figure


def _ranges(statistics: DataStatistics, frames: Sequence[FrameMeasures]) -> Figure:
    """Where the boxes are, and how many returns hit them there."""
    figure = _figure(2)
    near, hit = figure.subplots(1, 2)
    boxes = [frame.boxes for frame in frames if frame.boxes is not None]
    farthest_m = max((float(ground_ranges_m(part).max(initial=0)) for part in boxes), default=0.0)
    bins = np.arange(0, farthest_m + 2 * _BIN_M, _BIN_M)
    names = [name for name, of_class in statistics.classes.items() if of_class.num_boxes][: len(SERIES_COLORS)]
    for color, name in zip(SERIES_COLORS, names, strict=False):
        parts = [part[part.labels == part.class_names.index(name)] for part in boxes]
        ranges_m = np.concatenate([ground_ranges_m(part) for part in parts])
        points = np.concatenate([np.zeros(len(part)) if part.num_points is None else part.num_points for part in parts])
        near.hist(ranges_m, bins=bins, histtype="step", color=color, linewidth=1.6, label=name)
        hit.scatter(ranges_m, np.maximum(points, 0.5), s=5, color=color, linewidths=0, alpha=0.6, label=name)
    near.set(xlabel="distance from ego [m]", ylabel="boxes")
    hit.set(xlabel="distance from ego [m]", ylabel="returns in the box (0 drawn at 0.5)", yscale="log")
    near.legend(fontsize=8, frameon=False)
    for axes in (near, hit):
        quiet(axes)
    return figure


def _lidars(statistics: DataStatistics, frames: Sequence[FrameMeasures]) -> Figure:
    """How dense the returns lie, and what weather may have done, frame by frame."""
    figure = _figure(2)
    density, weather = figure.subplots(1, 2)
    middles = (np.array(RING_EDGES_M)[1:] + np.array(RING_EDGES_M)[:-1]) / 2
    for color, (name, lidar) in zip(SERIES_COLORS, statistics.lidars.items(), strict=False):
        density.plot(middles, np.maximum(lidar.density_per_m2, 1e-4), marker="o", color=color, label=name)
        shares = [frame.clouds[name].proxies for frame in frames if name in frame.clouds]
        marker = _marker(len(shares))
        for line, label, values in (
            ("-", f"{name} scattered near", [100 * share.scattered_share for share in shares]),
            (":", f"{name} > 50 m", [100 * share.far_share for share in shares]),
        ):
            weather.plot(values, color=color, linestyle=line, label=label, marker=marker, markersize=3)
    density.set(xlabel="distance from the sensor [m]", ylabel="returns per m2 of ground", yscale="log")
    weather.set(ylabel="share of the returns [%]")
    _over_frames(weather, len(frames))
    for axes in (density, weather):
        axes.legend(fontsize=8, frameon=False)
        quiet(axes)
    return figure


def _cameras(frames: Sequence[FrameMeasures]) -> Figure:
    """Light and haze over the frames, the mean of all cameras, with the span between them."""
    figure = _figure(2)
    for axes, names in zip(figure.subplots(1, 2), (("brightness", "contrast", "haze"), ("sharpness",)), strict=True):
        for color, name in zip(SERIES_COLORS, names, strict=False):
            values = [[getattr(picture, name) for picture in frame.pictures.values()] for frame in frames]
            numbers = [number for number, row in enumerate(values) if row]
            means = [float(np.mean(values[number])) for number in numbers]
            axes.plot(numbers, means, color=color, label=name, marker=_marker(len(numbers)), markersize=3)
            low, high = ([bound(values[number]) for number in numbers] for bound in (min, max))
            axes.fill_between(numbers, low, high, color=color, alpha=0.12, linewidth=0)
        _over_frames(axes, len(frames))
        axes.legend(fontsize=8, frameon=False, labelcolor=FAINT)
        quiet(axes)
    return figure


def _marker(num_frames: int) -> str | None:
    """Dots where a line alone would show nothing, or hide how few frames there are."""
    return "o" if num_frames < _FEW_FRAMES else None


def _over_frames(axes: Axes, num_frames: int) -> None:
    axes.set(xlabel="frame, in the order of the data set", xlim=(-0.5, num_frames - 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
