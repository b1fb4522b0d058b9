"""ONNX Runtime and OpenVINO, every precision, one and two threads: points to boxes on a real KITTI sweep.

python benchmarks/bench_engines.py [BUNDLE] [--rounds 8] [--size small]

Without a bundle a seeded, untrained student of the given size is exported and quantized: what a convolution costs does
not depend on its weights. A trained student's time differs where a graph stops early or a value is denormal; ours do
neither. The recordings must be there (UNDERSTUDY_DATA): made-up points have another spread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from random_students import machine, make, sweeps

from understudy.bundle.bundle import open_bundle
from understudy.bundle.manifest import Contract
from understudy.datasets.dataset import Sample
from understudy.engines import openvino_engine
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.engines.openvino_engine import OpenVinoEngine
from understudy.pipeline import Pipeline

CALLS_IN_A_ROW = 5
"""The first of them is not counted: threads of the engine before may still be spinning."""
THREADS = (1, 2)
PRECISIONS = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx", "uint8": "model.uint8.onnx"}


@dataclass
class Case:
    """One engine and what was measured of it, milliseconds."""

    runtime: str
    precision: str
    threads: int
    open_ms: float
    first_ms: float
    pipeline: Pipeline
    cpu_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)
    engine_cpu_ms: list[float] = field(default_factory=list)
    engine_wall_ms: list[float] = field(default_factory=list)

    @property
    def overhead(self) -> float:
        """CPU time of `pipeline(frame)` over the bare engine call's, median of neighboring pairs."""
        pairs = zip(self.cpu_ms, self.engine_cpu_ms, strict=True)
        return statistics.median(whole / bare for whole, bare in pairs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--size", default="small", choices=("nano", "small", "medium", "teacher"))
    options = parser.parse_args()
    dataset, source = sweeps()
    if source == "synthetic":
        print("skipped: no KITTI recordings; set UNDERSTUDY_DATA")
        return
    sample = dataset[0]
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as scratch:
        name, models, contract = _student(options.bundle, options.size, Path(scratch))
        cases = [_opened(*key, models, contract, sample) for key in _keys(models)]
        for _ in range(options.rounds):
            for case in cases:
                _measure(case, sample)
    print(f"{name}; {source} {sample.key}, {_num_points(sample)} points; load {before:.1f} before")
    _print_table(cases)
    print(
        json.dumps({"student": name, "rounds": options.rounds, "cases": [_record(case) for case in cases], **machine()})
    )


def _student(bundle: Path | None, size: str, scratch: Path) -> tuple[str, dict[str, Path], Contract]:
    if bundle is not None:
        opened = open_bundle(bundle)
        return opened.manifest.name, {name: opened.model(name) for name in opened.manifest.models}, opened.manifest
    model, contract = make(size, sweeps()[0], scratch, quantized=True, half=True)  # type: ignore[arg-type]
    found = {name: model.parent / file for name, file in PRECISIONS.items() if (model.parent / file).is_file()}
    return f"{size}, untrained, seeded", found, contract


def _keys(models: dict[str, Path]) -> list[tuple[str, str, int]]:
    runtimes = ["onnxruntime", "openvino"] if openvino_engine.available() else ["onnxruntime"]
    known = [name for name in PRECISIONS if name in models]
    return [(runtime, name, threads) for runtime in runtimes for name in known for threads in THREADS]


def _opened(
    runtime: str, precision: str, threads: int, models: dict[str, Path], contract: Contract, sample: Sample
) -> Case:
    opener = OnnxRuntimeEngine if runtime == "onnxruntime" else OpenVinoEngine
    started = time.perf_counter()
    engine = opener(models[precision], threads=threads)
    opened = time.perf_counter()
    pipeline = Pipeline(contract, engine, sample.rig)
    pipeline(sample.frame)
    first = time.perf_counter()
    return Case(runtime, precision, threads, 1e3 * (opened - started), 1e3 * (first - opened), pipeline)


def _measure(case: Case, sample: Sample) -> None:
    """A few calls in a row, the whole pipeline and the bare engine taking turns."""
    feeds = case.pipeline.prepare(sample.frame)
    calls = {"whole": lambda: case.pipeline(sample.frame), "bare": lambda: case.pipeline.engine(feeds)}
    for number in range(CALLS_IN_A_ROW):
        times = {name: _timed(calls[name]) for name in (calls if number % 2 else reversed(calls))}
        if number:
            case.cpu_ms.append(times["whole"][0])
            case.wall_ms.append(times["whole"][1])
            case.engine_cpu_ms.append(times["bare"][0])
            case.engine_wall_ms.append(times["bare"][1])


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall milliseconds; CPU time is that of all threads of this process."""
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    call()
    return (time.process_time_ns() - cpu) / 1e6, (time.perf_counter_ns() - wall) / 1e6


def _print_table(cases: list[Case]) -> None:
    print(f"{'runtime':<12}{'precision':<10}{'threads':>8}", end="")
    titles = ("open ms", "first ms", "cpu ms", "least", "wall ms", "least", "overhead")
    print("".join(f"{title:>10}" for title in titles))
    for case in cases:
        values = (case.open_ms, case.first_ms, statistics.median(case.cpu_ms), min(case.cpu_ms))
        values += (statistics.median(case.wall_ms), min(case.wall_ms))
        cells = "".join(f"{value:10.1f}" for value in values)
        print(f"{case.runtime:<12}{case.precision:<10}{case.threads:>8}{cells}{case.overhead:10.3f}")


def _record(case: Case) -> dict[str, object]:
    """Medians and plain fields; samples would be pages."""
    plain = {name: getattr(case, name) for name in ("runtime", "precision", "threads")}
    singles = {name: round(getattr(case, name), 3) for name in ("open_ms", "first_ms", "overhead")}
    lists = ("cpu_ms", "wall_ms", "engine_cpu_ms", "engine_wall_ms")
    return {**plain, **singles, **{name: round(statistics.median(getattr(case, name)), 3) for name in lists}}


def _num_points(sample: Sample) -> int:
    return sum(len(cloud) for cloud in sample.frame.clouds.values())


if __name__ == "__main__":
    main()
