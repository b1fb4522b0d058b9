"""What the doctor's tests share: drivers that are right or wrong, and a look that has patience."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ros_nodes.processes import NodeProcess
from understudy.diagnosis.findings import Finding
from understudy.diagnosis.vehicle import Vehicle
from understudy.testing import simple_rig
from understudy_ros.doctor import look

Drivers = Callable[..., NodeProcess]
LONGEST_START_S = 30.0
SIMPLE = Vehicle(rig=simple_rig(), seconds=1.5)


@contextmanager
def started_drivers(tmp_path: Path) -> Iterator[Drivers]:
    """Starts a process of drivers, each given as the words of its command line."""
    started: list[NodeProcess] = []

    def start(*drivers: str) -> NodeProcess:
        words = " --and ".join(drivers).split()
        command = [sys.executable, "-m", "tests.ros_nodes.sensor_driver", *words]
        process = NodeProcess(command, tmp_path / f"drivers-{len(started)}.log")
        started.append(process)
        end_s = time.monotonic() + LONGEST_START_S
        while "drivers are up" not in process.log:
            assert process.is_alive, process.log
            assert time.monotonic() < end_s, process.log
            time.sleep(0.05)
        return process

    try:
        yield start
    finally:
        logs = [(process.stop(), process.log) for process in started]
    assert [status for status, _ in logs] == [0] * len(logs), logs


Look = Callable[[Vehicle], Iterable[Finding]]


def patient_look(vehicle: Vehicle, enough: Callable[[list[Finding]], object], look: Look = look) -> list[Finding]:
    """What the doctor finds; asked again while the drivers of a loaded machine are not all up."""
    found: list[Finding] = []
    for _ in range(5):
        found = list(look(vehicle))
        if enough(found):
            return found
    return found


def about(findings: list[Finding], what: str) -> list[Finding]:
    return [finding for finding in findings if finding.what == what and finding.state != "ok"]


def says(findings: list[Finding], what: str, *parts: str) -> bool:
    """Whether something is wrong with that, in these words, and what to do is said."""
    texts = [finding.seen for finding in about(findings, what) if finding.remedy]
    return any(all(part in text for part in parts) for text in texts)
