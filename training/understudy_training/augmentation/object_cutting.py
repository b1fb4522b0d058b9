"""Cuts the labeled objects out of a data set into a database that `object_paste` draws from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from understudy.configuration import file_sha256, write_yaml
from understudy.datasets.dataset import Dataset
from understudy.errors import InputError
from understudy.progress import Track, silent
from understudy_training.augmentation.membership import members
from understudy_training.augmentation.object_database import CARD, Crop, DatabaseCard, ShardCard
from understudy_training.batches import LabelledFrame, labelled_frame

POINTS_PER_SHARD = 4_000_000
"""64 MB of points; a shard is read whole."""


@dataclass(frozen=True)
class _Cut:
    class_name: str
    crop: Crop


def cut_objects(
    dataset: Dataset,
    out: Path,
    *,
    lidar: str | None = None,
    min_points: int = 10,
    overwrite: bool = False,
    points_per_shard: int = POINTS_PER_SHARD,
    track: Track = silent,
) -> DatabaseCard:
    """Writes a database of all objects that enough points hit; what is there stays until the new one is whole.

    Args:
        dataset: labeled frames; use the training split, never one that is evaluated on.
        out: folder to make.
        lidar: LiDAR of the rig; needed only where there are several.
        min_points: objects with fewer returns are left out.
        overwrite: replace the database that is there.
        points_per_shard: a shard ends with the object that reaches this.
        track: progress.

    Raises:
        InputError: when `out` holds something that is not to be replaced, a frame has no labels, or no object is left.
    """
    _refuse_to_destroy(out, overwrite)
    unfinished = out.with_name(f".{out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        card = _write_database(dataset, unfinished, lidar, min_points, points_per_shard, track)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _put_in_place(unfinished, out)
    return card


def _write_database(
    dataset: Dataset, folder: Path, lidar: str | None, min_points: int, points_per_shard: int, track: Track
) -> DatabaseCard:
    waiting: dict[str, list[Crop]] = {}
    shards: dict[str, ShardCard] = {}
    for cut in _cuts(dataset, lidar, min_points, track):
        crops = waiting.setdefault(cut.class_name, [])
        crops.append(cut.crop)
        if sum(len(crop.points) for crop in crops) >= points_per_shard:
            shards |= _write_shard(folder, cut.class_name, waiting.pop(cut.class_name), len(shards))
    for class_name in sorted(waiting):
        shards |= _write_shard(folder, class_name, waiting[class_name], len(shards))
    if not shards:
        raise InputError("objects to cut out", found="none", wanted=f"labeled objects with {min_points} points or more")
    card = DatabaseCard(data_fingerprint=dataset.fingerprint, min_points=min_points, shards=shards)
    write_yaml(folder / CARD, card)
    return card


def _cuts(dataset: Dataset, lidar: str | None, min_points: int, track: Track) -> Iterator[_Cut]:
    for index in track(range(len(dataset)), "cutting out objects", len(dataset)):
        cloud = labelled_frame(dataset[index], lidar, np.inf)
        for row, inside in enumerate(members(cloud.boxes, cloud.points)):
            if len(inside) >= min_points:
                beams = np.full(len(inside), -1, np.int16) if cloud.ring is None else cloud.ring[inside]
                yield _Cut(cloud.boxes.class_names[cloud.boxes.labels[row]], _crop(cloud, row, inside, beams))


def _crop(cloud: LabelledFrame, row: int, inside: np.ndarray[tuple[int], np.dtype[np.intp]], ring: np.ndarray) -> Crop:
    velocities = cloud.boxes.velocities_mps
    velocity = np.zeros(2, np.float32) if velocities is None else np.nan_to_num(velocities[row])
    lidar_m = cloud.ego_from_lidar.translation_m
    return Crop(cloud.boxes.geometry[row], lidar_m, velocity, cloud.points[inside], ring)


def _write_shard(folder: Path, class_name: str, crops: list[Crop], number: int) -> dict[str, ShardCard]:
    path = folder / f"{class_name.replace('/', '_')}-{number:04d}.npz"
    np.savez(
        path,
        geometry=np.stack([crop.geometry for crop in crops]),
        lidar_m=np.stack([crop.lidar_m for crop in crops]),
        velocities_mps=np.stack([crop.velocity_mps for crop in crops]),
        ends=np.cumsum([len(crop.points) for crop in crops]).astype(np.int64),
        points=np.concatenate([crop.points for crop in crops]),
        ring=np.concatenate([crop.ring for crop in crops]),
    )
    return {path.name: ShardCard(class_name=class_name, num_objects=len(crops), sha256=file_sha256(path))}


def _refuse_to_destroy(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / CARD).is_file():
        raise InputError(f"{out}", found="something else there", wanted="a new folder")
    if not overwrite:
        raise InputError(f"{out}", found="a database of objects", remedy="say --overwrite or name another folder")


def _put_in_place(unfinished: Path, out: Path) -> None:
    """The new folder in the place of the old one; the old one goes last."""
    if not out.exists():
        unfinished.rename(out)
        return
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    out.rename(old)
    unfinished.rename(out)
    shutil.rmtree(old)
