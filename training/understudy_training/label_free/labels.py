"""Data sets whose labels are not read: without any, and with pseudo-boxes in their place."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.datasets.dataset import Dataset, Place, Sample, Sequential
from understudy.errors import InputError
from understudy_training.augmentation.object_paste import DrawnObjectPaste, Placed
from understudy_training.augmentation.of_sample import scene_of
from understudy_training.augmentation.scene import Scene
from understudy_training.label_free.ground import Plane
from understudy_training.label_free.pseudo_boxes import PseudoBoxes
from understudy_training.label_free.sampling import Copy, DatabaseBank, resample

_MIN_VISIBLE_POINTS = 5
_MOST_IN_THE_WAY = 10
_ROAD_SLACK_M = 0.25


class Unlabeled:
    """A data set without its boxes and point classes: what stands in for a recording that nobody labeled.

    Args:
        dataset: any; the labels of its samples are not looked at.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    class_names: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """That of the data set within."""
        return self._dataset.fingerprint

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """The sample without labels."""
        return replace(self._dataset[index], boxes=None, segments={}, doubtful=None)  # none of it is looked at

    def place(self, index: int) -> Place:
        """That of the data set within.

        Raises:
            InputError: when it does not tell which samples follow each other.
        """
        if not isinstance(self._dataset, Sequential):
            found = f"{type(self._dataset).__name__}, which does not tell its drives"
            raise InputError("passes", found=found, wanted="a data set of drives with poses")
        return self._dataset.place(index)


class PseudoLabeled:
    """A data set with pseudo-boxes for labels.

    Args:
        dataset: whose labels are not looked at.
        boxes: one set for each of its samples.

    Raises:
        InputError: when there are not as many.
    """

    def __init__(self, dataset: Unlabeled, boxes: PseudoBoxes) -> None:
        if len(dataset) != len(boxes):
            raise InputError("pseudo-boxes", found=f"{len(boxes)} frames", wanted=f"{len(dataset)}, as the data set")
        self.dataset, self.boxes = dataset, boxes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the pseudo-boxes."""
        return self.boxes.class_names

    @property
    def fingerprint(self) -> str:
        """Of the data set and the boxes."""
        return hashlib.sha256(f"{self.dataset.fingerprint} {self.boxes.fingerprint}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """The sample with its pseudo-boxes."""
        return self.dataset[index].relabeled(self.boxes[index])


class Resampling:
    """Pseudo-labeled frames as a round of training is shown them: boxes dropped to *ignored*, objects put in.

    What happens to a frame is decided by the seed, the round and the frame's number.

    Args:
        dataset: the frames.
        rates: `(4,)` by group; all ones change nothing.
        bank: folder of a database of objects, or None.
        grounds: of each frame.
        seed: of the run and the round.
        lidar: LiDAR of the rig; needed only where there are several.
    """

    def __init__(
        self,
        dataset: PseudoLabeled,
        rates: NDArray[np.float64],
        bank: Path | None,
        grounds: tuple[Plane, ...],
        seed: tuple[int, ...],
        lidar: str | None = None,
    ) -> None:
        self._dataset, self._rates, self._grounds, self._seed, self._lidar = dataset, rates, grounds, seed, lidar
        self._path = bank
        self._bank = None if bank is None else DatabaseBank(bank)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the pseudo-boxes."""
        return self._dataset.class_names

    @property
    def fingerprint(self) -> str:
        """Of the frames and of what decides the sampling; the bank is cut from the frames."""
        text = f"{self._dataset.fingerprint} {self._rates.tolist()} {self._path is not None} {self._seed}"
        return hashlib.sha256(text.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """The sample with what is left of its boxes, and with new objects in its cloud."""
        sample = self._dataset[index]
        assert sample.boxes is not None
        drawn = resample(sample.boxes, self._rates, np.random.default_rng([*self._seed, index]), self._bank)
        changed = replace(sample, boxes=drawn.boxes)
        if not drawn.copies:
            return changed
        assert self._path is not None
        scene = put_in(scene_of(changed, self._lidar), drawn.copies, self._path, self._grounds[index])
        return _with_scene(changed, scene, self._lidar)


def put_in(scene: Scene, copies: tuple[Copy, ...], database: Path, ground: Plane) -> Scene:
    """A scene with objects of a database where they were seen, on the ground, except where something stands already."""
    placed = []
    for copy in copies:
        road_z_m = float(ground.at(copy.geometry[None, :2])[0])
        if _in_the_way(scene, copy, road_z_m) <= _MOST_IN_THE_WAY:
            placed.append(Placed(class_name=copy.class_name, number=copy.number, turn_rad=0.0, road_z_m=road_z_m))
    drawn = DrawnObjectPaste(database=database, min_visible_points=_MIN_VISIBLE_POINTS, objects=tuple(placed))
    scores = scene.boxes.scores
    joined = drawn.apply(replace(scene, boxes=replace(scene.boxes, scores=None)))
    added = np.ones(len(joined.boxes) - len(scene.boxes), np.float32)
    filled = None if scores is None else np.concatenate([scores, added])
    return replace(joined, boxes=replace(joined.boxes, scores=filled))


def _in_the_way(scene: Scene, copy: Copy, road_z_m: float) -> int:
    standing = copy.geometry.copy()
    standing[2] = road_z_m + (_ROAD_SLACK_M + copy.geometry[5]) / 2
    standing[5] = max(float(copy.geometry[5]) - _ROAD_SLACK_M, 0.1)
    place = Boxes(standing[None], np.zeros(1, np.int32), ("",))
    return int(place.contains(scene.points).sum())


def _with_scene(sample: Sample, scene: Scene, lidar: str | None) -> Sample:
    """The sample with the cloud and the boxes of a scene that was made of it."""
    name, sensor = sample.rig.lidar(lidar)
    points = np.empty_like(scene.points)
    points[:, :3] = sensor.ego_from_sensor.pose().inverse().apply(scene.points[:, :3])
    points[:, 3] = scene.points[:, 3] * sensor.intensity_scale
    cloud = replace(sample.frame.clouds[name], points=points, ring=scene.ring, time_offset_s=None)
    frame = replace(sample.frame, clouds={**sample.frame.clouds, name: cloud})
    return replace(sample, frame=frame, boxes=scene.boxes)
