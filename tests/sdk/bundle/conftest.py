from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdk.bundle.bundle_cases import Shell, make_shell
from understudy.bundle.signing import TRUSTED_KEY_VARIABLE, write_key_pair


@pytest.fixture(autouse=True)
def _own_cache_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(TRUSTED_KEY_VARIABLE, "")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return make_shell(monkeypatch, capsys)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key; the public one is beside it."""
    write_key_pair(tmp_path / "key.pem")
    return tmp_path / "key.pem"
