"""Frames/s per core of each reader, and of the loader over it, against reading the same files' bytes in the same run.

python benchmarks/bench_readers.py [--rounds 7] [--rate 100] [--json FILE]

Files are read before: what is measured is what a core has to do, not the disk, in seconds of that core (so that a busy
machine does not count), but for loaders with workers, which are measured by the clock on the wall. Each round visits
every case once; the medians are of the rounds. The reference of a reader is `np.fromfile` of the files that hold its
sweeps. The last table says how many cores keep a GPU fed that takes `--rate` frames a second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from understudy.datasets.dataset import Dataset
from understudy.datasets.opening import open_dataset
from understudy.datasets.recorded import DriveEntry
from understudy.datasets.recorded_writer import DriveWriter
from understudy.datasets.shard_writer import write_shards

BATCH = 4
WORKERS = (0, 1, 2)
LOADED = ("KITTI object", "PandaSet", "scenes", "shards of KITTI object", "shards of PandaSet")
REAL = {
    "KITTI object": ("kitti/object", "training/velodyne*/*.bin"),
    "KITTI raw": ("kitti/raw/2011_09_26", "**/velodyne_points/data/*.bin"),
    "SemanticKITTI": ("semantickitti", "**/velodyne/*.bin"),
    "nuScenes key frames": ("nuscenes", "samples/LIDAR_TOP/*.bin"),
    "Argoverse 2": ("argoverse2", "**/sensors/lidar/*.feather"),
    "PandaSet": ("pandaset/002", "lidar/*.npz"),
}


@dataclass(frozen=True)
class Case:
    """A data set and the files that hold its sweeps."""

    name: str
    dataset: Dataset
    files: tuple[Path, ...]
    has_pictures: bool


def cases_in(data_root: Path, scratch: Path) -> Iterator[Case]:
    for name, (folder, pattern) in REAL.items():
        yield opened(name, data_root / folder, pattern)
    yield opened("scenes", made_scenes(scratch / "scenes"), "**/frames/*.npz")
    yield opened("recorded (of PandaSet)", made_recorded(data_root, scratch / "recorded"), "**/frames/*.npz")
    for name in ("KITTI object", "PandaSet"):
        folder = scratch / f"{name} in shards"
        write_shards(open_dataset(data_root / REAL[name][0]), folder, source=name, shard_mb=8)
        yield opened(f"shards of {name}", folder, "*.tar")


def opened(name: str, folder: Path, pattern: str) -> Case:
    dataset = open_dataset(folder)
    files = tuple(sorted(folder.glob(pattern)))
    assert files, f"no {pattern} in {folder}"
    return Case(name, dataset, files, any(dataset[number].frame.images for number in range(len(dataset))))


def made_scenes(folder: Path) -> Path:
    from understudy_training.scenes.config import SceneConfig
    from understudy_training.scenes.writer import make_scenes

    make_scenes(SceneConfig(num_drives=1, num_val_drives=0, num_frames=6), folder, workers=1)
    return folder


def made_recorded(data_root: Path, folder: Path) -> Path:
    source = open_dataset(data_root / "pandaset" / "002")
    with DriveWriter(folder, "drive", source[0].rig) as writer:
        for number in range(len(source)):
            writer.add(source[number])
        entry = DriveEntry(name="drive", split="train", num_frames=len(source), labels="recorded")
        writer.publish(entry, source.class_names)
    return folder


def read_clouds(dataset: Dataset) -> int:
    return sum(len(dataset[number].frame.clouds) > 0 for number in range(len(dataset)))


def read_everything(dataset: Dataset) -> int:
    frames = 0
    for number in range(len(dataset)):
        images = dataset[number].frame.images
        frames += sum(images[name].pixels.size > 0 for name in images) >= 0
    return frames


def read_bytes(files: tuple[Path, ...]) -> int:
    return sum(np.fromfile(file, np.uint8).size > 0 for file in files)


def reader_work(cases: list[Case]) -> dict[tuple[str, str], tuple[Callable[[], object], int]]:
    """By reader and what is read: the work, and how many frames it reads."""
    work: dict[tuple[str, str], tuple[Callable[[], object], int]] = {}
    for case in cases:
        frames = len(case.dataset)
        work[case.name, "bytes"] = (lambda case=case: read_bytes(case.files)), frames
        work[case.name, "cloud"] = (lambda case=case: read_clouds(case.dataset)), frames
        if case.has_pictures:
            work[case.name, "all"] = (lambda case=case: read_everything(case.dataset)), frames
    return work


def loader_of(dataset: Dataset, workers: int, num_frames: int) -> Any:
    """What training reads: views of labeled clouds, augmented and collated for the nano student."""
    from torch.utils.data import DataLoader

    from understudy_training.batches import Collate, TrainingFrames, Views, reach_of
    from understudy_training.models.detector import BevDetector
    from understudy_training.recipe import read_recipe

    recipe = read_recipe("demo-student")
    config = recipe.detector_config()
    detector = BevDetector(config)
    lidar = next(iter(dataset[0].rig.lidars))
    clouds = TrainingFrames(dataset, lidar, reach_of(config.grid, recipe.data.augmentation), None)
    collate = Collate(detector.collate, config.class_names, config.grid, recipe.data.min_points)
    places = [(epoch, index) for epoch in range(-(-num_frames // len(dataset))) for index in range(len(dataset))]
    batches = [places[first : first + BATCH] for first in range(0, num_frames, BATCH)]
    return DataLoader(
        Views(clouds, recipe.data.augmentation, 0),
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def loader_work(cases: list[Case], num_frames: int) -> dict[tuple[str, str], tuple[Callable[[], object], int]]:
    import torch

    torch.set_num_threads(1)
    work: dict[tuple[str, str], tuple[Callable[[], object], int]] = {}
    for case in cases:
        for workers in WORKERS:
            loader = loader_of(case.dataset, workers, num_frames)
            work[case.name, f"loader {workers}"] = (lambda loader=loader: sum(1 for _ in loader)), num_frames
    return work


def timed(work: dict[tuple[str, str], tuple[Callable[[], object], int]], rounds: int) -> dict[tuple[str, str], float]:
    """Median milliseconds a frame, all cases interleaved; one round before is not counted."""
    times: dict[tuple[str, str], list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, (call, frames) in work.items():
            clock = time.perf_counter if name[1] in {"loader 1", "loader 2"} else time.process_time
            started = clock()
            call()
            if number:
                times[name].append((clock() - started) / frames * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNDERSTUDY_DATA", default)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rate", type=float, default=100.0, help="frames/s that a GPU takes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cases = list(cases_in(arguments.data, Path(scratch)))
        medians = timed(reader_work(cases), arguments.rounds)
        labeled = [case for case in cases if case.name in LOADED]
        medians |= timed(loader_work(labeled, num_frames=8 * BATCH), max(2, arguments.rounds // 2))
    show(cases, medians, arguments.rate)
    record = {"python": platform.python_version(), "numpy": np.__version__, "cores": os.cpu_count()}
    record |= {"medians_ms": {f"{name}: {what}": value for (name, what), value in medians.items()}}
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


def show(cases: list[Case], medians: dict[tuple[str, str], float], rate: float) -> None:
    print(f"{'reader':<24}{'bytes':>9}{'cloud':>9}{'over bytes':>12}{'frames/s':>10}{'+pictures':>11}{'frames/s':>10}")
    for case in cases:
        raw_ms, cloud_ms, all_ms = (medians.get((case.name, what)) for what in ("bytes", "cloud", "all"))
        assert raw_ms is not None
        assert cloud_ms is not None
        pictures = f"{all_ms:8.2f} ms{1e3 / all_ms:10.0f}" if all_ms else f"{'-':>11}{'-':>10}"
        over = f"{cloud_ms / raw_ms:11.1f}x{1e3 / cloud_ms:10.0f}"
        print(f"{case.name:<24}{raw_ms:6.2f} ms{cloud_ms:6.2f} ms{over}{pictures}")
    print(f"\n{'loader (views, collate)':<24}" + "".join(f"{f'{workers} workers':>12}" for workers in WORKERS), end="")
    print(f"{'over reader':>13}{f'cores for {rate:g}/s':>18}")
    for name in LOADED:
        loads_ms = [medians[name, f"loader {workers}"] for workers in WORKERS]
        speeds = "".join(f"{1e3 / value:8.0f}/s  " for value in loads_ms)
        print(f"{name:<24}{speeds}{loads_ms[0] / medians[name, 'cloud']:12.1f}x{rate * loads_ms[0] / 1e3:18.1f}")


if __name__ == "__main__":
    main()
