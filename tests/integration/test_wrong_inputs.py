"""Wrong input is one clear line and exit code 2, and harms nothing."""

from __future__ import annotations

import errno
from pathlib import Path
from shutil import copyfile, copytree
from typing import Any
from unittest.mock import Mock

import pytest

from tests.integration.cases import Case, attempt, run
from tests.integration.chain import Chain
from tests.integration.wrong_inputs import WRONG_INPUTS


def _parameter(case: Case) -> Any:
    marks = [pytest.mark.xfail(reason=case.defect, strict=True)] if case.defect else []
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", [_parameter(case) for case in WRONG_INPUTS])
def test_is_one_line_and_harms_nothing(
    case: Case, chain: Chain, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = attempt(case, chain, tmp_path)
    said = outcome.err + "".join(capfd.readouterr())
    assert outcome.status == 2, said
    assert len(outcome.messages) == 1, said
    assert "Traceback" not in said + outcome.out
    for words in case.says:
        assert words in outcome.messages[0]
    assert not outcome.changed


def test_spaces_and_other_alphabets_in_paths_work(chain: Chain, tmp_path: Path) -> None:
    place = tmp_path / "Straße 東京 & co"
    place.mkdir()
    copytree(chain.bag, place / "mein bag")
    copyfile(chain.bundle_zip, place / "bündel.zip")
    words = ["replay", place / "mein bag", place / "bündel.zip", "--out", place / "ergebnis №1"]
    status, out, err = run([str(word) for word in words], chain.root / "cache")
    assert status == 0, err
    assert "read 3 = used" in out
    status, _, err = run(["pack", str(chain.export), "--out", str(place / "ein bündel"), "--zip"], chain.root / "cache")
    assert status == 0, err
    assert run(["inspect", str(place / "ein bündel.zip")], chain.root / "cache")[0] == 0


def test_a_dangerous_zip_leaves_nothing_behind(chain: Chain, tmp_path: Path) -> None:
    case = next(case for case in WRONG_INPUTS if case.name == "zip with path traversal")
    attempt(case, chain, tmp_path)
    assert not [
        path for path in (chain.root / "cache").rglob("*") if "escaped" in path.name or ".extract-" in path.name
    ]


def test_the_chain_itself_is_right(chain: Chain, tmp_path: Path) -> None:
    """Or the table would prove nothing: each link, undamaged, is taken."""
    for case in (
        Case("rig", "rig {bag}/rig.yaml", ()),
        Case("evaluate", "evaluate {bundle} --data {scenes} --frames 1", ()),
        Case("KITTI", "evaluate {bundle} --data {kitti} --split all", ()),
        Case("replay", "replay {bag} {bundle} --out {here}/out", ()),
        Case("record", "record {scenes} {here}/bag --split val", ()),
        Case("pack", "pack {export} --out {here}/bundle", ()),
    ):
        outcome = attempt(case, chain, tmp_path)
        assert outcome.status == 0, outcome.err


def test_names_are_unique_and_there_are_enough() -> None:
    assert len({case.name for case in WRONG_INPUTS}) == len(WRONG_INPUTS) >= 36


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: disk: found No space left on device; "),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "error: /x/y: found Permission denied; "),
    ],
)
def test_what_is_no_bug_is_one_line(
    error: BaseException, status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.diagnosis.card.diagnose", Mock(side_effect=error))
    found, _, err = run(["doctor"], tmp_path)
    assert found == status
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_an_error_of_the_system_that_names_no_file_is_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "understudy.diagnosis.card.diagnose", Mock(side_effect=OSError(errno.EBADF, "Bad file descriptor"))
    )
    with pytest.raises(OSError, match="Bad file"):
        run(["doctor"], tmp_path)
