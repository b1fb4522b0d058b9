"""What every process that speaks DDS in a test gets."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

FIRST_DOMAIN = 10
SHARED_MEMORY = Path("/dev/shm")
SEGMENT_LOCK = re.compile(r"fast(dds|rtps)_[0-9a-f]{16}_el")
SURELY_LOCKED_S = 30.0


def ros_environment(log_dir: Path) -> dict[str, str]:
    """Loopback alone, a domain for each worker of pytest-xdist, wrong field types as errors, logs away from home.

    The first domain is 10, or that of `UNDERSTUDY_ROS_DOMAIN`: two runs on one machine must not hear each other.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    first_domain = int(os.environ.get("UNDERSTUDY_ROS_DOMAIN", FIRST_DOMAIN))
    return {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": str(first_domain + int(worker)),
        "ROS_PYTHON_CHECK_FIELDS": "1",
        "ROS_LOG_DIR": str(log_dir),
        "OMP_NUM_THREADS": "1",
    }


def remove_shared_memory_of_the_dead() -> None:
    """As `fastdds shm clean` does: segments that no process holds any more, because it was killed, as some tests do.

    A process locks its segment right after it has made it; what is young is left alone.
    """
    for lock in SHARED_MEMORY.glob("fast*_el"):
        if SEGMENT_LOCK.fullmatch(lock.name) and _is_free(lock):
            for path in (lock.with_name(lock.name.removesuffix("_el")), lock):
                path.unlink(missing_ok=True)


def _is_free(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            if time.time() - lock.stat().st_mtime < SURELY_LOCKED_S:
                return False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody lives, or has removed it
        return False
    return True
