"""From a folder to a data set: the one table of kinds that are recognized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from understudy.converters.class_maps import ClassChoice
from understudy.datasets.dataset import Dataset
from understudy.errors import InputError, MissingSplit

EVERYTHING = "all"
_SAME_FOLDER = ({"recorded", "scenes"}, {"nuScenes", "nuScenes key frames"})
"""Kinds that one data set is recognized as; the first of `KINDS` reads it."""
Opener = Callable[[Path, str | None, ClassChoice | None], Dataset]


@dataclass(frozen=True)
class Kind:
    """A kind of folder: how it is told, what opens it, whether it has splits."""

    name: str
    sign: str
    recognizes: Callable[[Path], bool]
    opens: Opener
    has_splits: bool = False


def open_dataset(path: Path, split: str | None = None, classes: ClassChoice | None = None) -> Dataset:
    """The data set in a folder, whatever kind it is.

    Args:
        path: the folder.
        split: one of its splits; None or "all" takes every sample.
        classes: which native classes count and as what: the name of a map in `converters.class_maps`, or a map written
            out; None is our four classes.

    Raises:
        InputError: when the folder is missing or of no known kind, when it has no splits but one is asked for, or
            when its files are damaged.
    """
    if not path.is_dir():
        found = "a file" if path.exists() else "no such folder"
        raise InputError(f"{path}", found=found, wanted="the folder of a data set", remedy="check the path")
    if path.name in {"", ".."}:
        # "." and ".." tell no name, which a drive may have from its folder, and have no parent folder to look into.
        path = path.resolve()
    found_kinds = [kind for kind in KINDS if kind.recognizes(path)]
    names = {kind.name for kind in found_kinds}
    if len(names) > 1 and not any(names <= same for same in _SAME_FOLDER):
        found = f"{len(names)} data sets: {' and '.join(kind.name for kind in found_kinds)}"
        raise InputError(f"{path}", found=found, wanted="one", remedy="name its own folder, or move the other away")
    if found_kinds:
        return _opened(found_kinds[0], path, None if split == EVERYTHING else split, classes)
    wanted = "; or ".join(f"{kind.name} ({kind.sign})" for kind in KINDS)
    raise InputError(f"{path}", found="no data set that is recognized", wanted=wanted)


def _opened(kind: Kind, path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    if split is not None and not kind.has_splits:
        remedy = f"take the split {EVERYTHING}"
        raise MissingSplit(f"{path}: split {split}", found=f"{kind.name}, which has no splits", remedy=remedy)
    return kind.opens(path, split, classes)


def _is_kitti(path: Path) -> bool:
    root = path / "training" if (path / "training").is_dir() else path
    return (root / "calib").is_dir() and any((root / name).is_dir() for name in ("velodyne", "velodyne_reduced"))


def _drives(path: Path) -> list[Path]:
    """KITTI raw drives: the folder itself, or those of a day."""
    places = [path, *sorted(entry for entry in path.iterdir() if entry.is_dir())]
    return [place for place in places if (place / "velodyne_points" / "data").is_dir()]


def _open_scenes(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.scenes import ScenesDataset

    return ScenesDataset(path, split, classes=classes)


def _open_kitti(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.kitti import KittiDataset

    return KittiDataset(path, split, classes=classes)


def _open_kitti_raw(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.kitti_raw import KittiRawDataset

    drives = _drives(path)
    if len(drives) > 1:
        found = f"{len(drives)} drives: {', '.join(drive.name for drive in drives[:5])}"
        raise InputError(f"{path}", found=found, wanted="one drive", remedy="name its folder")
    return KittiRawDataset(drives[0], classes=classes)


def _open_pandaset(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.pandaset import PandasetSequence

    return PandasetSequence(path, classes=classes)


def _open_nuscenes(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.nuscenes_keyframe import NuscenesKeyframes

    return NuscenesKeyframes(path, classes=classes)


def _open_nuscenes_tables(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.nuscenes_tables import NuscenesTables

    return NuscenesTables(path, split, classes=classes)


def _is_nuscenes_release(path: Path) -> bool:
    return any(place.is_file() for place in (path / "sample_data.json", *path.glob("v1.0-*/*.json")))


def _open_argoverse2(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.argoverse2 import Argoverse2Dataset

    return Argoverse2Dataset(path, split, classes=classes)


def _is_argoverse2(path: Path) -> bool:
    """A log, or a folder of logs, of splits, or of `sensor/` with splits."""
    parents = [path, *(base / split for base in (path, path / "sensor") for split in ("train", "val", "test"))]
    logs = [path / "sensors" / "lidar", *(found for parent in parents for found in parent.glob("*/sensors/lidar"))]
    return any(found.is_dir() for found in logs)


def _open_semantickitti(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.semantickitti import SemanticKittiDataset

    return SemanticKittiDataset(path, split, classes=classes)


def _is_semantickitti(path: Path) -> bool:
    if (path / "velodyne").is_dir() and (path / "calib.txt").is_file():
        return True
    places = (path, path / "sequences", path / "dataset" / "sequences")
    return any(found.is_dir() for place in places for found in place.glob("[0-9][0-9]/velodyne"))


def _open_range_images(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.range_images import RangeImagesDataset

    return RangeImagesDataset(path, classes=classes)


def _open_recorded(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.recorded import RecordedDataset

    return RecordedDataset(path, split, classes=classes)


def _is_recorded(path: Path) -> bool:
    from understudy.datasets.recorded import is_recorded

    return is_recorded(path)


def _open_shards(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.shards import ShardedDataset

    return ShardedDataset(path, split, classes=classes)


def _is_sharded(path: Path) -> bool:
    from understudy.datasets.shard_index import is_sharded

    return is_sharded(path)


def _open_relabeled(path: Path, split: str | None, classes: ClassChoice | None) -> Dataset:
    from understudy.datasets.relabeled import open_relabeled

    return open_relabeled(path, split, lambda source, of: open_dataset(source, of, classes))


def _holds(name: str) -> Callable[[Path], bool]:
    return lambda path: (path / name).exists()


KINDS = (
    Kind("relabeled", "labels.yaml", _holds("labels.yaml"), _open_relabeled, has_splits=True),
    Kind("shards", "index.json and index.npz", _is_sharded, _open_shards, has_splits=True),
    Kind("recorded", "dataset.yaml with kind: recorded", _is_recorded, _open_recorded, has_splits=True),
    Kind("scenes", "dataset.yaml", _holds("dataset.yaml"), _open_scenes, has_splits=True),
    Kind("KITTI object", "training/calib, training/velodyne", _is_kitti, _open_kitti, has_splits=True),
    Kind("KITTI raw drive", "velodyne_points/data", lambda path: bool(_drives(path)), _open_kitti_raw),
    Kind("PandaSet sequence", "lidar/poses.json", _holds("lidar/poses.json"), _open_pandaset),
    Kind("nuScenes", "v1.0-*/sample_data.json", _is_nuscenes_release, _open_nuscenes_tables, has_splits=True),
    Kind("nuScenes key frames", "samples/LIDAR_TOP", _holds("samples/LIDAR_TOP"), _open_nuscenes),
    Kind("Argoverse 2", "<log>/sensors/lidar", _is_argoverse2, _open_argoverse2, has_splits=True),
    Kind("SemanticKITTI", "sequences/NN/velodyne", _is_semantickitti, _open_semantickitti, has_splits=True),
    Kind("range images", "<stamp>.npy", lambda path: any(path.glob("[0-9]*.npy")), _open_range_images),
)
