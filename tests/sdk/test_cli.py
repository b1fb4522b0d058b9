from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from understudy import cli
from understudy.cli import needs
from understudy.errors import InputError, UnderstudyError


class Verb:
    """An entry point that is not installed."""

    def __init__(self, name, function):
        self.name = name
        self._function = function

    def load(self):
        return self._function


@pytest.fixture
def verbs(monkeypatch):
    def install(**functions):
        entries = [Verb(name, function) for name, function in functions.items()]
        monkeypatch.setattr(cli, "entry_points", lambda group: entries)

    return install


def status_of(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["understudy", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def works() -> None:
    """Works."""


def differs() -> None:
    raise typer.Exit(1)


def refuses() -> None:
    raise InputError("cloud.bin", found="an empty file", wanted="points")


@needs("no_such_module", extra="training")
def trains(epochs: int = 3) -> None:
    """Never runs here."""


def test_statuses_tell_success_difference_and_wrong_input_apart(verbs, monkeypatch, capsys):
    verbs(works=works, differs=differs, refuses=refuses)
    assert status_of(monkeypatch, "works") == 0
    assert status_of(monkeypatch, "differs") == 1
    assert status_of(monkeypatch, "refuses") == 2
    assert capsys.readouterr().err == "error: cloud.bin: found an empty file, wanted points\n"


@pytest.mark.parametrize("arguments", [["works", "--wrong"], ["nothing"], ["works", "extra"]])
def test_wrong_arguments_are_one_line(verbs, monkeypatch, capsys, arguments):
    verbs(works=works, refuses=refuses)
    assert status_of(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_bugs_are_not_hidden(verbs, monkeypatch):
    def breaks() -> None:
        raise ZeroDivisionError

    verbs(breaks=breaks, works=works)
    monkeypatch.setattr(sys, "argv", ["understudy", "breaks"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_a_verb_that_cannot_run_says_what_to_install(verbs):
    verbs(works=works, trains=trains)
    app = cli.build_app()
    assert "understudy[training]" in CliRunner().invoke(app, ["--help"]).output
    result = CliRunner().invoke(app, ["trains", "--epochs", "5"])
    assert isinstance(result.exception, UnderstudyError)
    assert "no_such_module not installed" in str(result.exception)
    assert "pip install 'understudy[training]'" in str(result.exception)


def test_the_installed_command_shows_its_verbs_without_importing_torch():
    code = (
        "import sys\nfrom understudy.cli import build_app\nfrom typer.testing import CliRunner\n"
        "result = CliRunner().invoke(build_app(), ['--help'])\nassert result.exit_code == 0, result.output\n"
        "assert 'evaluate' in result.output\n"
        "heavy = [name for name in ('torch', 'onnxruntime', 'matplotlib') if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_alone_the_command_shows_its_help(verbs, monkeypatch, capsys):
    verbs(works=works, refuses=refuses)
    assert status_of(monkeypatch) == 0
    shown = capsys.readouterr()
    assert shown.out.lstrip().startswith("Usage")
    assert shown.err == ""
