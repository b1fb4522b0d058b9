"""The verb `evaluate`: average precision of a bundle or a training run on a labeled data set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from understudy import progress
from understudy.commands.trust import REQUIRE_SIGNATURE
from understudy.errors import InputError


def evaluate(
    model: Path = typer.Argument(..., metavar="BUNDLE_OR_RUN", help="Bundle folder or zip, or a training run."),
    data: Path = typer.Option(..., "--data", help="Data set with labels."),
    split: str = typer.Option("val", "--split", help="Split of the data set; 'all' takes every frame."),
    precision: Literal["fp32", "fp16", "int8", "uint8"] | None = typer.Option(
        None, "--precision", help="Which model of the bundle; left out, the fastest on a CPU."
    ),
    frames: int | None = typer.Option(None, "--frames", help="Frames to take, evenly spread; left out, all."),
    out: Path | None = typer.Option(None, "--out", help="Write the record with its curves there (JSON)."),
    threads: int = typer.Option(1, "--threads", help="Threads within an operator."),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig, when there are several."),
    without: list[str] = typer.Option(
        [], "--without", metavar="CAMERA", help="As if this camera had failed; repeatable."
    ),
    official: str | None = typer.Option(
        None, "--official", help="Score by an official metric instead, through its result files: see `score`."
    ),
    results: Path | None = typer.Option(None, "--results", help="Where the official result files go; with --official."),
    classes: str | None = typer.Option(
        None,
        "--classes",
        help="Classes of the data set: understudy, official, or a YAML file with a map, as in a recipe.",
    ),
    require_signature: Path | None = REQUIRE_SIGNATURE,
) -> None:
    """Score a student or teacher: average precision from above and in 3D, by class and range."""
    from understudy.configuration import refuse_unlikely_json

    if out is not None:
        refuse_unlikely_json(out)
    if official is not None or results is not None:
        if classes is not None:
            raise InputError("--classes", found="given with --official", wanted="the official classes, always")
        if without:
            raise InputError("--without", found="given with --official", wanted="every camera")
        _evaluate_officially(model, data, split, precision, frames, out, threads, lidar, official, results)
        return
    from understudy.converters.class_maps import read_class_choice
    from understudy.datasets.opening import open_dataset
    from understudy.engines.model import open_model
    from understudy.evaluation import EvaluationSettings, evaluate_model
    from understudy.evaluation_table import describe

    dataset = open_dataset(data, split, read_class_choice(classes))
    opened = open_model(model, precision, threads=threads)
    settings = EvaluationSettings(num_frames=frames)
    with opened.engine:
        evaluation = evaluate_model(
            opened, dataset, settings, subject=opened.name, lidar=lidar, without=without, track=progress.bar
        )
    if classes is not None and not any(entry.num_truths for entry in evaluation.entries):
        found = f"no label of {', '.join(evaluation.class_names)} in {evaluation.num_frames} frames"
        raise InputError(f"--classes {classes}", found=found, wanted="native names that the labels have")
    if out is not None:
        evaluation.write(out)
    typer.echo("\n".join(describe(evaluation)))


def _evaluate_officially(
    model: Path,
    data: Path,
    split: str,
    precision: Literal["fp32", "fp16", "int8", "uint8"] | None,
    frames: int | None,
    out: Path | None,
    threads: int,
    lidar: str | None,
    official: str | None,
    results: Path | None,
) -> None:
    from understudy.datasets.opening import open_dataset
    from understudy.engines.model import open_model
    from understudy.metrics.official import benchmark_named, describe
    from understudy.official_evaluation import evaluate_officially

    if official is None or results is None:
        raise InputError("evaluate", found="one of --official and --results", wanted="both")
    if frames is not None:
        raise InputError("--frames", found="given with --official", wanted="every frame of the split")
    benchmark = benchmark_named(official)
    dataset = open_dataset(data, split, benchmark.classes)
    opened = open_model(model, precision, threads=threads)
    with opened.engine:
        result = evaluate_officially(opened, dataset, benchmark, results, lidar=lidar, track=progress.bar)
    if out is not None:
        result.write(out)
    typer.echo("\n".join(describe(result)))
