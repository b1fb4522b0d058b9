"""Who started this process: torchrun, Slurm, or nobody but us. Read from the environment, before torch is asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from understudy.errors import InputError

_TORCHRUN = {"TORCHELASTIC_RUN_ID", "LOCAL_WORLD_SIZE", "RANK", "WORLD_SIZE"}
_INTERACTIVE = ("bash", "interactive")
"""Names of Slurm jobs in which a person types: nothing there was started by srun."""
_PER_NODE = "SLURM_NTASKS_PER_NODE"


@dataclass(frozen=True)
class Launch:
    """Where this process stands among those that train together.

    Attributes:
        by: "torchrun", "slurm", or "" when nothing started several.
        rank: 0 for the process that writes.
        devices: processes on this machine; None when left to us.
        nodes: machines; None when left to us.
    """

    by: str
    rank: int
    devices: int | None = None
    nodes: int | None = None


def launch_of(environment: Mapping[str, str] = os.environ) -> Launch:
    """Reads torchrun's variables, else Slurm's, else those of the processes that Lightning itself starts."""
    if set(environment) >= _TORCHRUN:
        devices = int(environment["LOCAL_WORLD_SIZE"])
        return Launch("torchrun", int(environment["RANK"]), devices, int(environment["WORLD_SIZE"]) // devices)
    if "SLURM_PROCID" in environment and environment.get("SLURM_JOB_NAME") not in _INTERACTIVE:
        nodes = int(environment.get("SLURM_NNODES", "1"))
        tasks = int(environment.get("SLURM_NTASKS", "1"))
        return Launch("slurm", int(environment["SLURM_PROCID"]), tasks // nodes, nodes)
    places = (environment.get("NODE_RANK", environment.get("GROUP_RANK", "0")), environment.get("LOCAL_RANK", "0"))
    return Launch("", 0 if places == ("0", "0") else 1)


def is_first_process() -> bool:
    """Whether this process is the one that writes and speaks."""
    return launch_of().rank == 0


def agreed(devices: int | None, nodes: int | None, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Devices for each machine and machines, as asked for and as started.

    Raises:
        InputError: when what started this process started another number, is none of the launchers that are known, or
            several machines were asked for and nothing says how they find each other.
    """
    launch = launch_of(environment)
    _refuse_tasks_without_places(launch, environment)
    for option, asked, started in (("--devices", devices, launch.devices), ("--nodes", nodes, launch.nodes)):
        if asked is not None and started is not None and asked != started:
            found = f"{asked}, while {launch.by} started {started}"
            raise InputError(option, found=found, remedy=f"leave {option} out, or start as many")
    machines = nodes or launch.nodes or 1
    if machines > 1 and not launch.by and not {"MASTER_ADDR", "NODE_RANK"} <= set(environment):
        found = "no launcher and no MASTER_ADDR and NODE_RANK"
        raise InputError("--nodes", found=found, wanted="torchrun or srun", remedy="see docs/scale.md")
    _refuse_strangers(launch, (devices or 1) * machines, environment)
    return devices or launch.devices or 1, machines


def _refuse_tasks_without_places(launch: Launch, environment: Mapping[str, str]) -> None:
    """Slurm's `--ntasks` says nothing about where they run; Lightning wants the number on each machine."""
    if launch.by == "slurm" and environment.get("SLURM_NTASKS", "1") != "1" and _PER_NODE not in environment:
        found = f"{environment['SLURM_NTASKS']} tasks and no number of them on each machine"
        raise InputError("Slurm", found=found, wanted="--ntasks-per-node", remedy="see examples/slurm/train.sbatch")


def _refuse_strangers(launch: Launch, asked: int, environment: Mapping[str, str]) -> None:
    """Several processes that do not know of each other would write into one folder."""
    started = environment.get("WORLD_SIZE", "1")
    if not launch.by and started not in ("1", str(asked)):
        found = f"WORLD_SIZE={started} from a launcher that is not known, and {asked} asked for"
        remedy = "start with torchrun or srun, or unset WORLD_SIZE"
        raise InputError("processes", found=found, wanted="equal numbers", remedy=remedy)
