"""Writing rosbag2 folders in MCAP, readable by every ROS 2 that reads MCAP."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
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
_BESIDE = ("metadata.yaml", "rig.yaml", "replay.json", "against.json", "evaluation.json")
_STORAGES = (".mcap", ".db3", ".zstd")


class BagWriter:
    """A new bag; a context manager that puts it in its place when all is written, and leaves nothing after an error.

    It is written in a hidden folder beside its place, so that there is a whole bag or none, and an older bag stays
    until then. The same messages in the same order give the same bytes.

    Args:
        path: folder to make.
        overwrite: whether a bag that is there already may go; anything else never does.

    Raises:
        BagError: when something is there already or the folder cannot be made.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, sqlite3: bool = False) -> None:
        self.path = path
        self._overwrite = overwrite
        self._connections: dict[str, Any] = {}
        refuse_occupied(path, overwrite)
        with bag_errors(f"bag {path}", "a place to write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
            plugin = StoragePlugin.SQLITE3 if sqlite3 else StoragePlugin.MCAP
            self._writer = Writer(self._staging / path.name, version=_VERSION, storage_plugin=plugin)
            self._writer.open()

    @property
    def folder(self) -> Path:
        """Where the bag lies until it is closed; what else belongs into it is written here."""
        return self._staging / self.path.name

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
        """Writes index and metadata and puts the bag in its place; a second call does nothing.

        Raises:
            BagError: when it cannot be written, or something came to be in its place meanwhile.
        """
        if self._writer.storage is None:
            return
        try:
            with bag_errors(f"bag {self.path}", "a place to write"):
                self._writer.close()
            refuse_occupied(self.path, self._overwrite)
            with bag_errors(f"bag {self.path}", "a place to write"):
                self._publish()
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)

    def discard(self) -> None:
        """Drops what was written; what was in the place of the bag stays."""
        try:
            with suppress(Exception):
                self._writer.close()
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)

    def _publish(self) -> None:
        """The older bag goes last: whoever interrupts this has the one or the other."""
        if not self.path.exists():
            self.folder.rename(self.path)
            return
        old = self._staging.with_name(f"{self._staging.name}-old")
        self.path.rename(old)
        self.folder.rename(self.path)
        shutil.rmtree(old)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def refuse_occupied(path: Path, overwrite: bool) -> None:
    """Raises BagError when something is at `path`, unless it is a bag that may go.

    It goes as a whole, so nothing of someone else's may be in it.
    """
    if path.is_symlink():
        found, remedy = f"a link to {path.readlink()}", "name the folder itself"
        raise BagError(f"bag {path}", found=found, wanted="a bag or nothing", remedy=remedy)
    if not path.exists():
        return
    if not overwrite:
        raise BagError(f"bag {path}", found="something there already", remedy="choose another name or say --overwrite")
    if not (path / "metadata.yaml").is_file():
        raise BagError(f"bag {path}", found="something else than a bag", wanted="a bag or nothing")
    entries = sorted(path.iterdir())
    strangers = [entry.name for entry in entries if entry.name not in _BESIDE and entry.suffix not in _STORAGES]
    if strangers:
        remedy = "move it away or choose another name; the whole folder would go"
        raise BagError(f"bag {path}", found=", ".join(strangers[:5]), wanted="nothing but a bag", remedy=remedy)


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
