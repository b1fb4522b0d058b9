"""A sample as a picture, without a display: from above, and every camera with the boxes where they fall in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.datasets.dataset import Sample
from understudy.messages.outputs import COLORS_RGB
from understudy.rig import Camera
from understudy_training.data.measures import points_in_ego
from understudy_training.report.figures import INK, outline, quiet

_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
_NEAREST_M = 0.3
_MOST_CAMERAS = 9
_ROWS = 3


def write_picture(path: Path, sample: Sample, range_m: float = 50.0) -> None:
    """Writes a PNG: x forward up and y left on the left, cameras beside it.

    Raises:
        InputError: when a picture of the sample cannot be read.
    """
    cameras = list(sample.frame.images)[:_MOST_CAMERAS]
    columns = -(-len(cameras) // _ROWS) if cameras else 0
    figure = Figure(figsize=(8.4 + 5.2 * columns, 8.6), dpi=90, layout="constrained")
    widths = [8.4] + [5.2] * columns
    grid = figure.add_gridspec(_ROWS, 1 + columns, width_ratios=widths)
    _from_above(figure.add_subplot(grid[:, 0]), sample, range_m)
    for number, name in enumerate(cameras):
        rows = grid[number % _ROWS, 1 + number // _ROWS] if len(cameras) > 1 else grid[:, 1]
        _camera(figure.add_subplot(rows), sample, name)
    figure.savefig(path, format="png", bbox_inches="tight")


def _from_above(axes: Axes, sample: Sample, range_m: float) -> None:
    for lidar in sample.frame.clouds:
        points = points_in_ego(sample, lidar)
        height = np.clip(points[:, 2], -0.2, 3.0)
        axes.scatter(-points[:, 1], points[:, 0], s=0.35, c=height, cmap="Greys", vmin=-1.2, vmax=3.2, linewidths=0)
    boxes = sample.boxes
    for label in np.unique(boxes.labels).tolist() if boxes is not None else ():
        assert boxes is not None
        outline(axes, boxes[boxes.labels == label], _color(label), width=1.6, alpha=1.0)
    axes.plot(0, 0, marker="^", color=INK, markersize=7)
    axes.set(xlim=(-range_m, range_m), ylim=(-range_m, range_m), aspect="equal")
    axes.set(xlabel="to the right [m]", ylabel="forward [m]")
    axes.set_title(_title(sample), fontsize=11, color=INK, loc="left")
    quiet(axes)
    _legend(axes, boxes)


def _title(sample: Sample) -> str:
    boxes = "no labels" if sample.boxes is None else f"{len(sample.boxes)} box{'es' * (len(sample.boxes) != 1)}"
    points = sum(len(cloud) for cloud in sample.frame.clouds.values())
    return f"{sample.key}: {points} points, {boxes}"


def _legend(axes: Axes, boxes: Boxes | None) -> None:
    labels, counts = np.unique(boxes.labels, return_counts=True) if boxes is not None else ((), ())
    lines = [
        Line2D([], [], color=_color(label), label=f"{boxes.class_names[label]} {count}")
        for label, count in zip(labels, counts, strict=True)
        if boxes is not None
    ]
    if lines:
        axes.legend(handles=lines, fontsize=8, frameon=True, framealpha=0.8, loc="upper right")


def _camera(axes: Axes, sample: Sample, name: str) -> None:
    camera, image = sample.rig.cameras[name], sample.frame.images[name]
    height_px, width_px = image.pixels.shape[:2]
    axes.imshow(image.pixels)
    for row in range(len(sample.boxes) if sample.boxes is not None else 0):
        assert sample.boxes is not None
        strokes = edges_in_picture(sample.boxes[row : row + 1].corners()[0], camera)
        axes.add_collection(LineCollection(strokes, colors=_color(int(sample.boxes.labels[row])), linewidths=1.0))
    axes.set(xlim=(0, width_px), ylim=(height_px, 0), xticks=[], yticks=[])
    behind_ms = (image.stamp_ns - sample.frame.stamp_ns) / 1e6
    axes.set_title(f"{name}  {behind_ms:+.0f} ms", fontsize=9, color=INK, loc="left")


def edges_in_picture(corners_ego: NDArray[np.floating], camera: Camera) -> list[NDArray[np.float64]]:
    """The `(2, 2)` pixel ends of a box's edges, `(8, 3)` corners in ego; cut where they pass behind the camera."""
    in_camera = camera.ego_from_sensor.pose().inverse().apply(corners_ego.astype(np.float64))
    strokes = []
    for first, second in _EDGES:
        begin, end = in_camera[first], in_camera[second]
        if max(begin[2], end[2]) < _NEAREST_M:
            continue
        begin, end = _cut(begin, end), _cut(end, begin)
        ends_ego = camera.ego_from_sensor.pose().apply(np.stack([begin, end]))
        strokes.append(camera.project(ends_ego)[0])
    return [stroke for stroke in strokes if _touches(stroke, camera)]


def _cut(point: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point, or where the line to the other passes 0.3 m in front of the camera."""
    if point[2] >= _NEAREST_M:
        return point
    share = (_NEAREST_M - point[2]) / (other[2] - point[2])
    return point + share * (other - point)


def _touches(stroke: NDArray[np.float64], camera: Camera) -> bool:
    low, high = stroke.min(axis=0), stroke.max(axis=0)
    return bool((high >= 0).all() and low[0] <= camera.width_px and low[1] <= camera.height_px)


def _color(label: int) -> tuple[float, float, float]:
    return COLORS_RGB[label % len(COLORS_RGB)]
