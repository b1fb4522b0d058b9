"""Oriented 3D boxes and per-point classes: what detectors say and labels hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from understudy.errors import UnderstudyError
from understudy.pose import Pose

NOT_ASKED = -1
"""In place of a number of returns: fewer than any that is asked for."""

_OPTIONAL_COLUMNS = ("scores", "track_ids", "num_points", "velocities_mps")


@dataclass(frozen=True, eq=False)
class Boxes:
    """Oriented boxes in one frame (ego unless said otherwise), arrays of equal length, checked at birth.

    Attributes:
        geometry: `(N, 7)` float32: x, y, z of the center, length along the box's x, width along its y, height (meters),
            yaw counter-clockwise about z (radians).
        labels: `(N,)` int32, index into `class_names`.
        class_names: the classes the labels count in.
        scores: `(N,)` float32 in [0, 1] for detections, None for ground truth.
        track_ids: `(N,)` int64 identity over time, or None.
        num_points: `(N,)` int32 LiDAR returns inside, or None. `NOT_ASKED` in training where a box is neither asked
            for nor background.
        velocities_mps: `(N, 2)` float32 velocity over ground in the boxes' frame, or None.

    Raises:
        UnderstudyError: when shapes or lengths differ, a label is outside the classes, or a size is negative.
    """

    geometry: NDArray[np.float32]
    labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    scores: NDArray[np.float32] | None = None
    track_ids: NDArray[np.int64] | None = None
    num_points: NDArray[np.int32] | None = None
    velocities_mps: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.geometry.ndim != 2 or self.geometry.shape[1] != 7:
            raise UnderstudyError("boxes", found=f"geometry of shape {self.geometry.shape}", wanted="(N, 7)")
        for name in ("labels", *_OPTIONAL_COLUMNS):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.geometry):
                raise UnderstudyError(f"boxes {name}", found=f"{len(column)} entries", wanted=f"{len(self.geometry)}")
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < len(self.class_names)):
            raise UnderstudyError(
                "box labels",
                found=f"{self.labels.min()}..{self.labels.max()}",
                wanted=f"0..{len(self.class_names) - 1}",
            )
        if len(self.geometry) and self.geometry[:, 3:6].min() < 0:
            raise UnderstudyError("box sizes", found=f"{self.geometry[:, 3:6].min():.3f} m", wanted="sizes >= 0")

    def __len__(self) -> int:
        return len(self.geometry)

    @classmethod
    def empty(cls, class_names: Sequence[str], *, scored: bool = False) -> Boxes:
        """No boxes, with the classes kept; `scored` says whether they are detections."""
        scores = np.zeros(0, np.float32) if scored else None
        return cls(np.zeros((0, 7), np.float32), np.zeros(0, np.int32), tuple(class_names), scores=scores)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.integer] | slice) -> Boxes:
        """The boxes chosen by a mask, an index array or a slice."""
        columns = {name: getattr(self, name) for name in ("geometry", "labels", *_OPTIONAL_COLUMNS)}
        return replace(self, **{name: value[index] for name, value in columns.items() if value is not None})

    @classmethod
    def concatenate(cls, parts: Sequence[Boxes]) -> Boxes:
        """Several sets over the same classes as one; optional columns stay only where all parts have them."""
        assert parts
        assert all(part.class_names == parts[0].class_names for part in parts)
        columns = {}
        for column in fields(cls):
            values = [getattr(part, column.name) for part in parts]
            if column.name != "class_names" and all(value is not None for value in values):
                columns[column.name] = np.concatenate(values)
        return cls(class_names=parts[0].class_names, **columns)

    def transformed(self, target_from_source: Pose) -> Boxes:
        """The same boxes in another frame whose z axis is parallel (yaw is the only rotation a box has)."""
        geometry = self.geometry.copy()
        geometry[:, :3] = target_from_source.apply(self.geometry[:, :3])
        geometry[:, 6] = wrap_angle(self.geometry[:, 6] + target_from_source.yaw_rad)
        velocities = self.velocities_mps
        if velocities is not None:
            velocities = (velocities @ target_from_source.rotation[:2, :2].T).astype(np.float32)
        return replace(self, geometry=geometry, velocities_mps=velocities)

    def corners(self) -> NDArray[np.float32]:
        """`(N, 8, 3)` corners: the bottom four counter-clockwise from front left, then the top four."""
        signs = np.array(
            [[1, 1, -1], [-1, 1, -1], [-1, -1, -1], [1, -1, -1], [1, 1, 1], [-1, 1, 1], [-1, -1, 1], [1, -1, 1]],
            np.float32,
        )
        local = signs[None] * self.geometry[:, None, 3:6] / 2
        cos, sin = np.cos(self.geometry[:, 6:7]), np.sin(self.geometry[:, 6:7])
        x = cos * local[..., 0] - sin * local[..., 1] + self.geometry[:, 0:1]
        y = sin * local[..., 0] + cos * local[..., 1] + self.geometry[:, 1:2]
        return cast(NDArray[np.float32], np.stack([x, y, local[..., 2] + self.geometry[:, 2:3]], axis=-1))

    def contains(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """`(N, M)`: whether each of the `(M, 3+)` points, in the boxes' frame, lies in each box."""
        inside = np.zeros((len(self), len(points)), bool)
        for row, (x, y, z, length, width, height, yaw) in enumerate(self.geometry.astype(np.float64)):
            dx, dy = points[:, 0] - x, points[:, 1] - y
            along, across = np.cos(yaw) * dx + np.sin(yaw) * dy, np.cos(yaw) * dy - np.sin(yaw) * dx
            inside[row] = (
                (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2) & (np.abs(points[:, 2] - z) <= height / 2)
            )
        return inside


@dataclass(frozen=True, eq=False)
class Segments:
    """A class per point.

    Attributes:
        labels: `(N,)` int16, index into `class_names`; -1 where nothing is known.
        class_names: the classes.
    """

    labels: NDArray[np.int16]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.labels.ndim != 1:
            raise UnderstudyError("segments", found=f"shape {self.labels.shape}", wanted="(N,)")
        if len(self.labels) and self.labels.max() >= len(self.class_names):
            raise UnderstudyError(
                "segment labels", found=int(self.labels.max()), wanted=f"below {len(self.class_names)}"
            )

    def __len__(self) -> int:
        return len(self.labels)


def wrap_angle(angle_rad: NDArray[np.floating]) -> NDArray[np.floating]:
    """Angles to [-pi, pi)."""
    wrapped: NDArray[np.floating] = (angle_rad + np.pi) % (2 * np.pi) - np.pi
    return wrapped
