"""What a run ran in: interpreter, packages, hardware, threads, the variables that matter, the code's state."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path

import torch
from pydantic import Field

import understudy_training
from understudy.configuration import Config, write_json
from understudy_training.loop.launch import launch_of

ENVIRONMENT = "environment"
_PREFIXES = (
    *("OMP_", "KMP_", "MKL_", "OPENBLAS_", "GOMP_", "ATEN_", "TORCH_", "PYTORCH_", "CUDA_", "CUBLAS_", "CUDNN_"),
    *("NVIDIA_TF32_", "NCCL_", "GLOO_", "SLURM_JOB_ID", "SLURM_NNODES", "SLURM_NTASKS", "PYTHONHASHSEED", "NUMBA_"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "UNDERSTUDY_"),
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
_USER_IN_ADDRESS = re.compile(r"//[^/\s]+@")
_SECRET_VALUE = re.compile(rf"([\w-]*(?:{_SECRET.pattern})[\w-]*=)[^&\s]+", re.IGNORECASE)


class GitState(Config):
    """The state of a checkout."""

    commit: str
    branch: str = ""
    dirty: bool = False
    diff_sha256: str = ""
    """Of the difference to the commit, in tracked files; empty when there is none."""


class Environment(Config):
    """Everything about a process that may change a result and is not in recipe, data or seed."""

    started: str
    command: tuple[str, ...]
    python: str
    platform: str
    host: str
    cpu: str
    num_cpus: int
    threads: int
    gpus: tuple[str, ...] = ()
    launcher: str = ""
    num_processes: int = 1
    deterministic: bool = False
    variables: dict[str, str] = Field(default_factory=dict)
    packages: dict[str, str] = Field(default_factory=dict)
    code: GitState | None = None
    """Checkout that the package was imported from; None when it was installed."""
    working_folder: GitState | None = None
    """Checkout in which the command was given, where the recipe may lie."""


def environment_now(*, num_processes: int = 1, deterministic: bool = False) -> Environment:
    """This process's."""
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_available() else range(0)
    return Environment(
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=command_line(sys.argv),
        python=sys.version.split()[0],
        platform=platform.platform(),
        host=platform.node(),
        cpu=_cpu_name(),
        num_cpus=len(os.sched_getaffinity(0)),
        threads=torch.get_num_threads(),
        gpus=tuple(torch.cuda.get_device_name(index) for index in cuda),
        launcher=launch_of().by,
        num_processes=num_processes,
        deterministic=deterministic,
        variables=variables_that_matter(os.environ),
        packages={item.metadata["Name"]: item.version for item in sorted(distributions(), key=_name_of)},
        code=git_state(Path(understudy_training.__file__).parent),
        working_folder=git_state(Path.cwd()),
    )


def write_environment(folder: Path, environment: Environment) -> Path:
    """Writes `environment.json`; after each resumption another one, numbered from 2."""
    number, path = 1, folder / f"{ENVIRONMENT}.json"
    while path.exists():
        number += 1
        path = folder / f"{ENVIRONMENT}-{number}.json"
    write_json(path, environment)
    return path


def command_line(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a command without users and passwords in addresses, and without values that sound secret."""
    return tuple(_SECRET_VALUE.sub(r"\1***", _USER_IN_ADDRESS.sub("//***@", word)) for word in words)


def variables_that_matter(variables: Mapping[str, str]) -> dict[str, str]:
    """Those that change threads, libraries or devices; never one that sounds secret."""
    matter = {name for name in variables if name.startswith(_PREFIXES) and not _SECRET.search(name)}
    return {name: command_line([variables[name]])[0] for name in sorted(matter)}


def git_state(folder: Path) -> GitState | None:
    """The checkout around a folder; None without one, without git or without a commit."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    difference = _git(folder, "diff", "HEAD", "--binary") or b""
    return GitState(
        commit=commit.decode().strip(),
        branch=(_git(folder, "rev-parse", "--abbrev-ref", "HEAD") or b"").decode().strip(),
        dirty=bool(_git(folder, "status", "--porcelain")),
        diff_sha256=hashlib.sha256(difference).hexdigest() if difference else "",
    )


def _git(folder: Path, *words: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _name_of(item: object) -> str:
    return str(item.metadata["Name"]).lower()  # type: ignore[attr-defined]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
