"""Bundles as one zip file: written plainly, extracted only after every entry was looked at."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from understudy.configuration import file_sha256
from understudy.errors import BundleError

_MAX_BYTES = 8 << 30
_MAX_ENTRIES = 1000
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def is_archive(path: Path) -> bool:
    """Whether a bundle path is a file, so that it can only be a zip."""
    return path.is_file()


def write_archive(folder: Path, archive: Path) -> Path:
    """Zips a bundle: equal bytes for equal contents; compiled engines are left out, they are per target.

    Raises:
        BundleError: when a folder is in the place of the zip.
    """
    if archive.is_dir():
        raise BundleError(f"{archive}", found="a folder", wanted="a file to write", remedy="choose another name")
    archive.parent.mkdir(parents=True, exist_ok=True)
    staging = archive.with_name(f".{archive.name}.part")
    try:
        with zipfile.ZipFile(staging, "w", zipfile.ZIP_DEFLATED) as stream:
            for path in sorted(folder.iterdir()):
                if path.is_file():
                    stream.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED)
        staging.replace(archive)
    finally:
        staging.unlink(missing_ok=True)
    return archive


def extracted(archive: Path) -> Path:
    """Folder with the zip's contents, in the cache, keyed by the zip's hash.

    Raises:
        BundleError: when it is not a zip, is damaged, an entry would land outside the folder, or there is no room.
    """
    folder = _cache_folder() / file_sha256(archive)[:32]
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".extract-", dir=folder.parent))
    try:
        _extract(archive, staging)
        _publish(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "understudy" / "bundles"


def _extract(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as stream:
            entries = stream.infolist()
            _refuse_unsafe(archive, entries)
            stream.extractall(folder, entries)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            remedy = "make room, or set XDG_CACHE_HOME to a folder on another disk"
            raise BundleError(
                f"{folder.parent}", found=error.strerror, wanted=f"room to unpack {archive}", remedy=remedy
            ) from error
        raise BundleError(
            f"{archive}", found=str(error) or "not a zip", wanted="a bundle folder or its zip", remedy="pack it again"
        ) from error


def _refuse_unsafe(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    for entry in entries:
        pure = PurePosixPath(entry.filename)
        is_link = stat.S_ISLNK(entry.external_attr >> 16)
        if pure.is_absolute() or ".." in pure.parts or "\\" in entry.filename or is_link:
            raise BundleError(
                f"{archive}",
                found=f"entry {entry.filename!r}, which leaves the bundle",
                wanted="plain files",
                remedy="do not use this file; pack the bundle again",
            )
    size = sum(entry.file_size for entry in entries)
    if size > _MAX_BYTES or len(entries) > _MAX_ENTRIES:
        raise BundleError(
            f"{archive}", found=f"{len(entries)} entries of {size} bytes", wanted="a bundle of a few files"
        )


def _publish(staging: Path, folder: Path) -> None:
    """Moves the extraction into place; another process that was first has put the same contents there."""
    staging.chmod(0o755)
    try:
        staging.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
