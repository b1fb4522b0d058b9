"""The fixed benchmark: named data sets that are the same for everyone, and a signature that tells when they are not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.datasets.scenes import BenchmarkEntry
from understudy.errors import InputError, UnderstudyError
from understudy.progress import Track, silent
from understudy_training.scenes.camera import Picture
from understudy_training.scenes.config import ACTOR_CLASSES, POINT_CLASSES, LidarConfig, SceneConfig, SurroundConfig
from understudy_training.scenes.drive import Drive, Moment
from understudy_training.scenes.writer import Made, make_scenes

_TRAIN_SEED, _VAL_SEED = 6400, 6401


@dataclass(frozen=True)
class Benchmark:
    """One data set of the benchmark.

    Attributes:
        version: raised when the data change; results of different versions do not compare.
        config: what the generator is given.
        signature: of the data it must make; see `signature`.
        about: what it is for, in a few words.
    """

    version: int
    config: SceneConfig
    signature: str
    about: str


def _config(beams: int, surround: SurroundConfig | None = None) -> SceneConfig:
    """The same drives for every rig: only the sensors differ."""
    lidar = LidarConfig.model_validate({"beams": beams, "range_m": 60.0})
    return SceneConfig(
        seed=_TRAIN_SEED,
        val_seed=_VAL_SEED,
        num_drives=52,
        num_val_drives=12,
        num_frames=10,
        turns_per_frame=5,
        lidar=lidar,
        camera=None,
        surround=surround,
    )


BENCHMARKS: Mapping[str, Benchmark] = {
    "scenes-64": Benchmark(
        version=1,
        config=_config(64),
        signature="e935a9e90ebc460faa4655f0f7dd35e2b5073cf30b09edcafb975ed0baddfaa6",
        about="LiDAR of 64 beams",
    ),
    "scenes-32": Benchmark(
        version=1,
        config=_config(32),
        signature="9c450589bf3db209bfc9b791508da0aea9658ab53a396cb8b645eb561bf70cca",
        about="LiDAR of 32 beams, on the same drives",
    ),
    "scenes-surround-32": Benchmark(
        version=1,
        config=_config(32, SurroundConfig(ground_truth=True)),
        signature="896ed44b04ffc31bdb8ba96a1ff95486cdd30051ac024406d73cde4e3ba9a090",
        about="scenes-32 with six cameras around, depth and class of each pixel",
    ),
}
"""A change of the generator that a test tells raises these versions, and every result is measured anew."""


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        InputError: when there is none.
    """
    if name not in BENCHMARKS:
        raise InputError("benchmark", found=name, wanted=f"one of: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def make_benchmark(name: str, out: Path, *, workers: int = 2, overwrite: bool = False, track: Track = silent) -> Made:
    """Makes a data set of the benchmark, after a look at whether it would be the right one.

    Raises:
        InputError: when there is no benchmark of that name, or as `make_scenes`.
        UnderstudyError: when this generator makes other data than those the benchmark was defined with.
    """
    benchmark = find_benchmark(name)
    found = signature(benchmark.config)
    if found != benchmark.signature:
        raise UnderstudyError(
            f"benchmark {name} version {benchmark.version}",
            found=f"a generator of signature {found[:12]}",
            wanted=benchmark.signature[:12],
            remedy="take the version of understudy that its results were made with: others do not compare",
        )
    entry = BenchmarkEntry(name=name, version=benchmark.version, signature=benchmark.signature)
    return make_scenes(benchmark.config, out, workers=workers, overwrite=overwrite, track=track, benchmark=entry)


def signature(config: SceneConfig) -> str:
    """SHA-256 of what a few frames hold: the first and the last of the first training and the first validation drive.

    It is taken of counts and of rounded means and boxes, as sines differ in the last bit from processor to processor:
    nothing that a network could notice stays unnoticed, nothing that it could not changes it.
    """
    drives = sorted({0, config.num_drives - max(config.num_val_drives, 1)})
    frames = sorted({0, config.num_frames - 1})
    told = [_told(config, Drive(config, number), frame) for number in drives for frame in frames]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _told(config: SceneConfig, drive: Drive, frame: int) -> dict[str, Any]:
    moment = drive.moment(frame)
    return {
        "frame": [config.split(drive.number), frame, moment.stamp_ns],
        "sweep": _of_sweep(moment),
        "boxes": _of_boxes(moment),
        "pictures": {name: _of_picture(picture) for name, picture in moment.pictures.items()},
    }


def _of_sweep(moment: Moment) -> list[Any]:
    sweep = moment.sweep
    classes = np.bincount(sweep.point_class, minlength=len(POINT_CLASSES))
    rings = np.bincount(sweep.ring)
    means = sweep.points.astype(np.float64).mean(axis=0)
    return [classes.tolist(), rings.tolist(), _rounded(means, 0.01)]


def _of_boxes(moment: Moment) -> list[Any]:
    boxes = moment.boxes
    assert boxes.track_ids is not None
    assert boxes.num_points is not None
    assert boxes.velocities_mps is not None
    names = [ACTOR_CLASSES[label] for label in boxes.labels]
    numbers = [boxes.track_ids.tolist(), boxes.num_points.tolist()]
    return [names, *numbers, _rounded(boxes.geometry, 0.01), _rounded(boxes.velocities_mps, 0.01)]


def _of_picture(picture: Picture) -> list[Any]:
    means = picture.pixels.reshape(-1, 3).mean(axis=0)
    near = picture.depth_m[np.isfinite(picture.depth_m)].astype(np.float64)
    classes = np.bincount(picture.pixel_class.ravel(), minlength=256)
    return [picture.pixels.shape, _rounded(means, 0.1), _rounded(near.mean(keepdims=True), 0.01), classes.tolist()]


def _rounded(values: NDArray[np.floating], step: float) -> list[int]:
    whole: list[int] = np.rint(values.astype(np.float64).ravel() / step).astype(int).tolist()
    return whole
