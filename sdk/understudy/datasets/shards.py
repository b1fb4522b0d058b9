"""Reads data sets that were cut into shards: any sample by its place, without a scan and without holding the rest.

docs/data-loading.md has the format. Nothing but the index is kept in memory.
"""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from understudy.configuration import file_sha256
from understudy.converters.class_maps import ClassChoice, ClassMap, identity
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import fingerprint
from understudy.datasets.npz_views import npz_views
from understudy.datasets.recorded_frame import Arrays, Picture, PictureEntry, decode_sample, picture_entries
from understudy.datasets.shard_index import COLUMNS, INDEX, ShardEntry, read_columns, read_shards_description
from understudy.errors import InputError, MissingSplit
from understudy.frame import Image
from understudy.images import decode_image
from understudy.rig import Rig

_MOST_OPEN = 32
_REMEDY = "copy the shard again, or make the data set anew"


class ShardedDataset:
    """Samples in tar files, with an index of where each lies.

    Args:
        path: the data set's folder.
        split: the split that was sharded, or None.
        classes: None takes the classes as they were sharded; a map written out counts from those.
        images: offer the cameras' pictures; each is read and decoded only when looked at.

    It may be pickled, and used after a fork: each process opens the files for itself.

    Raises:
        InputError: when the folder, its index or a shard is missing, cut short, or of another split.
    """

    def __init__(
        self, path: Path, split: str | None = None, *, classes: ClassChoice | None = None, images: bool = True
    ) -> None:
        self.path = path
        self.description = read_shards_description(path)
        self._refuse_other_split(split)
        self._map = self._class_map(classes)
        self._images = images
        self._columns = read_columns(path / COLUMNS)
        counts = [shard.num_samples for shard in self.description.shards]
        if sum(counts) != len(self._columns):
            found = f"{len(self._columns)} samples"
            raise InputError(f"{path / COLUMNS}", found=found, wanted=f"{sum(counts)}, as in {INDEX}", remedy=_REMEDY)
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._first_picture = np.concatenate([[0], np.cumsum(self._columns.num_pictures)])
        for shard in self.description.shards:
            _refuse_other_size(path / shard.file, shard)
        self._handles = _Handles()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that the boxes' labels count in."""
        return self._map.class_names

    @property
    def num_sweeps(self) -> int:
        """How many sweeps a cloud holds at most."""
        return self.description.sweeps

    @property
    def left_out_sweeps(self) -> bool:
        """Whether the data set it was made of holds sweeps between its samples."""
        return self.description.left_out_sweeps

    @property
    def left_out_regions(self) -> bool:
        """Whether the data set it was made of labels only a part of what is seen."""
        return self.description.left_out_regions

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the index, which names every shard's hash, and over the shards' names and sizes."""
        shards = [self.path / shard.file for shard in self.description.shards]
        return fingerprint(self.path, shards, [self.path / INDEX])

    def __len__(self) -> int:
        return len(self._columns)

    def __getitem__(self, index: int) -> Sample:
        """The sample, from one read of its shard.

        Raises:
            InputError: when the shard is missing, cut short or was changed.
        """
        number = range(len(self))[index]
        file, columns = self._file_of(number), self._columns
        begin, size = int(columns.offsets[number]), int(columns.sizes[number])
        rig_begin, rig_size = int(columns.rig_offsets[number]), int(columns.rig_sizes[number])
        block = self._handles.read(file, begin, rig_begin + rig_size - begin)
        npz, rig = memoryview(block)[:size], memoryview(block)[rig_begin - begin :]
        if zlib.crc32(rig, zlib.crc32(npz)) != int(columns.checksums[number]):
            raise _changed(file, columns.keys[number])
        source = f"{file}: sample {columns.keys[number].decode()}"
        arrays = npz_views(npz, source)
        images = self._pictures(number, arrays, source) if self._images else {}
        sample = decode_sample(arrays, _rig(bytes(rig)), images, source)
        return replace(sample, boxes=None if sample.boxes is None else self._map.relabel_boxes(sample.boxes))

    def place(self, index: int) -> Place:
        """Drive and stamp of a sample, without reading it; a sample without neighbors is a drive of its own."""
        number = range(len(self))[index]
        return Place(self._columns.drives[number].decode(), int(self._columns.stamps_ns[number]))

    def shard_of(self, index: int) -> int:
        """Number of the shard that a sample lies in, for an order that reads few shards at a time."""
        return int(np.searchsorted(self._starts, range(len(self))[index], side="right")) - 1

    def verify(self) -> None:
        """Reads every shard and compares its hash.

        Raises:
            InputError: naming the first shard that was changed.
        """
        for shard in self.description.shards:
            found = file_sha256(self.path / shard.file)
            if found != shard.sha256:
                file = self.path / shard.file
                raise InputError(f"{file}: sha256", found=found[:12], wanted=shard.sha256[:12], remedy=_REMEDY)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handles": _Handles()}

    def _file_of(self, number: int) -> Path:
        return self.path / self.description.shards[self.shard_of(number)].file

    def _pictures(self, number: int, arrays: Arrays, source: str) -> ShardPictures:
        entries = picture_entries(arrays, source)
        first, after = int(self._first_picture[number]), int(self._first_picture[number + 1])
        if len(entries) != after - first:
            raise InputError(source, found=f"{len(entries)} pictures", wanted=f"{after - first}", remedy=_REMEDY)
        columns, places = self._columns, {}
        for place, entry in enumerate(entries, start=first):
            begin, size = int(columns.picture_offsets[place]), int(columns.picture_sizes[place])
            places[entry.camera] = _PicturePlace(entry, begin, size, int(columns.picture_checksums[place]))
        return ShardPictures(self._handles, self._file_of(number), places)

    def _refuse_other_split(self, split: str | None) -> None:
        own = self.description.split
        if split is not None and split != own:
            found = f"shards of {'every sample' if own is None else f'the split {own}'}"
            raise MissingSplit(f"{self.path}: split {split}", found=found, wanted=own or "all")

    def _class_map(self, classes: ClassChoice | None) -> ClassMap:
        if classes is None:
            return identity(self.description.class_names)
        if not isinstance(classes, ClassMap):
            found, remedy = "classes as they were sharded", "choose them when sharding, or write out a map"
            raise InputError(f"{self.path}: class map {classes}", found=found, remedy=remedy)
        return classes


@dataclass(frozen=True)
class _PicturePlace:
    """A picture with its place in bytes within its shard and its CRC-32."""

    entry: PictureEntry
    begin: int
    size: int
    checksum: int


class ShardPictures(Mapping[str, Image]):
    """Images by camera name, read and decoded at each access; travels to other processes without the data set."""

    def __init__(self, handles: _Handles, file: Path, places: Mapping[str, _PicturePlace]) -> None:
        self._handles, self._file, self._places = handles, file, places

    def __getitem__(self, name: str) -> Image:
        """The picture, decoded now."""
        picture = self.picture(name)
        pixels = decode_image(picture.data, f"{self._file}: {name}")
        return Image(pixels, picture.entry.stamp_ns, picture.entry.frame_id)

    def picture(self, name: str) -> Picture:
        """The picture as it was compressed.

        Raises:
            InputError: when the shard was changed.
        """
        place = self._places[name]
        data = self._handles.read(self._file, place.begin, place.size)
        if zlib.crc32(data) != place.checksum:
            raise _changed(self._file, f"picture of {name}".encode())
        return Picture(place.entry, bytes(data))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class _Handles:
    """Open shards of this process, the least recently used closed first; reads do not move a position."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._open: OrderedDict[Path, int] = OrderedDict()

    def read(self, file: Path, offset: int, size: int) -> bytearray:
        """So many bytes from a place.

        Raises:
            InputError: when the file is missing or ends before.
        """
        block, done = bytearray(size), 0
        try:
            handle = self._handle(file)
            while done < size:
                count = os.preadv(handle, [memoryview(block)[done:]], offset + done)
                if count == 0:
                    found = f"an end at {offset + done} bytes"
                    raise InputError(f"{file}", found=found, wanted=f"{offset + size} bytes", remedy=_REMEDY)
                done += count
        except OSError as error:
            raise InputError(f"{file}", found=error.strerror, wanted="a shard", remedy=_REMEDY) from error
        return block

    def _handle(self, file: Path) -> int:
        if self._process != os.getpid():
            self._process, self._open = os.getpid(), OrderedDict()
        if file not in self._open:
            self._open[file] = os.open(file, os.O_RDONLY)
        self._open.move_to_end(file)
        if len(self._open) > _MOST_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return self._open[file]

    def __reduce__(self) -> tuple[type[_Handles], tuple[()]]:
        return _Handles, ()

    def __del__(self) -> None:
        if self._process == os.getpid():
            for handle in self._open.values():
                os.close(handle)


@lru_cache(maxsize=256)
def _rig(data: bytes) -> Rig:
    return Rig.model_validate_json(data)


def _refuse_other_size(file: Path, shard: ShardEntry) -> None:
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        raise InputError(f"{file}", found="no such file", wanted="a shard of the index", remedy=_REMEDY) from None
    if size != shard.size_bytes:
        raise InputError(f"{file}", found=f"{size} bytes", wanted=f"{shard.size_bytes} bytes", remedy=_REMEDY)


def _changed(file: Path, key: bytes) -> InputError:
    found, wanted = "another checksum", "the bytes that were written"
    return InputError(f"{file}: {key.decode()}", found=found, wanted=wanted, remedy=_REMEDY)
