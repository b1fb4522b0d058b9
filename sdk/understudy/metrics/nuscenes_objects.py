"""Objects as the nuScenes detection task counts them: labels and detections of many samples in flat float64 arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from understudy.converters.class_maps import NUSCENES_DETECTION_NAMES
from understudy.errors import InputError

ATTRIBUTE_NAMES = (
    *("pedestrian.moving", "pedestrian.sitting_lying_down", "pedestrian.standing"),
    *("cycle.with_rider", "cycle.without_rider"),
    *("vehicle.moving", "vehicle.parked", "vehicle.stopped"),
)
"""What an object may be doing, as the nuScenes schema names it."""

NO_ATTRIBUTE = -1
UNKNOWN_POINTS = -1


@dataclass(frozen=True, eq=False)
class NuscenesObjects:
    """Labels or detections in the global frame, in the order of their files: that order decides between equals.

    Attributes:
        samples: `(N,)` int64 number of the sample each belongs to.
        labels: `(N,)` int64 index into `NUSCENES_DETECTION_NAMES`.
        centers_m: `(N, 3)` float64.
        sizes_m: `(N, 3)` float64 width, length, height, all above zero.
        rotations_wxyz: `(N, 4)` float64 quaternions of any length but zero.
        velocities_mps: `(N, 2)` float64; NaN where unknown.
        attributes: `(N,)` int64 index into `ATTRIBUTE_NAMES`, -1 where there is none.
        scores: `(N,)` float64 at least 0; zeros for labels.
        num_points: `(N,)` int64 LiDAR and radar returns inside, -1 where unknown, as for detections.

    Raises:
        InputError: when shapes differ or a value is outside what is said above.
    """

    samples: NDArray[np.int64]
    labels: NDArray[np.int64]
    centers_m: NDArray[np.float64]
    sizes_m: NDArray[np.float64]
    rotations_wxyz: NDArray[np.float64]
    velocities_mps: NDArray[np.float64]
    attributes: NDArray[np.int64]
    scores: NDArray[np.float64]
    num_points: NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.samples)
        widths = {"centers_m": 3, "sizes_m": 3, "rotations_wxyz": 4, "velocities_mps": 2}
        for column in fields(self):
            wanted = (count, widths[column.name]) if column.name in widths else (count,)
            found = getattr(self, column.name).shape
            if found != wanted:
                raise InputError(f"nuScenes objects: {column.name}", found=f"shape {found}", wanted=f"{wanted}")
        for name, usable, wanted_values in self._rules():
            if not usable.all():
                row = int(np.argmin(usable))
                found_value = np.asarray(getattr(self, name)[row]).tolist()
                raise InputError(f"nuScenes objects: {name} of row {row}", found=found_value, wanted=wanted_values)

    def _rules(self) -> tuple[tuple[str, NDArray[np.bool_], str], ...]:
        """Column, `(N,)` whether each row is usable, and what is wanted."""
        lengths = np.linalg.norm(self.rotations_wxyz, axis=1, keepdims=True)
        return (
            ("labels", (self.labels >= 0) & (self.labels < len(NUSCENES_DETECTION_NAMES)), "one of the ten classes"),
            ("centers_m", _each(np.isfinite(self.centers_m)), "finite numbers"),
            ("sizes_m", _each(np.isfinite(self.sizes_m) & (self.sizes_m > 0)), "sizes above 0"),
            ("rotations_wxyz", _each(np.isfinite(lengths) & (lengths > 0)), "a quaternion"),
            ("attributes", (self.attributes >= NO_ATTRIBUTE) & (self.attributes < len(ATTRIBUTE_NAMES)), "-1..7"),
            ("scores", np.isfinite(self.scores) & (self.scores >= 0), "a score of 0 or more"),
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.integer]) -> NuscenesObjects:
        """The objects chosen by a mask or an index array."""
        return replace(self, **{column.name: getattr(self, column.name)[index] for column in fields(self)})

    @classmethod
    def concatenate(cls, parts: list[NuscenesObjects]) -> NuscenesObjects:
        """Several sets as one, in order."""
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))

    @classmethod
    def empty(cls) -> NuscenesObjects:
        """No objects."""
        whole, triples = np.zeros(0, np.int64), np.zeros((0, 3))
        return cls(
            whole, whole, triples, triples, np.zeros((0, 4)), np.zeros((0, 2)), whole, np.zeros(0), num_points=whole
        )

    @property
    def yaw_rad(self) -> NDArray[np.float64]:
        """`(N,)` heading of each box's x axis in the global x-y plane."""
        w, x, y, z = self.rotations_wxyz.T
        yaw: NDArray[np.float64] = np.arctan2(2 * (x * y + w * z), w * w + x * x - y * y - z * z)
        return yaw


@dataclass(frozen=True, eq=False)
class NuscenesTruths:
    """What a data set labels for the detection task.

    Attributes:
        tokens: the samples' tokens; objects name them by position.
        ego_positions_m: `(S, 3)` float64 where the vehicle was, in the global frame.
        objects: labels of the ten classes.
        rack_samples: `(R,)` int64 sample of each bicycle rack.
        rack_centers_m: `(R, 3)` float64.
        rack_sizes_m: `(R, 3)` float64 width, length, height.
        rack_rotations_wxyz: `(R, 4)` float64.
        has_velocities: whether the labels tell velocities at all.
        has_attributes: whether the labels tell attributes at all.
    """

    tokens: tuple[str, ...]
    ego_positions_m: NDArray[np.float64]
    objects: NuscenesObjects
    rack_samples: NDArray[np.int64]
    rack_centers_m: NDArray[np.float64]
    rack_sizes_m: NDArray[np.float64]
    rack_rotations_wxyz: NDArray[np.float64]
    has_velocities: bool = True
    has_attributes: bool = True


def _each(usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`(N,)` whether all values of each row are usable."""
    rows: NDArray[np.bool_] = np.logical_and.reduce(usable, axis=1)
    return rows
