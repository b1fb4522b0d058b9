"""Tables from a data set's own point class numbers to the classes that segmentation is trained and scored on.

For data sets that number their point classes and name them elsewhere; those that name them (nuScenes-lidarseg,
PandaSet) have their tables in `class_maps`. Source: the SemanticKITTI interface's `semantic-kitti.yaml` (Behley et al.,
ICCV 2019), single-scan task, where moving objects count as what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from understudy.boxes import Segments
from understudy.configuration import Config
from understudy.errors import InputError


class SegmentMap(Config):
    """Native class numbers to the classes that count."""

    class_names: tuple[str, ...]
    """Classes in label order, what is not scored left out."""
    of: dict[int, str | None]
    """Class of every native number that may occur; None where it is not scored."""
    written_as: dict[str, int]
    """Native number that stands for each class in result files."""

    @model_validator(mode="after")
    def _targets_exist(self) -> SegmentMap:
        strangers = {name for name in self.of.values() if name is not None} ^ set(self.class_names)
        if strangers or tuple(self.written_as) != self.class_names:
            raise ValueError(f"of, written_as: other classes than class_names {', '.join(self.class_names)}")
        return self

    @cached_property
    def table(self) -> NDArray[np.int16]:
        """Label by native number: index into `class_names`, -1 where not scored, -2 where there is no such number."""
        table = np.full(max(self.of) + 1, -2, np.int16)
        for number, name in self.of.items():
            table[number] = -1 if name is None else self.class_names.index(name)
        return table

    def labels(self, numbers: NDArray[np.integer], source: str) -> NDArray[np.int16]:
        """`(N,)` labels of `(N,)` native numbers, -1 where a point is not scored; `source` names the file in messages.

        Raises:
            InputError: when a number is none of the data set's.
        """
        highest = int(numbers.max(initial=0))
        if highest >= len(self.table):
            raise InputError(source, found=f"class number {highest}", wanted=f"one up to {len(self.table) - 1}")
        labels: NDArray[np.int16] = self.table.take(numbers)
        if labels.min(initial=0) < -1:
            found = f"class number {int(numbers[labels < -1][0])}"
            raise InputError(source, found=found, wanted="a class number of the data set")
        return labels

    def segments(self, numbers: NDArray[np.integer], source: str) -> Segments:
        """The classes of the points; arguments and errors as in `labels`."""
        return Segments(self.labels(numbers, source), self.class_names)

    def numbers(self, labels: NDArray[np.integer], *, unknown: int = 0) -> NDArray[np.int64]:
        """`(N,)` native numbers to write for `(N,)` labels; `unknown` is written for -1."""
        written = np.array([*self.written_as.values(), unknown], np.int64)
        numbers: NDArray[np.int64] = written[labels]
        return numbers


def _of(numbers: Mapping[str | None, tuple[int, ...]]) -> dict[int, str | None]:
    return {number: name for name, group in numbers.items() for number in group}


_SEMANTICKITTI: Mapping[str | None, tuple[int, ...]] = {
    None: (0, 1, 52, 99),
    "car": (10, 252),
    "bicycle": (11,),
    "motorcycle": (15,),
    "truck": (18, 258),
    "other-vehicle": (20, 13, 16, 256, 257, 259),
    "person": (30, 254),
    "bicyclist": (31, 253),
    "motorcyclist": (32, 255),
    "road": (40, 60),
    "parking": (44,),
    "sidewalk": (48,),
    "other-ground": (49,),
    "building": (50,),
    "fence": (51,),
    "vegetation": (70,),
    "trunk": (71,),
    "terrain": (72,),
    "pole": (80,),
    "traffic-sign": (81,),
}
"""Numbers of each class, the one that is written first. Unlabeled points, outliers and 'other' are not scored."""

SEMANTICKITTI = SegmentMap(
    class_names=tuple(name for name in _SEMANTICKITTI if name is not None),
    of=_of(_SEMANTICKITTI),
    written_as={name: numbers[0] for name, numbers in _SEMANTICKITTI.items() if name is not None},
)
"""19 classes; result files carry native numbers, as label files do."""
