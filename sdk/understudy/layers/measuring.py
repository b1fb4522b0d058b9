"""Runs models under their runtime's own profiler, one call of each in turn, on one cloud."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Literal, Protocol, get_args

from numpy.typing import NDArray

from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Precision
from understudy.closing import Closing
from understudy.engines.attestation import LayerPrecision
from understudy.engines.cuda_runtime import Cuda
from understudy.engines.engine import Engine
from understudy.engines.engine_key import attestation_of, known_engines
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.engines.openvino_engine import OpenVinoEngine
from understudy.engines.tensorrt_opening import open_tensorrt_engine
from understudy.engines.tensorrt_rules import refuse_uint8_in_tensorrt
from understudy.errors import InputError
from understudy.layers.profiles import NodeTime, Profile, counted_profile, mean_profile, onnxruntime_profile
from understudy.progress import Track, silent

ProfiledRuntime = Literal["onnxruntime", "openvino", "tensorrt"]
Feeds = Mapping[str, NDArray[Any]]
LEAST_RUNS = 3


@dataclass(frozen=True)
class ProfilePlan:
    """How to measure.

    Attributes:
        runtime: whose profiler.
        threads: threads within an operator.
        num_runs: runs of each model that count.
        num_warmup: runs before them that do not.
    """

    runtime: ProfiledRuntime = "onnxruntime"
    threads: int = 1
    num_runs: int = 20
    num_warmup: int = 3

    def __post_init__(self) -> None:
        if self.runtime not in get_args(ProfiledRuntime):
            raise InputError("runtime", found=self.runtime, wanted=" or ".join(get_args(ProfiledRuntime)))
        if self.num_runs < LEAST_RUNS:
            remedy = "the least of fewer runs is chance"
            raise InputError("--runs", found=self.num_runs, wanted=f"{LEAST_RUNS} or more", remedy=remedy)


class Profiler(Protocol):
    """An engine that is being measured."""

    @property
    def engine(self) -> Engine:
        """What runs."""

    def run(self, feeds: Feeds) -> None:
        """Runs once."""

    def finish(self, num_warmup: int) -> Profile:
        """What was measured in all runs but the first ones."""

    def close(self) -> None:
        """Gives the engine back."""


def profile_files(
    models: Mapping[str, Path], feeds: Feeds, plan: ProfilePlan, track: Track = silent
) -> dict[str, Profile]:
    """Profiles ONNX files on a CPU.

    Raises:
        EngineError: when the runtime is missing or refuses a file.
    """
    with tempfile.TemporaryDirectory(prefix="understudy-layers-") as scratch, ExitStack() as stack:
        profilers: dict[str, Profiler] = {}
        for name, model in models.items():
            profilers[name] = _opened(model, Path(scratch) / name, plan)
            stack.callback(profilers[name].close)
        return run_interleaved(profilers, feeds, plan, track)


def profile_engines(
    bundle: Bundle,
    precisions: Sequence[Precision],
    feeds: Feeds,
    plan: ProfilePlan,
    track: Track = silent,
    cuda: Cuda | None = None,
) -> dict[str, Profile]:
    """Profiles a bundle's compiled engines on this GPU; `cuda` as for `TensorRtEngine`.

    Raises:
        EngineError: when there is no GPU, or no engine that fits it.
    """
    for precision in precisions:
        refuse_uint8_in_tensorrt(precision, plan.runtime)
    with ExitStack() as stack:
        profilers: dict[str, Profiler] = {}
        for name in precisions:
            profilers[name] = _TensorRtProfiler(bundle, name, cuda)
            stack.callback(profilers[name].close)
        return run_interleaved(profilers, feeds, plan, track)


def run_interleaved(
    profilers: Mapping[str, Profiler], feeds: Feeds, plan: ProfilePlan, track: Track = silent
) -> dict[str, Profile]:
    """One run of each in turn, so that what else the machine does falls on all alike."""
    total = plan.num_warmup + plan.num_runs
    for _ in track(range(total), "profiling", total=total):
        for profiler in profilers.values():
            profiler.run(feeds)
    return {name: profiler.finish(plan.num_warmup) for name, profiler in profilers.items()}


def _opened(model: Path, prefix: Path, plan: ProfilePlan) -> _OnnxRuntimeProfiler | _OpenVinoProfiler:
    if plan.runtime == "openvino":
        return _OpenVinoProfiler(OpenVinoEngine(model, threads=plan.threads, profile=True))
    return _OnnxRuntimeProfiler(OnnxRuntimeEngine(model, threads=plan.threads, profile=prefix))


class _OnnxRuntimeProfiler(Closing):
    """Writes a file, read at the end."""

    def __init__(self, engine: OnnxRuntimeEngine) -> None:
        self.engine = engine

    def run(self, feeds: Feeds) -> None:
        self.engine(feeds)

    def finish(self, num_warmup: int) -> Profile:
        return onnxruntime_profile(self.engine.end_profile(), num_warmup)

    def close(self) -> None:
        self.engine.close()


@dataclass
class _Counts:
    """What was counted, run by run."""

    nodes: list[tuple[NodeTime, ...]] = field(default_factory=list)
    runs_ms: list[float] = field(default_factory=list)

    def profile(self, num_warmup: int) -> Profile:
        return counted_profile(self.nodes[num_warmup:], self.runs_ms[num_warmup:])


class _OpenVinoProfiler(Closing):
    """OpenVINO counts means over all runs since it was opened, so it is asked twice: after the warm-up, at the end."""

    def __init__(self, engine: OpenVinoEngine) -> None:
        self.engine = engine
        self._counts = _Counts()

    def run(self, feeds: Feeds) -> None:
        started = perf_counter_ns()
        self.engine(feeds)
        self._counts.runs_ms.append((perf_counter_ns() - started) / 1e6)
        self._counts.nodes.append(self.engine.last_profile())

    def finish(self, num_warmup: int) -> Profile:
        before = self._counts.nodes[num_warmup - 1] if num_warmup else ()
        return mean_profile(before, num_warmup, self._counts.nodes[-1], self._counts.runs_ms[num_warmup:])

    def close(self) -> None:
        self.engine.close()


class _TensorRtProfiler(Closing):
    """TensorRT reports each layer while a run goes on. Written to the documented interface; run on no GPU yet."""

    def __init__(self, bundle: Bundle, precision: Precision, cuda: Cuda | None) -> None:
        self.engine = open_tensorrt_engine(bundle, precision, cuda, graphs=False)  # a graph's layers are not reported
        self._counts = _Counts()
        self._now: list[NodeTime] = []
        self._attested = _attested(bundle, precision)
        self.engine.report_layers(self._report)

    def run(self, feeds: Feeds) -> None:
        self._now = []
        started = perf_counter_ns()
        self.engine(feeds)
        self._counts.runs_ms.append((perf_counter_ns() - started) / 1e6)
        self._counts.nodes.append(tuple(self._now))

    def finish(self, num_warmup: int) -> Profile:
        return self._counts.profile(num_warmup)

    def close(self) -> None:
        self.engine.close()

    def _report(self, layer: str, ms: float) -> None:
        row = self._attested.get(layer)
        kind = "Reformat" if layer.startswith("Reformatting") else (row.kind if row else "")
        sources = row.onnx_nodes if row else ()
        kernel = row.inputs[0].lower() if row and row.inputs else ""
        self._now.append(NodeTime(layer, kind, (ms,), sources, kernel))


def _attested(bundle: Bundle, precision: Precision) -> dict[str, LayerPrecision]:
    """By a layer's name: what was read back of it when the bundle's engines were built."""
    records = [known.record for known in known_engines(bundle) if known.record.precision == precision]
    tables = [attestation_of(bundle, record) for record in records]
    return {row.name: row for table in tables if table is not None for row in table.layers}
