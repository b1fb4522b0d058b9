"""Small drives for the fleet's tests: real clouds of a road, written as bags."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from understudy.datasets.dataset import Sample
from understudy.datasets.recorded import DriveEntry
from understudy.datasets.recorded_writer import DriveWriter
from understudy.frame import Frame
from understudy.pose import Pose
from understudy.recording import record_bag
from understudy.testing import road_cloud, simple_rig

MS = 1_000_000


@dataclass
class Drive:
    """Frames made on the spot, 100 ms apart."""

    seed: int
    num: int
    num_points: int = 3000
    class_names: tuple[str, ...] = ("car",)
    fingerprint: str = ""

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, index])
        stamp_ns = (1000 + 100 * index) * MS
        objects_m = [tuple(rng.uniform(-12, 12, 2)) for _ in range(3)]
        cloud = road_cloud(rng, self.num_points, objects_m=objects_m, stamp_ns=stamp_ns)
        return Sample(str(index), Frame(stamp_ns, {"lidar": cloud}), simple_rig(), None, {})


def write_bag(path: Path, seed: int = 0, num: int = 12) -> Path:
    return record_bag(Drive(seed, num), path, images=False).bag


def write_recorded(path: Path, seed: int = 0, num: int = 12) -> None:
    """The same frames as a data set, from a vehicle that drives 0.5 m ahead each time."""
    frames = [Drive(seed, num)[index].frame for index in range(num)]
    with DriveWriter(path, "first", simple_rig()) as writer:
        for index, frame in enumerate(frames):
            posed = replace(frame, world_from_ego=Pose.from_yaw(0.0, (0.5 * index, 0, 0)))
            writer.add(Sample(str(index), posed, simple_rig(), None, {}))
        writer.publish(DriveEntry(name="first", split="train", num_frames=num), Drive.class_names)


def run_files(out: Path) -> dict[str, bytes]:
    """Merged detections and bags of an annotation, by path."""
    files = [file for name in ("detections", "bags") for file in sorted((out / name).rglob("*")) if file.is_file()]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}
