"""rosbag2 folders and files (sqlite3, MCAP) as a stream of messages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader

from understudy.bags.errors import bag_errors
from understudy.bags.salvage import STORAGES, Salvage, salvage_bag
from understudy.bags.types import typestore
from understudy.closing import Closing
from understudy.errors import BagError


@dataclass(frozen=True)
class Topic:
    """A topic of a bag."""

    name: str
    type_name: str
    num_messages: int


@dataclass(frozen=True, eq=False)
class BagMessage:
    """A message as it lies in the bag; `BagReader.decode` makes an object of it.

    Attributes:
        topic: name of the topic.
        type_name: `package/msg/Name`.
        log_time_ns: when the recorder got it; not the stamp in its header.
        raw: CDR bytes.
    """

    topic: str
    type_name: str
    log_time_ns: int
    raw: bytes


class BagReader(Closing):
    """An open bag; a context manager.

    Args:
        path: folder with `metadata.yaml`, or a storage file of its own.
        salvage: read all of it once, and where that fails, go on with what its files still give, before and after the
            damage; `salvage` then says what that was, and is None of a whole bag.

    Raises:
        BagError: when there is nothing, it is no bag, or its end or index is missing.
    """

    def __init__(self, path: Path, *, salvage: bool = False) -> None:
        self.path = path
        self.salvage: Salvage | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        try:
            _refuse_unlikely(path)
            self._open(path, _remedy(path))
            if salvage:
                self._refuse_damaged()
        except BagError:
            if not salvage or not path.exists():
                raise
            self._open_salvaged()

    def _open(self, path: Path, remedy: str = "") -> None:
        with bag_errors(f"bag {self.path}", "a whole rosbag2 (sqlite3 or MCAP)", remedy):
            self._reader = AnyReader([path], default_typestore=typestore())
            self._reader.open()

    def _refuse_damaged(self) -> None:
        try:
            read, promised = sum(1 for _ in self.messages()), sum(topic.num_messages for topic in self.topics.values())
            if read < promised:
                raise BagError(f"bag {self.path}", found=f"{read} messages", wanted=f"{promised}, as its metadata say")
        except BagError:
            self.close()
            raise

    def _open_salvaged(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="understudy-salvage-")
        try:
            with bag_errors(f"bag {self.path}: salvage", "room for a copy", "TMPDIR says where"):
                self.salvage = salvage_bag(self.path, Path(self._scratch.name))
            self._open(self.salvage.file)
        except BaseException:
            self._scratch.cleanup()
            raise

    @property
    def topics(self) -> dict[str, Topic]:
        """Topics by name, sorted."""
        found: dict[str, Topic] = {}
        for connection in sorted(self._reader.connections, key=lambda entry: entry.topic):
            before = found[connection.topic].num_messages if connection.topic in found else 0
            count = before + int(connection.msgcount)
            found[connection.topic] = Topic(connection.topic, connection.msgtype, count)
        return found

    @property
    def start_ns(self) -> int:
        """Log time of the first message."""
        return int(self._reader.start_time)

    @property
    def end_ns(self) -> int:
        """Log time just after the last message."""
        return int(self._reader.end_time)

    def topic_of(
        self, type_name: str, *, name: str | None = None, preferred: str | None = None, option: str = "--topic"
    ) -> Topic:
        """The topic called `name`, else the preferred one when it is there, else the only one of the type.

        Raises:
            BagError: when there is none, it has another type, or there are several and none was chosen.
        """
        topics = self.topics
        if name is not None and name in topics and topics[name].type_name != type_name:
            raise BagError(f"bag {self.path}: topic {name}", found=topics[name].type_name, wanted=type_name)
        candidates = {key: topic for key, topic in topics.items() if topic.type_name == type_name}
        for wanted in (name, preferred if name is None else None):
            if wanted in candidates:
                return candidates[wanted]
        if name is not None or not candidates:
            raise self._without(name or f"any {type_name}")
        if len(candidates) > 1:
            found = f"{len(candidates)} topics of {type_name}: {', '.join(candidates)}"
            raise BagError(f"bag {self.path}", found=found, wanted="one", remedy=f"choose it with {option}")
        return next(iter(candidates.values()))

    def messages(
        self, topics: Iterable[str] | None = None, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[BagMessage]:
        """Messages in the order of their log times, of these topics (None: all), from `start_ns` to before `end_ns`.

        Raises:
            BagError: when the data are damaged; everything before was yielded.
        """
        wanted = None if topics is None else set(topics)
        connections = [entry for entry in self._reader.connections if wanted is None or entry.topic in wanted]
        if not connections:
            return
        with bag_errors(f"bag {self.path}: reading its messages", "whole data"):
            for connection, log_time_ns, raw in self._reader.messages(connections, start=start_ns, stop=end_ns):
                yield BagMessage(connection.topic, connection.msgtype, log_time_ns, raw)

    def decode(self, message: BagMessage) -> Any:
        """The message as an object with the attributes of its type; large arrays are read-only views.

        Raises:
            BagError: when the type is not known or the bytes are not a message of it.
        """
        stores = [store for store in (self._reader.typestore, typestore()) if message.type_name in store.fielddefs]
        if not stores:
            raise BagError(f"message type {message.type_name}", found="no definition in the bag", wanted="a known type")
        with bag_errors(f"message on {message.topic}", message.type_name):
            return stores[0].deserialize_cdr(message.raw, message.type_name)

    def close(self) -> None:
        """Closes the files."""
        with suppress(Exception):
            self._reader.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _without(self, wanted: str) -> BagError:
        found = ", ".join(f"{topic.name} ({topic.type_name})" for topic in self.topics.values()) or "no topic"
        return BagError(f"bag {self.path}", found=found, wanted=wanted)


def _refuse_unlikely(path: Path) -> None:
    """Names what is there instead of a bag, before a parser stumbles over it."""
    if not path.exists():
        raise BagError(f"bag {path}", found="nothing there", remedy="check the path")
    if path.is_file() and path.suffix not in STORAGES:
        found = f"a file named *{path.suffix}" if path.suffix else "a file without an ending"
        raise BagError(f"bag {path}", found=found, wanted="a folder, *.mcap or *.db3")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "an empty folder"
        raise BagError(
            f"bag {path}", found=f"no metadata.yaml but {found}", wanted="a rosbag2 folder", remedy=_remedy(path)
        )


def _remedy(path: Path) -> str:
    files = [] if path.is_file() else sorted(entry for entry in path.glob("*") if entry.suffix in STORAGES)
    if files and not (path / "metadata.yaml").is_file():
        return f"name the file itself: {files[0]}"
    return "record or copy it again; `replay` and `dataset from-bag` read what is left with --salvage"
