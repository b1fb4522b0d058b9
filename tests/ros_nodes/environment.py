"""What every process that speaks DDS in a test gets."""

from __future__ import annotations

import os
from pathlib import Path

FIRST_DOMAIN = 10


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
