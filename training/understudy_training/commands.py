"""The verbs `train` and `distill`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from understudy import progress
from understudy.cli import needs


@needs("torch", "lightning", "safetensors", extra="training")
def train(
    recipe: str = typer.Argument(..., help="Recipe file, or the name of one that comes with the package."),
    data: Path = typer.Option(..., "--data", help="Labelled data set."),
    out: Path = typer.Option(..., "--out", help="Folder of the run."),
    split: str = typer.Option("train", "--split", help="Split of the data set; 'all' takes every frame."),
    seed: int = typer.Option(
        0, "--seed", min=0, max=2**32 - 1, help="Decides initial weights and the order of the frames."
    ),
    epochs: int | None = typer.Option(None, "--epochs", min=1, help="Instead of the recipe's."),
    threads: int | None = typer.Option(
        None, "--threads", min=1, help="Processor threads of each process; left out, all cores, shared."
    ),
    devices: int | None = typer.Option(
        None,
        "--devices",
        min=1,
        help="GPUs of a machine, or processes without one; 1, or as launched.",
    ),
    nodes: int | None = typer.Option(None, "--nodes", min=1, help="Machines; 1, or as launched."),
    strategy: str = typer.Option("auto", "--strategy", help="auto, or ddp also for a single process."),
    deterministic: bool = typer.Option(
        False, "--deterministic", help="Refuse algorithms whose result depends on timing (GPUs; slower)."
    ),
    checkpoint_every: str | None = typer.Option(
        None, "--checkpoint-every", help="Also within epochs: steps such as 500, or a time such as 10m."
    ),
    metrics_every: int = typer.Option(0, "--metrics-every", min=0, help="Also a row of metrics after so many steps."),
    logger: list[str] = typer.Option([], "--logger", help="Beside TensorBoard: mlflow, or mlflow=URI."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last checkpoint in OUT."),
) -> None:
    """Train a detector on labels alone: a teacher, or a student without one."""
    from understudy.datasets.opening import open_dataset
    from understudy_training.checkpoint import refuse_to_replace
    from understudy_training.distillation.frames import load_frames
    from understudy_training.fitting import FitOptions, fit, use_threads
    from understudy_training.loop.launch import agreed, launch_of
    from understudy_training.loop.options import parse_interval, parse_strategy
    from understudy_training.recipe import read_recipe

    num_devices, num_nodes = agreed(devices, nodes)
    # Slurm gives each of its tasks cores of its own.
    use_threads(threads, sharing=1 if launch_of().by == "slurm" else num_devices)
    chosen = read_recipe(recipe).with_epochs(epochs)
    if not resume:
        refuse_to_replace(out)
    clouds = load_frames(chosen, open_dataset(data, split, chosen.data.classes), progress.bar)
    options = FitOptions(
        seed=seed,
        devices=num_devices,
        nodes=num_nodes,
        strategy=parse_strategy(strategy),
        resume=resume,
        bars=sys.stderr.isatty(),
        deterministic=deterministic,
        checkpoint_every=parse_interval(checkpoint_every),
        metrics_every=metrics_every,
        loggers=tuple(name for name in logger if name != "tensorboard"),
    )
    fit(chosen, clouds, out, options, say=typer.echo)


@needs("torch", "lightning", "safetensors", extra="training")
def distill(
    recipe: str = typer.Argument(..., help="Recipe file, or the name of one that comes with the package."),
    teacher: list[str] = typer.Option(
        ...,
        "--teacher",
        metavar="[NAME=]PATH",
        help="Run, export, bundle, ONNX file or description (docs/teachers.md); of several, each by name.",
    ),
    data: Path = typer.Option(..., "--data", help="Labelled data set."),
    out: Path = typer.Option(..., "--out", help="Folder for the runs and the ledger."),
    split: str = typer.Option("train", "--split", help="Split to train on."),
    eval_split: str = typer.Option("val", "--eval-split", help="Split to evaluate on."),
    seeds: str = typer.Option("0", "--seeds", help="Seeds, separated by commas; a student and a control for each."),
    control: bool = typer.Option(True, "--control/--no-control", help="Train the same student without the teacher."),
    teacher_shuffle: bool = typer.Option(False, "--teacher-shuffle", help="Teach with answers about other frames."),
    epochs: int | None = typer.Option(None, "--epochs", min=1, help="Instead of the recipe's."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="Processor threads; left out, all cores."),
    jobs: int = typer.Option(1, "--jobs", min=1, help="Runs at a time, each in a process with its share of threads."),
    checkpoint_every: str | None = typer.Option(
        None, "--checkpoint-every", help="Also within epochs: steps such as 500, or a time such as 10m."
    ),
    resume: bool = typer.Option(False, "--resume", help="Skip finished runs in OUT and go on with an interrupted one."),
) -> None:
    """Train a student with a teacher, its control without, and say with an interval whether the teacher helped."""
    from understudy_training.distillation.study import StudyOptions, StudyPaths, study
    from understudy_training.distillation.terms.term import TEACHER
    from understudy_training.fitting import use_threads
    from understudy_training.ledger_table import describe_ledger
    from understudy_training.loop.options import parse_interval
    from understudy_training.recipe import read_recipe

    use_threads(threads)
    options = StudyOptions(
        seeds=parse_seeds(seeds),
        control=control,
        teacher_shuffle=teacher_shuffle,
        jobs=jobs,
        bars=sys.stderr.isatty() and jobs == 1,
        checkpoint_every=parse_interval(checkpoint_every),
        resume=resume,
    )
    named = parse_teachers(teacher)
    called = TEACHER if TEACHER in named else next(iter(named))
    paths = StudyPaths(named.pop(called), data, out, split, eval_split, named, called=called)
    chosen = read_recipe(recipe).with_epochs(epochs)
    ledger = study(chosen, paths, options, track=progress.bar, say=typer.echo)
    ledger.write(out / "ledger.json")
    typer.echo("\n".join(describe_ledger(ledger)))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Numbers separated by commas, each once.

    Raises:
        InputError: when there is something else.
    """
    from understudy.errors import InputError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise InputError("--seeds", found=text, wanted="different whole numbers separated by commas, such as 0,1,2")
    return tuple(int(part) for part in parts)


def parse_teachers(entries: Sequence[str]) -> dict[str, Path]:
    """Paths by name: one without a name, which is then called "teacher", or several as NAME=PATH.

    Raises:
        InputError: when a name is there twice.
    """
    from understudy.errors import InputError
    from understudy_training.distillation.terms.term import TEACHER

    named: dict[str, Path] = {}
    for entry in entries:
        name, separator, path = entry.partition("=")
        if not (separator and name.isidentifier()):
            name, path = TEACHER, entry
        if name in named:
            raise InputError("--teacher", found=f"{name} twice", wanted="each name once, as NAME=PATH")
        named[name] = Path(path)
    return named
