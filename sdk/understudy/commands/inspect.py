"""The verb `inspect`: what a bundle holds, in which precision its engines compute, where their time goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from understudy import progress
from understudy.bundle.manifest import precision_named
from understudy.commands.trust import REQUIRE_SIGNATURE
from understudy.errors import InputError

if TYPE_CHECKING:
    from understudy.bundle.bundle import Bundle
    from understudy.layers.measuring import ProfilePlan
    from understudy.layers.report import LayerReport

_OF_LAYERS: Mapping[str, object] = {
    "json_path": None,
    "data": None,
    "split": "val",
    "lidar": None,
    "precision": "",
    "threads": 1,
    "runtime": "onnxruntime",
    "target": "",
    "runs": 20,
    "rows": 20,
}
"""Options that only --layers has a use for, with their defaults."""


def inspect(
    path: Path = typer.Argument(..., metavar="BUNDLE", help="Bundle folder or its zip."),
    precisions: bool = typer.Option(False, "--precisions", help="Also the precision of each layer, engine by engine."),
    layers: bool = typer.Option(False, "--layers", help="Time each layer in each precision: why is INT8 not faster?"),
    data: Path | None = typer.Option(None, "--data", help="With --layers: data set to take a frame of; else made up."),
    split: str = typer.Option("val", "--split", help="Split of the data set."),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig, when there are several."),
    precision: str = typer.Option("", "--precision", help="With --layers: which to compare with fp32, as int8,uint8."),
    threads: int = typer.Option(1, "--threads", help="With --layers: threads within an operator."),
    runtime: Literal["onnxruntime", "openvino", "tensorrt"] = typer.Option(
        "onnxruntime", "--runtime", help="With --layers: whose profiler; tensorrt times compiled engines, on their GPU."
    ),
    target: str = typer.Option(
        "", "--target", help="With --layers: estimate for orin, thor, rtx4060 or this, as orin,this."
    ),
    runs: int = typer.Option(20, "--runs", help="With --layers: runs of each model."),
    rows: int = typer.Option(20, "--rows", min=0, help="With --layers: layers shown one by one."),
    json_path: Path | None = typer.Option(None, "--json", help="With --layers: write everything there."),
    require_signature: Path | None = REQUIRE_SIGNATURE,
) -> None:
    """Show what a bundle holds and expects, after checking every hash."""
    given = locals()
    from understudy.bundle.bundle import open_bundle
    from understudy.bundle.card import bundle_card, precision_tables
    from understudy.configuration import refuse_unlikely_json, write_json
    from understudy.layers.measuring import ProfilePlan
    from understudy.layers.table import describe

    _refuse_contradictions(layers, given)
    if json_path is not None:
        refuse_unlikely_json(json_path)
    bundle = open_bundle(path)
    lines = [] if layers else [bundle_card(bundle)]
    if precisions:
        lines += precision_tables(bundle)
    if layers:
        report = _inspected(bundle, data, split, lidar, precision, ProfilePlan(runtime, threads, num_runs=runs), target)
        if json_path is not None:
            write_json(json_path, report)
        lines += [*([""] if precisions else []), *describe(report, rows)]
    typer.echo("\n".join(lines))


def _refuse_contradictions(layers: bool, given: Mapping[str, object]) -> None:
    """What would be ignored is refused: options of --layers without it, options of --data without that."""
    changed = [name for name, usual in _OF_LAYERS.items() if given[name] != usual]
    missing = "--data" if layers and given["data"] is None else "" if layers else "--layers"
    for name in changed:
        if missing and (missing == "--layers" or name in ("split", "lidar")):
            option = "--" + name.removesuffix("_path")
            raise InputError(option, found=f"without {missing}", wanted="with it", remedy=f"add {missing}")


def _inspected(
    bundle: Bundle, data: Path | None, split: str, lidar: str | None, precision: str, plan: ProfilePlan, target: str
) -> LayerReport:
    from understudy.layers.inspection import inspect_layers, made_up_scene, recorded_scene

    contract = bundle.manifest
    scene = made_up_scene(contract) if data is None else recorded_scene(contract, data, split, lidar)
    chosen = [precision_named(name) for name in _listed(precision)]
    return inspect_layers(bundle, chosen, scene, plan, _listed(target), progress.bar)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
