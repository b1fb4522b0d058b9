"""What a sharded data set's folder holds: `index.json`, which names every file with its hash, and `index.npz`.

A shard is an uncompressed tar. Of each sample it holds, one after the other, `<number>.npz` (what
`recorded_frame.encode_sample` gives), `<number>.rig.json` and its pictures byte for byte, as
`<number>.<place>.<camera>.jpg`.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.configuration import Config, check_config, file_sha256
from understudy.datasets.files import BROKEN_ARRAYS
from understudy.errors import InputError

INDEX, COLUMNS = "index.json", "index.npz"
SCHEMA_VERSION = 1
_REMEDY = "copy the data set again, or make it anew with `understudy dataset shard`"


class ShardEntry(Config):
    """One tar file."""

    file: str = Field(pattern=r"^\w[\w.-]*$")
    num_samples: int = Field(ge=1)
    size_bytes: int = Field(ge=1)
    sha256: str


class ShardsDescription(Config):
    """Contents of index.json."""

    kind: Literal["shards"] = "shards"
    schema_version: Literal[1] = 1
    class_names: tuple[str, ...]
    source: str
    """The data set that was sharded."""
    source_fingerprint: str
    split: str | None = None
    """Its split that was sharded; None is every sample."""
    sweeps: int = Field(1, ge=1)
    """How many sweeps a cloud holds."""
    left_out_sweeps: bool = False
    """Whether the source holds sweeps between its samples, which are not here."""
    left_out_regions: bool = False
    """Whether the source labels only a part of what is seen; which part is not here."""
    columns_sha256: str
    """Of index.npz."""
    shards: tuple[ShardEntry, ...] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class SampleColumns:
    """Where each of N samples lies, without reading it; places and sizes in bytes within its shard.

    Attributes:
        keys: `(N,)` UTF-8 keys.
        drives: `(N,)` UTF-8 names of drives.
        stamps_ns: `(N,)` int64 reference times.
        offsets: `(N,)` int64 where the npz begins.
        sizes: `(N,)` int64 size of the npz.
        rig_offsets: `(N,)` int64 where the rig begins.
        rig_sizes: `(N,)` int64 size of the rig.
        checksums: `(N,)` uint32 CRC-32 of npz, continued over the rig.
        num_pictures: `(N,)` int32 pictures of each sample.
        picture_offsets: `(P,)` int64 where each picture begins, sample by sample.
        picture_sizes: `(P,)` int64.
        picture_checksums: `(P,)` uint32 CRC-32.
    """

    keys: NDArray[np.bytes_]
    drives: NDArray[np.bytes_]
    stamps_ns: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    rig_offsets: NDArray[np.int64]
    rig_sizes: NDArray[np.int64]
    checksums: NDArray[np.uint32]
    num_pictures: NDArray[np.int32]
    picture_offsets: NDArray[np.int64]
    picture_sizes: NDArray[np.int64]
    picture_checksums: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def concatenate(cls, parts: list[SampleColumns]) -> SampleColumns:
        """The columns of several shards as one."""
        names = [entry.name for entry in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def to_bytes(self) -> bytes:
        """As an npz file; equal columns, equal bytes."""
        stream = io.BytesIO()
        arrays: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        np.savez(stream, **arrays)
        return stream.getvalue()


def read_columns(path: Path) -> SampleColumns:
    """Reads what `SampleColumns.to_bytes` gave.

    Raises:
        InputError: when the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return SampleColumns(**{entry.name: stored[entry.name] for entry in fields(SampleColumns)})
    except FileNotFoundError:
        raise InputError(f"{path}", found="no such file", remedy=_REMEDY) from None
    except (*BROKEN_ARRAYS, KeyError) as error:
        raise InputError(f"{path}", found=str(error), wanted="the index of shards", remedy=_REMEDY) from error


def read_shards_description(path: Path) -> ShardsDescription:
    """The index.json of a folder, after checking that index.npz is the one that belongs to it.

    Raises:
        InputError: when a file is missing, damaged or of another schema.
    """
    file = path / INDEX
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}", found=str(error), wanted="the index of shards", remedy=_REMEDY) from error
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        remedy = "make the data set anew with this version of understudy"
        raise InputError(f"{file}: schema_version", found=version, wanted=SCHEMA_VERSION, remedy=remedy)
    description = check_config(values, ShardsDescription, f"{file}")
    columns = path / COLUMNS
    if not columns.is_file() or file_sha256(columns) != description.columns_sha256:
        found = "another file than the index names" if columns.is_file() else "no such file"
        raise InputError(f"{columns}", found=found, wanted=description.columns_sha256[:12], remedy=_REMEDY)
    return description


def is_sharded(path: Path) -> bool:
    """Whether a folder holds a sharded data set."""
    return (path / INDEX).is_file() and (path / COLUMNS).is_file()
