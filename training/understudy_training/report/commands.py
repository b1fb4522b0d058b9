"""The verb `report`: one page from the records that the other verbs left."""

from __future__ import annotations

from pathlib import Path

import typer

from understudy import progress
from understudy.cli import needs


@needs("torch", "matplotlib", "jinja2", extra="training")
def report(
    ledger: Path = typer.Option(..., "--ledger", help="Ledger that `understudy distill` wrote."),
    data: Path = typer.Option(..., "--data", help="Labeled data set for the pictures."),
    networks: list[str] = typer.Option(
        ..., "--network", metavar="NAME=BUNDLE_OR_RUN", help="Network to draw; up to 2."
    ),
    evaluations: list[str] = typer.Option(..., "--evaluation", metavar="NAME=FILE", help="Record of `evaluate`."),
    parity: Path | None = typer.Option(None, "--parity", help="Record of `compare`."),
    latencies: list[Path] = typer.Option([], "--latency", help="Record of `latency`; may be repeated."),
    replays: list[Path] = typer.Option([], "--replay", help="Output of `replay`; may be repeated."),
    split: str = typer.Option("val", "--split", help="Split to draw frames of."),
    frames: int = typer.Option(3, "--frames", min=1, help="How many frames to draw."),
    title: str = typer.Option("Understudy: from teacher to replayed proof", "--title"),
    out: Path = typer.Option(..., "--out", help="HTML file to write."),
) -> None:
    """Write one self-contained page: ledger, pictures, curves, parity, latency, replays."""
    from understudy.datasets.opening import open_dataset
    from understudy_training.report.assembly import Pictures, assemble, read_networks
    from understudy_training.report.sources import read_sources

    sources = read_sources(ledger, evaluations, parity, latencies, replays)
    pictures = Pictures(open_dataset(data, split), read_networks(networks), frames)
    assemble(sources, pictures, title, track=progress.bar).write(out)
    typer.echo(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB, one file)")
