"""The verbs `understudy dataset ...`: make a data set from bags, look at it, check it, cut it into shards."""

from __future__ import annotations

import typer

dataset = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Make a data set from bags, check it, count it, show it, cut it into shards.",
)


@dataset.callback()
def group() -> None:
    """Keeps `dataset` a group however few verbs it has."""
