"""The rung of messages: frames recorded as a bag, replayed through the vehicle's intake, read back from its results.

What it adds to the rungs below is everything between a driver and a published box: converters, stamps, frame ids, units
and intensities of messages, the vehicle's rig, and `vision_msgs`. A node over DDS adds only the transport.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.bundle.manifest import Contract
from understudy.datasets.dataset import Sample
from understudy.datasets.image_files import ImageFiles
from understudy.engines.opening import OpenedModel
from understudy.errors import FrameError
from understudy.frame import Frame, Image, PointCloud
from understudy.network_pictures import chosen_cameras
from understudy.pipeline import Pipeline
from understudy.rig import Rig

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
"""Frames of a data set need neither stamps nor one drive: in the bag they are a tenth of a second apart."""

Feeds = Mapping[str, NDArray[Any]]


def _as_it_is(given: Any) -> Any:
    return given


@dataclass(frozen=True)
class Vehicle:
    """What a vehicle differs in from the data set.

    Attributes:
        rig: from the recording's rig to the vehicle's own.
        sweep: from a sweep, in the sensor's frame, to what the driver publishes of it.
    """

    rig: Callable[[Rig], Rig] = _as_it_is
    sweep: Callable[[PointCloud], PointCloud] = _as_it_is


@dataclass(frozen=True, eq=False)
class Replayed:
    """What came back, frame by frame in the order they were given.

    Attributes:
        boxes: as published, read back from the bag of results.
        feeds: what the engine was fed.
    """

    boxes: tuple[Boxes, ...]
    feeds: tuple[Feeds, ...]


class _Watched(Pipeline):
    """A pipeline that keeps what it fed, by the frame's stamp."""

    fed: dict[int, Feeds]

    def prepare(self, frame: Frame) -> dict[str, NDArray[Any]]:
        """The engine's inputs, of which a copy is kept."""
        feeds = super().prepare(frame)
        self.fed[frame.stamp_ns] = {name: array.copy() for name, array in feeds.items()}
        return feeds


def replay_samples(opened: OpenedModel, samples: Sequence[Sample], lidar: str | None, vehicle: Vehicle) -> Replayed:
    """Records samples of single sweeps as bags, one per rig, and replays them.

    Raises:
        FrameError: when a frame has no result with its stamp; the message says how far the nearest one is.
        UnderstudyError: when the bag and the vehicle's rig do not fit, or no frame could be used.
    """
    numbered = [(START_NS + number * PERIOD_NS, sample) for number, sample in enumerate(samples)]
    found: dict[int, Boxes] = {}
    fed: dict[int, Feeds] = {}
    reasons: list[str] = []
    with tempfile.TemporaryDirectory(prefix="understudy-parity-") as folder:
        for number, (_, group) in enumerate(groupby(numbered, key=lambda entry: entry[1].rig.hash)):
            _replay_bag(opened, list(group), lidar, vehicle, Path(folder) / str(number), found, fed, reasons)
    for stamp_ns, sample in numbered:
        _refuse_unless_found(sample.key, stamp_ns, found, reasons)
    stamps_ns = [stamp_ns for stamp_ns, _ in numbered]
    return Replayed(tuple(found[stamp] for stamp in stamps_ns), tuple(fed[stamp] for stamp in stamps_ns))


def _replay_bag(
    opened: OpenedModel,
    numbered: Sequence[tuple[int, Sample]],
    lidar: str | None,
    vehicle: Vehicle,
    folder: Path,
    found: dict[int, Boxes],
    fed: dict[int, Feeds],
    reasons: list[str],
) -> None:
    """One bag, whose results are added to `found` and `fed`, and the reasons of what could not be used to `reasons`."""
    from understudy.recording import record_bag
    from understudy.replay.options import ReplayOptions
    from understudy.replay.player import replay_bag
    from understudy.rig import read_rig

    name, cameras = _sensors_of(opened.contract, numbered[0][1].rig, lidar)
    stamped = _Stamped([_sent(sample, name, cameras, stamp_ns, vehicle) for stamp_ns, sample in numbered])
    recording = record_bag(stamped, folder / "bag", images=bool(cameras))
    rig = vehicle.rig(read_rig(recording.rig))
    pipeline = _Watched(opened.contract, opened.engine, rig, lidar=name or None, sweeps=opened.contract.sweeps)
    pipeline.fed = fed
    summary = replay_bag(recording.bag, pipeline, folder / "results", ReplayOptions())
    reasons += summary.reasons
    found |= _published(folder / "results", opened.contract.class_names)


class _Stamped:
    """Samples as a data set."""

    def __init__(self, samples: list[Sample]) -> None:
        self._samples = samples

    class_names = ()
    fingerprint = ""

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


def _sensors_of(contract: Contract, rig: Rig, lidar: str | None) -> tuple[str, tuple[str, ...]]:
    """What a student looks at: its LiDAR's name, empty where it needs none, and its cameras'."""
    name = rig.lidar(lidar)[0] if contract.sees_points else ""
    return name, () if contract.pictures is None else chosen_cameras(rig, contract.pictures)


def _sent(sample: Sample, lidar: str, cameras: tuple[str, ...], stamp_ns: int, vehicle: Vehicle) -> Sample:
    """The sample as the vehicle's drivers send it: one LiDAR and the student's cameras, stamped anew as one instant."""
    clouds = {lidar: vehicle.sweep(replace(sample.frame.clouds[lidar], stamp_ns=stamp_ns))} if lidar else {}
    sensors = sample.rig.sensors
    instant_ns = stamp_ns + sensors[lidar or cameras[0]].time_offset_ns
    stamps_ns = {name: instant_ns - sensors[name].time_offset_ns for name in cameras if name in sample.frame.images}
    frame = Frame(stamp_ns, clouds, _stamped_pictures(sample.frame.images, stamps_ns))
    return Sample(sample.key, frame, sample.rig, boxes=None, segments={})


def _stamped_pictures(images: Mapping[str, Image], stamps_ns: Mapping[str, int]) -> Mapping[str, Image]:
    """Some of the pictures under other stamps, still files where they are: a bag takes those byte for byte."""
    if isinstance(images, ImageFiles):
        return ImageFiles({name: replace(images.file(name), stamp_ns=stamp_ns) for name, stamp_ns in stamps_ns.items()})
    return {name: replace(images[name], stamp_ns=stamp_ns) for name, stamp_ns in stamps_ns.items()}


def _published(results: Path, class_names: tuple[str, ...]) -> dict[int, Boxes]:
    """By stamp, the detections in a bag of results."""
    from understudy.bags.reader import BagReader
    from understudy.messages.headers import stamp_ns_from_message
    from understudy.messages.outputs import boxes_from_detections
    from understudy.topics import DETECTIONS_TOPIC

    with BagReader(results) as reader:
        messages = [reader.decode(message) for message in reader.messages([DETECTIONS_TOPIC])]
    return {stamp_ns_from_message(message): boxes_from_detections(message, class_names) for message in messages}


def _refuse_unless_found(key: str, stamp_ns: int, found: Iterable[int], reasons: Sequence[str]) -> None:
    stamps_ns = list(found)
    if stamp_ns in stamps_ns:
        return
    nearest_ns = min((other - stamp_ns for other in stamps_ns), key=abs)
    what = reasons[0] if reasons else f"no detections with its stamp, the nearest {nearest_ns / 1e6:+g} ms away"
    raise FrameError(f"frame {key}", found=what, wanted="detections", remedy="check stamps, offsets and units")
