"""`understudy pack`, `compile`: making a bundle, making it ready."""

from __future__ import annotations

import textwrap
from pathlib import Path

import typer

from understudy.cli import needs
from understudy.commands.trust import REQUIRE_SIGNATURE
from understudy.errors import InputError


@needs("onnx", extra="calibration")
def pack(
    folder: Path = typer.Argument(..., help="Folder made by `understudy export`, quantized or not."),
    out: Path = typer.Option(..., "--out", help="Bundle folder to write; a bundle that is there is replaced."),
    name: str = typer.Option("", "--name", help="Name of the student; as exported when left out."),
    ledger: Path | None = typer.Option(None, "--ledger", help="JSON file whose contents travel in the manifest."),
    archive: bool = typer.Option(False, "--zip", help="Write OUT.zip as well."),
) -> None:
    """Pack an export into a bundle: models, manifest, a hash of everything."""
    from understudy.bundle.archives import write_archive
    from understudy.bundle.packing import pack as pack_folder

    bundle = pack_folder(folder, out, name=name or None, ledger=ledger)
    typer.echo(f"packed {', '.join(bundle.manifest.models)} into {bundle.folder} ({bundle.fingerprint[:12]})")
    if archive:
        path = write_archive(bundle.folder, out.with_name(f"{out.name}.zip"))
        typer.echo(f"zipped {path} ({path.stat().st_size / 1e6:.2f} MB)")


def compile_engines(
    path: Path = typer.Argument(..., metavar="BUNDLE", help="Bundle folder, or a single file: engines go into it."),
    target: str = typer.Option(
        "cpu", "--target", help="cpu; rtx-sm75 .. rtx-sm120, rtx (SM80 to SM120 in one); orin, thor, this; or all."
    ),
    precision: str = typer.Option(
        "", "--precision", help="fp32, fp16, int8 or uint8; the target's best when left out."
    ),
    timing_cache: Path | None = typer.Option(
        None, "--timing-cache", help="File that keeps kernel times between builds on this GPU."
    ),
    build_only: bool = typer.Option(False, "--build-only", help="Do not open and run what was built here."),
    require_signature: Path | None = REQUIRE_SIGNATURE,
) -> None:
    """Make a bundle ready for its target: a CPU session proved, or an engine built; orin, thor, this: on that GPU."""
    from understudy.bundle.bundle import open_bundle
    from understudy.bundle.card import engine_line
    from understudy.bundle.manifest import precision_named
    from understudy.bundle.single_file import writable
    from understudy.cards import WIDTH
    from understudy.engines.compiling import compile_bundle
    from understudy.engines.tensorrt_builder import BuildSettings
    from understudy.progress import PhaseBars

    open_bundle(path)
    _refuse_no_file(timing_cache)
    chosen = precision_named(precision) if precision else None
    with PhaseBars() as bars, writable(path) as folder:
        settings = BuildSettings(timing_cache, build_only, bars)
        done = list(compile_bundle(open_bundle(folder), target, chosen, settings))
    for compiled in done:
        line = f"{'compiled' if compiled.is_new else 'already built'}: {engine_line(compiled.record)}"
        typer.echo(textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False))


def _refuse_no_file(cache: Path | None) -> None:
    """Said before a build of minutes, not when its cache is written."""
    if cache is not None and (cache.is_dir() or not cache.absolute().parent.is_dir()):
        found = "a folder" if cache.is_dir() else f"no folder {cache.parent}"
        raise InputError(f"--timing-cache {cache}", found=found, wanted="a file, or the place of a new one")
