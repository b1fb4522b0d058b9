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


@dataset.command("from-bag")
def from_bag(
    bags: list[Path] = typer.Argument(..., metavar="BAG...", help="Bag folders, or *.mcap or *.db3 files."),
    out: Path = typer.Option(..., "--out", help="Folder of the data set to make."),
    rig: Path | None = typer.Option(None, "--rig", help="Rig file; rig.yaml in the bag, else its TF and CameraInfo."),
    lidar_topic: list[str] = typer.Option([], "--lidar-topic", help="TOPIC or NAME=TOPIC, the pivot first."),
    camera_topic: list[str] = typer.Option([], "--camera-topic", help="NAME=TOPIC; none: no cameras."),
    labels_topic: str = typer.Option("", "--labels-topic", help="Boxes as Detection3DArray; none: no labels."),
    odometry_topic: str = typer.Option("", "--odometry-topic", help="Poses of the ego; left out, also TF; none."),
    base_frame: str = typer.Option("base_link", "--base-frame", help="The ego's frame in the bag, on the road."),
    ignore_tf: bool = typer.Option(False, "--ignore-tf", help="Trust the rig where the bag's /tf_static differs."),
    intensity_scale: float | None = typer.Option(None, "--intensity-scale", help="Raw intensity that means 1."),
    key_frame_hz: float = typer.Option(2.0, "--key-frame-hz", min=0.0, help="Frames per second; 0: every sweep."),
    min_motion_m: float = typer.Option(0.0, "--min-motion", min=0.0, help="Meters driven between frames."),
    sweeps: int = typer.Option(1, "--sweeps", min=1, help="Sweeps accumulated in each frame."),
    tolerance_ms: float = typer.Option(50.0, "--tolerance-ms", help="Farthest of a picture from its sweep."),
    require: Literal["any", "all"] = typer.Option("any", "--require", help="Cameras that a frame must have."),
    drive: str = typer.Option("", "--drive", help="Name of the drive; the bag's when left out."),
    split: Literal["train", "val"] = typer.Option("train", "--split", help="Split of the drives."),
    val_every: int = typer.Option(0, "--val-every", help="Instead: every Nth drive is val."),
    append: bool = typer.Option(False, "--append", help="Add drives to the data set that is there."),
    salvage: bool = typer.Option(False, "--salvage", help="Keep what a damaged bag still gives; ends with 1."),
    teacher: Path | None = typer.Option(None, "--teacher", help="Bundle or training run that labels the frames."),
    rules: Path | None = typer.Option(None, "--rules", help="Rules for the teacher's labels (YAML)."),
    threads: int = typer.Option(1, "--threads", help="Threads of the teacher's engine."),
) -> None:
    """Make a data set of rosbags: match, choose key frames, accumulate sweeps, bring or make labels."""
    from understudy.configuration import check_config, read_config
    from understudy_training.data.from_bag import Job, dataset_from_bags
    from understudy_training.data.from_bag_settings import FromBagSettings
    from understudy_training.data.pseudo_labels import PseudoRules

    topics = {"lidar_topics": lidar_topic, "camera_topics": camera_topic, "labels_topic": labels_topic}
    ego = {"odometry_topic": odometry_topic, "base_frame": base_frame, "ignore_tf": ignore_tf}
    chosen = {"key_frame_hz": key_frame_hz, "min_motion_m": min_motion_m, "sweeps": sweeps}
    matched = {"intensity_scale": intensity_scale, "tolerance_ms": tolerance_ms, "require": require}
    job = Job(
        bags=tuple(bags),
        out=out,
        settings=check_config(topics | ego | chosen | matched, FromBagSettings, "options"),
        rig=rig,
        drive=drive,
        split=split,
        val_every=val_every,
        append=append,
        salvage=salvage,
        teacher=teacher,
        rules=PseudoRules() if rules is None else read_config(rules, PseudoRules),
        threads=threads,
    )
    summaries = dataset_from_bags(job, progress.bar)
    for summary in summaries:
        typer.echo("\n".join(summary.lines()))
    typer.echo(f"wrote {out}: {sum(summary.num_frames for summary in summaries)} frames")
    raise typer.Exit(1 if any(summary.damage for summary in summaries) else 0)


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

    refuse_no_name(out)
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
    from understudy.configuration import refuse_unlikely_json
    from understudy_training.data.checking import check_dataset
    from understudy_training.data.findings import describe

    if out is not None:
        refuse_unlikely_json(out)
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
    range_m: float = typer.Option(
        50.0, "--range", min=1.0, max=1000.0, help="How far pictures reach from above, in meters."
    ),
) -> None:
    """Show frames with their labels, without a display."""
    from understudy.datasets.opening import open_dataset
    from understudy_training.data import showing

    opened = open_dataset(data, split, named_map(classes))
    refuse_no_name(out)
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


@dataset.command()
def objects(
    data: Path = typer.Argument(..., metavar="DATASET", help="Labeled data set of any kind."),
    out: Path = typer.Option(..., "--out", help="Folder to make."),
    split: str = typer.Option("train", "--split", help="Split to cut from: the one that is trained on, no other."),
    classes: str | None = typer.Option(None, "--classes", help="Class map: understudy or official."),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR, where the rig has several."),
    min_points: int = typer.Option(10, "--min-points", min=1, help="Leave out objects with fewer returns."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace the database that OUT holds."),
) -> None:
    """Cut the labeled objects out of a data set, for the augmentation step object_paste."""
    from understudy.datasets.opening import open_dataset
    from understudy_training.augmentation.object_cutting import cut_objects

    opened = open_dataset(data, split, named_map(classes))
    card = cut_objects(opened, out, lidar=lidar, min_points=min_points, overwrite=overwrite, track=progress.bar)
    typer.echo(f"{out}: {', '.join(f'{count} {name}' for name, count in card.counts.items())}")


def refuse_no_name(out: Path | None) -> None:
    """Raises InputError for `--out ''`, which would scatter files where the user stands."""
    from understudy.errors import InputError

    if out is not None and not out.name:
        raise InputError("--out", found="no name", wanted="a folder to write to")


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
