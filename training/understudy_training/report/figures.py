"""Pictures of the report, each a function from records to an embedded image."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from understudy.boxes import Boxes

INK, FAINT, GRID = "#1d2733", "#8a97a6", "#e3e8ee"
LABEL_COLOR = "#2f9e44"
SERIES_COLORS = ("#1c5fb8", "#8a97a6", "#e8590c", "#a61e6e", "#0b7285")


@dataclass(frozen=True, eq=False)
class BirdsEye:
    """One panel seen from above.

    Attributes:
        title: what is drawn.
        points_ego: `(N, 3+)` points in ego.
        labels: ground truth.
        detections: what a network said.
        color: of the detections.
    """

    title: str
    points_ego: NDArray[np.floating]
    labels: Boxes
    detections: Boxes
    color: str


def draw_birds_eye(panels: Sequence[BirdsEye], range_m: float) -> str:
    """Panels side by side: x forward is up, y left is left; labels filled, detections outlined with their heading."""
    figure = Figure(figsize=(5.4 * len(panels), 5.7), dpi=110, layout="constrained")
    for axes, panel in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        _draw_panel(axes, panel, range_m)
    return embed(figure)


def _draw_panel(axes: Axes, panel: BirdsEye, range_m: float) -> None:
    points = panel.points_ego
    height = np.clip(points[:, 2], -0.2, 3.0)
    axes.scatter(-points[:, 1], points[:, 0], s=0.35, c=height, cmap="Greys", vmin=-1.2, vmax=3.2, linewidths=0)
    outline(axes, panel.labels, LABEL_COLOR, width=3.4, alpha=0.45)
    outline(axes, panel.detections, panel.color, width=1.3, alpha=1.0)
    axes.plot(0, 0, marker="^", color=INK, markersize=7)
    axes.set(
        xlim=(-range_m, range_m),
        ylim=(-range_m, range_m),
        aspect="equal",
        xlabel="left - right [m]",
        ylabel="forward [m]",
    )
    axes.set_title(panel.title, fontsize=11, color=INK, loc="left")
    quiet(axes)


def outline(axes: Axes, boxes: Boxes, color: str, width: float, alpha: float) -> None:
    """Boxes from above, forward up and left on the left, with a stroke that points where each heads."""
    if not len(boxes):
        return
    ground = boxes.corners()[:, [0, 1, 2, 3, 0], :2]
    front = (ground[:, 0] + ground[:, 3]) / 2
    heading = np.stack([boxes.geometry[:, :2], front], axis=1)
    for segments in (ground, heading):
        axes.add_collection(LineCollection(segments[..., ::-1] * [-1, 1], colors=color, linewidths=width, alpha=alpha))


@dataclass(frozen=True, eq=False)
class Curve:
    """A precision-recall curve: `(R,)` recall and precision, both in [0, 1]."""

    recall: NDArray[np.floating]
    precision: NDArray[np.floating]
    average_precision: float


def draw_curves(curves: Mapping[str, Mapping[str, Curve]]) -> str:
    """One panel per class, one line per network; `curves[class][network]`."""
    figure = Figure(figsize=(3.6 * len(curves), 3.5), dpi=110, layout="constrained")
    for axes, (class_name, series) in zip(np.atleast_1d(figure.subplots(1, len(curves))), curves.items(), strict=True):
        for color, (network, curve) in zip(SERIES_COLORS, series.items(), strict=False):
            label = f"{network} {curve.average_precision:.1f}"
            axes.plot(curve.recall, curve.precision, color=color, linewidth=1.8, label=label)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axes.set_title(class_name, fontsize=11, color=INK, loc="left")
        axes.legend(fontsize=8, frameon=False, loc="lower left")
        quiet(axes)
    return embed(figure)


def draw_histogram(samples_ms: Mapping[str, NDArray[np.floating]]) -> str:
    """Latency per frame in milliseconds, one step line per configuration, with its median marked."""
    figure = Figure(figsize=(9.0, 3.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    longest_ms = max(float(np.quantile(values, 0.99)) for values in samples_ms.values())
    edges = np.linspace(0, longest_ms * 1.15, 80)
    for color, (name, values) in zip(SERIES_COLORS, samples_ms.items(), strict=False):
        axes.hist(values, bins=edges, color=color, alpha=0.55, label=f"{name}: median {np.median(values):.1f} ms")
        axes.axvline(float(np.median(values)), color=color, linewidth=1.5)
    axes.set(xlabel="points to boxes [ms]", ylabel="frames")
    axes.legend(fontsize=9, frameon=False)
    quiet(axes)
    return embed(figure)


def embed(figure: Figure) -> str:
    """The figure as a data URI, so that the page is one file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def quiet(axes: Axes) -> None:
    """Axes that stand behind what is drawn."""
    axes.tick_params(labelsize=8, colors=FAINT)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_color(GRID)
