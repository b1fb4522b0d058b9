"""What a foreign teacher's head says, in our units: class order, logits, residuals channel by channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from understudy.configuration import Config

Channel = Literal[
    "dx",
    "dx_center",
    "dx_m",
    "dy",
    "dy_center",
    "dy_m",
    "z_m",
    "z_bottom_m",
    "log_length",
    "length_m",
    "log_width",
    "width_m",
    "log_height",
    "height_m",
    "sin_yaw",
    "cos_yaw",
    "yaw_rad",
    "ignored",
]
"""What a channel of a regression may hold; see `residuals_from`."""

_WAYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "place along x": (("dx",), ("dx_center",), ("dx_m",)),
    "place along y": (("dy",), ("dy_center",), ("dy_m",)),
    "height of the place": (("z_m",), ("z_bottom_m",)),
    "length": (("log_length",), ("length_m",)),
    "width": (("log_width",), ("width_m",)),
    "height": (("log_height",), ("height_m",)),
    "heading": (("sin_yaw", "cos_yaw"), ("yaw_rad",)),
}
"""Each quantity of a box, and the ways in which channels may tell it."""

_SMALLEST_M = 1e-2
_SMALLEST_PROBABILITY = 1e-6


class ClassMaps(Config):
    """An output that holds a map of centers for each of some classes."""

    output: str = "heatmap"
    classes: tuple[str, ...] = Field(min_length=1)
    """Of its channels, in order, by the student's names; a class that the student does not know is left out."""


class BoxMaps(Config):
    """An output that holds some of a box's numbers at each cell."""

    output: str = "regression"
    channels: tuple[Channel, ...] = Field(min_length=1)
    """Of its channels, in order."""


class HeadDescription(Config):
    """Where classes and boxes are found among a foreign network's outputs, and in which units."""

    heatmap: tuple[ClassMaps, ...] = Field(min_length=1)
    scores: Literal["logits", "probabilities"] = "logits"
    """What the maps of centers hold."""
    regression: tuple[BoxMaps, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _tells_each_quantity_once(self) -> HeadDescription:
        channels: list[str] = [name for part in self.regression for name in part.channels]
        for quantity, ways in _WAYS.items():
            told = [way for way in ways if any(name in channels for name in way)]
            found = [name for way in ways for name in way if name in channels]
            if len(told) != 1 or sorted(channels.count(name) for name in told[0]) != [1] * len(told[0]):
                known = " or ".join(" with ".join(way) for way in ways)
                raise ValueError(f"regression: {quantity} is told by {', '.join(found) or 'nothing'}; once by {known}")
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise ValueError(f"heatmap: {', '.join(twice)} is there twice")
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """All that it knows, in its own order."""
        return tuple(name for part in self.heatmap for name in part.classes)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs that are looked at."""
        names = [part.output for part in self.heatmap] + [part.output for part in self.regression]
        return tuple(dict.fromkeys(names))

    def logits_from(self, outputs: Mapping[str, Tensor], class_names: Sequence[str]) -> Tensor:
        """`(B, K, h, w)` logits of the classes in this order.

        Args:
            outputs: by name, each `(B, C, h, w)`.
            class_names: the student's; each is among `classes`.
        """
        said = {name: outputs[part.output][:, at] for part in self.heatmap for at, name in enumerate(part.classes)}
        chosen = torch.stack([said[name] for name in class_names], 1)
        if self.scores == "logits":
            return chosen
        return torch.logit(chosen.float(), eps=_SMALLEST_PROBABILITY)

    def residuals_from(self, outputs: Mapping[str, Tensor], output_cell_m: float) -> Tensor:
        """`(B, 8, h, w)` as in `head.REGRESSION_CHANNELS`.

        A place counts from the lower corner of its output cell, in cells (`dx`), from the cell's center, in cells
        (`dx_center`), or from the lower corner in meters (`dx_m`). `z_m` is the height of the box's center in ego,
        `z_bottom_m` that of its lower face. Lengths are meters or their natural logarithms. A heading turns from x
        to y. What else a network tells (velocity, overlap) is `ignored`.

        Args:
            outputs: by name, each `(B, C, h, w)`.
            output_cell_m: side of an output cell.
        """
        said: dict[str, Tensor] = {
            name: outputs[part.output][:, at].float()
            for part in self.regression
            for at, name in enumerate(part.channels)
        }
        logs = [_logarithm(said, name) for name in ("length", "width", "height")]
        z = said["z_m"] if "z_m" in said else said["z_bottom_m"] + logs[2].exp() / 2
        places = [_place(said, axis, output_cell_m) for axis in ("dx", "dy")]
        return torch.stack([*places, z, *logs, *_heading(said)], 1)


def _place(said: Mapping[str, Tensor], axis: str, output_cell_m: float) -> Tensor:
    if axis in said:
        return said[axis]
    return said[f"{axis}_center"] + 0.5 if f"{axis}_center" in said else said[f"{axis}_m"] / output_cell_m


def _logarithm(said: Mapping[str, Tensor], name: str) -> Tensor:
    return said[f"log_{name}"] if f"log_{name}" in said else said[f"{name}_m"].clamp(min=_SMALLEST_M).log()


def _heading(said: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    if "yaw_rad" in said:
        return said["yaw_rad"].sin(), said["yaw_rad"].cos()
    return said["sin_yaw"], said["cos_yaw"]
