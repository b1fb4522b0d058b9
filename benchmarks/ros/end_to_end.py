"""The real node end to end: from the sensors' stamps to the results in another process, over DDS on this machine.

python -m benchmarks.ros.end_to_end [--seconds 30] [--bundle BUNDLE] [--only NAME]   (in the environment of `make ros`)

A LiDAR at 10 Hz and six cameras with JPEG at 12 Hz, of PandaSet where it is there, from a process of their own; with
and without the shared-memory profile; best effort and reliable. Prints Markdown, then one line of JSON. On a machine
that others use, `chrt -r 1 python -m ...` keeps them out of it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ros.plan import Plan
from benchmarks.ros.running import chosen_bundle, run_apart

LIDAR_NODE, FUSION_NODE = "understudy_ros.lidar_detector", "understudy_ros.fusion_detector"
PERCENTILES = (50, 90, 99, 100)
COLUMNS = (
    "results / sweeps",
    "callback to published",
    "stamp to received",
    "node's CPU",
    "others' CPU",
    "drivers late, p90 / p99",
)
STAGES = ("convert", "match", "wait", "frame", "run", "publish")
"""From the callback until the result is sent; `age` also has the way to the callback."""


@dataclass(frozen=True)
class Scenario:
    """One row of the table."""

    name: str
    module: str
    cameras: int
    profile: bool
    parameters: dict[str, Any] = field(default_factory=dict)


SCENARIOS = (
    Scenario("LiDAR, profile", LIDAR_NODE, 0, True),
    Scenario("LiDAR, no profile", LIDAR_NODE, 0, False),
    Scenario("LiDAR, no profile, reliable", LIDAR_NODE, 0, False, {"reliable": True}),
    Scenario("LiDAR + 6 cameras, profile", FUSION_NODE, 6, True),
    Scenario("LiDAR + 6 cameras, no profile", FUSION_NODE, 6, False),
    Scenario("LiDAR + 6 cameras, no profile, reliable", FUSION_NODE, 6, False, {"reliable": True}),
)


def percentiles(values: Iterable[float]) -> list[float | None]:
    """p50, p90, p99 and the largest."""
    numbers = list(values)
    return [round(float(np.percentile(numbers, p)), 1) if numbers else None for p in PERCENTILES]


def summary_of(record: dict[str, Any]) -> dict[str, Any]:
    """Of what was stamped in the measured window."""
    begin_ns, end_ns = record["window_ns"]
    lidar, *cameras = record["sensors"]
    sent = {name: _between(one["stamps_ns"], begin_ns, end_ns) for name, one in record["sensors"].items()}
    results = [(at_ns, stamp_ns) for at_ns, stamp_ns, _ in record["results"] if begin_ns <= stamp_ns < end_ns]
    timings = [stages for at_ns, stages in record["timings"] if begin_ns <= at_ns < end_ns]
    late_ms = [value for one in record["sensors"].values() for value in one["late_ms"]]
    return {
        "clouds_sent": sent[lidar],
        "pictures_sent": sum(sent[name] for name in cameras),
        "results": len({stamp_ns for _, stamp_ns in results}),
        "boxes_median": float(np.median([number for _, _, number in record["results"]] or [0])),
        "stamp_to_received_ms": percentiles((at_ns - stamp_ns) / 1e6 for at_ns, stamp_ns in results),
        "callback_to_publish_ms": percentiles(sum(row.get(f"{s}_ms", 0.0) for s in STAGES) for row in timings),
        "stages_ms": {s: percentiles(row[f"{s}_ms"] for row in timings) for s in STAGES if timings},
        "cpu_share_of_a_core": {name: round(share, 3) for name, share in record["cpu_share_of_a_core"].items()},
        "load_average": record["load_average"],
        "drivers_late_ms": percentiles(late_ms),
        "at_the_end": record["diagnostics"][-1][1] if record["diagnostics"] else {},
        "source": record["source"],
        "priority": record["priority"],
        "up_s": round(record["up_s"], 2),
    }


def _between(stamps_ns: list[int], begin_ns: int, end_ns: int) -> int:
    return sum(begin_ns <= stamp_ns < end_ns for stamp_ns in stamps_ns)


def row_of(name: str, found: dict[str, Any]) -> str:
    """One line of Markdown."""
    cpu = found["cpu_share_of_a_core"]
    cells = [
        name,
        f"{found['results']} / {found['clouds_sent']}",
        " / ".join(_shown(found["callback_to_publish_ms"])),
        " / ".join(_shown(found["stamp_to_received_ms"])),
        f"{100 * cpu['node']:.0f} %",
        f"{100 * cpu['everything else']:.0f} %",
        " / ".join(_shown(found["drivers_late_ms"][1:3])),
    ]
    return "| " + " | ".join(cells) + " |"


def stages_row_of(name: str, found: dict[str, Any]) -> str:
    """Median and p99 of each stage, as a line of Markdown."""
    stages = found["stages_ms"]
    cells = [" / ".join(_shown([stages[s][0], stages[s][2]])) if stages else "-" for s in STAGES]
    return "| " + " | ".join([name, *cells]) + " |"


def _shown(values: list[float | None]) -> list[str]:
    return ["-" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in values]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(prefix="understudy-bench-ros-") as scratch:
        bundle, what = chosen_bundle(given.bundle, Path(scratch))
        for number, scenario in enumerate(SCENARIOS):
            if given.only not in scenario.name or importlib.util.find_spec(scenario.module) is None:
                continue
            plan = Plan(bundle, given.seconds, scenario.cameras, 12.0, scenario.module, dict(scenario.parameters))
            found[scenario.name] = summary_of(run_apart(plan, Path(scratch) / str(number), profile=scenario.profile))
    print(f"student: {what}; {os.cpu_count()} cores; p50 / p90 / p99 / largest in ms")
    print("| | " + " | ".join(COLUMNS) + " |")
    print("|" + " --- |" * (1 + len(COLUMNS)))
    print("\n".join(row_of(name, row) for name, row in found.items()))
    print("\n| p50 / p99 in ms | " + " | ".join(STAGES) + " |")
    print("|" + " --- |" * (1 + len(STAGES)))
    print("\n".join(stages_row_of(name, row) for name, row in found.items()))
    print(json.dumps({"student": what, "seconds": given.seconds, "scenarios": found}))


if __name__ == "__main__":
    main()
