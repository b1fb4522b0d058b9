"""The process in which a running vehicle is looked at; the vehicle comes on stdin, the report goes to a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

from understudy.diagnosis.findings import Finding, unknown
from understudy.diagnosis.vehicle import Look, Report, Vehicle, plugins
from understudy.errors import UnderstudyError


def look(vehicle: Vehicle) -> Iterator[Finding]:
    """What all plugins find; one that cannot be imported or fails says so and the next one has its turn."""
    for entry_point in plugins():
        yield from _one(entry_point, vehicle)


def _one(entry_point: EntryPoint, vehicle: Vehicle) -> Iterator[Finding]:
    what = f"{entry_point.name} graph"
    try:
        plugin: Look = entry_point.load()
    except ImportError as error:
        reason = f"{error}: no ROS 2 in this Python, or its environment is not sourced"
        yield unknown(what, reason, "source /opt/ros/$ROS_DISTRO/setup.bash, then try again")
        return
    try:
        yield from plugin(vehicle)
    except UnderstudyError as error:
        yield unknown(what, str(error))
    except Exception as error:  # whatever the middleware raises: a doctor does not fall ill
        yield unknown(what, f"{type(error).__name__}: {' '.join(str(error).split()) or 'no word'}")


def main() -> None:
    """Writes the report, whole or not at all; ends at once after it, as a middleware may not come to its end."""
    path = Path(sys.argv[1])
    report = Report(findings=tuple(look(Vehicle.model_validate_json(sys.stdin.read()))))
    unfinished = path.with_suffix(".part")
    unfinished.write_text(report.model_dump_json(), encoding="utf-8")
    unfinished.replace(path)
    os._exit(0)


if __name__ == "__main__":
    main()
