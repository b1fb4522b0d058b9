"""Writing rosbag2 folders in MCAP, readable by every ROS 2 that reads MCAP."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from typing_extensions import Self

from understudy.bags.errors import bag_errors
from understudy.bags.types import typestore
from understudy.errors import BagError

_VERSION = 9
_FOREVER = QosTime(2147483647, 4294967295)


class BagWriter:
    """A new bag; a context manager that closes it properly also when an error passes through.

    The same messages in the same order give the same bytes.

    Args:
        path: folder to make.
        overwrite: whether a bag that is there already may go; anything else never does.

    Raises:
        BagError: when something is there already or the folder cannot be made.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, sqlite3: bool = False) -> None:
        self.path = path
        self._connections: dict[str, Any] = {}
        refuse_occupied(path, overwrite)
        if path.exists():
            shutil.rmtree(path)
        plugin = StoragePlugin.SQLITE3 if sqlite3 else StoragePlugin.MCAP
        with bag_errors(f"bag {path}", "a place to write"):
            self._writer = Writer(path, version=_VERSION, storage_plugin=plugin)
            self._writer.open()

    def write(self, topic: str, message: Any, log_time_ns: int, *, latched: bool = False) -> None:
        """Appends a message of the type store's classes.

        Args:
            topic: name of the topic; made at its first message.
            message: what `make_message` makes.
            log_time_ns: when it was received.
            latched: offer it to who joins later, as `/tf_static` is.
        """
        type_name = message.__msgtype__
        with bag_errors(f"bag {self.path}: writing {topic}"):
            raw = typestore().serialize_cdr(message, type_name)
            self.write_raw(topic, type_name, raw, log_time_ns, latched=latched)

    def write_raw(
        self, topic: str, type_name: str, raw: bytes | memoryview, log_time_ns: int, *, latched: bool = False
    ) -> None:
        """Appends a message that is serialized already."""
        if topic not in self._connections:
            profiles = [_qos(latched)]
            self._connections[topic] = self._writer.add_connection(
                topic, type_name, typestore=typestore(), offered_qos_profiles=profiles
            )
        self._writer.write(self._connections[topic], log_time_ns, raw)

    def close(self) -> None:
        """Writes index and metadata; a second call does nothing."""
        if self._writer.storage is not None:
            with bag_errors(f"bag {self.path}", "a place to write"):
                self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def refuse_occupied(path: Path, overwrite: bool) -> None:
    """Raises BagError when something is at `path`, unless it is a bag that may go."""
    if not path.exists():
        return
    if not overwrite:
        raise BagError(f"bag {path}", found="something there already", remedy="choose another name or say --overwrite")
    if not (path / "metadata.yaml").is_file():
        raise BagError(f"bag {path}", found="something else than a bag", wanted="a bag or nothing")


def _qos(latched: bool) -> Qos:
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE,
        durability=durability,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )
