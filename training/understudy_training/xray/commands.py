"""The verbs `understudy xray ...`: is a teacher better on complete frames; labels for unlabeled drives."""

from __future__ import annotations

from pathlib import Path

import typer

from understudy import progress
from understudy.cli import needs

xray = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Objects gathered over drives: judge a teacher on them, label unlabeled drives with them.",
)
needs("torch", "safetensors", extra="training")(xray)

DATA = typer.Argument(..., metavar="DATASET", help="Data set of drives with poses.")
SETTINGS = typer.Option(None, "--objects", help="How objects are gathered (YAML); left out, as in docs/xray.md.")


@xray.callback()
def group() -> None:
    """Keeps `xray` a group however few verbs it has."""


@xray.command()
def compare(
    model: Path = typer.Argument(..., metavar="BUNDLE_OR_RUN", help="Bundle folder or zip, or a training run."),
    data: Path = typer.Option(..., "--data", help="Data set of drives with labels, tracks and poses."),
    split: str = typer.Option("val", "--split", help="Split of the data set; 'all' takes every frame."),
    objects: Path | None = SETTINGS,
    frames: int | None = typer.Option(None, "--frames", help="Frames to take, evenly spread; left out, all."),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig, when there are several."),
    threads: int = typer.Option(1, "--threads", help="Threads within an operator."),
) -> None:
    """Score a network on raw and on complete frames."""
    from understudy.configuration import read_config
    from understudy.datasets.opening import open_dataset
    from understudy.engines.model import open_model
    from understudy_training.xray.complete_objects import CompleteObjects
    from understudy_training.xray.describing import describe_comparison
    from understudy_training.xray.labeling import compare_frames

    settings = CompleteObjects() if objects is None else read_config(objects, CompleteObjects)
    opened = open_model(model, threads=threads)
    with opened.engine:
        raw, complete = compare_frames(
            opened, open_dataset(data, split), settings, num_frames=frames, lidar=lidar, track=progress.bar
        )
    typer.echo("\n".join(describe_comparison(raw, complete)))


@xray.command()
def complete(
    data: Path = DATA,
    out: Path = typer.Option(..., "--out", help="Folder of shards to make; interrupted, call it again."),
    split: str = typer.Option("train", "--split", help="Split of the data set; 'all' takes every frame."),
    objects: Path | None = SETTINGS,
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig, when there are several."),
    images: bool = typer.Option(True, "--images/--no-images", help="Take the pictures along."),
) -> None:
    """Write complete frames as shards."""
    from understudy.configuration import read_config
    from understudy.datasets.opening import EVERYTHING, open_dataset
    from understudy.datasets.shard_writer import write_shards
    from understudy_training.xray.complete_objects import CompleteObjects, ObjectComplete

    settings = CompleteObjects() if objects is None else read_config(objects, CompleteObjects)
    whole = ObjectComplete(open_dataset(data, split), settings, lidar)
    name = None if split == EVERYTHING else split
    written = write_shards(whole, out, source=data.name, split=name, images=images, track=progress.bar)
    typer.echo(f"{len(whole)} complete frames in {len(written.shards)} shards, into {out}")


@xray.command()
def share(
    data: Path = DATA,
    out: Path = typer.Option(..., "--out", help="Folder to make: a few kilobytes beside the data."),
    share: float = typer.Option(0.1, "--share", help="Part of the labeled drives that keep their labels."),
    held_out: float = typer.Option(0.25, "--held-out", help="Part of those that thresholds are chosen by."),
    split: str = typer.Option("train", "--split", help="Split of the data set; 'all' takes every drive."),
    seed: int = typer.Option(0, "--seed", min=0, help="Chooses the drives."),
) -> None:
    """See a data set through a share of its labels."""
    from understudy.datasets.opening import EVERYTHING, open_dataset
    from understudy_training.xray.describing import describe_share
    from understudy_training.xray.sharing import share_labels

    dataset, name = open_dataset(data, split), None if split == EVERYTHING else split
    description = share_labels(
        dataset, data, out, split=name, share=share, held_out=held_out, seed=seed, track=progress.bar
    )
    typer.echo("\n".join([*describe_share(description), f"wrote {out}"]))


@xray.command()
def label(
    data: Path = typer.Argument(..., metavar="SHARE", help="What `understudy xray share` wrote."),
    base: Path = typer.Option(..., "--base", help="Run or bundle whose boxes are followed, on raw frames."),
    teacher: Path = typer.Option(..., "--teacher", help="Run or bundle that is shown the complete frames."),
    out: Path = typer.Option(..., "--out", help="Folder to make: the share with labels for the other drives."),
    rules: Path | None = typer.Option(None, "--rules", help="Scores, precision and tracking (YAML)."),
    threads: int = typer.Option(1, "--threads", help="Threads within an operator."),
) -> None:
    """Label the other drives of a share."""
    from understudy.configuration import read_config
    from understudy.datasets.opening import open_dataset
    from understudy.datasets.relabeled import RelabeledDataset
    from understudy.engines.model import open_model
    from understudy.errors import InputError
    from understudy_training.xray.describing import describe_labels
    from understudy_training.xray.labeling import LabelingRules, Networks, label_drives

    unlabeled, held_out = open_dataset(data, "unlabeled"), open_dataset(data, "held_out")
    if not isinstance(unlabeled, RelabeledDataset):
        remedy = "make one: understudy xray share"
        raise InputError(f"{data}", found=type(unlabeled).__name__, wanted="a share of labels", remedy=remedy)
    if out.exists():
        raise InputError(f"{out}", found="something is there", wanted="a new folder", remedy="choose another --out")
    chosen = LabelingRules() if rules is None else read_config(rules, LabelingRules)
    first, second = open_model(base, threads=threads), open_model(teacher, threads=threads)
    made_with = {"base": _weights_of(base), "teacher": _weights_of(teacher)}
    with first.engine, second.engine:
        made = label_drives(unlabeled, held_out, Networks(first, second), out, chosen, made_with, track=progress.bar)
    used = unlabeled.description.labels_used
    typer.echo("\n".join([*describe_labels(made, chosen.precision, used), f"wrote {out}"]))


def _weights_of(model: Path) -> str:
    """Hash of a run's weights or of a bundle's manifest: what made the labels."""
    from understudy.configuration import file_sha256

    files = [model / name for name in ("weights.safetensors", "manifest.yaml")] + [model]
    return next(file_sha256(file) for file in files if file.is_file())
