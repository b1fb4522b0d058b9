"""A teacher that is not one of ours: described maps in, what a detector of ours would say out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from understudy.bundle.manifest import Grid, Pictures
from understudy.errors import InputError
from understudy_training.batches import Encode
from understudy_training.distillation.foreign_heads import HeadDescription
from understudy_training.distillation.terms.term import Widths
from understudy_training.made_up_feeds import made_up_cloud, made_up_rig
from understudy_training.models.detector import DetectorOutputs
from understudy_training.models.observed import Observed

Ask = Callable[[Any], Mapping[str, Tensor]]
"""A network's `(B, C, h, w)` outputs by name, of what its collation made."""

_TRIED_POINTS = 5000
_TRIED_SEED = 5


class ForeignDescription(HeadDescription):
    """What must be known of any network to learn from it: where its maps lie, and what they hold."""

    schema_version: Literal[1] = 1
    grid: Grid
    """Area that its maps lie over, in ego."""
    output_stride: int = Field(1, gt=0)
    """Grid cells per cell of the maps of centers and boxes."""
    rows: Literal["y", "x"] = "y"
    """Which axis of ego the rows of its maps run along; the columns run along the other one."""
    low: str | None = None
    """Output that holds the map of an early stage, of any stride."""
    high: str | None = None
    """Output that holds the map before the heads, of any stride."""
    pictures: Pictures | None = None
    """What it is shown of the cameras."""
    sweeps: int = Field(1, ge=1)
    """In the clouds that it was trained with."""

    @property
    def output_cell_m(self) -> float:
        """Side of a cell of the maps of centers and boxes."""
        return self.grid.cell_m * self.output_stride

    @property
    def sees_points(self) -> bool:
        """Whether it looks at a cloud, as far as is known."""
        return True


@dataclass(frozen=True)
class ForeignConfig:
    """Of a foreign teacher what a detector's configuration says of one of ours."""

    grid: Grid
    class_names: tuple[str, ...]
    output_cell_m: float
    pictures: Pictures | None


class ForeignTeacher(nn.Module):
    """Asks a foreign network and says it in our units.

    Args:
        name: of its file, for messages.
        description: of its outputs.
        class_names: the student's; those that it knows are given, in this order.
        collate: makes its inputs of what was seen.
        ask: gives its outputs.
        held: the network where it is a torch module, so that it is moved and frozen with this one.

    Raises:
        InputError: when the outputs are not as described.
    """

    def __init__(
        self,
        name: str,
        description: ForeignDescription,
        class_names: Sequence[str],
        collate: Encode,
        ask: Ask,
        held: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.name, self.description, self.collate = name, description, collate
        known = tuple(entry for entry in class_names if entry in description.classes)
        grid, cell_m = description.grid, description.output_cell_m
        self.config = ForeignConfig(grid, known, cell_m, description.pictures)
        self.held = held
        self._ask = ask
        self.eval()
        frame = made_up_frame(grid, description.pictures)
        self.widths = self._checked(self._raw(collate([frame])))
        self._refuse_unless_of_each(self._raw(collate([frame, frame])))

    def forward(self, inputs: Any) -> DetectorOutputs:
        """The maps of a batch, as a detector of ours gives them.

        Raises:
            InputError: when the network cannot be asked, or says something that is no number.
        """
        said = self._raw(inputs)
        heatmap = self.description.logits_from(said, self.config.class_names)
        regression = self.description.residuals_from(said, self.description.output_cell_m)
        if not bool(torch.isfinite(heatmap).all() and torch.isfinite(regression).all()):
            found = "values that are no numbers"
            raise InputError(f"teacher {self.name}", found=found, wanted="finite maps", remedy="look at its inputs")
        nothing = heatmap[:, :0]
        low, high = (
            nothing if name is None else said[name].float() for name in (self.description.low, self.description.high)
        )
        return DetectorOutputs(heatmap, regression, low, high, nothing)

    def _refuse_unless_of_each(self, said: Mapping[str, Tensor]) -> None:
        """Of two frames, two maps."""
        for name, part in said.items():
            if len(part) != 2:
                found = f"{tuple(part.shape)} of two frames"
                wanted = "one of each frame that collate was given"
                raise InputError(f"teacher {self.name}: output {name}", found=found, wanted=wanted)

    @torch.no_grad()
    def _raw(self, inputs: Any) -> dict[str, Tensor]:
        """The outputs that are looked at, rows along y."""
        description = self.description
        said = self._ask(inputs)
        wanted = (*description.outputs, *(name for name in (description.low, description.high) if name))
        missing = [name for name in wanted if not isinstance(said.get(name), Tensor) or said[name].ndim != 4]
        if missing:
            found = ", ".join(f"{name} {tuple(value.shape)}" for name, value in said.items() if torch.is_tensor(value))
            wanted_maps = f"a map (B, C, h, w) called {missing[0]}"
            raise InputError(f"teacher {self.name}: outputs", found=found or "no tensor", wanted=wanted_maps)
        turned = description.rows == "x"
        return {name: said[name].transpose(2, 3) if turned else said[name] for name in wanted}

    def _checked(self, said: Mapping[str, Tensor]) -> Widths:
        """The widths of its features, once the outputs have the channels and sizes that the description says."""
        description = self.description
        stride, grid = description.output_stride, description.grid
        cells = (grid.height // stride, grid.width // stride)
        parts = [(part.output, len(part.classes)) for part in description.heatmap]
        parts += [(part.output, len(part.channels)) for part in description.regression]
        for name, channels in parts:
            found, wanted = tuple(said[name].shape), (1, channels, *cells)
            if found != wanted:
                remedy = "correct grid, output_stride, rows or the channels in its description"
                raise InputError(f"teacher {self.name}: output {name}", found=found, wanted=wanted, remedy=remedy)
        for feature in (description.low, description.high):
            if feature is not None and said[feature].shape[2] * grid.width != said[feature].shape[3] * grid.height:
                size, area = tuple(said[feature].shape[2:]), f"cells over {grid.height} x {grid.width}"
                raise InputError(f"teacher {self.name}: output {feature}", found=size, wanted=area)
        low, high = (0 if name is None else said[name].shape[1] for name in (description.low, description.high))
        return Widths(low=low, high=high, grid=grid)


def made_up_frame(grid: Grid, pictures: Pictures | None) -> Observed:
    """A cloud, and a black picture from each camera, to try a network on."""
    cloud = made_up_cloud(grid, _TRIED_POINTS, np.random.default_rng(_TRIED_SEED))
    points = cloud[np.isfinite(cloud).all(1)]
    if pictures is None:
        return Observed(points)
    cameras = made_up_rig(pictures).cameras
    black = np.zeros((pictures.height_px, pictures.width_px, 3), np.uint8)
    return Observed(points, dict.fromkeys(cameras, black), cameras)
