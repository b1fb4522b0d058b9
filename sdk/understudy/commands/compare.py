"""The verb `compare`: the parity ladder."""

from __future__ import annotations

from pathlib import Path

import typer

from understudy import progress
from understudy.commands.trust import REQUIRE_SIGNATURE


def compare(
    bundle: Path = typer.Argument(..., help="Bundle folder or zip."),
    data: Path = typer.Option(..., "--data", help="Data set with the frames to run."),
    split: str = typer.Option("val", "--split", help="Split of the data set; 'all' takes every frame."),
    reference: Path | None = typer.Option(None, "--reference", help="Training run to start the ladder from (torch)."),
    frames: int = typer.Option(8, "--frames", help="Frames, spread evenly over the split."),
    threads: int = typer.Option(1, "--threads", help="Threads within an operator."),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig, when there are several."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the full record there."),
    require_signature: Path | None = REQUIRE_SIGNATURE,
) -> None:
    """Compare every form of the student, box against box; exit 1 names the first that departs."""
    from understudy.bundle.bundle import open_bundle
    from understudy.configuration import write_json
    from understudy.datasets.opening import open_dataset
    from understudy.parity.ladder import climb, rungs_of
    from understudy.parity.table import describe

    opened = open_bundle(bundle)
    rungs = rungs_of(opened, reference, threads=threads)
    report = climb(
        rungs,
        open_dataset(data, split=split),
        num_frames=frames,
        lidar=lidar,
        bundle=opened.fingerprint,
        track=progress.bar,
    )
    if json_path is not None:
        write_json(json_path, report)
    typer.echo("\n".join(describe(report)))
    if report.first_departing is not None:
        raise typer.Exit(1)
