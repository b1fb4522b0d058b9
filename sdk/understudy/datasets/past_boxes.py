"""Where labeled objects were a moment ago: earlier samples' boxes, carried into the current ego frame."""

from __future__ import annotations

from understudy.boxes import Boxes
from understudy.datasets.dataset import Dataset, Sequential
from understudy.errors import InputError
from understudy.pose import Pose


class PastBoxes:
    """The boxes of a sample and of those before it in the same drive, all in the sample's ego frame.

    A drive's first samples have fewer; nothing is repeated. Each sample's labels are read once and kept: they are small
    (a hundred boxes take 4 KiB).

    Args:
        dataset: a data set of drives whose samples have labels and tell where the ego was.
        count: how many earlier samples.

    Raises:
        InputError: when the data set does not tell which samples follow each other, or `count` is negative; at access,
            when a sample has no labels or does not tell where the ego was.
    """

    def __init__(self, dataset: Dataset, count: int) -> None:
        if count < 0:
            raise InputError("earlier samples", found=count, wanted="0 or more")
        if not isinstance(dataset, Sequential):
            found = f"{type(dataset).__name__}, which does not tell which samples follow each other"
            raise InputError("boxes of earlier samples", found=found, wanted="a data set of drives")
        self._dataset, self._drives, self._count = dataset, dataset, count
        self._held: dict[int, tuple[Boxes, Pose]] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[Boxes, ...]:
        """The sample's own boxes, then those of each earlier one, latest first."""
        index = range(len(self))[index]
        place, (own, world_from_ego) = self._drives.place(index), self._labels(index)
        boxes, ego_from_world = [own], world_from_ego.inverse()
        for earlier in range(index - 1, max(index - 1 - self._count, -1), -1):
            before = self._drives.place(earlier)
            if before.drive != place.drive or before.stamp_ns >= place.stamp_ns:
                break
            theirs, world_from_then = self._labels(earlier)
            boxes.append(theirs.transformed(ego_from_world @ world_from_then))
        return tuple(boxes)

    def _labels(self, index: int) -> tuple[Boxes, Pose]:
        if index not in self._held:
            sample = self._dataset[index]
            boxes, world_from_ego = sample.boxes, sample.frame.world_from_ego
            if boxes is None or world_from_ego is None:
                found = "no labeled boxes" if boxes is None else "nothing of where the ego was"
                remedy = "take no past boxes"
                raise InputError(f"sample {sample.key}", found=found, wanted="labels and a pose", remedy=remedy)
            self._held[index] = boxes, world_from_ego
        return self._held[index]


def past_boxes(dataset: Dataset, index: int, count: int) -> tuple[Boxes, ...]:
    """Those of one sample, see `PastBoxes`; for many, keep the object."""
    return PastBoxes(dataset, count)[index]
