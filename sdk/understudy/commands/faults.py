"""`understudy faults`: seeded faults on sensors' streams, and whether what must hold held."""

from __future__ import annotations

import logging
from pathlib import Path

import typer

from understudy import progress
from understudy.cli import needs


@needs("rosbags", "onnxruntime", extra="cpu,bags")
def faults(
    scenarios: int = typer.Option(1000, "--scenarios", help="How many."),
    seed: int = typer.Option(
        0, "--seed", min=0, help="Number of the first scenario; each follows from its number alone."
    ),
    only: str = typer.Option("", "--only", help="Only scenarios about this fault, as drop or engine_hang."),
    bundle: Path | None = typer.Option(None, "--bundle", help="Student; a tiny one that is made for this if left out."),
    rig: Path | None = typer.Option(None, "--rig", help="Rig; a LiDAR and three small cameras when left out."),
    data: Path | None = typer.Option(None, "--data", help="Data set or bag that the sensors see, with its rig."),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig, when there are several."),
    out: Path | None = typer.Option(None, "--out", help="Write the report there, as JSON."),
) -> None:
    """Play seeded faults through the live node's stream under a virtual clock; 1 when an invariant was violated."""
    from understudy.configuration import refuse_unlikely_json, write_json
    from understudy.faults.report import describe
    from understudy.faults.run import run_faults

    if out is not None:
        refuse_unlikely_json(out)
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger("understudy.live").setLevel(logging.ERROR)  # it reports every fault, as it should
    report = run_faults(
        scenarios, seed=seed, only=only, bundle=bundle, rig=rig, data=data, lidar=lidar, track=progress.bar
    )
    if out is not None:
        write_json(out, report)
    typer.echo("\n".join(describe(report)))
    raise typer.Exit(0 if report.holds else 1)
