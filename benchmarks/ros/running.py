"""A run in an environment of its own, and where its student comes from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.ros.plan import Plan
from tests.ros_nodes.environment import ros_environment
from understudy.testing import tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "ros_nodes" / "config" / "fastdds_shm.xml"
_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_MARGIN_S = 120.0


def run_apart(plan: Plan, folder: Path, *, profile: bool) -> dict[str, Any]:
    """What `one_run` found, in a process whose DDS has the profile or none.

    Raises:
        subprocess.CalledProcessError: when the run failed; what it said is on the terminal.
    """
    folder.mkdir(parents=True)
    environment = {key: value for key, value in os.environ.items() if key not in _PROFILE_VARIABLES}
    environment |= ros_environment(folder / "log")
    # Tests check every field; a vehicle does not.
    del environment["ROS_PYTHON_CHECK_FIELDS"]
    if profile:
        environment[_PROFILE_VARIABLES[0]] = str(PROFILE)
    plan_file, out = folder / "plan.json", folder / "out.json"
    plan_file.write_text(json.dumps(asdict(plan)), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.ros.one_run", str(plan_file), str(out)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=plan.seconds + _MARGIN_S)
    record: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return record


def chosen_bundle(given: Path | None, folder: Path) -> tuple[str, str]:
    """Path of the student and what it is: the one given, that of `make demo`, or the tiny one of the tests."""
    demo = ROOT / "demo" / "bundle"
    if given is not None:
        return str(given.resolve()), given.name
    if (demo / "manifest.yaml").is_file():
        return str(demo), "the demo's trained student"
    tiny_bundle(folder / "tiny")
    return str(folder / "tiny"), "the tests' tiny graph, not trained"
