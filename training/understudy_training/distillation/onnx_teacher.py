"""A teacher from an ONNX file: ONNX Runtime asks it frame by frame, in float32."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from understudy.bundle.manifest import Contract, Grid, ImagesInput, Pictures, PillarsInput, PointsInput
from understudy.configuration import content_hash, file_sha256
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.errors import EngineError, InputError
from understudy.lifting import lift_table
from understudy.network_pictures import network_images
from understudy.pillars import group_points
from understudy_training.distillation.foreign import ForeignDescription, ForeignTeacher, made_up_frame
from understudy_training.distillation.foreign_heads import BoxMaps, ClassMaps
from understudy_training.distillation.onnx_cut import cut_at, our_maps, read_graph
from understudy_training.models.head import REGRESSION_CHANNELS
from understudy_training.models.observed import Observed

Feeds = Mapping[str, NDArray[Any]]
Takes = Annotated[PointsInput | PillarsInput | ImagesInput, Field(discriminator="kind")]


class OnnxDescription(ForeignDescription):
    """`NAME.yaml` beside `NAME.onnx`: what the graph takes, and what its outputs hold."""

    kind: Literal["onnx"] = "onnx"
    model: Path
    """The file, relative to the description's folder."""
    takes: Takes = PointsInput()
    """What it is fed of a cloud, by the names and shapes of a contract (docs/bundle-format.md)."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """The graph's own name of an input, by ours, where they differ."""

    @property
    def sees_points(self) -> bool:
        """Whether it looks at a cloud."""
        return not isinstance(self.takes, ImagesInput)


@dataclass(frozen=True, eq=False)
class FeedsBatch:
    """What is fed for each frame of a batch."""

    frames: tuple[Feeds, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where the answers are wanted; the feeds stay arrays."""

    def to(self, device: torch.device | str) -> FeedsBatch:
        """The same batch with its answers wanted on a device."""
        return FeedsBatch(self.frames, torch.device(device))

    def pin_memory(self) -> FeedsBatch:
        """The same batch: a runtime takes its arrays as they are."""
        return self


@dataclass(frozen=True)
class FeedMaker:
    """Makes feeds of what was seen, the points in ego; picklable, so that a loader's workers can do it.

    Attributes:
        takes: what is fed of a cloud.
        grid: of the network.
        pictures: what is fed of the cameras.
        names: the graph's inputs by our names; no others are fed.
    """

    takes: PointsInput | PillarsInput | ImagesInput
    grid: Grid
    pictures: Pictures | None
    names: Mapping[str, str]

    def __call__(self, frames: Sequence[Observed]) -> FeedsBatch:
        """The feeds of some frames."""
        return FeedsBatch(tuple(self._named(self.made(frame)) for frame in frames))

    def made(self, frame: Observed) -> Feeds:
        """Everything that can be fed for a frame, by our names."""
        feeds = {**self._of_cloud(frame.points)}
        if self.pictures is None:
            return feeds
        images, mask = network_images(dict(frame.images), dict(frame.cameras), self.pictures)
        table = lift_table(tuple(frame.cameras.values()), self.pictures, self.grid)
        more: Feeds = {"images": images, "camera_mask": mask, "lift_pixels": table.pixels, "lift_depths": table.depths}
        return {**feeds, **more}

    def _named(self, feeds: Feeds) -> Feeds:
        return {name: feeds[ours] for ours, name in self.names.items()}

    def _of_cloud(self, points: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        if isinstance(self.takes, ImagesInput):
            return {}
        if isinstance(self.takes, PillarsInput):
            limits = self.takes.max_points_per_pillar, self.takes.max_pillars
            grouped = group_points(points, self.grid, *limits)
            return {"pillars": grouped.points, "num_points": grouped.num_points, "cells": grouped.cells}
        if len(points) == 0:  # engines differ on dimensions of zero; a point that is no number is in no cell
            points = np.full((1, 4), np.nan, np.float32)
        return {
            "points": np.ascontiguousarray(points),
            "ego_from_sensor": np.eye(3, 4, dtype=np.float32),
            "intensity_factor": np.ones(1, np.float32),
        }


@dataclass(frozen=True, eq=False)
class Runtime:
    """A graph in ONNX Runtime, asked frame by frame."""

    engine: OnnxRuntimeEngine
    path: Path

    def __call__(self, batch: FeedsBatch) -> dict[str, Tensor]:
        """Its outputs, stacked along the first axis.

        Raises:
            InputError: when it cannot be run.
        """
        try:
            said = [self.engine(feeds) for feeds in batch.frames]
        except EngineError as error:
            raise InputError(f"teacher {self.path}", found=error, remedy="correct takes in its description") from error
        names = [spec.name for spec in self.engine.outputs]
        joined = {name: _joined([outputs[name] for outputs in said]) for name in names}
        return {name: torch.from_numpy(value).float().to(batch.device) for name, value in joined.items()}


def _joined(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Maps of several frames as one; the first of what is no map, for whoever says that it is none."""
    return np.concatenate(values) if values[0].ndim == 4 else np.asarray(values[0])


def open_onnx(path: Path, description: OnnxDescription, class_names: Sequence[str]) -> ForeignTeacher:
    """The network of a described ONNX file.

    Args:
        path: of the ONNX file.
        description: of it.
        class_names: the student's.

    Raises:
        InputError: when the file is none, takes what we cannot feed, or says something other than described.
    """
    wanted = (*description.outputs, *(name for name in (description.low, description.high) if name))
    runtime = _runtime(path, tuple(dict.fromkeys(wanted)))
    feed = FeedMaker(description.takes, description.grid, description.pictures, {})
    return ForeignTeacher(str(path), description, class_names, _naming(feed, runtime, description.inputs), runtime)


def description_of_ours(path: Path, contract: Contract) -> OnnxDescription:
    """How one of our exports would be described: cut where heads and features are.

    Args:
        path: `model.onnx` of an export or a bundle, in float32.
        contract: beside it.

    Raises:
        InputError: when the graph is no detector of ours.
    """
    maps = our_maps(read_graph(path), path)
    description = OnnxDescription(
        model=Path(path.name),
        takes=contract.input,
        grid=contract.grid,
        pictures=contract.pictures,
        sweeps=contract.sweeps,
        heatmap=(ClassMaps(output=maps["heatmap"], classes=contract.class_names),),
        regression=(BoxMaps(output=maps["regression"], channels=REGRESSION_CHANNELS),),
        low=maps["low"],
        high=maps["high"],
    )
    runtime = _runtime(path, (maps["heatmap"],))
    feed = _naming(FeedMaker(contract.input, contract.grid, contract.pictures, {}), runtime, {})
    columns = runtime(feed([made_up_frame(contract.grid, contract.pictures)]))[maps["heatmap"]].shape[3]
    return description.model_copy(update={"output_stride": contract.grid.width // columns})


def onnx_weights(path: Path, description: OnnxDescription) -> str:
    """Hash of everything that decides what a described file says."""
    return hashlib.sha256(f"{file_sha256(path)} {content_hash(description)}".encode()).hexdigest()


def _runtime(path: Path, outputs: tuple[str, ...]) -> Runtime:
    """The part of a file's graph that makes some tensors, opened."""
    cut = cut_at(read_graph(path), outputs, path)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        file.write_bytes(cut.SerializeToString())
        try:
            return Runtime(OnnxRuntimeEngine(file), path)
        except EngineError as error:
            raise InputError(f"teacher {path}", found=error.found, wanted="a graph ONNX Runtime accepts") from error


def _naming(feed: FeedMaker, runtime: Runtime, inputs: Mapping[str, str]) -> FeedMaker:
    """Feeds what the graph takes, under its own names."""
    ours = {own: name for name, own in inputs.items()}
    names = {ours.get(spec.name, spec.name): spec.name for spec in runtime.engine.inputs}
    known = feed.made(made_up_frame(feed.grid, feed.pictures))
    strange = [own for name, own in names.items() if name not in known]
    if strange:
        remedy = "correct takes, pictures or inputs in its description, or wrap it in a torch module"
        raise InputError(f"teacher {runtime.path}: input {strange[0]}", wanted=", ".join(known), remedy=remedy)
    return FeedMaker(feed.takes, feed.grid, feed.pictures, names)
