"""The verb `ledger`: adds what was measured on a bundle to the ledger of a study, and prints it."""

from __future__ import annotations

from pathlib import Path

import typer

from understudy.cli import needs


@needs("torch", extra="training")
def ledger(
    file: Path = typer.Argument(..., metavar="LEDGER", help="Ledger that `understudy distill` wrote."),
    bundle: Path | None = typer.Option(None, "--bundle", help="Bundle whose quantized models are added."),
    parent: str | None = typer.Option(None, "--of", help="Row that was quantized; left out, the first student."),
    quantized: list[str] = typer.Option(
        [], "--quantized", metavar="PRECISION=FILE", help="Record of `evaluate --precision` on the bundle."
    ),
    latencies: list[str] = typer.Option([], "--latency", metavar="ROW=FILE", help="Record of `latency` for a row."),
) -> None:
    """Add quantized models and latencies to a ledger, and print it."""
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
