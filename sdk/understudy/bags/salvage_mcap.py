"""Records that a damaged MCAP file still gives, copied into a whole one with an index."""

from __future__ import annotations

import io
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
from mcap.records import Channel, Chunk, Footer, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import CompressionType, Writer

from understudy.bags.zstandard_frames import message_bytes

_STUMBLED = (
    *(ValueError, LookupError, TypeError, RuntimeError, OSError, MemoryError, EOFError),
    *(struct.error, zlib.error, zstandard.ZstdError),
)
"""What a parser written for whole files runs into; lz4's errors are RuntimeErrors."""


def salvage_mcap(sources: list[Path], target: Path) -> tuple[Counter[str], list[str]]:
    """Copies schemas, channels and messages.

    Returns:
        Messages by topic, and for each source what is wrong with it; empty when nothing is.
    """
    with target.open("wb") as file:
        writer = Writer(file, compression=CompressionType.NONE)
        writer.start(profile="ros2", library="understudy")
        copy = _Copy(writer)
        notes = [copy.file(source) for source in sources]
        writer.finish()  # type: ignore[no-untyped-call]
    return copy.saved, notes


class _Copy:
    """Goes through files record by record; ids are numbered anew."""

    def __init__(self, writer: Writer) -> None:
        self.saved: Counter[str] = Counter()
        self._writer = writer
        self._schema_ids: dict[tuple[str, str, bytes], int] = {}
        self._channel_ids: dict[tuple[str, int], int] = {}

    def file(self, source: Path) -> str:
        """Copies one file.

        Returns:
            What is wrong with it; empty when nothing is.
        """
        size = source.stat().st_size
        part = _Part(self)
        with source.open("rb") as file:
            exact = _Exact(file)
            try:
                records = StreamReader(cast(IO[bytes], exact), emit_chunks=True, record_size_limit=size).records
                for record in records:
                    part.take(record)
                    exact.settle()
            except (McapError, *_STUMBLED) as error:
                if not part.is_complete:
                    self._start_of_chunk(part, file, exact.settled)
                    return part.note(f"damaged or cut at byte {exact.settled} of {size} ({_said(error)})")
        return part.note("")

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
        self._bad_chunks, self._homeless = 0, 0

    def take(self, record: McapRecord) -> None:
        """Copies a record, or those of a chunk; a chunk that cannot be unpacked is left out and counted."""
        if isinstance(record, Chunk):
            for inner in self._unpacked(record):
                self.take(inner)
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
            return iter(breakup_chunk(chunk, validate_crc=True))
        except (McapError, *_STUMBLED):
            self._bad_chunks += 1
            return iter(())

    def note(self, end: str) -> str:
        """What was wrong."""
        told = [end] if end else []
        told += [f"{self._bad_chunks} chunks damaged"] if self._bad_chunks else []
        return "; ".join(told + ([f"{self._homeless} messages without a channel"] if self._homeless else []))


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
