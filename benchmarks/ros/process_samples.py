"""What a process takes, from /proc: CPU time, memory, threads, file descriptors; and the machine's shared memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SHARED = Path("/dev/shm")


@dataclass(frozen=True)
class ProcessSample:
    """One look.

    Attributes:
        cpu_s: user and system time since it started.
        rss_mb: resident memory, shared segments included.
        private_mb: of it, what is no file's and no shared segment's.
        threads: how many.
        descriptors: open file descriptors.
    """

    cpu_s: float
    rss_mb: float
    private_mb: float
    threads: int
    descriptors: int


def sample_process(pid: int) -> ProcessSample:
    """Now.

    Raises:
        OSError: when it has ended.
    """
    folder = Path("/proc") / str(pid)
    fields = (folder / "stat").read_text().rpartition(") ")[2].split()
    pages = (folder / "statm").read_text().split()
    resident, shared = int(pages[1]), int(pages[2])
    return ProcessSample(
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS,
        rss_mb=resident * _PAGE / 1e6,
        private_mb=(resident - shared) * _PAGE / 1e6,
        threads=int(fields[17]),
        descriptors=len(list((folder / "fd").iterdir())),
    )


def shared_segments() -> tuple[int, float]:
    """How many files of Fast DDS shared memory holds, and their megabytes; those of other processes too."""
    sizes = []
    for file in _SHARED.glob("*fast*_*") if _SHARED.is_dir() else ():
        try:
            sizes.append(file.stat().st_size)
        except FileNotFoundError:
            continue
    return len(sizes), sum(sizes) / 1e6


def machine_busy_s() -> float:
    """CPU seconds that all processes together have used since the machine started."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS
