"""The official devkits, run in an environment of their own (`make oracles`) and spoken to through files.

A script in `tests/oracle_scripts` is called with the path of an npz file to read and one to write. Starting it and
importing a devkit takes a second or two: one call should carry many cases.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

SCRIPTS = Path(__file__).resolve().parent / "oracle_scripts"
DEFAULT_VENV = Path(sys.prefix) / "oracles"
REQUIRED = "UNDERSTUDY_ORACLES_REQUIRED"
"""Environment variable that turns the skip for a missing environment into a failure."""


@dataclass(frozen=True)
class Oracle:
    """A Python with the official devkits.

    Attributes:
        python: its interpreter.
    """

    python: Path

    def ask(self, script: str, arrays: dict[str, NDArray]) -> dict[str, NDArray]:
        """What a script answers to named arrays, as named arrays; strings are arrays of strings."""
        with TemporaryDirectory() as folder:
            question, answer = Path(folder) / "question.npz", Path(folder) / "answer.npz"
            np.savez(question, **arrays)
            self.run(script, question, answer)
            with np.load(answer, allow_pickle=False) as content:
                return dict(content)

    def run(self, script: str, *arguments: str | Path) -> str:
        """Runs a script of `tests/oracle_scripts` to its end; what it printed.

        Raises:
            AssertionError: when it fails, with what it said.
        """
        command = [str(self.python), str(SCRIPTS / f"{script}.py"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment(), timeout=240)
        assert done.returncode == 0, f"{script} failed in {self.python}:\n{done.stderr}"
        return done.stdout


def find_oracle() -> Oracle | None:
    """The environment beside the running Python, or the one named by UNDERSTUDY_ORACLES; None when it is not built."""
    folder = Path(os.environ.get("UNDERSTUDY_ORACLES", DEFAULT_VENV))
    python = folder / "bin" / "python"
    return Oracle(python) if (folder / ".installed").is_file() and python.is_file() else None


def _environment() -> dict[str, str]:
    """One thread, and nothing of the calling Python's own paths."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    return {**kept, **threads, "MPLBACKEND": "Agg"}
