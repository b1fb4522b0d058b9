"""The graph that is deployed: one cloud in, boxes out. The model says how it is cut; the exporter asks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from understudy_training.models.encoders import OccupancyMap, PillarFeatureNet

if TYPE_CHECKING:
    from understudy_training.models.detector import BevDetector

OUTPUT_NAMES = ("boxes", "scores", "labels")
_EXAMPLE_LENGTH = 1000


@dataclass(frozen=True, eq=False)
class ExportSpec:
    """Everything an exporter needs to know about a model.

    Attributes:
        module: the module to export, in evaluation mode; positional tensors in, a tuple of tensors out.
        example: one tensor per input.
        input_names: names in the order of `example`.
        output_names: names in the order of the module's outputs.
        dynamic: by input name, the axes that vary and the name of each.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic: Mapping[str, Mapping[int, str]]


class BoxesFromPoints(nn.Module):
    """Raw points of one sensor to boxes in ego."""

    def __init__(self, detector: BevDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, points: Tensor, ego_from_sensor: Tensor, intensity_factor: Tensor) -> tuple[Tensor, ...]:
        """`(N, 4)` points in the sensor's frame with raw intensity, `(3, 4)` transform, `(1,)` 1/intensity scale.

        The transform is written as products of columns: SM75 has no FP32 matrix product in TensorRT-RTX, and a product
        with one row of the transform per axis rounds alike in every runtime.
        """
        encoder = self.detector.encoder
        assert isinstance(encoder, OccupancyMap)
        columns = torch.split(points, 1, 1)  # not unbind: ONNX Runtime's Slice takes six times as long as its Split
        sensor_x, sensor_y, sensor_z, intensity = (column.squeeze(1) for column in columns)
        x, y, z = (
            sensor_x * row[0] + sensor_y * row[1] + sensor_z * row[2] + row[3] for row in ego_from_sensor.unbind(0)
        )
        return _boxes_of_map(self.detector, encoder.map_from_columns(x, y, z, intensity * intensity_factor))


class BoxesFromPillars(nn.Module):
    """Points that the host has moved to ego and grouped, to boxes in ego."""

    def __init__(self, detector: BevDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pillars: Tensor, num_points: Tensor, cells: Tensor) -> tuple[Tensor, ...]:
        """`(V, P, 4)` float32, `(V,)` int32 and `(V,)` int32, as `understudy.pillars.group_points` gives them."""
        encoder = self.detector.encoder
        assert isinstance(encoder, PillarFeatureNet)
        return _boxes_of_map(self.detector, encoder.map_from_pillars(pillars, num_points, cells))


def _boxes_of_map(detector: BevDetector, bev: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The dense part in its own precision; coordinates, before it and behind it, stay float32."""
    dense = next(detector.backbone.parameters()).dtype
    found = detector.decode(detector.from_map(bev.to(dense)))
    return found.boxes[0], found.scores[0], found.labels[0]


def export_spec_of(detector: BevDetector, *, half: bool = False) -> ExportSpec:
    """The cut at raw points for an occupancy encoder, at grouped points for learned pillars.

    The specification holds a copy of the detector, on the CPU in float32 and in evaluation mode.

    Args:
        detector: what is cut.
        half: backbone, neck and head in float16. Points, cells and boxes stay float32: converters that turn the whole
            graph to float16 move up to every box, for a coordinate of 50 m has steps of 3 cm there, and an index above
            2,048 is not exact.
    """
    snapshot = copy.deepcopy(detector).cpu().float().eval()
    if half:
        for part in (snapshot.backbone, snapshot.neck, snapshot.head):
            part.half()
    encoder = snapshot.encoder
    if isinstance(encoder, OccupancyMap):
        example = (torch.zeros(_EXAMPLE_LENGTH, 4), torch.eye(3, 4), torch.ones(1))
        names = ("points", "ego_from_sensor", "intensity_factor")
        return ExportSpec(BoxesFromPoints(snapshot).eval(), example, names, OUTPUT_NAMES, {"points": {0: "N"}})
    length = min(_EXAMPLE_LENGTH, encoder.grid.height * encoder.grid.width)
    pillars = torch.zeros(length, encoder.config.max_points_per_pillar, 4)
    counts, cells = torch.ones(length, dtype=torch.int32), torch.arange(length, dtype=torch.int32)
    names = ("pillars", "num_points", "cells")
    dynamic = {name: {0: "V"} for name in names}
    return ExportSpec(BoxesFromPillars(snapshot).eval(), (pillars, counts, cells), names, OUTPUT_NAMES, dynamic)
