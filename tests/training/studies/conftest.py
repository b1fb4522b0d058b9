from pathlib import Path

import pytest
from typer.testing import CliRunner

from understudy.cli import build_app


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames to learn from, three held out."""
    out = tmp_path_factory.mktemp("study-scenes") / "data"
    sizes = ["--drives", "2", "--frames", "3", "--val-drives", "1", "--beams", "16"]
    result = CliRunner().invoke(build_app(), ["scenes", str(out), *sizes, "--no-camera", "--workers", "1"])
    assert result.exit_code == 0, result.output
    return out
