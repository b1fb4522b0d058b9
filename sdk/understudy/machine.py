"""What a measurement was taken on: processor, clocks, load. Read, never guessed; None where it cannot be read."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from understudy.configuration import Config

_CPU_INFO = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


class Machine(Config):
    """State of the machine at one moment."""

    cpu: str
    num_cpus: int
    """Processors this process may use."""
    cpu_mhz: float | None
    """Fastest clock of any processor at that moment."""
    governor: str | None
    """Frequency governor; only `performance` holds the clock still."""
    load_average: tuple[float, float, float] | None
    """Mean number of runnable processes over 1, 5 and 15 minutes."""
    clock: str
    clock_resolution_ns: int
    system: str


def look() -> Machine:
    """The machine as it is now."""
    clock = time.get_clock_info("perf_counter")
    clocks_mhz = [float(value) for value in _cpu_info("cpu MHz")]
    return Machine(
        cpu=next(iter(_cpu_info("model name")), platform.processor() or platform.machine()),
        num_cpus=_num_cpus(),
        cpu_mhz=max(clocks_mhz, default=None),
        governor=_first_line(_GOVERNOR),
        load_average=os.getloadavg() if hasattr(os, "getloadavg") else None,
        clock=f"{clock.implementation}, {'monotonic' if clock.monotonic else 'not monotonic'}",
        clock_resolution_ns=max(round(clock.resolution * 1e9), 1),
        system=platform.platform(),
    )


def may_saturate_uint8() -> bool:
    """Whether this is an x86 processor without VNNI: it adds pairs of uint8 x int8 products in 16 bits."""
    flags = " ".join(_cpu_info("flags")).split()
    return bool(flags) and "avx512_vnni" not in flags and "avx_vnni" not in flags


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_info(key: str) -> list[str]:
    """Values of a key of /proc/cpuinfo, one per processor; empty where there is no such file or key."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    pairs = [line.partition(":") for line in lines]
    return [value.strip() for name, _, value in pairs if name.strip() == key]


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
