"""The verbs `understudy ledger ...`: carry out a study over methods, show what it found, and complete a ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from understudy import progress
from understudy.cli import needs

_MOST_SHARES = 10_000

if TYPE_CHECKING:
    from understudy_training.studies.planning import Planned, StudyPlan

ledger = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Try ways of teaching against the same controls; show and complete ledgers.",
)
needs("torch", "lightning", "safetensors", "matplotlib", extra="training")(ledger)


@ledger.command("run")
def run(
    study: str = typer.Argument(..., metavar="STUDY", help="Study file, or the name of one that comes with it."),
    data: list[str] = typer.Option(..., "--data", metavar="[NAME=]DIR", help="Labelled data set; others by name."),
    out: Path = typer.Option(..., "--out", help="Folder of the study; what is done there stays done."),
    preset: str | None = typer.Option(None, "--preset", help="One of the study's presets."),
    only: list[str] = typer.Option([], "--only", metavar="METHOD", help="Also 'control' or 'teachers'; repeatable."),
    share: str = typer.Option("1/1", "--share", metavar="K/N", help="This machine's share of the jobs."),
    jobs: int = typer.Option(1, "--jobs", min=1, help="Processes, each with its share of the threads."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="Threads of each process."),
    show_list: bool = typer.Option(False, "--list", help="Only print the jobs, how far they are and what they cost."),
) -> None:
    """Train and evaluate every method and control of a study that is not done yet; end it any time, start it again."""
    from understudy_training.studies.listing import describe_jobs, describe_shares
    from understudy_training.studies.planning import check_plan, make_plan, share_of
    from understudy_training.studies.records import LEDGER, collect
    from understudy_training.studies.running import refuse_missing_teachers, run_study
    from understudy_training.studies.study_file import read_study
    from understudy_training.studies.table import describe_study

    number, shares = parse_share(share)
    chosen, beside = read_study(study)
    chosen, changes = chosen.with_preset(preset)
    plan = make_plan(chosen, beside, parse_data(data), changes)
    selected = share_of(_selected(plan, only), number, shares)
    teachers = plan.teachers_of(selected) if only != ["teachers"] else tuple(plan.teachers.values())
    if show_list:
        typer.echo("\n".join(describe_jobs((*teachers, *selected), out, jobs)))
        typer.echo("\n".join(describe_shares(plan, selected, number, shares)))
        return
    check_plan(plan)
    if shares > 1:
        refuse_missing_teachers(plan, selected, out)
    failures = run_study(
        plan, (*teachers, *selected), out, at_a_time=jobs, threads=threads, track=progress.bar, say=typer.echo
    )
    found = collect(plan, out)
    found.write(out / LEDGER)
    typer.echo("\n".join(describe_study(found)))
    if failures:
        raise typer.Exit(1)


@ledger.command("show")
def show(
    file: Path = typer.Argument(..., metavar="LEDGER", help="Ledger, or folder of a study."),
) -> None:
    """Print a ledger: of a study over methods, of `understudy distill`, or of `understudy label-free ledger`."""
    from understudy_training.studies.listing import describe_any

    typer.echo("\n".join(describe_any(file)))


@ledger.command("report")
def report(
    files: list[Path] = typer.Argument(..., metavar="LEDGER...", help="Ledgers or folders of studies."),
    out: Path = typer.Option(Path("docs/ledger.md"), "--out", help="Markdown file to write."),
    images: Path | None = typer.Option(None, "--images", help="Folder of its pictures; left out, images beside it."),
) -> None:
    """Write one page with a table and a forest plot for each student of the studies."""
    from understudy_training.studies.page import read_for_page, write_page

    found = [read_for_page(file) for file in files]
    command = f"understudy ledger report {' '.join(file.name for file in files)} --out {out.name}"
    written = write_page(found, out, images or out.parent / "images", command)
    typer.echo("\n".join(f"wrote {path}" for path in written))


@ledger.command("add")
def add(
    file: Path = typer.Argument(..., metavar="LEDGER", help="Ledger that `understudy distill` wrote."),
    bundle: Path | None = typer.Option(None, "--bundle", help="Bundle whose quantized models are added."),
    parent: str | None = typer.Option(None, "--of", help="Row that was quantized; left out, the first student."),
    quantized: list[str] = typer.Option(
        [], "--quantized", metavar="PRECISION=FILE", help="Record of `evaluate --precision` on the bundle."
    ),
    latencies: list[str] = typer.Option([], "--latency", metavar="ROW=FILE", help="Record of `latency` for a row."),
) -> None:
    """Add quantized models and latencies to a ledger of `understudy distill`, and print it."""
    from understudy_training.ledger import read_ledger
    from understudy_training.ledger_rows import add_quantized, describe_losses, read_named, with_latency
    from understudy_training.ledger_table import describe_ledger

    result = read_ledger(file)
    for precision, path in read_named(quantized, "--quantized"):
        result = add_quantized(result, bundle, parent, precision, path)
    for name, path in read_named(latencies, "--latency"):
        result = with_latency(result, name, path)
    result.write(file)
    typer.echo("\n".join([*describe_ledger(result), *describe_losses(result)]))


def parse_share(text: str) -> tuple[int, int]:
    """`2/3` is the second of three shares.

    Raises:
        InputError: when it is something else.
    """
    from understudy.errors import InputError

    number, _, shares = text.partition("/")
    if not (number.isdecimal() and shares.isdecimal() and 1 <= int(number) <= int(shares) <= _MOST_SHARES):
        raise InputError("--share", found=text, wanted="a number of a share and how many there are, such as 1/3")
    return int(number), int(shares)


def parse_data(entries: list[str]) -> dict[str, Path]:
    """Folders by name; one without a name is the main data set.

    Raises:
        InputError: when a name is there twice.
    """
    from understudy.errors import InputError
    from understudy_training.studies.study_file import MAIN

    pairs = [(MAIN, entry) if Path(entry).exists() else _named(entry) for entry in entries]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise InputError("--data", found=", ".join(names), wanted="each data set once: DIR, or NAME=DIR")
    return {name: Path(path) for name, path in pairs}


def _named(entry: str) -> tuple[str, str]:
    from understudy_training.studies.study_file import MAIN

    name, _, path = entry.rpartition("=")
    return name or MAIN, path


def _selected(plan: StudyPlan, only: list[str]) -> tuple[Planned, ...]:
    """The jobs of these methods; none for the teachers alone."""
    labels = tuple(label for label in only if label != "teachers")
    return () if only and not labels else plan.only(labels)
