from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.oracles import REQUIRED, Oracle, find_oracle

if find_spec("hypothesis"):  # it is not in the environments of ROS
    from hypothesis import settings

    # How long an example takes says more about the machine than about the code.
    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real recordings: UNDERSTUDY_DATA, or the one beside the checkout; skips when absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("UNDERSTUDY_DATA", default))
    if not root.is_dir():
        pytest.skip(f"no real recordings at {root}; set UNDERSTUDY_DATA")
    return root


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    """The official devkits in an environment of their own; skips when it is not built, fails where it is required."""
    found = find_oracle()
    if found is None:
        reason = "the official devkits are not installed; run `make oracles`"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
