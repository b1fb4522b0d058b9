"""Looks at files and other programs that always come back: a reason instead of an error, and never a hang."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_LONGEST_S = 10.0


@dataclass(frozen=True)
class Answer:
    """What a program said.

    Attributes:
        text: its standard output; empty when it failed.
        failure: why there is none; empty when it succeeded.
        installed: whether there is such a program at all.
    """

    text: str
    failure: str = ""
    installed: bool = True


def ask(*words: str, timeout_s: float = _LONGEST_S) -> Answer:
    """Runs a program that only tells something."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False, errors="replace"
        )
    except FileNotFoundError:
        return Answer("", f"{words[0]} is not installed", installed=False)
    except subprocess.TimeoutExpired:
        return Answer("", f"{words[0]} did not answer in {timeout_s:.0f} s")
    except OSError as error:
        return Answer("", f"{words[0]}: {error.strerror}")
    if done.returncode != 0:
        return Answer(
            "", f"{words[0]}: {first_line(done.stderr) or first_line(done.stdout) or 'failed without a word'}"
        )
    return Answer(done.stdout)


def first_line(text: str) -> str:
    """The first line that says anything."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def file_text(path: Path) -> str:
    """What a file holds; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def file_number(path: Path) -> int | None:
    """The whole number that a file holds."""
    text = file_text(path)
    return int(text) if text.isdigit() else None
