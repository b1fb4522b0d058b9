"""Bundles as one zip file: written plainly, extracted only after every byte and every entry was looked at."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from understudy.bundle.names import ENGINES
from understudy.configuration import file_sha256
from understudy.errors import BundleError

_MAX_BYTES = 8 << 30
_MAX_ENTRIES = 1000
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_LARGE_FILES = {".onnx", ".engine"}
"""Hashed when they are opened, by manifest and sidecar."""
_SEAL = "understudy bundle 1 sha256 {}"
_SEAL_FORMAT = re.compile(_SEAL.format("([0-9a-f]{64})").encode("ascii"))
_SEAL_BYTES = len(_SEAL.format("0" * 64))
_END_BYTES = 22
"""Size of a zip's end record where no comment follows."""
_UNREADABLE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises on damaged files."""


def is_archive(path: Path) -> bool:
    """Whether a bundle path is a file, so that it can only be a zip."""
    return path.is_file()


def write_archive(folder: Path, archive: Path, *, with_engines: bool = False) -> Path:
    """Zips a bundle: equal bytes for equal contents and the same zlib; the comment is the hash of all bytes before it.

    Args:
        folder: a bundle that was verified; links in it are left out.
        archive: file to write; one that is there is replaced as a whole.
        with_engines: take compiled engines along, for vehicles of one kind.

    Raises:
        BundleError: when a folder is in the place of the zip.
    """
    if archive.is_dir():
        raise BundleError(f"{archive}", found="a folder", wanted="a file to write", remedy="choose another name")
    archive.parent.mkdir(parents=True, exist_ok=True)
    staging = archive.with_name(f".{archive.name}.part")
    try:
        with zipfile.ZipFile(staging, "w", zipfile.ZIP_DEFLATED) as stream:
            for path in _files(folder, with_engines):
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
                stream.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
            stream.comment = _SEAL.format("0" * 64).encode("ascii")
        _seal(staging)
        staging.replace(archive)
    finally:
        staging.unlink(missing_ok=True)
    return archive


def extracted(archive: Path) -> Path:
    """Folder with the zip's contents, in the cache, keyed by the zip's hash.

    Raises:
        BundleError: when it is not a zip, is damaged, an entry would land outside the folder, there is no room, or the
            cache is not this user's or was changed.
    """
    folder = _cache_folder() / file_sha256(archive)[:32]
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _refuse_shared(folder.parent)
    if folder.is_dir():
        _refuse_spoiled(archive, folder)
        return folder
    staging = Path(tempfile.mkdtemp(prefix=".extract-", dir=folder.parent))
    try:
        unpack(archive, staging)
        _publish(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Extracts a bundle's zip into an empty folder.

    Raises:
        BundleError: when it is not a zip, is damaged, an entry would land outside the folder, or there is no room.
    """
    try:
        _refuse_changed(archive)
        with zipfile.ZipFile(archive) as stream:
            entries = stream.infolist()
            _refuse_unsafe(archive, entries)
            stream.extractall(folder, entries)
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            remedy = "make room, or set XDG_CACHE_HOME to a folder on another disk"
            raise BundleError(
                f"{folder.parent}", found=error.strerror, wanted=f"room to unpack {archive}", remedy=remedy
            ) from error
        raise _no_bundle(archive, str(error) or "not a zip") from error


def _no_bundle(archive: Path, found: str) -> BundleError:
    return BundleError(f"{archive}", found=found, wanted="a bundle folder or its zip", remedy="pack it again")


def _files(folder: Path, with_engines: bool) -> Iterator[Path]:
    entries = [
        *folder.iterdir(),
        *((folder / ENGINES).iterdir() if with_engines and (folder / ENGINES).is_dir() else ()),
    ]
    return (path for path in sorted(entries) if path.is_file() and not path.is_symlink())


def _seal(archive: Path) -> None:
    end = archive.stat().st_size - _SEAL_BYTES
    digest = _sha256_until(archive, end)
    with archive.open("r+b") as stream:
        stream.seek(end)
        stream.write(_SEAL.format(digest).encode("ascii"))


def _refuse_changed(archive: Path) -> None:
    """A zip of ours ends with the hash of what is before it; one made by another tool ends with its end record."""
    end = max(archive.stat().st_size - _SEAL_BYTES, 0)
    with archive.open("rb") as stream:
        stream.seek(end)
        tail = stream.read()
    match = _SEAL_FORMAT.fullmatch(tail)
    if match is not None:
        digest = _sha256_until(archive, end)
        if digest != match[1].decode("ascii"):
            raise _no_bundle(archive, "a zip that was changed after it was packed")
    elif not (tail[-_END_BYTES:].startswith(b"PK\x05\x06") and tail.endswith(b"\0\0")):
        raise _no_bundle(archive, "not a zip, or one that was cut short or changed")


def _sha256_until(path: Path, end: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while end > 0 and (block := stream.read(min(end, 1 << 20))):
            digest.update(block)
            end -= len(block)
    return digest.hexdigest()


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "understudy" / "bundles"


def _refuse_shared(folder: Path) -> None:
    """Where others can write, they could put another bundle in the place of the one that was extracted."""
    status = folder.stat()
    is_foreign = os.getuid() != 0 and status.st_uid not in (os.getuid(), 0)
    if is_foreign or status.st_mode & stat.S_IWOTH:
        found = "a folder of another user" if is_foreign else "a folder that everyone can write"
        raise BundleError(f"{folder}", found=found, wanted="one of your own", remedy="set XDG_CACHE_HOME")


def _refuse_spoiled(archive: Path, folder: Path) -> None:
    """What was extracted before must be what is in the zip; models and engines are hashed by whoever opens them."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
    with zipfile.ZipFile(archive) as stream:
        wanted = {entry.filename for entry in stream.infolist() if not entry.is_dir()}
        spoiled = sorted(found ^ wanted) or [
            name
            for name in sorted(wanted)
            if PurePosixPath(name).suffix not in _LARGE_FILES and (folder / name).read_bytes() != stream.read(name)
        ]
    if spoiled:
        raise BundleError(
            f"{folder / spoiled[0]}",
            found="not what was unpacked",
            wanted=f"that of {archive}",
            remedy=f"remove {folder}",
        )


def _refuse_unsafe(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    seen: set[PurePosixPath] = set()
    for entry in entries:
        pure = PurePosixPath(entry.filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
        if pure.is_absolute() or ".." in pure.parts or "\\" in entry.filename or not is_plain:
            raise _unsafe(archive, f"entry {entry.filename!r}, which leaves the bundle")
        if pure in seen:
            raise _unsafe(archive, f"entry {entry.filename!r} twice")
        seen.add(pure)
    size = sum(entry.file_size for entry in entries)
    if size > _MAX_BYTES or len(entries) > _MAX_ENTRIES:
        raise BundleError(
            f"{archive}", found=f"{len(entries)} entries of {size} bytes", wanted="a bundle of a few files"
        )


def _unsafe(archive: Path, found: str) -> BundleError:
    remedy = "do not use this file; pack the bundle again"
    return BundleError(f"{archive}", found=found, wanted="plain files", remedy=remedy)


def _publish(staging: Path, folder: Path) -> None:
    """Moves the extraction into place; another process that was first has put the same contents there."""
    try:
        staging.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
