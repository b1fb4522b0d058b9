"""What nobody can build here is at least linted: Dockerfile, compose file, systemd unit, scripts."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
REQUIRED = "UNDERSTUDY_LINTERS_REQUIRED"


def tool(name: str) -> str:
    """Path of a linter; where CI requires it, its absence is a failure."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None and not os.environ.get(REQUIRED):
        pytest.skip(f"{name} is not installed; CI requires it by {REQUIRED}")
    assert found is not None, f"{name} is required by {REQUIRED} and not installed"
    return found


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment or None, timeout=60)


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for name, text in instructions():
        if name == "FROM":
            found[text.split(" AS ")[1]] = []
        if found:
            list(found.values())[-1].append((name, text))
    return found


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((DEPLOY / "understudy.service").read_text().replace("\\\n", " "))
    return parser


def environment_file() -> dict[str, str]:
    lines = (DEPLOY / "understudy.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def service() -> dict[str, Any]:
    [made] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values()
    assert isinstance(made, dict)
    return made


def test_hadolint_finds_nothing() -> None:
    found = run(tool("hadolint"), "--config", DEPLOY / "hadolint.yaml", "--no-color", DEPLOY / "Dockerfile")
    assert (found.returncode, found.stdout) == (0, "")


def test_systemd_takes_the_unit() -> None:
    found = run(tool("systemd-analyze"), "verify", DEPLOY / "understudy.service")
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("*.sh")), ids=lambda path: path.name)
def test_bash_takes_the_scripts(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert run("bash", "-n", script).stderr == ""


def test_every_base_image_has_a_fixed_tag_and_every_vehicle_its_ros() -> None:
    bases = {name: text for name, entries in stages().items() for kind, text in entries if kind == "FROM"}
    vehicles = {name: text for name, text in bases.items() if text.split(" AS ")[0] not in {*bases, "${VEHICLE}"}}
    assert vehicles.keys() == {"jetpack6", "jetpack7", "desktop"}
    assert all(re.search(r":[\w.-]*\d[\w.-]* AS", text) for text in vehicles.values())
    distros = {name: dict(stages()[name])["ENV"] for name in vehicles}
    assert set(distros.values()) == {"ROS_DISTRO=humble", "ROS_DISTRO=jazzy"}


def test_the_image_holds_no_build_tools_and_runs_as_a_user() -> None:
    final = stages()["vehicle"]
    assert final[0] == ("FROM", "ros AS vehicle")
    installed = [text for kind, text in [*final, *stages()["ros"]] if kind == "RUN"]
    assert not any(word in text for text in installed for word in ("colcon", "build-essential", "python3-pip"))
    last = dict(final)
    assert last["USER"] == "${USER_ID}"
    assert last["STOPSIGNAL"] == "SIGINT"
    assert last["ENTRYPOINT"].startswith("[")
    assert all("rm -rf" in text for kind, text in instructions() if kind == "RUN" and "apt-get" in text)


def test_the_build_context_holds_what_is_installed_from_and_nothing_else() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    assert all((ROOT / name).exists() for name in kept)
    project = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"\[tool.hatch.build.targets.wheel\]\npackages = \[(.*?)\]", project, re.S)
    assert packages is not None
    assert {name.split("/")[0] for name in re.findall(r'"([^"]+)"', packages[1])} <= kept
    assert {"pyproject.toml", "README.md", "LICENSE", "deploy"} <= kept


def test_compose_shares_memory_and_network_and_stops_softly() -> None:
    made = service()
    assert (made["ipc"], made["network_mode"], made["stop_signal"]) == ("host", "host", "SIGINT")
    assert made["shm_size"] == "1g"
    assert made["runtime"] == "${RUNTIME:-nvidia}"
    assert (ROOT / "deploy" / made["build"]["context"] / made["build"]["dockerfile"]).resolve().is_file()
    known = {text.split("=")[0] for kind, text in instructions() if kind == "ARG"}
    assert made["build"]["args"].keys() <= known
    assert made["read_only"] is True


def test_unit_survives_a_bad_start_and_ends_its_nodes() -> None:
    made = unit()
    assert "time-sync.target" in made["Unit"]["After"]
    assert "network-online.target" in made["Unit"]["After"]
    assert int(made["Unit"]["StartLimitBurst"]) > 0
    assert made["Service"]["Restart"] == "always"
    assert (made["Service"]["KillSignal"], made["Service"]["KillMode"]) == ("SIGINT", "mixed")
    assert "--noninteractive" in made["Service"]["ExecStart"]


def test_unit_is_hardened_without_taking_shared_memory_or_the_gpu() -> None:
    made = unit()["Service"]
    assert made["ProtectSystem"] == "strict"
    assert made["NoNewPrivileges"] == "yes"
    assert not {"PrivateDevices", "PrivateIPC", "RemoveIPC", "MemoryDenyWriteExecute", "PrivateNetwork"} & made.keys()
    assert "User" in made


def test_unit_uses_what_the_environment_file_has() -> None:
    used = set(re.findall(r"\$\{?([A-Z_]+)", unit()["Service"]["ExecStart"]))
    assert used <= environment_file().keys()
    assert (ROOT / "ros_nodes" / "launch" / environment_file()["LAUNCH_FILE"]).is_file()
    assert unit()["Service"]["EnvironmentFile"] in (DEPLOY / "understudy.env").read_text()


def test_entry_point_says_what_is_missing() -> None:
    script = DEPLOY / "entrypoint.sh"
    unset = run("bash", script, "true", PATH=os.environ["PATH"])
    assert unset.returncode != 0
    assert "set ROS_DISTRO to humble or jazzy" in unset.stderr
    absent = run("bash", script, "true", PATH=os.environ["PATH"], ROS_DISTRO="noetic")
    assert absent.returncode == 2
    assert "install ros-noetic-ros-base or correct ROS_DISTRO" in absent.stderr


def test_scripts_and_image_agree_on_the_installation() -> None:
    prefix = "/opt/understudy"
    assert f"deploy/install.sh {prefix}" in dict(stages()["build"])["RUN"]
    assert f"{prefix}/entrypoint.sh" in unit()["Service"]["ExecStart"]
    assert f"{prefix}/entrypoint.sh" in dict(stages()["vehicle"])["ENTRYPOINT"]
