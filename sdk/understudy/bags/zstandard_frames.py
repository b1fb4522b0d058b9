"""Zstandard as rosbag2 uses it: over whole files and over single messages."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZstdError = zstd.ZstdError
ZSTD_SUFFIX = ".zstd"
_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK_BYTES = 1 << 20


def message_bytes(raw: bytes) -> bytes:
    """A message as it was before the recorder compressed it; what cannot be unpacked stays as it is.

    CDR begins with 0, a compressed message with the magic number of RFC 8878.
    """
    if not raw.startswith(_MAGIC):
        return raw
    try:
        return bytes(zstd.decompress(raw))
    except (ZstdError, EOFError):
        return raw


def decompressed_start(source: Path, target: Path) -> str:
    """Unpacks a file up to its damage.

    Returns:
        What is wrong with it; empty when it is whole.
    """
    unpack = zstd.ZstdDecompressor()
    with source.open("rb") as packed, target.open("wb") as plain:
        while block := packed.read(_BLOCK_BYTES):
            try:
                plain.write(unpack.decompress(block))
            except (ZstdError, EOFError) as error:
                return f"compression damaged before byte {packed.tell()} of {source.stat().st_size} ({error})"
            if unpack.eof:
                return ""
    return f"compression ends early, at byte {source.stat().st_size}"
