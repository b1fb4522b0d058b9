"""The verb `compare`: the parity ladder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from understudy import progress
from understudy.commands.trust import REQUIRE_SIGNATURE
from understudy.errors import InputError

if TYPE_CHECKING:
    from understudy.bundle.bundle import Bundle
    from understudy.datasets.dataset import Dataset
    from understudy.parity.replayed import Vehicle


def compare(
    bundle: Path = typer.Argument(..., help="Bundle folder or zip."),
    data: Path = typer.Option(..., "--data", help="Data set with the frames to run."),
    split: str = typer.Option("val", "--split", help="Split of the data set; 'all' takes every frame."),
    reference: Path | None = typer.Option(None, "--reference", help="Training run to start the ladder from (torch)."),
    source: Path | None = typer.Option(None, "--source", help="Another bundle of the student to start from."),
    runtimes: str = typer.Option(
        "onnxruntime", "--runtimes", help="What runs the models, with commas: onnxruntime, openvino, tensorrt, ..."
    ),
    replay: bool = typer.Option(False, "--replay", help="Also the same frames as messages of a bag."),
    rig: Path | None = typer.Option(None, "--rig", help="The vehicle's rig, for the rung of messages."),
    frames: int = typer.Option(8, "--frames", help="Frames, spread evenly over the split."),
    threads: int = typer.Option(1, "--threads", help="Threads within an operator."),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig, when there are several."),
    explain: bool = typer.Option(False, "--explain", help="Say where the loss comes from, down to the tensor."),
    self_test: bool = typer.Option(False, "--self-test", help="Plant 20 faults in copies: is each found at its rung?"),
    json_path: Path | None = typer.Option(None, "--json", help="Write the full record there."),
    require_signature: Path | None = REQUIRE_SIGNATURE,
) -> None:
    """Compare every form of the student, box against box; exit 1 names the first that departs."""
    given = locals()
    from understudy.bundle.bundle import open_bundle
    from understudy.configuration import refuse_unlikely_json, write_json
    from understudy.datasets.opening import open_dataset
    from understudy.parity.ladder import choose_frames, climb
    from understudy.parity.rungs import parse_runtimes, rungs_of
    from understudy.parity.table import describe

    if self_test:
        _refuse_with_self_test(given)
    if json_path is not None:
        refuse_unlikely_json(json_path)
    opened = open_bundle(bundle)
    if self_test:
        _test_itself(opened, open_dataset(data, split=split), reference, frames, lidar, json_path)
        return
    rungs = rungs_of(
        opened,
        reference,
        threads=threads,
        runtimes=parse_runtimes(runtimes),
        vehicle=_vehicle(rig) if replay or rig is not None else None,
        source=None if source is None else open_bundle(source),
    )
    dataset = open_dataset(data, split=split)
    report = climb(rungs, dataset, num_frames=frames, lidar=lidar, bundle=opened.fingerprint, track=progress.bar)
    if json_path is not None:
        write_json(json_path, report)
    typer.echo("\n".join(describe(report)))
    if explain and report.least_agreeing is not None:
        from understudy.parity.explaining import explain as look_into
        from understudy.parity.explaining_table import describe_explanation

        explanation = look_into(rungs, report, choose_frames(dataset, frames, lidar))
        typer.echo("\n".join(describe_explanation(explanation, report.least_agreeing)))
    elif explain:
        typer.echo("nothing to explain: each box of each rung is within its tolerances")
    if report.first_departing is not None:
        raise typer.Exit(1)


def _refuse_with_self_test(given: Mapping[str, object]) -> None:
    """The self-test plants its faults in rungs of its own."""
    usual = {"source": None, "runtimes": "onnxruntime", "replay": False, "rig": None, "threads": 1, "explain": False}
    for name, value in usual.items():
        if given[name] != value:
            raise InputError(f"--{name}", found="with --self-test", wanted="without it", remedy=f"leave --{name} out")


def _vehicle(rig: Path | None) -> Vehicle:
    from understudy.parity.replayed import Vehicle
    from understudy.rig import read_rig

    if rig is None:
        return Vehicle()
    own = read_rig(rig)
    return Vehicle(rig=lambda recorded: own)


def _test_itself(
    bundle: Bundle, dataset: Dataset, run: Path | None, frames: int, lidar: str | None, json_path: Path | None
) -> None:
    from understudy.configuration import write_json
    from understudy.parity.self_test import describe_self_test, self_test

    result = self_test(bundle, dataset, run=run, num_frames=frames, lidar=lidar, track=progress.bar)
    if json_path is not None:
        write_json(json_path, result)
    typer.echo("\n".join(describe_self_test(result)))
    if not result.ok:
        raise typer.Exit(1)
