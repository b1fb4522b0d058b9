"""What it costs to show objects whole, in readings of a frame; bar: at most 2 readings more.

python benchmarks/bench_complete_objects.py DATASET... [--split train] [--frames 48]

In seconds of the process, so that a busy machine does not count. Frames are read in their order, as a training does
that keeps them in memory: each drive is read once more when its first frame is asked for, which is part of the cost.
What is read is read before, so that a reading is what a core has to do, not the disk.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.opening import open_dataset
from understudy.errors import MissingSplit
from understudy_training.xray.complete_objects import CompleteObjects, ObjectComplete


class Counting:
    """A data set that counts its readings."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.readings = dataset, 0
        self.class_names, self.fingerprint, self.place = dataset.class_names, dataset.fingerprint, dataset.place

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        self.readings += 1
        return self.dataset[index]


def num_points(samples: list[Sample]) -> int:
    return sum(len(cloud) for sample in samples for cloud in sample.frame.clouds.values())


def timed(dataset: Dataset, count: int) -> tuple[list[Sample], float]:
    started_s = time.process_time()
    samples = [dataset[index] for index in range(count)]
    return samples, time.process_time() - started_s


def measure(path: Path, split: str, frames: int) -> dict[str, object]:
    try:
        dataset = open_dataset(path, split)
    except MissingSplit:
        dataset = open_dataset(path)
    count = min(len(dataset), frames)
    timed(dataset, count)
    counting = Counting(dataset)
    raw, reading_s = timed(dataset, count)
    whole, complete_s = timed(ObjectComplete(counting, CompleteObjects()), count)
    return {
        "data": path.name,
        "frames": count,
        "points": num_points(raw) // count,
        "points_complete": num_points(whole) // count,
        "boxes": sum(len(sample.boxes) for sample in raw) // count,
        "reading_ms": round(1e3 * reading_s / count, 2),
        "complete_ms": round(1e3 * complete_s / count, 2),
        "readings_more": round(counting.readings / count - 1, 2),
        "cost_in_readings": round((complete_s - reading_s) / reading_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--frames", type=int, default=48)
    options = parser.parse_args()
    for path in options.data:
        print(json.dumps(measure(path, options.split, options.frames)))


if __name__ == "__main__":
    main()
