"""A wrong input as a row of a table, and the one way to try it on the real command line."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from tests.integration.chain import Chain
from tests.integration.damage import Step
from understudy import cli


@dataclass(frozen=True)
class Case:
    """A wrong input.

    Attributes:
        name: what is wrong.
        command: the command line; `{here}` is the folder that `steps` prepare, `{bundle}`, ... links of the chain.
        says: what the message must contain.
        steps: what makes the input wrong.
        defect: what is still answered wrongly, and where; empty when all is well.
    """

    name: str
    command: str
    says: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    defect: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str
    changed: tuple[str, ...]
    """Files and folders that are not as they were."""

    @property
    def messages(self) -> list[str]:
        """Lines that start with `error: `, without it."""
        return [line.removeprefix("error: ") for line in self.err.splitlines() if line.startswith("error: ")]


def attempt(case: Case, chain: Chain, here: Path) -> Outcome:
    """Prepares a case in an empty folder and runs its command in this process."""
    for step in case.steps:
        step(chain, here)
    names = {name: shlex.quote(str(path)) for name, path in chain.names.items()}
    words = shlex.split(case.command.format(here=here, **names))
    before = {**_contents(here), **_contents(chain.root)}
    status, out, err = run(words, chain.root / "cache")
    after = {**_contents(here), **_contents(chain.root)}
    changed = [path for path in sorted({*before, *after}) if before.get(path) != after.get(path)]
    return Outcome(status, out, err, tuple(changed))


def run(words: list[str], cache: Path) -> tuple[int, str, str]:
    """Status, standard output and standard error of a command line."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["understudy", *words]),
        mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(cache), "COLUMNS": "200"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0), out.getvalue(), err.getvalue()
    raise AssertionError("the command line came back without an exit status")


def _contents(root: Path) -> dict[str, tuple[int, ...] | str]:
    """By path of everything below a folder, apart from the cache: what changes when someone writes to it."""
    found: dict[str, tuple[int, ...] | str] = {}
    for path in root.rglob("*"):
        if "cache" in path.parts:
            continue
        state = path.lstat()
        # Writing moves the time of change, and that cannot be set back; a folder's own moves with what lies in it.
        same = "folder" if stat.S_ISDIR(state.st_mode) else (state.st_ino, state.st_size, state.st_ctime_ns)
        found[str(path)] = same
    return found
