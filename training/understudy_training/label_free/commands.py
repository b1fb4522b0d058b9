"""The verbs `understudy label-free ...`: passes and 2D boxes for scenes, training without labels, its score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from understudy import progress
from understudy.cli import needs
from understudy.errors import InputError

if TYPE_CHECKING:
    from understudy.datasets.dataset import Dataset
    from understudy_training.label_free.recipe import LabelFreeRecipe
    from understudy_training.label_free.rounds import Material

label_free = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Train a detector without labels: clusters and 2D boxes, then rounds of self-training (LiSe).",
)
needs("torch", "lightning", "safetensors", "scipy", extra="training")(label_free)

_RECIPE = typer.Argument(..., help="Recipe file, or the name of one that comes with the package.")
_SPLIT_HELP = "Split of the data set; 'all' takes every frame."


@label_free.command("passes")
def passes(
    data: Path = typer.Argument(..., help="Data set made by `understudy scenes`."),
    out: Path = typer.Option(..., "--out", help="Folder to make."),
    num_passes: int = typer.Option(4, "--passes", min=2, max=20, help="Other passes of each training drive."),
    every: int = typer.Option(2, "--every", min=1, help="Of a pass's frames, one in so many is written."),
) -> None:
    """Drive along the streets of scenes on other days: same houses, other traffic. No labels, no pictures."""
    from understudy.configuration import check_config
    from understudy.datasets.scenes import ScenesDataset
    from understudy_training.label_free.traversals import refuse_other_streets, write_passes
    from understudy_training.scenes.config import SceneConfig

    dataset = ScenesDataset(data, images=False)
    config = check_config(dataset.description.generator, SceneConfig, f"{data}: generator")
    refuse_other_streets(dataset, config)
    made = write_passes(config, out, num_passes, every=every, track=progress.bar)
    typer.echo(f"{out}: {num_passes} other passes of each of {len(made.groups)} drives")


@label_free.command("cues")
def cues(
    data: Path = typer.Argument(..., help="Labelled data set with cameras."),
    out: Path = typer.Option(..., "--out", help="JSON file to write."),
    split: str = typer.Option("train", "--split", help=_SPLIT_HELP),
    settings: Path | None = typer.Option(None, "--settings", help="YAML: how good the stand-in is."),
) -> None:
    """Make SYNTHETIC 2D boxes from the labels, to stand in for a 2D detector that is not there."""
    from understudy.configuration import read_config, refuse_unlikely_json
    from understudy.datasets.opening import open_dataset
    from understudy_training.label_free.cues import write_cues
    from understudy_training.label_free.synthetic_cues import SurrogateSettings, synthetic_cues

    refuse_unlikely_json(out)
    chosen = SurrogateSettings() if settings is None else read_config(settings, SurrogateSettings)
    file = synthetic_cues(open_dataset(data, split), chosen, progress.bar)
    write_cues(out, file)
    typer.echo(f"{out}: {len(file.annotations)} SYNTHETIC 2D boxes in {len(file.images)} pictures, made from labels")


@label_free.command("train")
def train(
    recipe: str = _RECIPE,
    data: Path = typer.Option(..., "--data", help="Data set of drives with poses; its labels are not read."),
    passes: Path = typer.Option(..., "--passes", help="Folder of other passes, or a YAML file of drives' groups."),
    cues: Path | None = typer.Option(None, "--cues", help="JSON file of 2D boxes; left out, the LiDAR alone."),
    min_cue_score: float = typer.Option(0.3, "--min-cue-score", min=0, max=1, help="Least score of a 2D box."),
    out: Path = typer.Option(..., "--out", help="Folder of the rounds."),
    split: str = typer.Option("train", "--split", help=_SPLIT_HELP),
    seed: int = typer.Option(0, "--seed", min=0, max=2**32 - 1, help="Decides everything that chance does."),
    epochs: int | None = typer.Option(None, "--epochs", min=1, help="Of each round, instead of the recipe's."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="Processor threads; left out, all cores."),
    resume: bool = typer.Option(False, "--resume", help="Go on where an interrupted training stopped."),
) -> None:
    """Find objects that nobody labeled, and train a detector on them in rounds."""
    from understudy_training.fitting import use_threads
    from understudy_training.label_free.rounds import RoundOptions, train_label_free

    use_threads(threads)
    chosen = _recipe(recipe, epochs)
    options = RoundOptions(seed=seed, threads=threads or 1, resume=resume)
    material = _material(chosen, data, split, passes, cues, min_cue_score)
    run = train_label_free(chosen, material, out, options, track=progress.bar, say=typer.echo)
    typer.echo(f"student without labels: {run}")


@label_free.command("supervised")
def supervised(
    recipe: str = _RECIPE,
    data: Path = typer.Option(..., "--data", help="The same data set, with labels."),
    out: Path = typer.Option(..., "--out", help="Folder of the run."),
    split: str = typer.Option("train", "--split", help=_SPLIT_HELP),
    seed: int = typer.Option(0, "--seed", min=0, max=2**32 - 1, help="Initial weights and order of the frames."),
    epochs: int | None = typer.Option(None, "--epochs", min=1, help="Instead of the recipe's."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="Processor threads; left out, all cores."),
) -> None:
    """Train the recipe's student on the labels, to compare with: as long as one round."""
    from understudy_training.checkpoint import refuse_to_replace
    from understudy_training.distillation.frames import load_frames
    from understudy_training.fitting import FitOptions, fit, use_threads

    use_threads(threads)
    chosen = _recipe(recipe, epochs)
    refuse_to_replace(out)
    frames = load_frames(chosen.student, _labeled(chosen, data, split), progress.bar)
    fit(chosen.student, frames, out, FitOptions(seed=seed), say=typer.echo)


@label_free.command("score")
def score(
    run: Path = typer.Argument(..., help="Run folder of the student trained without labels."),
    data: Path = typer.Option(..., "--data", help="Labelled data set."),
    against: Path | None = typer.Option(None, "--against", help="Run folder of the supervised student."),
    split: str = typer.Option("val", "--split", help="Split to evaluate on."),
    range_m: float = typer.Option(50.0, "--range", min=1, help="Farthest label that counts, in meters."),
    threads: int = typer.Option(1, "--threads", min=1, help="Processor threads."),
    json_file: Path | None = typer.Option(None, "--json", help="Also write the record."),
) -> None:
    """Average precision from above at IoU 0.25 and 0.5, as objects and by class, and the share of a supervised run."""
    from understudy.configuration import refuse_unlikely_json, write_json
    from understudy.datasets.opening import open_dataset
    from understudy_training.label_free.scoring import ScoreSettings, describe_score, score_runs

    if json_file is not None:
        refuse_unlikely_json(json_file)
    settings = ScoreSettings(max_range_m=range_m)
    dataset = open_dataset(data, split)
    found = score_runs(run, against, dataset, settings, threads=threads, track=progress.bar)
    if json_file is not None:
        write_json(json_file, found)
    typer.echo("\n".join(describe_score(found)))


@label_free.command("ledger")
def ledger(
    scores: list[Path] = typer.Argument(..., metavar="SCORE...", help="What score --json wrote, a file each seed."),
    name: str = typer.Option("label-free", "--name", help="What the ledger calls it."),
    source: str = typer.Option("", "--source", help="Where the method was published."),
    out: Path = typer.Option(..., "--out", help="JSON file to write; `understudy ledger report` takes it."),
) -> None:
    """Join the scores of several seeds: the share of the supervised score, with its interval."""
    from understudy.configuration import refuse_unlikely_json, write_json
    from understudy_training.label_free.ledger import describe_label_free, label_free_ledger

    refuse_unlikely_json(out)
    if out.resolve() in {file.resolve() for file in scores}:
        raise InputError(f"--out {out}", found="one of the scores", wanted="another file", remedy="name a new one")
    found = label_free_ledger(name, source, scores)
    write_json(out, found)
    typer.echo("\n".join(describe_label_free(found)))


def _recipe(name: str, epochs: int | None) -> LabelFreeRecipe:
    from understudy_training.label_free.recipe import read_label_free_recipe

    chosen = read_label_free_recipe(name)
    return chosen.model_copy(update={"student": chosen.student.with_epochs(epochs)})


def _labeled(recipe: LabelFreeRecipe, data: Path, split: str) -> Dataset:
    from understudy.datasets.opening import open_dataset
    from understudy_training.label_free.scoring import AsObjects

    dataset = open_dataset(data, split, recipe.student.data.classes)
    return AsObjects(dataset) if recipe.is_class_agnostic else dataset


def _material(
    recipe: LabelFreeRecipe, data: Path, split: str, passes: Path, cues: Path | None, min_cue_score: float
) -> Material:
    from understudy.datasets.opening import open_dataset
    from understudy_training.label_free.cues import CuesFromFile
    from understudy_training.label_free.labels import Unlabeled
    from understudy_training.label_free.passes import OtherPasses, read_passes
    from understudy_training.label_free.rounds import Material

    dataset = Unlabeled(open_dataset(data, split))
    others = Unlabeled(open_dataset(passes if passes.is_dir() else data, "all"))
    lidar = recipe.student.data.lidar
    compared = OtherPasses(dataset, others, read_passes(passes), recipe.persistency, lidar)
    found = None if cues is None else CuesFromFile(cues, min_cue_score)
    if found is not None:
        found.refuse_strangers(dataset)
    return Material(dataset, compared, found)
