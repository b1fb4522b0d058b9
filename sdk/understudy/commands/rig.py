"""`understudy rig`: what a vehicle says of its sensors."""

from __future__ import annotations

from pathlib import Path

import typer


def rig(path: Path = typer.Argument(..., metavar="RIG", help="Rig YAML.")) -> None:
    """Check a rig file and show its sensors, where they sit and its hash."""
    from understudy.plausibility import refuse_impossible_mounting
    from understudy.rig import read_rig
    from understudy.rig_card import rig_card

    vehicle = read_rig(path)
    for name, lidar in vehicle.lidars.items():
        refuse_impossible_mounting(vehicle, name, lidar)
    typer.echo(rig_card(vehicle))
