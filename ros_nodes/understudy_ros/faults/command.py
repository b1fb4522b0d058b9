"""`fault_injector`: faults on the topics of a running node, ours or anybody's, and whether it survives them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import typer
from rclpy.utilities import remove_ros_args

from understudy.configuration import refuse_unlikely_json, write_json
from understudy.errors import InputError, UnderstudyError
from understudy.faults.catalog import FAULTS, fault_named
from understudy.faults.contents import Contents, road_contents
from understudy.faults.report import FaultReport, describe, report_of
from understudy.faults.scenario import SHORT, kind_of
from understudy.faults.suite import Judged
from understudy.messages.outputs import DETECTIONS_TYPE
from understudy.rig import Rig, read_rig
from understudy_ros.faults.injection import Injector, Trial

_FRUITLESS = 10 * len(FAULTS)
"""Scenarios in a row that cannot be played, after which none can."""


def main() -> None:
    """The executable of the package: 0 when all held, 1 when something was violated, 2 on wrong input."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name="fault_injector")(fault_injector)
    try:
        status = app(args=remove_ros_args(sys.argv)[1:], prog_name="fault_injector", standalone_mode=False)
    except UnderstudyError as error:
        sys.exit(_refuse(str(error)))
    except Exception as error:  # of typer, about the arguments
        if not hasattr(error, "format_message"):
            raise
        sys.exit(_refuse(error.format_message()))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


def fault_injector(
    node: str = typer.Option(..., "--node", help="Full name of the running node, as /fusion_detector."),
    rig: Path = typer.Option(..., "--rig", help="Its rig file."),
    output: str = typer.Option(..., "--output", help="Its topic of results, as /fusion_detector/detections."),
    points: str = typer.Option("/points", "--points", help="Topic that it takes clouds from."),
    image: list[str] = typer.Option([], "--image", help="CAMERA=TOPIC of compressed pictures; once for each camera."),
    output_type: str = typer.Option(DETECTIONS_TYPE, "--output-type", help="Its type: package/msg/Name."),
    lidar: str | None = typer.Option(None, "--lidar", help="LiDAR of the rig, when there are several."),
    scenarios: int = typer.Option(30, "--scenarios", min=1, help="How many; each takes five to six seconds."),
    seed: int = typer.Option(0, "--seed", min=0, help="Number of the first scenario."),
    only: str = typer.Option("", "--only", help="Only scenarios about this fault."),
    deadline_ms: int = typer.Option(400, "--deadline-ms", min=1, help="Oldest sweep that the node may use."),
    pid: int | None = typer.Option(None, "--pid", help="Its process on this machine: is it alive, does it grow."),
    orders: str = typer.Option("", "--orders", help="Topic on which its student takes orders to fail."),
    sim_time: bool = typer.Option(False, "--sim-time", help="It follows /clock, which is published here."),
    wait_s: float = typer.Option(20.0, "--wait", min=0.0, help="Seconds to wait for the node to listen."),
    out: Path | None = typer.Option(None, "--out", help="Write the report there, as JSON."),
) -> None:
    """Publish seeded faults on the topics of a running node; 1 when an invariant was violated."""
    if out is not None:
        refuse_unlikely_json(out)
    images = [_split(word) for word in image]
    _refuse_repeated("--image", [name for name, _ in images])
    _refuse_repeated("topics", [points, *(topic for _, topic in images), output, *filter(None, [orders])])
    contents = contents_for(read_rig(rig), lidar, [name for name, _ in images])
    trial = Trial(
        node=node,
        topics={contents.lidar: points, **dict(images)},
        output=output,
        output_type=output_type,
        pid=pid,
        orders=orders,
        sim_time=sim_time,
        setting=replace(SHORT, deadline_ms=deadline_ms),
        wait_s=wait_s,
    )
    report = try_node(trial, contents, scenarios, seed, only, say=typer.echo)
    if out is not None:
        write_json(out, report)
    typer.echo("\n".join(describe(report)))
    raise typer.Exit(0 if report.holds else 1)


def contents_for(rig: Rig, lidar: str | None, cameras: Sequence[str]) -> Contents:
    """What a rig's LiDAR and some of its cameras see.

    Raises:
        InputError: when the rig has no such camera.
    """
    contents = road_contents(rig=rig, lidar=lidar)
    unknown = [name for name in cameras if name not in contents.cameras]
    if unknown:
        found, wanted = ", ".join(unknown), ", ".join(contents.cameras) or "no camera"
        raise InputError(f"rig {rig.name}: camera", found=found, wanted=wanted, remedy="say --image CAMERA=TOPIC")
    drafts = {name: contents.drafts[name] for name in (contents.lidar, *cameras)}
    return replace(contents, drafts=drafts)


def try_node(
    trial: Trial, contents: Contents, scenarios: int, seed: int = 0, only: str = "", say: Any = lambda line: None
) -> FaultReport:
    """Plays scenarios to a running node and judges it.

    Args:
        trial: the node.
        contents: what its sensors see.
        scenarios: how many; those that cannot be played to this node are left out and do not count.
        seed: number of the first one.
        only: a fault's name, for scenarios about it alone.
        say: gets a line about each scenario.

    Raises:
        InputError: when the node is not there, or none of the scenarios can be played.
    """
    wanted = fault_named(only) if only else ""
    judged: list[Judged] = []
    with Injector(trial, contents) as injector:
        injector.connect()
        for number in _playable(injector, seed, wanted, bool(contents.cameras), say):
            judged.append(injector.judged(number, say))
            say(f"{judged[-1].name}: {judged[-1].verdict}")
            if len(judged) == scenarios:
                break
    return report_of(judged, seed=seed, only=wanted, student=trial.node)


def _playable(injector: Injector, seed: int, only: str, with_cameras: bool, say: Any) -> Iterator[int]:
    """Numbers of scenarios that can be played to the node; the reason why not is said once for each fault."""
    told: set[str] = set()
    fruitless = 0
    for number in count(seed):
        kind = kind_of(number)
        if (only and kind != only) or (FAULTS[kind].on == "camera" and not with_cameras):
            reason = "of no use here" if only else "there is no camera"
        else:
            reason = injector.why_not(number)
        if not reason:
            fruitless = 0
            yield number
            continue
        fruitless += 1
        if kind not in told and not only:
            told.add(kind)
            say(f"left out {kind}: {reason}")
        if fruitless >= _FRUITLESS:
            raise InputError("scenarios", found=f"none that can be played; the last: {reason}", wanted="one")


def _refuse_repeated(what: str, names: Sequence[str]) -> None:
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise InputError(what, found=f"{', '.join(repeated)} more than once", wanted="each once")


def _split(text: str) -> tuple[str, str]:
    name, equals, topic = text.partition("=")
    if not (name and equals and topic):
        raise InputError("--image", found=text, wanted="CAMERA=TOPIC")
    return name, topic


def _refuse(message: str) -> int:
    typer.echo(f"error: {message}", err=True)
    return 2


if __name__ == "__main__":
    main()
