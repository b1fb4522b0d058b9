"""The pictures of what the networks see: the same frames, teacher beside student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from understudy.boxes import Boxes
from understudy.datasets.dataset import Dataset, Sample
from understudy.engines.model import open_model
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent
from understudy_training.report.figures import BirdsEye, draw_birds_eye
from understudy_training.report.page import Section

_COLORS = ("#1c5fb8", "#e8590c")
_MIN_POINTS = 5


def scenery_section(dataset: Dataset, networks: Mapping[str, Path], num_frames: int, track: Track = silent) -> Section:
    """Bird's-eye pictures of frames spread over the data set, one panel per network.

    Args:
        dataset: labeled frames.
        networks: bundles or run folders by name.
        num_frames: how many pictures.
        track: progress.
    """
    samples = [dataset[int(index)] for index in np.linspace(0, len(dataset) - 1, num_frames + 2)[1:-1]]
    seen = {name: _look(path, samples) for name, path in networks.items()}
    reach_m = max(network.reach_m for network in seen.values())
    images = []
    for number, sample in enumerate(track(samples, "drawing", len(samples))):
        colored = zip(_COLORS, seen.items(), strict=False)
        panels = [_panel(name, color, sample, network.detections[number]) for color, (name, network) in colored]
        images.append(draw_birds_eye(panels, reach_m))
    text = (
        "Gray: points, darker where higher. Green: labels with at least 5 points. Blue and orange: what each network "
        "says above its score threshold; the stroke points where the object heads. The triangle is the vehicle.",
    )
    return Section("Seen from above", text, images=tuple(images))


@dataclass(frozen=True, eq=False)
class _Seen:
    """What one network says about the chosen frames, and how far it looks."""

    detections: list[Boxes]
    reach_m: float


def _look(path: Path, samples: Sequence[Sample]) -> _Seen:
    opened = open_model(path)
    grid = opened.contract.grid
    with opened.engine:
        detections = [Pipeline(opened.contract, opened.engine, sample.rig)(sample.frame) for sample in samples]
    return _Seen(detections, max(abs(edge) for edge in (*grid.x_range_m, *grid.y_range_m)))


def _panel(name: str, color: str, sample: Sample, detections: Boxes) -> BirdsEye:
    lidar_name, lidar = sample.rig.lidar()
    points = sample.frame.clouds[lidar_name].points
    points_ego = lidar.ego_from_sensor.pose().apply(points[np.isfinite(points).all(axis=1), :3])
    labels = sample.boxes if sample.boxes is not None else Boxes.empty(detections.class_names)
    if labels.num_points is not None:
        labels = labels[labels.num_points >= _MIN_POINTS]
    return BirdsEye(f"{name}: {len(detections)} boxes", points_ego, labels, detections, color)
