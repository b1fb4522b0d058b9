"""`checksums.sha256`: the hashes of the files that no manifest can name, the manifest itself and its signature.

It is written as `sha256sum` writes it, so that `sha256sum -c checksums.sha256` says the same. It finds damage; whoever
can write the folder can write it too, and against them there is the signature.
"""

from __future__ import annotations

from pathlib import Path

from understudy.bundle.names import CHECKSUMS, MANIFEST, SIGNATURE
from understudy.configuration import file_sha256
from understudy.errors import BundleError

_COVERED = (MANIFEST, SIGNATURE)
_PACK_AGAIN = f"it was changed or damaged: pack it again; after an edit of your own, remove {CHECKSUMS}"


def write_checksums(folder: Path) -> None:
    """Writes the hashes of manifest and signature as they are now."""
    (folder / CHECKSUMS).write_text(_text_of(folder), encoding="ascii", newline="\n")


def refuse_changed_manifest(folder: Path, source: Path) -> None:
    """Raises BundleError when manifest or signature are not what was written; a bundle without hashes passes.

    Args:
        folder: where the files are.
        source: the bundle as the user named it.
    """
    path = folder / CHECKSUMS
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{source}: {CHECKSUMS}", found="no plain file", wanted="a list of hashes")
    found, wanted = path.read_bytes(), _text_of(folder).encode("ascii")
    if found == wanted:
        return
    lines = found.splitlines()
    for name in _COVERED:
        digest = file_sha256(folder / name) if (folder / name).is_file() else ""
        is_listed = any(line.endswith(f"  {name}".encode("ascii")) for line in lines)
        if f"{digest}  {name}".encode("ascii") not in lines and (digest or is_listed):
            said = f"sha256 {digest[:12]}" if digest else "nothing there"
            wanted_there = f"what {CHECKSUMS} says"
            raise BundleError(f"{source}: {name}", found=said, wanted=wanted_there, remedy=_PACK_AGAIN)
    raise BundleError(f"{source}: {CHECKSUMS}", found="other lines", wanted=f"one of {MANIFEST}", remedy=_PACK_AGAIN)


def _text_of(folder: Path) -> str:
    there = [name for name in _COVERED if (folder / name).is_file()]
    return "".join(f"{file_sha256(folder / name)}  {name}\n" for name in there)
