"""The verbs `understudy zoo ...`: the networks that come with the package, and their cards."""

from __future__ import annotations

from pathlib import Path

import typer

from understudy.cli import needs

zoo = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Small trained networks with their cards: list, show, take one out, add one.",
)
needs("torch", "safetensors", extra="training")(zoo)


@zoo.command("list")
def list_() -> None:
    """One line per network."""
    from understudy_training.zoo.card import describe_list
    from understudy_training.zoo.entries import cards

    typer.echo("\n".join(describe_list(list(cards().values()))))


@zoo.command("show")
def show(name: str = typer.Argument(..., help="Name of a network.")) -> None:
    """Print a network's card."""
    from understudy_training.zoo.card import describe_card
    from understudy_training.zoo.entries import card_of

    typer.echo("\n".join(describe_card(card_of(name))))


@zoo.command("take")
def take(
    name: str = typer.Argument(..., help="Name of a network."),
    out: Path = typer.Option(..., "--out", help="Run folder to make: export it, evaluate it, teach with it."),
) -> None:
    """Copy a network to a run folder."""
    from understudy_training.zoo.card import describe_card
    from understudy_training.zoo.entries import take as taken

    typer.echo("\n".join(describe_card(taken(name, out))))


@zoo.command("add")
def add(
    run: Path = typer.Argument(..., help="A finished run."),
    evaluation: Path = typer.Option(..., "--evaluation", help="Record of `understudy evaluate RUN --out`."),
    text: Path = typer.Option(..., "--text", help="YAML: name, summary, trained_on, taught_by, evaluated_on, not_for."),
    into: Path | None = typer.Option(None, "--into", help="Folder of networks; left out, the package's own."),
) -> None:
    """Add a run's network with a card made from its record and evaluation."""
    from understudy.configuration import read_config
    from understudy.evaluation import read_evaluation
    from understudy_training.zoo.card import CardText, describe_card, make_card
    from understudy_training.zoo.entries import put

    card = make_card(run, read_evaluation(evaluation), read_config(text, CardText))
    folder = put(run, card, into)
    typer.echo("\n".join([*describe_card(card), f"added to {folder}"]))
