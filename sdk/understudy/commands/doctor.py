"""`understudy doctor`: what this machine can do."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Show Python, packages, runtimes, CPU, memory and GPU, and what to install for the rest."""
    from understudy.diagnosis import diagnose

    typer.echo(diagnose())
