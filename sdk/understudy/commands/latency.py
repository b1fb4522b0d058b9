"""The verb `latency`: how long each step of the pipeline takes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from understudy import progress
from understudy.commands.trust import REQUIRE_SIGNATURE


def latency(
    bundle: Path = typer.Argument(..., help="Bundle folder or zip."),
    data: Path = typer.Option(..., "--data", help="Data set with the frames to time."),
    split: str = typer.Option("val", "--split", help="Split of the data set; 'all' takes every frame."),
    precision: Literal["fp32", "fp16", "int8", "uint8"] | None = typer.Option(
        None, "--precision", help="Which model of the bundle; left out, the fastest on a CPU."
    ),
    frames: int = typer.Option(100, "--frames", help="Timed calls; 100 are needed for p99."),
    warmup: int = typer.Option(10, "--warmup", help="Calls before them that are not counted."),
    threads: int = typer.Option(1, "--threads", help="Threads within an operator."),
    runtime: Literal["onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "openvino", "tensorrt"] = typer.Option(
        "onnxruntime", "--runtime", help="What runs the model; openvino is an extra of its own."
    ),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig, when there are several."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the record with every sample there."),
    require_signature: Path | None = REQUIRE_SIGNATURE,
) -> None:
    """Time prepare, engine and boxes on real frames: percentiles, with clocks and load in the record."""
    from understudy.bundle.bundle import open_bundle
    from understudy.configuration import refuse_unlikely_json, write_json
    from understudy.datasets.opening import open_dataset
    from understudy.engines.opening import best_precision, open_engine
    from understudy.latency import LatencyPlan, describe, measure

    if json_path is not None:
        refuse_unlikely_json(json_path)
    opened, dataset = open_bundle(bundle), open_dataset(data, split=split)
    chosen = precision or best_precision(opened, runtime)
    plan = LatencyPlan(frames, warmup, chosen, threads, opened.fingerprint, lidar)
    with open_engine(opened, chosen, runtime, threads) as engine:
        record = measure(opened.manifest, engine, dataset, plan, progress.bar)
    if json_path is not None:
        write_json(json_path, record)
    typer.echo("\n".join(describe(record)))
