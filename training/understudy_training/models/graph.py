"""The graph that is deployed: what the sensors saw in, boxes out. The model says how it is cut; the exporter asks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from understudy.errors import EngineError
from understudy.lifting import lifted_size
from understudy_training.models.camera import CameraLift
from understudy_training.models.encoders import OccupancyMap, PillarFeatureNet
from understudy_training.models.fusion import FusionMap

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
        """`(N, 4)` points in the sensor's frame with raw intensity, `(3, 4)` transform, `(1,)` 1/intensity scale."""
        encoder = self.detector.encoder
        assert isinstance(encoder, OccupancyMap)
        return _boxes_of_map(self.detector, _map_of_points(encoder, points, ego_from_sensor, intensity_factor))


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


class BoxesFromImages(nn.Module):
    """Pictures of the rig's cameras to boxes in ego."""

    def __init__(self, detector: BevDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self, images: Tensor, camera_mask: Tensor, lift_pixels: Tensor, lift_depths: Tensor
    ) -> tuple[Tensor, ...]:
        """`(N, H, W, 3)` uint8, `(N,)` float32, `(S, V)` int32 twice, as `understudy.feeding` gives them."""
        encoder = self.detector.encoder
        assert isinstance(encoder, CameraLift)
        return _boxes_of_map(self.detector, encoder.map_from_images(images, camera_mask, lift_pixels, lift_depths))


class BoxesFromPointsAndImages(nn.Module):
    """Raw points and pictures to boxes in ego."""

    def __init__(self, detector: BevDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self,
        points: Tensor,
        ego_from_sensor: Tensor,
        intensity_factor: Tensor,
        images: Tensor,
        camera_mask: Tensor,
        lift_pixels: Tensor,
        lift_depths: Tensor,
    ) -> tuple[Tensor, ...]:
        """What `BoxesFromPoints` takes, then what `BoxesFromImages` takes."""
        encoder = self.detector.encoder
        assert isinstance(encoder, FusionMap)
        assert isinstance(encoder.lidar, OccupancyMap)
        seen = _map_of_points(encoder.lidar, points, ego_from_sensor, intensity_factor)
        pictured = encoder.camera.map_from_images(images, camera_mask, lift_pixels, lift_depths)
        return _boxes_of_map(self.detector, encoder.joined(seen, pictured))


class BoxesFromPillarsAndImages(nn.Module):
    """Grouped points and pictures to boxes in ego."""

    def __init__(self, detector: BevDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self,
        pillars: Tensor,
        num_points: Tensor,
        cells: Tensor,
        images: Tensor,
        camera_mask: Tensor,
        lift_pixels: Tensor,
        lift_depths: Tensor,
    ) -> tuple[Tensor, ...]:
        """What `BoxesFromPillars` takes, then what `BoxesFromImages` takes."""
        encoder = self.detector.encoder
        assert isinstance(encoder, FusionMap)
        assert isinstance(encoder.lidar, PillarFeatureNet)
        seen = encoder.lidar.map_from_pillars(pillars, num_points, cells)
        pictured = encoder.camera.map_from_images(images, camera_mask, lift_pixels, lift_depths)
        return _boxes_of_map(self.detector, encoder.joined(seen, pictured))


def _map_of_points(encoder: OccupancyMap, points: Tensor, ego_from_sensor: Tensor, intensity_factor: Tensor) -> Tensor:
    """The occupancy of points in the sensor's frame.

    The transform is written as products of columns: SM75 has no FP32 matrix product in TensorRT-RTX, and a product
    with one row of the transform per axis rounds alike in every runtime.
    """
    columns = torch.split(points, 1, 1)  # not unbind: ONNX Runtime's Slice takes six times as long as its Split
    sensor_x, sensor_y, sensor_z, intensity = (column.squeeze(1) for column in columns)
    x, y, z = (sensor_x * row[0] + sensor_y * row[1] + sensor_z * row[2] + row[3] for row in ego_from_sensor.unbind(0))
    return encoder.map_from_columns(x, y, z, intensity * intensity_factor)


def _boxes_of_map(detector: BevDetector, bev: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The dense part in its own precision; coordinates, before it and behind it, stay float32."""
    dense = next(detector.backbone.parameters()).dtype
    found = detector.decode(detector.from_map(bev.to(dense)))
    return found.boxes[0], found.scores[0], found.labels[0]


@dataclass(frozen=True, eq=False)
class _Part:
    """What one kind of sensor brings to the graph: names and examples of its inputs, and the axes that vary."""

    names: tuple[str, ...]
    example: tuple[Tensor, ...]
    dynamic: Mapping[str, Mapping[int, str]]


def export_spec_of(detector: BevDetector, *, half: bool = False) -> ExportSpec:
    """The cut at raw points for an occupancy encoder, at grouped points for learned pillars, at resized pictures.

    The specification holds a copy of the detector, on the CPU in float32 and in evaluation mode.

    Args:
        detector: what is cut.
        half: backbone, neck and head in float16. Points, cells and boxes stay float32: converters that turn the whole
            graph to float16 move up to every box, for a coordinate of 50 m has steps of 3 cm there, and an index above
            2,048 is not exact.

    Raises:
        EngineError: when the detector needs the true depth, which a vehicle does not have.
    """
    camera = detector.config.camera_encoder
    if camera is not None and camera.depth != "predicted":
        remedy = "it is a teacher: distill it into a student that predicts depth"
        raise EngineError("export", found=f"depth: {camera.depth}", wanted="depth: predicted", remedy=remedy)
    snapshot = copy.deepcopy(detector).cpu().float().eval()
    if half:
        _halve(snapshot)
    encoder = snapshot.encoder
    if isinstance(encoder, FusionMap):
        takes_points = isinstance(encoder.lidar, OccupancyMap)
        module = BoxesFromPointsAndImages(snapshot) if takes_points else BoxesFromPillarsAndImages(snapshot)
        return _spec(module, (_of_lidar(encoder.lidar), _of_cameras(encoder.camera)))
    if isinstance(encoder, CameraLift):
        return _spec(BoxesFromImages(snapshot), (_of_cameras(encoder),))
    module = BoxesFromPoints(snapshot) if isinstance(encoder, OccupancyMap) else BoxesFromPillars(snapshot)
    return _spec(module, (_of_lidar(encoder),))


def _halve(detector: BevDetector) -> None:
    for part in (detector.backbone, detector.neck, detector.head):
        part.half()
    encoder = detector.encoder
    camera = encoder.camera if isinstance(encoder, FusionMap) else encoder
    if isinstance(camera, CameraLift):
        camera.half()


def _spec(module: nn.Module, parts: tuple[_Part, ...]) -> ExportSpec:
    return ExportSpec(
        module.eval(),
        example=tuple(value for part in parts for value in part.example),
        input_names=tuple(name for part in parts for name in part.names),
        output_names=OUTPUT_NAMES,
        dynamic={name: axes for part in parts for name, axes in part.dynamic.items()},
    )


def _of_lidar(encoder: OccupancyMap | PillarFeatureNet) -> _Part:
    if isinstance(encoder, OccupancyMap):
        example = (torch.zeros(_EXAMPLE_LENGTH, 4), torch.eye(3, 4), torch.ones(1))
        return _Part(("points", "ego_from_sensor", "intensity_factor"), example, {"points": {0: "N"}})
    length = min(_EXAMPLE_LENGTH, encoder.grid.height * encoder.grid.width)
    pillars = torch.zeros(length, encoder.config.max_points_per_pillar, 4)
    counts, cells = torch.ones(length, dtype=torch.int32), torch.arange(length, dtype=torch.int32)
    names = ("pillars", "num_points", "cells")
    return _Part(names, (pillars, counts, cells), {name: {0: "V"} for name in names})


def _of_cameras(encoder: CameraLift) -> _Part:
    pictures, (rows, columns) = encoder.config.pictures, lifted_size(encoder.grid, encoder.config.pictures)
    images = torch.zeros(pictures.num_cameras, pictures.height_px, pictures.width_px, 3, dtype=torch.uint8)
    slots = torch.zeros(len(pictures.heights_m) * pictures.hits, rows * columns, dtype=torch.int32)
    names = ("images", "camera_mask", "lift_pixels", "lift_depths")
    return _Part(names, (images, torch.ones(pictures.num_cameras), slots, slots.clone()), {})
