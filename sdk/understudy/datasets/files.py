"""What every reader needs of the disk: clouds, JSON and fingerprints, with errors that name the file."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePath
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.configuration import what_is_there
from understudy.errors import InputError

BROKEN_ARRAYS = (
    *(OSError, EOFError, ValueError, TypeError, AttributeError, SyntaxError, TokenError, MemoryError, RuntimeError),
    *(OverflowError, struct.error, zlib.error, zipfile.BadZipFile),
)
"""What numpy and zipfile raise when the bytes of an npy or npz file are not what they seem to be."""


def read_float_records(path: Path, num_fields: int) -> NDArray[np.float32]:
    """A file of float32 records, such as a KITTI or nuScenes sweep, as `(N, num_fields)`.

    Raises:
        InputError: when the file is missing, empty, does not hold a whole number of records, or one is not finite.
    """
    try:
        values = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise InputError(f"{path}", found="no such file", wanted="a LiDAR sweep") from None
    except OSError as error:
        raise InputError(f"{path}", found=error.strerror, wanted="a LiDAR sweep") from error
    record_bytes = 4 * num_fields
    if len(values) == 0:
        raise InputError(f"{path}", found="an empty file", wanted="a LiDAR sweep", remedy="copy the file again")
    if len(values) % record_bytes:
        raise InputError(
            f"{path}",
            found=f"{len(values)} bytes",
            wanted=f"a multiple of {record_bytes} ({num_fields} float32 per point)",
            remedy="the file is cut short or of another format; copy it again",
        )
    records = values.view("<f4").reshape(-1, num_fields)
    refuse_unless_finite(path, records)
    return records


def refuse_unless_finite(path: Path, records: NDArray[np.floating]) -> None:
    """Raises InputError naming the file and the first of its `(N, F)` records that is not finite, and how many are.

    A recording's file holds returns only, so this is damage; dropping points here would shift their labels.
    """
    if np.isfinite(records).all():
        return
    wrong = ~np.isfinite(records).all(axis=1)
    number = int(wrong.argmax())
    values = " ".join(f"{value:g}" for value in records[number])
    found = f"point {number} is {values}, {np.count_nonzero(wrong)} of {len(records)} points are not finite"
    remedy = "the file is damaged or of another format; copy it again"
    raise InputError(f"{path}", found=found, wanted="finite numbers", remedy=remedy)


def is_there(path: Path) -> bool:
    """Whether an optional file is there; nothing at all means that it is not.

    Raises:
        InputError: when something is there that is no file: a folder, or a link to nowhere. Taken for absent, it would
            quietly cost labels, stamps or poses.
    """
    if path.is_file():
        return True
    if path.is_symlink() or path.exists():
        found = f"a link to {path.readlink()}, where no file is" if path.is_symlink() else "a folder"
        raise InputError(f"{path}", found=found, wanted="a file, or nothing", remedy="mend or remove it")
    return False


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        InputError: when the file is missing or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}", found=str(error), wanted="JSON", remedy="copy the file again") from error


def read_text(path: Path) -> str:
    """A UTF-8 text file.

    Raises:
        InputError: when the file is missing or is not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}", found="no such file") from None
    except OSError as error:
        raise InputError(f"{path}", found=what_is_there(path, error), wanted="a text file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}", found=str(error), wanted="a text file") from error


def fingerprint(root: Path, bulky: Iterable[Path], descriptions: Iterable[Path]) -> str:
    """SHA-256 over the names and sizes of bulky files, and over the names and contents of descriptions.

    Names are relative to `root`, so that a data set that was moved keeps its fingerprint; files may lie outside.

    Raises:
        InputError: when a file is missing.
    """
    digest = hashlib.sha256()
    try:
        for name, path in _by_name(root, bulky):
            digest.update(f"{name} {path.stat().st_size}\n".encode())
        for name, path in _by_name(root, descriptions):
            digest.update(f"{name}\n".encode() + path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}", found="no such file") from None
    except OSError as error:
        raise InputError(f"{error.filename}", found=error.strerror, wanted="a file that can be read") from error
    return digest.hexdigest()


def _by_name(root: Path, paths: Iterable[Path]) -> list[tuple[str, Path]]:
    """Each file with its name as seen from the root, in the order of names."""
    named = sorted((PurePath(os.path.relpath(path, root)), path) for path in paths)
    return [(name.as_posix(), path) for name, path in named]
