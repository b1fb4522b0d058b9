"""Which frames a quantization looks at, and what the network is fed for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from understudy.bundle.manifest import Contract
from understudy.datasets.dataset import Dataset
from understudy.datasets.selection import spread_evenly
from understudy.datasets.sweeps import with_sweeps
from understudy.engines.engine import Engine
from understudy.errors import InputError
from understudy.pipeline import Feeds, Pipeline

MAX_HELD_OUT = 8


@dataclass(frozen=True)
class Selection:
    """Sample numbers: those that set the ranges, and others that judge them."""

    calibration: tuple[int, ...]
    held_out: tuple[int, ...]


def select_samples(num_samples: int, num_frames: int) -> Selection:
    """Spreads both sets evenly over a data set; the same numbers every time.

    Raises:
        InputError: when no sample would be left to judge the ranges with.
    """
    if num_frames < 1 or num_samples < num_frames + 1:
        raise InputError(
            "calibration frames",
            found=f"{num_frames} asked for, {num_samples} in the data set",
            wanted="at least 1, and at least one frame more in the data set, to judge the result with",
            remedy="lower --frames or give more data",
        )
    calibration = spread_evenly(num_samples, num_frames)
    others = sorted(set(range(num_samples)) - set(calibration))
    return Selection(tuple(calibration), tuple(others[place] for place in spread_evenly(len(others), MAX_HELD_OUT)))


def calibration_fingerprint(data_fingerprint: str, keys: tuple[str, ...]) -> str:
    """SHA-256 over the data and the frames taken from it: equal ranges are only promised for equal fingerprints."""
    return hashlib.sha256("\n".join((data_fingerprint, *keys)).encode()).hexdigest()


class SampleFeeds:
    """What the engine is fed for samples of a data set, by the steps of the one pipeline.

    Args:
        contract: what the network takes.
        engine: the network the feeds are for; it is never run here.
        dataset: where samples come from.
        lidar: which LiDAR of the rigs; may be left out when there is one.
    """

    def __init__(self, contract: Contract, engine: Engine, dataset: Dataset, lidar: str | None = None) -> None:
        self._contract = contract
        self._engine = engine
        self._dataset = with_sweeps(dataset, contract.sweeps, lidar)
        self._lidar = lidar

    def __call__(self, numbers: tuple[int, ...]) -> Iterator[Feeds]:
        """Feeds of the samples called by number, read one at a time."""
        for number in numbers:
            sample = self._dataset[number]
            sweeps = self._contract.sweeps
            pipeline = Pipeline(self._contract, self._engine, sample.rig, lidar=self._lidar, sweeps=sweeps)
            yield pipeline.prepare(sample.frame)

    def keys(self, numbers: tuple[int, ...]) -> tuple[str, ...]:
        """Names of the samples called by number."""
        return tuple(self._dataset[number].key for number in numbers)
