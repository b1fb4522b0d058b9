"""A network's official score: its detections go out as result files, and the files are scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from understudy.boxes import Boxes
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.sweeps import with_sweeps
from understudy.engines.opening import OpenedModel
from understudy.errors import InputError
from understudy.evaluation import at_score_threshold
from understudy.metrics.official_result import Benchmark, OfficialResult
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent


def evaluate_officially(
    model: OpenedModel,
    dataset: Dataset,
    benchmark: Benchmark,
    results: Path,
    *,
    lidar: str | None = None,
    track: Track = silent,
) -> OfficialResult:
    """Runs a detector over every frame, writes the official result files and scores those files.

    Args:
        model: the network; its detections enter from the low score of `evaluation.EVALUATED_SCORE`.
        dataset: frames with labels, opened with the benchmark's classes.
        benchmark: what writes and scores.
        results: folder for the files; it must not hold anything yet.
        lidar: LiDAR of the rig, where there are several.
        track: progress.

    Raises:
        InputError: when the folder is in use, or the benchmark scores segments, which a detector does not give.
        UnderstudyError: when a frame cannot be read or used.
    """
    if benchmark.predicts != "boxes":
        raise InputError(f"metric {benchmark.name}", found="a detector's boxes", wanted="a class for each point")
    if results.exists() and (not results.is_dir() or any(results.iterdir())):
        raise InputError(f"{results}", found="something there already", wanted="a new or empty folder")
    if dataset[0].boxes is None and dataset[len(dataset) - 1].boxes is None:
        raise InputError(f"metric {benchmark.name}", found="frames without labels", wanted="labels to score by")
    benchmark.write_results(results, dataset, _detections(model, dataset, benchmark.name, lidar, track))
    return benchmark.score_results(results, dataset)


def _detections(
    model: OpenedModel, dataset: Dataset, name: str, lidar: str | None, track: Track
) -> Iterator[tuple[Sample, Boxes]]:
    contract = at_score_threshold(model.contract)
    pipeline: Pipeline | None = None
    seen = with_sweeps(dataset, contract.sweeps, lidar)
    for index in track(range(len(seen)), f"detecting for {name}", total=len(seen)):
        sample = seen[index]
        if pipeline is None or sample.rig != pipeline.rig:
            pipeline = Pipeline(contract, model.engine, sample.rig, lidar=lidar, sweeps=contract.sweeps)
        yield sample, pipeline(sample.frame)
