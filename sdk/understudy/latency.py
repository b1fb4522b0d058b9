"""How long the steps of the pipeline take, on real frames, with all that is needed to believe the numbers."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import cycle, islice
from time import perf_counter_ns, process_time_ns

import numpy as np

from understudy import machine
from understudy.bundle.manifest import Contract
from understudy.configuration import Config
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.selection import spread_evenly
from understudy.datasets.sweeps import with_sweeps
from understudy.engines.engine import Engine
from understudy.errors import InputError
from understudy.frame import Frame
from understudy.machine import Machine
from understudy.network_pictures import chosen_cameras
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent

STAGES = ("prepare", "engine", "boxes", "total", "cpu")
"""The three steps of the pipeline, their sum on the wall clock, and the process's CPU time over all its threads."""
PERCENTILES = (50, 90, 95, 99)
LEAST_FRAMES = 10
_MAX_FRAMES_HELD = 64
_MAX_PICTURE_BYTES = 256 * 2**20
"""Pictures are held as they are after decoding, which is no step of the pipeline."""


class LatencyRecord(Config):
    """A latency measurement with every sample, integer nanoseconds."""

    student: str
    bundle: str
    """Fingerprint of the bundle."""
    precision: str
    engine: str
    threads: int
    data: str
    frames: tuple[str, ...]
    """Distinct frames; repeated in this order when there are fewer than samples."""
    num_warmup: int
    samples_ns: dict[str, tuple[int, ...]]
    """By stage, in the order of measurement."""
    num_points: tuple[int, ...]
    """Points of the cloud, by sample."""
    num_pictures: tuple[int, ...] = ()
    """Pictures that were there, by sample; none for a student that takes no pictures."""
    num_boxes: tuple[int, ...]
    before: Machine
    after: Machine
    versions: dict[str, str]


@dataclass(frozen=True)
class LatencyPlan:
    """What to measure.

    Attributes:
        num_samples: timed calls.
        num_warmup: calls before them that are not counted.
        precision: for the record.
        threads: threads of the engine, for the record.
        bundle: fingerprint, for the record.
        lidar: which LiDAR of the rigs; may be left out when there is one.
    """

    num_samples: int = 100
    num_warmup: int = 10
    precision: str = ""
    threads: int = 1
    bundle: str = ""
    lidar: str | None = None


def measure(
    contract: Contract, engine: Engine, dataset: Dataset, plan: LatencyPlan, track: Track = silent
) -> LatencyRecord:
    """Times `prepare`, the engine and `boxes` of the pipeline, one call at a time, on frames held in memory.

    Args:
        contract: what the student takes and says.
        engine: the student; every frame goes through a pipeline with the frame's own rig around it.
        dataset: where the frames come from, spread evenly over it.
        plan: what to measure.
        track: draws progress; its work falls between timed calls.

    Raises:
        InputError: with fewer than 10 samples, or no frame.
    """
    _refuse_too_few(plan, len(dataset))
    calls = _calls(contract, engine, dataset, plan)
    before = machine.look()
    for call in islice(cycle(calls), plan.num_warmup):
        call.time()
    timed = [call.time() for call in track(islice(cycle(calls), plan.num_samples), "timing", total=plan.num_samples)]
    keys = [call.key for call, _ in zip(cycle(calls), timed, strict=False)]
    num_points = {call.key: call.num_points for call in calls}
    num_pictures = {call.key: len(call.frame.images) for call in calls}
    return LatencyRecord(
        student=contract.name,
        bundle=plan.bundle,
        precision=plan.precision,
        engine=engine.description,
        threads=plan.threads,
        data=dataset.fingerprint,
        frames=tuple(call.key for call in calls),
        num_warmup=plan.num_warmup,
        samples_ns={stage: tuple(getattr(entry, f"{stage}_ns") for entry in timed) for stage in STAGES},
        num_points=tuple(num_points[key] for key in keys),
        num_pictures=() if contract.pictures is None else tuple(num_pictures[key] for key in keys),
        num_boxes=tuple(entry.num_boxes for entry in timed),
        before=before,
        after=machine.look(),
        versions={"python": platform.python_version(), "numpy": np.__version__, "understudy": version("understudy")},
    )


def percentile_ns(samples_ns: Sequence[int], percent: int) -> int | None:
    """The smallest sample that `percent` % of the samples do not exceed; None when they are too few to have one.

    A percentile that only the largest sample could answer is none: 100 samples are needed for the 99th.
    """
    if len(samples_ns) * (100 - percent) < 100:
        return None
    return sorted(samples_ns)[math.ceil(len(samples_ns) * percent / 100) - 1]


def describe(record: LatencyRecord) -> Iterator[str]:
    """The record as a table of at most 100 columns, and what it was measured on."""
    yield f"{record.student}, {record.precision}: {record.engine}"
    titles = "".join(f"{f'p{percent}':>9s}" for percent in PERCENTILES)
    yield f"{'milliseconds':14s}{titles}{'max':>9s}{'mean':>9s}"
    for stage, samples_ns in record.samples_ns.items():
        yield _row(stage, samples_ns)
    num_samples = len(record.num_points)
    too_few = [f"p{percent}" for percent in PERCENTILES if percentile_ns(range(num_samples), percent) is None]
    if too_few:
        yield f"too few frames for {' and '.join(too_few)}: {num_samples} measured"
    yield (
        f"{num_samples} calls after {record.num_warmup} to warm up, {len(record.frames)} frames,"
        f" {_seen(record)}, {min(record.num_boxes)}..{max(record.num_boxes)} boxes"
    )
    yield _machine_line(record.before)


def _seen(record: LatencyRecord) -> str:
    pictures = f"{min(record.num_pictures)}..{max(record.num_pictures)} pictures" if record.num_pictures else ""
    points = f"{min(record.num_points)}..{max(record.num_points)} points" if any(record.num_points) else ""
    return ", ".join(filter(None, (points, pictures)))


@dataclass(frozen=True)
class _Timing:
    """One call, integer nanoseconds."""

    prepare_ns: int
    engine_ns: int
    boxes_ns: int
    cpu_ns: int
    num_boxes: int

    @property
    def total_ns(self) -> int:
        return self.prepare_ns + self.engine_ns + self.boxes_ns


@dataclass(frozen=True, eq=False)
class _Call:
    """A frame and the pipeline it goes through."""

    key: str
    pipeline: Pipeline
    frame: Frame
    num_points: int

    def time(self) -> _Timing:
        """One call, step by step: what `pipeline(frame)` does, with the clock read between its steps."""
        pipeline = self.pipeline
        cpu_start = process_time_ns()
        start = perf_counter_ns()
        feeds = pipeline.prepare(self.frame)
        prepared = perf_counter_ns()
        outputs = pipeline.engine(feeds)
        answered = perf_counter_ns()
        boxes = pipeline.boxes(outputs)
        end = perf_counter_ns()
        cpu_ns = process_time_ns() - cpu_start
        return _Timing(prepared - start, answered - prepared, end - answered, cpu_ns, len(boxes))


def _calls(contract: Contract, engine: Engine, dataset: Dataset, plan: LatencyPlan) -> list[_Call]:
    seen = with_sweeps(dataset, contract.sweeps, plan.lidar)
    numbers = spread_evenly(len(dataset), min(plan.num_samples, _most_frames(contract, dataset)))
    return [_call(contract, engine, seen[number], plan.lidar) for number in numbers]


def _call(contract: Contract, engine: Engine, sample: Sample, lidar: str | None) -> _Call:
    """A frame with what the student looks at and nothing else, pictures decoded."""
    pipeline, frame = Pipeline(contract, engine, sample.rig, lidar=lidar, sweeps=contract.sweeps), sample.frame
    clouds = {name: cloud for name, cloud in frame.clouds.items() if name == pipeline.lidar}
    images = {name: frame.images[name] for name in pipeline.cameras if name in frame.images}
    num_points = sum(len(cloud) for cloud in clouds.values())
    return _Call(sample.key, pipeline, replace(frame, clouds=clouds, images=images), num_points)


def _most_frames(contract: Contract, dataset: Dataset) -> int:
    """How many frames are held in memory."""
    if contract.pictures is None or not len(dataset):
        return _MAX_FRAMES_HELD
    sample = dataset[0]
    cameras = [sample.rig.cameras[name] for name in chosen_cameras(sample.rig, contract.pictures)]
    picture_bytes = sum(3 * camera.width_px * camera.height_px for camera in cameras)
    return max(1, min(_MAX_FRAMES_HELD, _MAX_PICTURE_BYTES // picture_bytes))


def _refuse_too_few(plan: LatencyPlan, num_available: int) -> None:
    if plan.num_samples < LEAST_FRAMES:
        raise InputError(
            "--frames",
            found=plan.num_samples,
            wanted=f"{LEAST_FRAMES} or more",
            remedy="percentiles of fewer calls mean nothing; 100 are needed for p99",
        )
    if num_available < 1:
        raise InputError("data set", found="no frame", wanted="at least one", remedy="choose another --split")
    if plan.num_warmup < 0:
        raise InputError("--warmup", found=plan.num_warmup, wanted="0 or more")


def _row(stage: str, samples_ns: Sequence[int]) -> str:
    values = [percentile_ns(samples_ns, percent) for percent in PERCENTILES]
    cells = [*values, max(samples_ns), sum(samples_ns) / len(samples_ns)]
    return f"{stage:14s}" + "".join(f"{'-':>9s}" if cell is None else f"{cell / 1e6:9.3f}" for cell in cells)


def _machine_line(state: Machine) -> str:
    mhz = "clock unknown" if state.cpu_mhz is None else f"{state.cpu_mhz:.0f} MHz"
    load = "load unknown" if state.load_average is None else f"load {state.load_average[0]:.2f}"
    return f"{state.cpu} x{state.num_cpus}, {mhz}, governor {state.governor or 'unknown'}, {load} before"
