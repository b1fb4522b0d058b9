"""What the reality benchmark trains on and runs on: generated scenes of four rigs, and the real labeled frames."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.datasets.dataset import Dataset, PartlyLabeled, Sample
from understudy.datasets.opening import open_dataset
from understudy.errors import InputError
from understudy.frame import PointCloud
from understudy_training.scenes.config import SceneConfig
from understudy_training.scenes.writer import make_scenes

REAL = {
    "KITTI": "kitti/object",
    "PandaSet": "pandaset/002",
    "Argoverse 2": "argoverse2/sensor",
    "nuScenes": "nuscenes",
}
"""Folder of each data set below the folder of recordings."""

FOLDS = {"kitti-nuscenes": ("KITTI", "nuScenes"), "pandaset-argoverse2": ("PandaSet", "Argoverse 2")}
"""Real data sets that are trained on together; what was trained on is never run on, nor another frame of its drive."""

RIGS = {
    "KITTI": (64, 2083),
    "nuScenes": ("hdl-32e", 1084),
    "PandaSet": ("pandar64", 1800),
    "Argoverse 2": ("vlp-32c-pair", 1800),
}
"""Beams and azimuth steps of the LiDAR that each data set was recorded with: a quarter of the scenes for each."""

RANGE_M = 60.0
FRAMES_PER_DRIVE = 2
_FIRST_SEED = 200


def open_real(data: Path) -> dict[str, Dataset]:
    """The real data sets below a folder, by name.

    Raises:
        InputError: when one is missing.
    """
    missing = [path for path in REAL.values() if not (data / path).is_dir()]
    if missing:
        raise InputError(f"{data}", found=f"no {', '.join(missing)}", wanted="labeled frames of all four data sets")
    return {name: open_dataset(data / path) for name, path in REAL.items()}


def make_rigs(folder: Path, drives: int) -> list[Dataset]:
    """The generated scenes, one data set for each rig; those that are there already are taken."""
    sets = []
    for number, (name, (beams, steps)) in enumerate(RIGS.items()):
        out = folder / name.replace(" ", "-").lower()
        values = {
            **{"seed": _FIRST_SEED + number, "num_drives": drives, "num_frames": FRAMES_PER_DRIVE},
            **{"num_val_drives": 0, "camera": None},
            "lidar": {"beams": beams, "azimuth_steps": steps, "range_m": RANGE_M},
        }
        if not (out / "dataset.yaml").is_file():
            make_scenes(SceneConfig.model_validate(values), out, overwrite=True)
        sets.append(open_dataset(out, "train"))
    return sets


@dataclass(frozen=True, eq=False)
class Mixture:
    """Data sets of the same classes as one: the first frames of each, as often as its number of repeats says."""

    parts: tuple[Dataset, ...]
    lengths: tuple[int, ...]
    repeats: tuple[int, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the first part; the others have the same."""
        return self.parts[0].class_names

    @property
    def fingerprint(self) -> str:
        """Of the parts, how much of each is shown and how often."""
        rows = zip(self.parts, self.lengths, self.repeats, strict=True)
        said = "\n".join(f"{part.fingerprint} {length} {count}" for part, length, count in rows)
        return hashlib.sha256(said.encode()).hexdigest()

    def __len__(self) -> int:
        return sum(length * count for length, count in zip(self.lengths, self.repeats, strict=True))

    def __getitem__(self, index: int) -> Sample:
        for part, length, count in zip(self.parts, self.lengths, self.repeats, strict=True):
            if index < length * count:
                return only_labeled(part, part[index % length])
            index -= length * count
        raise IndexError(index)


def mixture(parts: Sequence[Dataset], *, most: int | None = None, repeats: int = 1) -> Mixture:
    """Data sets as one: of each at most so many frames, each frame so often."""
    lengths = tuple(min(len(part), most or len(part)) for part in parts)
    return Mixture(tuple(parts), lengths, (repeats,) * len(parts))


def joined(first: Mixture, second: Mixture) -> Mixture:
    """Both, one after the other."""
    return Mixture(first.parts + second.parts, first.lengths + second.lengths, first.repeats + second.repeats)


def only_labeled(dataset: Dataset, sample: Sample) -> Sample:
    """Without the points where nothing would have been labeled: cars there would be learned as background."""
    if not isinstance(dataset, PartlyLabeled):
        return sample
    clouds = {}
    for name, cloud in sample.frame.clouds.items():
        points = sample.rig.lidars[name].ego_from_sensor.pose().apply(cloud.points[:, :3])
        spots = np.column_stack([points, np.ones((len(points), 3)), np.zeros(len(points))]).astype(np.float32)
        asked = Boxes(spots, np.zeros(len(points), np.int32), dataset.class_names)
        clouds[name] = _kept(cloud, dataset.labeled(sample, asked))
    return replace(sample, frame=replace(sample.frame, clouds=clouds))


def _kept(cloud: PointCloud, keep: NDArray[np.bool_]) -> PointCloud:
    times = None if cloud.time_offset_s is None else cloud.time_offset_s[keep]
    rings = None if cloud.ring is None else cloud.ring[keep]
    return replace(cloud, points=cloud.points[keep], time_offset_s=times, ring=rings)
