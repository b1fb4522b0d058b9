from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real recordings: UNDERSTUDY_DATA, or the one beside the checkout; skips when absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("UNDERSTUDY_DATA", default))
    if not root.is_dir():
        pytest.skip(f"no real recordings at {root}; set UNDERSTUDY_DATA")
    return root
