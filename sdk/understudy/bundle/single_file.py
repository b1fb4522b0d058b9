"""A bundle as one file, changed in place: engines and signatures go into it as they go into a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from understudy.bundle.archives import is_archive, unpack, write_archive
from understudy.errors import BundleError


@contextmanager
def writable(path: Path) -> Iterator[Path]:
    """A folder with the bundle to change: itself, or a copy of a single file, which is replaced at the end.

    Whoever interrupts this, or fails within it, leaves the single file as it was.

    Raises:
        BundleError: when the file is no bundle, or nothing can be written beside it.
    """
    if not is_archive(path):
        yield path
        return
    target = path.resolve()
    try:
        scratch = tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        wanted = "a folder that can be written"
        raise BundleError(f"{target.parent}", found=error.strerror, wanted=wanted) from error
    with scratch as name:
        unpack(target, Path(name))
        yield Path(name)
        write_archive(Path(name), target, with_engines=True)
