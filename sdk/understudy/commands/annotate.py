"""`understudy annotate`: a network over a fleet's bags, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from understudy import progress
from understudy.cli import needs
from understudy.commands.trust import REQUIRE_SIGNATURE
from understudy.errors import InputError


@needs("rosbags", "onnxruntime", extra="cpu,bags")
def annotate(
    sources: list[Path] = typer.Argument(
        ..., metavar="BAG_OR_FOLDER...", help="Bags, data sets, or folders with bags below."
    ),
    model: Path = typer.Option(..., "--model", metavar="BUNDLE_OR_RUN", help="Bundle folder or zip, or training run."),
    out: Path = typer.Option(..., "--out", help="Folder for plan, units and detections; the same again to go on."),
    rig: Path | None = typer.Option(None, "--rig", help="Rig of every bag; rig.yaml in each bag when left out."),
    workers: int = typer.Option(1, "--workers", help="Processes that share the work."),
    executor: Literal["local", "ray"] = typer.Option("local", "--executor", help="Where the workers run."),
    threads: int = typer.Option(1, "--threads", help="Threads of each worker's engine."),
    score: float | None = typer.Option(
        None, "--score", help="Keep boxes from this score; the network's when left out."
    ),
    topic: str | None = typer.Option(None, "--topic", help="Point clouds to use."),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig they come from."),
    split: str | None = typer.Option(None, "--split", help="Split of the data sets; every sample when left out."),
    precision: Literal["fp32", "fp16", "int8", "uint8"] | None = typer.Option(
        None, "--precision", help="Which model of the bundle; left out, the fastest on a CPU."
    ),
    sweeps_per_unit: int = typer.Option(200, "--sweeps-per-unit", help="Sweeps that a worker takes at once."),
    lease: float = typer.Option(120.0, "--lease", help="Seconds after which a silent worker's unit is taken over."),
    retry_failed: bool = typer.Option(False, "--retry-failed", help="Try units again that failed before."),
    extend: bool = typer.Option(False, "--extend", help="Bags were added or replaced: keep what is finished."),
    bags: bool = typer.Option(False, "--bags", help="Also write the detections as rosbag2 folders."),
    ignore_tf: bool = typer.Option(False, "--ignore-tf", help="Trust the rig where a bag's /tf_static differs."),
    require_signature: Path | None = REQUIRE_SIGNATURE,
) -> None:
    """Run a network over many bags and data sets; killed and started again, it goes on where it was."""
    from understudy.configuration import check_config
    from understudy.fleet.annotate import AnnotateOptions
    from understudy.fleet.annotate import annotate as annotate_fleet
    from understudy.fleet.plan import FleetSettings
    from understudy.rig import read_rig

    values = {
        "score": score,
        "topic": topic,
        "lidar": lidar,
        "split": split,
        "check_transforms": not ignore_tf,
        "sweeps_per_unit": sweeps_per_unit,
    }
    settings = check_config(values, FleetSettings, "annotate", InputError)
    options = AnnotateOptions(workers, executor, threads, lease, retry_failed, extend, bags)
    the_rig = None if rig is None else read_rig(rig)
    summary = annotate_fleet(sources, model, out, the_rig, settings, options, precision=precision, track=progress.bar)
    for line in summary.lines():
        typer.echo(line)
    if summary.num_failed:
        raise typer.Exit(1)
