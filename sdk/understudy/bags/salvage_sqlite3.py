"""Rows that a damaged rosbag2 sqlite3 file still gives, copied into a whole one."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path

from understudy.bags.salvage_counts import Copied
from understudy.bags.zstandard_frames import message_bytes

_MESSAGES = "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)"
_MOST_MISSES = 1000
"""Numbers tried one by one after a row that cannot be read; farther on by doubling and halving."""
_FARTHEST = 1 << 62
_WAL = "-wal"
Row = tuple[int, int, int, bytes]
"""Id, topic's id, log time, data."""


def salvage_sqlite3(sources: list[Path], target: Path) -> Copied:
    """Copies topics, definitions and messages."""
    saved: Counter[str] = Counter()
    with closing(sqlite3.connect(target)) as out:
        out.execute("PRAGMA synchronous=OFF")
        out.execute(_MESSAGES)
        notes = [_copy_file(source, target.parent, out, saved) for source in sources]
        out.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
        out.commit()
    return Copied(saved, notes)


def _copy_file(source: Path, scratch: Path, out: sqlite3.Connection, saved: Counter[str]) -> str:
    try:
        with closing(_opened(source, scratch)) as database:
            topics = _copy_descriptions(database, out)
            rows = _Rows(database, topics.keys())
            for _, topic_id, log_time_ns, raw in rows:
                new_id, topic = topics[topic_id]
                row = (new_id, log_time_ns, message_bytes(raw))
                out.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", row)
                saved[topic] += 1
            return rows.note
    except sqlite3.Error as error:
        return f"{error}"


def _opened(source: Path, scratch: Path) -> sqlite3.Connection:
    """As it is, without a lock; with the log that a killed recorder left beside it, a copy of both."""
    log, mode = source.with_name(source.name + _WAL), "mode=ro&immutable=1"
    if log.exists() and log.stat().st_size:
        copied = scratch / f"logged-{source.name}"
        shutil.copyfile(source, copied)
        shutil.copyfile(log, copied.with_name(copied.name + _WAL))
        source, mode = copied, "mode=rw"
    database = sqlite3.connect(f"{source.resolve().as_uri()}?{mode}", uri=True)
    database.text_factory = lambda data: data.decode("utf-8", "replace")
    database.execute("PRAGMA writable_schema=ON")  # else a file shorter than its header says is refused as a whole
    return database


def _copy_descriptions(database: sqlite3.Connection, out: sqlite3.Connection) -> dict[int, tuple[int, str]]:
    """The schema's version, topics and definitions; of a later file those that are new.

    The metadata in the file are left out: they are written last, and nobody reads them.

    Returns:
        The new id and the name of each topic, by its id in this file.
    """
    for table, key in (("schema", ""), ("message_definitions", "topic_type")):
        with suppress(sqlite3.DatabaseError):
            _copy_table(database, out, table, key)
    _copy_table(database, out, "topics", "name")
    new_ids = {name: number for number, name in out.execute("SELECT id, name FROM topics")}
    here = database.execute("SELECT id, name FROM topics").fetchall()
    return {int(number): (int(new_ids[name]), str(name)) for number, name in here}


def _copy_table(database: sqlite3.Connection, out: sqlite3.Connection, table: str, key: str) -> None:
    made = database.execute("SELECT sql FROM sqlite_master WHERE type='table' AND name=?", (table,)).fetchone()
    is_new = not out.execute("SELECT 1 FROM sqlite_master WHERE name=?", (table,)).fetchone()
    if made is None or not (is_new or key):
        return
    if is_new:
        out.execute(made[0])
    cursor = database.execute(f"SELECT * FROM {table}")
    names = [str(column[0]) for column in cursor.description]
    known = {row[0] for row in out.execute(f"SELECT {key} FROM {table}")} if key else set()
    wanted = [number for number, name in enumerate(names) if name != "id" or not key]
    columns, marks = ", ".join(names[number] for number in wanted), ", ".join("?" * len(wanted))
    for row in cursor.fetchall():
        if not key or row[names.index(key)] not in known:
            values = [row[number] for number in wanted]
            out.execute(f"INSERT INTO {table}({columns}) VALUES ({marks})", values)


class _Rows:
    """The rows of messages that can be read, in the order of their ids; `note` says what could not, after the last."""

    def __init__(self, database: sqlite3.Connection, topic_ids: Collection[int]) -> None:
        self._database, self._topic_ids = database, topic_ids
        self._last_id, self._gaps, self._foreign, self._first = -1, 0, 0, ""

    @property
    def note(self) -> str:
        told = [f"{self._first}; {self._gaps} places unreadable"] if self._gaps else []
        return "; ".join(told + ([f"{self._foreign} rows that are no messages"] if self._foreign else []))

    def __iter__(self) -> Iterator[Row]:
        while True:
            try:
                yield from self._from("id > ? ORDER BY id", self._last_id)
                return
            except sqlite3.DatabaseError as error:
                self._gaps, self._first = self._gaps + 1, self._first or f"{error} after row {self._last_id}"
            if not (yield from self._beyond()):
                return

    def _beyond(self) -> Generator[Row, None, bool]:
        """Looks for the next row that can be read, number by number, then beyond all that lies under a damaged page."""
        for number in range(self._last_id + 1, self._last_id + 1 + _MOST_MISSES):
            try:
                found = list(self._from("id = ?", number))
            except sqlite3.DatabaseError:
                continue
            if found:
                yield from found
                return True
        beyond = self._least_reachable(self._last_id + _MOST_MISSES)
        self._last_id = self._last_id if beyond is None else beyond - 1
        return beyond is not None

    def _least_reachable(self, damaged: int) -> int | None:
        """A number above `damaged` from which on rows can be looked for, while the one before it leads into damage."""
        step = 1
        while not self._is_reachable(damaged + step):
            damaged, step = damaged + step, 2 * step
            if damaged + step > _FARTHEST:
                return None
        reachable = damaged + step
        while reachable - damaged > 1:
            middle = (damaged + reachable) // 2
            damaged, reachable = (damaged, middle) if self._is_reachable(middle) else (middle, reachable)
        return reachable

    def _is_reachable(self, number: int) -> bool:
        with suppress(sqlite3.DatabaseError):
            self._database.execute("SELECT id FROM messages WHERE id >= ? ORDER BY id LIMIT 1", (number,)).fetchone()
            return True
        return False

    def _from(self, condition: str, number: int) -> Iterator[Row]:
        query = f"SELECT id, topic_id, timestamp, data FROM messages WHERE {condition}"
        for row in self._database.execute(query, (number,)):
            self._last_id = int(row[0])
            if row[1] in self._topic_ids and isinstance(row[2], int) and isinstance(row[3], bytes):
                yield row
            else:
                self._foreign += 1
