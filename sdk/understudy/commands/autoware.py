"""`understudy autoware`: a bundle in the layout of Autoware's model packages."""

from __future__ import annotations

from pathlib import Path

import typer

from understudy.commands.trust import REQUIRE_SIGNATURE


def autoware(
    path: Path = typer.Argument(..., metavar="BUNDLE", help="Bundle folder or single file."),
    out: Path = typer.Option(..., "--out", help="Folder to write; a model package that is there is replaced."),
    precision: str = typer.Option("", "--precision", help="fp32, fp16 or int8; int8 where there is one when left out."),
    label: list[str] = typer.Option([], "--class", metavar="CLASS=LABEL", help="Autoware's label of a class: van=CAR."),
    require_signature: Path | None = REQUIRE_SIGNATURE,
) -> None:
    """Write a model package for Autoware, and say what maps and what does not; it runs behind our node."""
    from understudy.autoware.labels import chosen_labels
    from understudy.autoware.package import export_package
    from understudy.autoware.table import describe
    from understudy.bundle.bundle import open_bundle
    from understudy.bundle.manifest import precision_named

    bundle = open_bundle(path)
    chosen = precision_named(precision) if precision else None
    package = export_package(bundle, out, chosen, chosen_labels(label))
    typer.echo(f"wrote {package.folder} with {package.onnx_name} ({package.precision})")
    typer.echo("\n".join(describe(bundle.manifest, package.entries, package.labels)))
    typer.echo("it runs in understudy's node, not in autoware_lidar_centerpoint: see its README.md")
