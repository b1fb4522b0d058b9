from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdk.fleet.drives import write_bag
from understudy.testing import tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("model") / "bundle").folder


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bags with a rig each."""
    folder = tmp_path_factory.mktemp("fleet")
    write_bag(folder / "monday", seed=1, num=18)
    write_bag(folder / "tuesday", seed=2, num=12)
    return folder
