"""The verb `score`: official numbers from result files in the official format."""

from __future__ import annotations

from pathlib import Path

import typer


def score(
    results: Path = typer.Argument(..., metavar="RESULTS", help="Result files in the official submission format."),
    data: Path = typer.Option(..., "--data", help="Data set with the labels."),
    metric: str = typer.Option(
        ..., "--metric", help="kitti, kitti-loose, nuscenes, argoverse2, semantickitti or nuscenes-lidarseg."
    ),
    split: str = typer.Option("val", "--split", help="Split of the data set; 'all' takes every frame."),
    out: Path | None = typer.Option(None, "--out", help="Write the record there (JSON)."),
) -> None:
    """Score result files by a data set's official metric."""
    from understudy.configuration import refuse_unlikely_json
    from understudy.datasets.opening import open_dataset
    from understudy.metrics.official import benchmark_named, describe
    from understudy.metrics.official import score as score_results

    if out is not None:
        refuse_unlikely_json(out)
    dataset = open_dataset(data, split, benchmark_named(metric).classes)
    result = score_results(results, dataset, metric)
    if out is not None:
        result.write(out)
    typer.echo("\n".join(describe(result)))
