"""The verbs `understudy dataset ...`: make a data set from bags, look at it, check it, cut it into shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import typer

from understudy import progress

if TYPE_CHECKING:
    from understudy.converters.class_maps import ClassChoice

dataset = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Make a data set from bags, check it, count it, show it, cut it into shards.",
)


@dataset.callback()
def group() -> None:
    """Keeps `dataset` a group however few verbs it has."""


@dataset.command()
def stats(
    data: Path = typer.Argument(..., metavar="DATASET", help="Data set."),
    split: str = typer.Option("all", "--split", help="Split of the data set; 'all' takes every frame."),
    frames: int | None = typer.Option(None, "--frames", help="Frames to read, evenly spread; left out, all."),
    classes: str | None = typer.Option(None, "--classes", help="Class map: understudy or official."),
    images: bool = typer.Option(True, "--images/--no-images", help="Decode the pictures for light and haze."),
    out: Path | None = typer.Option(None, "--out", help="Folder for statistics.json and the plots."),
) -> None:
    """Count a data set: classes, ranges, densities, speeds, and what weather and light left in it."""
    from understudy.datasets.opening import open_dataset
    from understudy_training.data.statistics import measure_dataset, statistics_of
    from understudy_training.data.statistics_figures import write_figures
    from understudy_training.data.statistics_table import describe

    opened = open_dataset(data, split, named_map(classes))
    measured = measure_dataset(opened, frames, images=images, track=progress.bar)
    statistics = statistics_of(opened, measured, data.name)
    typer.echo("\n".join(describe(statistics)))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        statistics.write(out / "statistics.json")
        paths = write_figures(out, statistics, measured)
        typer.echo(f"wrote statistics.json, {', '.join(path.name for path in paths)} into {out}")


@dataset.command()
def check(
    data: Path = typer.Argument(..., metavar="DATASET", help="Data set."),
    splits: str = typer.Option("", "--splits", help="Splits, separated by commas; left out, those that it has."),
    frames: int | None = typer.Option(None, "--frames", help="Frames of each split, evenly spread; left out, all."),
    classes: str | None = typer.Option(None, "--classes", help="Class map: understudy or official."),
    images: bool = typer.Option(True, "--images/--no-images", help="Decode the pictures too."),
    out: Path | None = typer.Option(None, "--out", help="Write every finding there (JSON)."),
) -> None:
    """Read a data set through: broken files, senseless labels, empty boxes, leaks between splits. 1 on errors."""
    from understudy_training.data.checking import check_dataset
    from understudy_training.data.findings import describe

    names = [name.strip() for name in splits.split(",") if name.strip()]
    report = check_dataset(
        data, names, classes=named_map(classes), num_frames=frames, images=images, track=progress.bar
    )
    if out is not None:
        report.write(out)
    typer.echo("\n".join(describe(report)))
    raise typer.Exit(1 if report.num_errors else 0)


@dataset.command()
def show(
    data: Path = typer.Argument(..., metavar="DATASET", help="Data set."),
    out: Path = typer.Option(..., "--out", help="Folder of pictures or of the bag, or the .rrd file."),
    form: Literal["pictures", "mcap", "rerun"] = typer.Option(
        "pictures", "--as", help="PNG files; an MCAP bag for Foxglove and RViz; a Rerun recording."
    ),
    split: str = typer.Option("all", "--split", help="Split of the data set; 'all' takes every frame."),
    frames: str = typer.Option("3", "--frames", help="So many, evenly spread, or numbers as 10:20, 10: or :20."),
    classes: str | None = typer.Option(None, "--classes", help="Class map: understudy or official."),
    range_m: float = typer.Option(50.0, "--range", min=1.0, help="How far pictures reach from above, in meters."),
) -> None:
    """Show frames with their labels, without a display."""
    from understudy.datasets.opening import open_dataset
    from understudy_training.data import showing

    opened = open_dataset(data, split, named_map(classes))
    numbers = showing.chosen(opened, frames)
    if form == "pictures":
        paths = showing.write_pictures(opened, numbers, out, range_m, progress.bar)
        typer.echo("\n".join(f"wrote {path}" for path in paths))
    elif form == "mcap":
        from understudy_training.data.showing_bag import write_bag

        typer.echo(f"wrote {out}: {write_bag(opened, numbers, out, progress.bar)} messages")
    else:
        refuse_without("rerun", "rerun")
        from understudy_training.data.showing_rerun import write_rerun

        write_rerun(opened, numbers, out, progress.bar)
        typer.echo(f"wrote {out}: {len(numbers)} frames; rerun {out}")


@dataset.command()
def shard(
    data: Path = typer.Argument(..., metavar="DATASET", help="Data set of any kind."),
    out: Path = typer.Option(..., "--out", help="Folder to make; interrupted and called again, it goes on."),
    split: str = typer.Option("all", "--split", help="Split of the data set; 'all' takes every frame."),
    classes: str | None = typer.Option(None, "--classes", help="Class map: understudy or official."),
    shard_mb: float = typer.Option(256.0, "--shard-mb", help="Size of a shard, in megabytes."),
    sweeps: int = typer.Option(1, "--sweeps", min=1, help="Accumulate so many sweeps into each cloud."),
    images: bool = typer.Option(True, "--images/--no-images", help="Take the pictures along."),
) -> None:
    """Cut a data set into tar files that are read fast, in any order, however large it is."""
    from understudy.datasets.dataset import Dataset, PartlyLabeled
    from understudy.datasets.opening import EVERYTHING, open_dataset
    from understudy.datasets.shard_writer import write_shards
    from understudy.datasets.sweeps import MultiSweep

    opened = open_dataset(data, split, named_map(classes))
    whole: Dataset = opened if sweeps == 1 else MultiSweep(opened, sweeps)
    written = write_shards(
        whole,
        out,
        source=data.name,
        split=None if split == EVERYTHING else split,
        shard_mb=shard_mb,
        images=images,
        track=progress.bar,
    )
    megabytes = sum(entry.size_bytes for entry in written.shards) / 1e6
    typer.echo(f"{len(whole)} samples, {megabytes:.1f} MB in {len(written.shards)} shards, into {out}")
    if isinstance(opened, PartlyLabeled):
        typer.echo("note: this data set labels only a part of what it sees, which shards do not tell: evaluate on it")


def named_map(name: str | None) -> ClassChoice | None:
    """The class map that an option names.

    Raises:
        InputError: when there is none of that name.
    """
    from understudy.errors import InputError

    if name not in {None, "understudy", "official"}:
        raise InputError("--classes", found=name, wanted="understudy or official")
    return cast("ClassChoice | None", name)


def refuse_without(module: str, extra: str) -> None:
    """Raises UnderstudyError when an optional module is not installed, with the extra that brings it."""
    from importlib.util import find_spec

    from understudy.errors import UnderstudyError

    if find_spec(module) is None:
        remedy = f"pip install 'understudy[{extra}]'"
        raise UnderstudyError(f"module {module}", found="not installed", wanted=f"the extra {extra}", remedy=remedy)
