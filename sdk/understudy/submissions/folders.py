"""Where results lie: a folder that is there whole or not at all, and the one file in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from understudy.errors import InputError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into; it becomes `out` when everything was written, and is removed otherwise.

    Raises:
        InputError: when something is at `out` already, or no folder can be made there.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}", found="something there already", wanted="a new or empty folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise InputError(f"{out}", found=error.strerror, wanted="a place for a folder") from error
    try:
        partial.chmod(0o755)
        yield partial
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def single_file(results: Path, name: str) -> Path:
    """The result file itself, or the only one in a folder that ends as `name` does.

    Raises:
        InputError: when the folder holds none or several.
    """
    if results.is_file():
        return results
    files = sorted(results.glob(f"*{Path(name).suffix}"))
    if len(files) != 1:
        found = f"{len(files)} files *{Path(name).suffix}"
        raise InputError(f"{results}", found=found, wanted=f"one result file, such as {name}")
    return files[0]
