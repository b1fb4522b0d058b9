"""What a damaged bag still gives, copied into a whole storage file of its own, and what is known to be lost.

The copy lies in a temporary folder (`TMPDIR` says where) and takes as much room as what was saved. Of MCAP files every
record that can be read is taken, before and after the damage; chunks that cannot be unpacked or whose checksum fails
are left out; of sqlite3 files every row that can still be read.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from understudy.bags.salvage_counts import Copied
from understudy.bags.salvage_sqlite3 import salvage_sqlite3
from understudy.bags.zstandard_frames import ZSTD_SUFFIX, decompressed_start
from understudy.errors import BagError

STORAGES = (".mcap", ".db3")


@dataclass(frozen=True)
class Salvage:
    """What was saved of a bag.

    Attributes:
        file: a whole storage file with what was saved.
        saved: messages saved, by topic.
        promised: messages that the bag's own metadata speak of, by topic, or the ends of its files where the metadata
            are gone; empty when those are gone too.
        damage: what is wrong, in a line; empty when it is known of nothing but lost messages.
    """

    file: Path
    saved: Mapping[str, int]
    promised: Mapping[str, int]
    damage: str

    @property
    def lost(self) -> dict[str, int] | None:
        """Messages lost in damage, by topic; None when nobody knows how many there were."""
        if not self.promised:
            return None
        lost = {topic: promised - self.saved.get(topic, 0) for topic, promised in self.promised.items()}
        return {topic: max(0, num) for topic, num in sorted(lost.items())}

    @property
    def text(self) -> str:
        """The damage in a line, and what is lost."""
        saved, damage = sum(self.saved.values()), self.damage or "fewer messages than the metadata speak of"
        lost = "nobody knows how many were lost" if self.lost is None else f"{sum(self.lost.values())} lost"
        return f"{damage}; {saved} messages saved, {lost}"


def salvage_bag(path: Path, folder: Path) -> Salvage:
    """Copies what can be read of a bag's storage files into one whole file.

    Args:
        path: folder of a bag, with metadata.yaml or without, or a storage file.
        folder: where the copy goes; it must be empty.

    Raises:
        BagError: when there is no storage file, files of several kinds, or no message can be read.
    """
    files = _storage_files(path)
    kind = _kind(path, files)
    target = folder / f"salvaged{kind}"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        sources = [_decompressed(file, Path(scratch)) for file in files]
        copied = _copied(kind, [source for source, _ in sources], target)
    damages = [
        f"{file.name}: {'; '.join(part for part in (note, told) if part)}"
        for file, note, (_, told) in zip(files, copied.notes, sources, strict=True)
        if note or told
    ]
    if not sum(copied.saved.values()):
        found = f"no message in {len(files)} files" + (f" ({damages[0]})" if damages else "")
        raise BagError(f"bag {path}: nothing to salvage", found=found, wanted="at least one message")
    promised = _promised(path)
    missing = [name for name in promised.files if not (path / name).exists()]
    damages += [f"{name}: missing" for name in missing]
    if not promised.files and path.is_dir():
        damages += ["metadata.yaml: missing or damaged"]
    counts = promised.counts or copied.promised or {}
    return Salvage(target, dict(sorted(copied.saved.items())), counts, "; ".join(damages))


def _storage_files(path: Path) -> list[Path]:
    """In the order of the numbers in their names: `bag_10` after `bag_9`."""
    if path.is_file():
        return [path]
    found = [file for file in path.iterdir() if _suffix(file) in STORAGES and file.is_file()]
    if not found:
        raise BagError(f"bag {path}: nothing to salvage", found="no storage file", wanted="*.mcap or *.db3")
    return sorted(found, key=lambda file: [int(part) if part.isdigit() else part for part in _parts(file.name)])


def _parts(name: str) -> list[str]:
    return re.split(r"(\d+)", name)


def _suffix(file: Path) -> str:
    """The storage's ending, of a compressed file too."""
    return Path(file.stem).suffix if file.suffix == ZSTD_SUFFIX else file.suffix


def _kind(path: Path, files: list[Path]) -> str:
    kinds = sorted({_suffix(file) for file in files})
    if len(kinds) > 1 or kinds[0] not in STORAGES:
        raise BagError(f"bag {path}: storage", found=", ".join(kinds), wanted="one of .mcap, .db3")
    return kinds[0]


def _decompressed(file: Path, scratch: Path) -> tuple[Path, str]:
    """The file itself, or what can be unpacked of a compressed one, and what is wrong with it."""
    if file.suffix != ZSTD_SUFFIX:
        return file, ""
    target = scratch / file.stem
    return target, decompressed_start(file, target)


def _copied(kind: str, sources: list[Path], target: Path) -> Copied:
    if kind == ".db3":
        return salvage_sqlite3(sources, target)
    try:
        from understudy.bags.salvage_mcap import salvage_mcap
    except ImportError as error:
        remedy = "pip install 'understudy[salvage]'"
        raise BagError("salvage of MCAP", found="no package mcap", wanted="one", remedy=remedy) from error
    return salvage_mcap(sources, target)


@dataclass(frozen=True)
class _Promised:
    """What metadata.yaml speaks of."""

    counts: Mapping[str, int]
    files: tuple[str, ...]


def _promised(path: Path) -> _Promised:
    """Nothing where the metadata are missing or damaged."""
    try:
        text = (path / "metadata.yaml").read_text(encoding="utf-8")
        told = yaml.safe_load(text)["rosbag2_bagfile_information"]
        topics = told["topics_with_message_count"]
        counts = {str(entry["topic_metadata"]["name"]): int(entry["message_count"]) for entry in topics}
        return _Promised(counts, tuple(Path(str(name)).name for name in told["relative_file_paths"]))
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError):
        return _Promised({}, ())
