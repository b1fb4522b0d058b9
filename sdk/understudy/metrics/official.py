"""The official benchmarks: one table by name. Every number comes from files in the official submission format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from understudy.datasets.dataset import Dataset
from understudy.errors import InputError
from understudy.metrics.official_result import Benchmark, OfficialResult, Predictions, describe
from understudy.submissions import argoverse2, kitti, lidarseg, nuscenes, semantickitti

__all__ = ["BENCHMARKS", "Benchmark", "OfficialResult", "Predictions", "benchmark_named", "describe", "score"]

_ROWS: tuple[Benchmark, ...] = (
    *(*kitti.BENCHMARKS, *nuscenes.BENCHMARKS, *argoverse2.BENCHMARKS),
    *(*semantickitti.BENCHMARKS, *lidarseg.BENCHMARKS),
)
BENCHMARKS: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ROWS}
"""Benchmarks by name."""


def benchmark_named(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        InputError: when there is none.
    """
    if name not in BENCHMARKS:
        raise InputError(f"metric {name}", found="no such official metric", wanted=" or ".join(BENCHMARKS))
    return BENCHMARKS[name]


def score(results: Path, dataset: Dataset, name: str) -> OfficialResult:
    """Scores a folder of result files against a data set's labels.

    Args:
        results: folder in the benchmark's submission format.
        dataset: opened with the benchmark's classes.
        name: of the benchmark.

    Raises:
        InputError: when there is no such benchmark or folder, or a file is missing or malformed.
    """
    benchmark = benchmark_named(name)
    if not results.exists():
        raise InputError(f"{results}", found="no such folder", wanted="a folder of result files")
    return benchmark.score_results(results, dataset)
