"""Cuts any data set into shards: whole or not there, and where it was killed it goes on with the next shard."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from understudy.configuration import Config, check_config, file_sha256
from understudy.datasets.dataset import (
    Dataset,
    PartlyLabeled,
    Place,
    Sample,
    Sequential,
    Thinned,
    WithSweeps,
    sweeps_held,
)
from understudy.datasets.files import read_json
from understudy.datasets.recorded_frame import Picture, encode_sample, pictures_of
from understudy.datasets.shard_index import (
    COLUMNS,
    INDEX,
    SampleColumns,
    ShardEntry,
    ShardsDescription,
    is_sharded,
    read_columns,
)
from understudy.datasets.shards import ShardPictures
from understudy.datasets.sweeps import original_of
from understudy.errors import InputError
from understudy.progress import Track, silent

_MEGABYTE = 1_000_000
_JOB = "job.json"


class ShardJob(Config):
    """What is being sharded; a folder that was begun goes on only with the same."""

    source: str
    source_fingerprint: str
    split: str | None = None
    class_names: tuple[str, ...]
    sweeps: int = 1
    left_out_sweeps: bool = False
    left_out_regions: bool = False
    shard_mb: float
    images: bool


def write_shards(
    dataset: Dataset,
    out: Path,
    *,
    source: str,
    split: str | None = None,
    shard_mb: float = 256.0,
    images: bool = True,
    track: Track = silent,
) -> ShardsDescription:
    """Writes a sharded copy of a data set.

    It is made in a hidden folder beside `out`, which takes its place when all of it is there. Killed and called again
    with the same data set, it keeps the whole shards of that folder.

    Args:
        dataset: what to write.
        out: folder to make.
        source: what to call the data set in the index.
        split: the split that `dataset` is of.
        shard_mb: size from which a shard is full, in megabytes; each holds at least one sample.
        images: whether to take the pictures along.
        track: progress.

    Raises:
        InputError: when there is something at `out`, no sample, or a sample cannot be read.
    """
    if out.is_symlink() or out.exists():
        found = "a sharded data set" if is_sharded(out) else "something there already"
        raise InputError(f"{out}", found=found, wanted="a new folder", remedy="choose another --out, or remove it")
    if len(dataset) == 0 or not shard_mb > 0:
        raise InputError("sharding", found=f"{len(dataset)} samples, {shard_mb:g} MB", wanted="more than none of each")
    job = ShardJob(
        source=source,
        source_fingerprint=dataset.fingerprint,
        split=split,
        class_names=dataset.class_names,
        sweeps=sweeps_held(dataset),
        left_out_sweeps=_leaves_out_sweeps(dataset),
        left_out_regions=_leaves_out_regions(original_of(dataset)),
        shard_mb=shard_mb,
        images=images,
    )
    staging = out.parent / f".{out.name}-sharding"
    done = _resumed(staging, job)
    numbers = range(sum(entry.num_samples for entry, _ in done), len(dataset))
    pending = iter(track(numbers, "sharding", len(numbers)))
    while (shard := _write_shard(staging, len(done), dataset, pending, job)) is not None:
        done.append(shard)
    return _publish(staging, out, job, done)


_Shard = tuple[ShardEntry, SampleColumns]


def _resumed(staging: Path, job: ShardJob) -> list[_Shard]:
    """The whole shards of a run that was killed; a folder begun for something else is begun anew."""
    if staging.is_dir() and _job_of(staging) != job:
        shutil.rmtree(staging)
    try:
        staging.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{staging}", found=error.strerror, wanted="a place to write") from error
    _write(staging / _JOB, job.model_dump_json().encode())
    done: list[_Shard] = []
    while (shard := _whole_shard(staging, len(done))) is not None:
        done.append(shard)
    return done


def _job_of(staging: Path) -> ShardJob | None:
    try:
        return check_config(read_json(staging / _JOB), ShardJob, _JOB)
    except InputError:
        return None


def _whole_shard(staging: Path, number: int) -> _Shard | None:
    file, beside = staging / _shard_name(number), staging / f"{number:06d}.json"
    try:
        entry = check_config(read_json(beside), ShardEntry, f"{beside}")
        columns = read_columns(staging / f"{number:06d}.npz")
        is_whole = file_sha256(file) == entry.sha256 and len(columns) == entry.num_samples
    except (InputError, OSError):
        return None
    return (entry, columns) if is_whole else None


def _write_shard(staging: Path, number: int, dataset: Dataset, pending: Iterator[int], job: ShardJob) -> _Shard | None:
    """The next shard, or None when no sample is left. Its columns and its entry are written last."""
    first = next(pending, None)
    if first is None:
        return None
    file = staging / _shard_name(number)
    columns = _Columns()
    with (staging / f".{file.name}").open("wb") as stream:
        hashing = _Hashing(stream)
        with tarfile.open(fileobj=hashing, mode="w", format=tarfile.USTAR_FORMAT) as archive:  # type: ignore[call-overload]
            index: int | None = first
            while index is not None:
                _add_sample(archive, columns, dataset, index, job.images)
                is_full = hashing.tell() >= job.shard_mb * _MEGABYTE
                index = None if is_full else next(pending, None)
        stream.flush()
        os.fsync(stream.fileno())
    (staging / f".{file.name}").replace(file)
    made = columns.arrays()
    entry = ShardEntry(
        file=file.name, num_samples=len(made), size_bytes=file.stat().st_size, sha256=hashing.digest.hexdigest()
    )
    _write(staging / f"{number:06d}.npz", made.to_bytes())
    _write(staging / f"{number:06d}.json", entry.model_dump_json().encode())
    return entry, made


def _publish(staging: Path, out: Path, job: ShardJob, done: list[_Shard]) -> ShardsDescription:
    columns = SampleColumns.concatenate([part for _, part in done]).to_bytes()
    description = ShardsDescription(
        **job.model_dump(exclude={"shard_mb", "images"}),
        columns_sha256=hashlib.sha256(columns).hexdigest(),
        shards=tuple(entry for entry, _ in done),
    )
    _write(staging / COLUMNS, columns)
    _write(staging / INDEX, (description.model_dump_json(indent=1) + "\n").encode())
    for path in (*staging.glob("[0-9]*.json"), *staging.glob("[0-9]*.npz"), staging / _JOB):
        path.unlink()
    staging.rename(out)
    return description


@dataclass
class _Columns:
    """Rows of the index while a shard is written."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[tuple[int, int, int]] = field(default_factory=list)

    def arrays(self) -> SampleColumns:
        def column(name: str, dtype: Any = np.int64) -> Any:
            return np.array([row[name] for row in self.rows], dtype)

        places = np.array(self.pictures, np.int64).reshape(-1, 3)
        return SampleColumns(
            keys=column("key", np.bytes_),
            drives=column("drive", np.bytes_),
            stamps_ns=column("stamp_ns"),
            offsets=column("offset"),
            sizes=column("size"),
            rig_offsets=column("rig_offset"),
            rig_sizes=column("rig_size"),
            checksums=column("checksum", np.uint32),
            num_pictures=column("num_pictures", np.int32),
            picture_offsets=places[:, 0],
            picture_sizes=places[:, 1],
            picture_checksums=places[:, 2].astype(np.uint32),
        )


class _Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._stream = stream

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._stream.write(data)

    def tell(self) -> int:
        return self._stream.tell()


def _add_sample(archive: tarfile.TarFile, columns: _Columns, dataset: Dataset, index: int, images: bool) -> None:
    sample = dataset[index]
    place = _place(dataset, index, sample)
    pictures = _pictures(sample) if images else ()
    stream = io.BytesIO()
    arrays: dict[str, Any] = encode_sample(sample, tuple(picture.entry for picture in pictures))
    np.savez(stream, **arrays)
    npz, rig = stream.getvalue(), sample.rig.model_dump_json().encode()
    offset, rig_offset = _add(archive, f"{index:09d}.npz", npz), _add(archive, f"{index:09d}.rig.json", rig)
    for number, picture in enumerate(pictures):
        camera = re.sub(r"[^A-Za-z0-9_-]", "_", picture.entry.camera)[:60]
        begin = _add(archive, f"{index:09d}.{number}.{camera}{picture.entry.suffix}", picture.data)
        columns.pictures.append((begin, len(picture.data), zlib.crc32(picture.data)))
    columns.rows.append(
        {
            "key": sample.key.encode(),
            "drive": place.drive.encode(),
            "stamp_ns": place.stamp_ns,
            "offset": offset,
            "size": len(npz),
            "rig_offset": rig_offset,
            "rig_size": len(rig),
            "checksum": zlib.crc32(rig, zlib.crc32(npz)),
            "num_pictures": len(pictures),
        }
    )


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> int:
    """Appends a file and gives the place of its bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    begin = archive.offset + tarfile.BLOCKSIZE
    archive.addfile(info, io.BytesIO(data))
    return begin


def _pictures(sample: Sample) -> tuple[Picture, ...]:
    images = sample.frame.images
    return tuple(map(images.picture, images)) if isinstance(images, ShardPictures) else pictures_of(sample)


def _place(dataset: Dataset, index: int, sample: Sample) -> Place:
    """A sample of a data set without drives has no neighbors: it is a drive of its own."""
    return dataset.place(index) if isinstance(dataset, Sequential) else Place(sample.key, sample.frame.stamp_ns)


def _leaves_out_sweeps(dataset: Dataset) -> bool:
    return isinstance(dataset, WithSweeps) or (isinstance(dataset, Thinned) and dataset.left_out_sweeps)


def _leaves_out_regions(dataset: Dataset) -> bool:
    return isinstance(dataset, PartlyLabeled) or (isinstance(dataset, Thinned) and dataset.left_out_regions)


def _shard_name(number: int) -> str:
    return f"shard-{number:06d}.tar"


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_bytes(data)
    partial.replace(path)
