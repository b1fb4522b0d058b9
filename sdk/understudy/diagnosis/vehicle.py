"""A look at a vehicle while it runs: its topics and nodes, against its rig and the parameters of our nodes.

Who looks comes with the package of the nodes, through the entry points `understudy.doctor`: this one knows no ROS. It
looks in a process of its own, which may hang or be ended by the middleware without a word: either is then what was
found.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import Field

from understudy.configuration import Config, read_yaml
from understudy.diagnosis.findings import Finding, Purpose, unknown
from understudy.errors import InputError
from understudy.rig import Rig

GROUP = "understudy.doctor"
_MARGIN_S = 60.0
"""Longest that a look takes beyond the listening: start, discovery, answers of nodes, a second listening."""


class Vehicle(Config):
    """What is known of a vehicle, and how long to listen to it."""

    rig: Rig | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Of our node, as in its params file."""
    purpose: Purpose | None = None
    remaps: dict[str, str] = Field(default_factory=dict)
    """Names of topics by the names that the node has for them."""
    namespace: str = "/"
    rates_hz: dict[str, float] = Field(default_factory=dict)
    """Rates by the rig's sensors, where somebody knows them."""
    seconds: float = Field(5.0, ge=0.5, le=600.0)


class Report(Config):
    """What one look found, as it comes back from its process."""

    findings: tuple[Finding, ...]


Look = Callable[[Vehicle], Iterable[Finding]]
"""What an entry point gives."""


def read_parameters(path: Path) -> dict[str, Any]:
    """All parameters in a ROS params file, whichever nodes they are for; later ones win, nested names get dots.

    Raises:
        InputError: when the file is missing, is not YAML, or holds no parameters.
    """
    found: dict[str, Any] = {}
    _collect(read_yaml(path), found)
    if not found:
        wanted, remedy = "ros__parameters below the name of a node", "begin it with /**: and ros__parameters:"
        raise InputError(f"{path}", found="no parameters", wanted=wanted, remedy=remedy)
    return found


def _collect(values: dict[str, Any], found: dict[str, Any]) -> None:
    for key, value in values.items():
        if key == "ros__parameters" and isinstance(value, dict):
            found.update(_flat(value))
        elif isinstance(value, dict):
            _collect(value, found)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def parted(words: Iterable[str], separator: str, option: str) -> dict[str, str]:
    """`name:=value` words as a mapping.

    Raises:
        InputError: when one has no name, no value or no separator.
    """
    pairs = [word.partition(separator) for word in words]
    for name, between, value in pairs:
        if not (name and between and value):
            raise InputError(option, found=f"{name}{between}{value}", wanted=f"NAME{separator}VALUE")
    return {name: value for name, _, value in pairs}


def vehicle_findings(vehicle: Vehicle) -> list[Finding]:
    """What is seen of the running vehicle; a look that fails is a finding too."""
    if not plugins():
        return [unknown("ros graph", "the package of the nodes is not installed in this Python")]
    with tempfile.TemporaryDirectory(prefix="understudy-doctor-") as folder:
        report = Path(folder) / "report.json"
        failure = _run(vehicle, report)
        try:
            return list(Report.model_validate_json(report.read_text(encoding="utf-8")).findings)
        except (OSError, ValueError):
            remedy = "see the line above, or run with --no-ros" if failure else "run with --no-ros"
            return [unknown("ros graph", failure or "the look ended without a report", remedy)]


def _run(vehicle: Vehicle, report: Path) -> str:
    """Why there is no report; empty when there should be one."""
    command = [sys.executable, "-m", "understudy.diagnosis.look", str(report)]
    longest_s = vehicle.seconds + _MARGIN_S
    try:
        done = subprocess.run(
            command,
            input=vehicle.model_dump_json(),
            capture_output=True,
            timeout=longest_s,
            check=False,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return f"the middleware did not come back within {longest_s:.0f} s"
    except OSError as error:
        return f"{sys.executable}: {error.strerror}"
    if done.returncode == 0:
        return ""
    last = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "no word")
    return f"the look ended with status {done.returncode}: {last}"


def plugins() -> list[EntryPoint]:
    """Who looks, once by name: colcon and pip may both have installed the same."""
    by_name = {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}
    return [by_name[name] for name in sorted(by_name)]
