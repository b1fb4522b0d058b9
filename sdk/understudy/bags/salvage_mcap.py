"""Records that a damaged MCAP file still gives, copied into a whole one with an index."""

from __future__ import annotations

import io
import mmap
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

import lz4.frame
import zstandard
from mcap.exceptions import EndOfFile, McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, Footer, McapRecord, Message, MessageIndex, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.summary import Summary
from mcap.writer import CompressionType, Writer

from understudy.bags.salvage_counts import Copied
from understudy.bags.zstandard_frames import message_bytes

_STUMBLED = (
    *(ValueError, LookupError, TypeError, RuntimeError, OSError, MemoryError, EOFError),
    *(struct.error, zlib.error, zstandard.ZstdError),
)
"""What a parser written for whole files runs into; lz4's errors are RuntimeErrors."""
_CHUNK_HEAD = re.compile(rb"\x06.{8}.{28}(?:\x00{4}|\x04\x00{3}zstd|\x03\x00{3}lz4).{8}", re.DOTALL)
"""A chunk up to its records: opcode, length, two times, size, checksum, compression, length of the records."""


def salvage_mcap(sources: list[Path], target: Path) -> Copied:
    """Copies schemas, channels and messages."""
    with target.open("wb") as file:
        writer = Writer(file, compression=CompressionType.NONE)
        writer.start(profile="ros2", library="understudy")
        copy = _Copy(writer)
        notes = [copy.file(source) for source in sources]
        writer.finish()  # type: ignore[no-untyped-call]
    return Copied(copy.saved, notes, copy.promised if copy.all_promise else None)


class _Copy:
    """Goes through files record by record; ids are numbered anew."""

    def __init__(self, writer: Writer) -> None:
        self.saved: Counter[str] = Counter()
        self.promised: Counter[str] = Counter()
        self.all_promise = True
        self._writer = writer
        self._schema_ids: dict[tuple[str, str, bytes], int] = {}
        self._channel_ids: dict[tuple[str, int], int] = {}

    def file(self, source: Path) -> str:
        """Copies one file.

        Returns:
            What is wrong with it; empty when nothing is.
        """
        part, ends = _Part(self), ""
        self._learn(part, source)
        with source.open("rb") as file:
            begin: int | None = 0
            while begin is not None:
                stop, error = self._records(part, file, begin)
                if error is None or part.is_complete:
                    break
                ends = ends or f"damaged or cut at byte {stop} of {source.stat().st_size} ({_said(error)})"
                begin = _next_chunk(file, stop + 1)
                if begin is None:
                    self._start_of_chunk(part, file, stop)
        return part.note(ends)

    def _learn(self, part: _Part, source: Path) -> None:
        """Takes definitions and counts from the file's end: the first chunk, which has them too, may be damaged."""
        summary = _summary(source)
        if summary is None or summary.statistics is None:
            self.all_promise = False
            return
        for record in (*summary.schemas.values(), *summary.channels.values()):
            part.take(record)
        for channel_id, count in summary.statistics.channel_message_counts.items():
            if channel_id in summary.channels:
                self.promised[summary.channels[channel_id].topic] += count

    def _records(self, part: _Part, file: IO[bytes], begin: int) -> tuple[int, Exception | None]:
        """Copies records from a place on; where they end or cannot be read any more, and why."""
        size = file.seek(0, io.SEEK_END)
        file.seek(begin)
        exact = _Exact(file)
        exact.settle()
        try:
            reader = StreamReader(cast(IO[bytes], exact), begin > 0, emit_chunks=True, record_size_limit=size)
            for record in reader.records:
                part.take(record)
                exact.settle()
        except (McapError, *_STUMBLED) as error:
            return exact.settled, error
        return exact.settled, None

    def _start_of_chunk(self, part: _Part, file: IO[bytes], begin: int) -> None:
        """Copies the whole messages at the beginning of the chunk that begins here, if one does that was cut."""
        file.seek(begin)
        with suppress(McapError, *_STUMBLED):
            inside = _Exact(io.BytesIO(_unpacked_start(_Exact(file), file)))
            for record in StreamReader(cast(IO[bytes], inside), skip_magic=True).records:
                part.take(record)

    def schema(self, record: Schema) -> int:
        """The new id of a schema."""
        key = (record.name, record.encoding, record.data)
        if key not in self._schema_ids:
            self._schema_ids[key] = self._writer.register_schema(*key)
        return self._schema_ids[key]

    def channel(self, record: Channel, schema_id: int) -> int:
        """The new id of a channel."""
        key = (record.topic, schema_id)
        if key not in self._channel_ids:
            self._channel_ids[key] = self._writer.register_channel(
                record.topic, record.message_encoding, schema_id, record.metadata
            )
        return self._channel_ids[key]

    def message(self, channel_id: int, topic: str, record: Message) -> None:
        """Copies a message."""
        raw = message_bytes(record.data)
        self._writer.add_message(channel_id, record.log_time, raw, record.publish_time, record.sequence)
        self.saved[topic] += 1


class _Part:
    """The records of one file, by that file's ids."""

    def __init__(self, copy: _Copy) -> None:
        self.is_complete = False
        self._copy = copy
        self._schemas: dict[int, int] = {0: 0}
        self._channels: dict[int, tuple[int, str]] = {}
        self._bad_chunks, self._in_bad_chunks, self._homeless = 0, 0, 0
        self._after_bad_chunk = False

    def take(self, record: McapRecord) -> None:
        """Copies a record, or those of a chunk; a chunk that cannot be unpacked is left out and counted."""
        if isinstance(record, Chunk):
            for inner in self._unpacked(record):
                self.take(inner)
        elif isinstance(record, MessageIndex) and self._after_bad_chunk:
            self._in_bad_chunks += len(record.records)
        elif isinstance(record, Schema):
            self._schemas[record.id] = self._copy.schema(record)
        elif isinstance(record, Channel) and record.schema_id in self._schemas:
            self._channels[record.id] = (self._copy.channel(record, self._schemas[record.schema_id]), record.topic)
        elif isinstance(record, Message) and record.channel_id in self._channels:
            self._copy.message(*self._channels[record.channel_id], record)
        elif isinstance(record, Message):
            self._homeless += 1
        elif isinstance(record, Footer):
            self.is_complete = True

    def _unpacked(self, chunk: Chunk) -> Iterator[McapRecord]:
        try:
            records = breakup_chunk(chunk, validate_crc=True)
        except (McapError, *_STUMBLED):
            self._bad_chunks += 1
            self._after_bad_chunk = True
            return iter(())
        self._after_bad_chunk = False
        return iter(records)

    def note(self, end: str) -> str:
        """What was wrong."""
        told = [end] if end else []
        told += [f"{self._bad_chunks} chunks damaged{self._number_in_them()}"] if self._bad_chunks else []
        return "; ".join(told + ([f"{self._homeless} messages without a channel"] if self._homeless else []))

    def _number_in_them(self) -> str:
        return f", with {self._in_bad_chunks} messages by their indexes" if self._in_bad_chunks else ""


class _Exact:
    """A file whose `read` gives all bytes asked for or fails; the library takes fewer for a short record."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.settled = 0

    def read(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) < length:
            raise EndOfFile()
        return data

    def settle(self) -> None:
        """What was read so far was good."""
        self.settled = self._file.tell()


def _summary(source: Path) -> Summary | None:
    """What the end of the file says, if it is there."""
    with source.open("rb") as file, suppress(McapError, *_STUMBLED):
        return make_reader(file).get_summary()
    return None


def _next_chunk(file: IO[bytes], begin: int) -> int | None:
    """The next place that reads as the head of a chunk whose lengths agree and that ends within the file."""
    if begin >= file.seek(0, io.SEEK_END):
        return None
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for found in _CHUNK_HEAD.finditer(content, begin):
            length, num_bytes = (int.from_bytes(part, "little") for part in (found[0][1:9], found[0][-8:]))
            if length == len(found[0]) - 9 + num_bytes and found.end() + num_bytes <= len(content):
                return found.start()
    return None


def _unpacked_start(exact: _Exact, file: IO[bytes]) -> bytes:
    """Records in a chunk of which the file holds only the beginning (MCAP specification, Chunk)."""
    (opcode,) = exact.read(1)
    if opcode != Opcode.CHUNK:
        return b""
    exact.read(8 + 8 + 8 + 8 + 4)  # length, first and last time, size, checksum
    compression = exact.read(int.from_bytes(exact.read(4), "little")).decode()
    exact.read(8)
    packed = file.read()
    if compression == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    if compression == "lz4":
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(packed))
    return packed


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
