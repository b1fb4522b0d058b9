"""`understudy doctor`: what this machine can do, and what is wrong on a vehicle."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from understudy.diagnosis.findings import Finding, Purpose
    from understudy.diagnosis.vehicle import Vehicle


_HIGHEST_HZ = 1000.0


class Wanted(str, Enum):
    """What somebody wants of the machine."""

    lidar = "lidar"
    fusion = "fusion"
    camera = "camera"
    compile = "compile"


def doctor(
    rig: Path | None = typer.Option(None, "--rig", metavar="RIG", help="Rig YAML to hold topics and /tf_static to."),
    params: Path | None = typer.Option(None, "--params", metavar="FILE", help="Params file of the node."),
    wanted: Wanted | None = typer.Option(None, "--for", help="What must work here; 1 is returned where it cannot."),
    ros: bool | None = typer.Option(
        None, "--ros/--no-ros", help="Look at running nodes; else only with --rig or --params."
    ),
    seconds: float = typer.Option(5.0, min=0.5, max=600.0, help="How long to listen to topics."),
    remap: list[str] = typer.Option([], "--remap", metavar="NAME:=TOPIC", help="As the node is remapped."),
    namespace: str = typer.Option("/", help="Namespace of the node."),
    hz: list[str] = typer.Option([], "--hz", metavar="SENSOR=RATE", help="Rate that a sensor of the rig should have."),
) -> None:
    """Show what this machine has, what is missing or wrong for the vehicle, and what to do about it.

    Returns 1 when something is missing that was asked for with --for, --rig or --params; 0 otherwise.
    """
    from understudy.diagnosis.card import diagnose
    from understudy.diagnosis.findings import findings_text, lacking
    from understudy.diagnosis.machine import machine_findings
    from understudy.diagnosis.ros_setup import ros_setup_findings
    from understudy.diagnosis.vehicle import vehicle_findings

    vehicle = _vehicle(rig, params, wanted, remap, namespace, hz, seconds)
    is_named = rig is not None or params is not None
    purposes: list[Purpose] = [vehicle.purpose] if vehicle.purpose else []
    if is_named:
        purposes.append("rig")
    typer.echo(diagnose())
    found: list[Finding] = []
    for title, make in (("machine", machine_findings), ("ros setup", ros_setup_findings)):
        part = list(make())
        typer.echo(findings_text(title, part))
        found += part
    if is_named if ros is None else ros:
        part = vehicle_findings(vehicle)
        typer.echo(findings_text("vehicle", part))
        found += part
    short = list(dict.fromkeys(finding.what for finding in lacking(found, purposes)))
    if short:
        typer.echo(f"missing for {' and '.join(purposes)}: {', '.join(short)}")
        raise typer.Exit(1)


def _vehicle(
    rig: Path | None,
    params: Path | None,
    wanted: Wanted | None,
    remap: list[str],
    namespace: str,
    hz: list[str],
    seconds: float,
) -> Vehicle:
    from understudy.configuration import check_config
    from understudy.diagnosis.vehicle import Vehicle, parted, read_parameters
    from understudy.rig import read_rig

    parameters = read_parameters(params) if params else {}
    named = rig or (Path(str(parameters["rig"])).expanduser() if parameters.get("rig") else None)
    values = {
        "rig": read_rig(named) if named else None,
        "parameters": parameters,
        "purpose": wanted.value if wanted else None,
        "remaps": parted(remap, ":=", "--remap"),
        "namespace": f"/{namespace.strip('/')}",
        "rates_hz": parted(hz, "=", "--hz"),
        "seconds": seconds,
    }
    vehicle = check_config(values, Vehicle, "understudy doctor")
    _refuse_strangers(vehicle)
    return vehicle


def _refuse_strangers(vehicle: Vehicle) -> None:
    from understudy.errors import InputError

    known = list(vehicle.rig.sensors) if vehicle.rig else []
    for name, rate_hz in vehicle.rates_hz.items():
        if name not in known:
            raise InputError("--hz", found=name, wanted=f"a sensor of the rig: {', '.join(known) or 'give --rig'}")
        if not 0 < rate_hz <= _HIGHEST_HZ:
            raise InputError("--hz", found=f"{name}={rate_hz:g}", wanted=f"more than 0, {_HIGHEST_HZ:g} at most")
