"""Who computes which unit: lock files with a lease, for processes and for machines on a shared file system.

A claim is the file `<key>.<attempt>`, made so that one of several contenders gets it (a link, or O_EXCL). Its holder
touches it every quarter of the lease. One that was not touched for a whole lease, or whose process is known to be gone,
is dead: the next worker makes `<key>.<attempt + 1>`. The highest attempt is the claim; no living claim is ever removed
by another, so two workers cannot undo each other. Both times of a lease come from the file system's clock (a file
touched now against the claim's), so that the machines' own clocks do not matter.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

_BEATS_PER_LEASE = 4


class Claim:
    """A unit that this process may compute; a context manager that keeps the lease and lets the unit go at the end.

    Attributes:
        path: the lock file.
        key: the unit.
        attempt: 1, and one more for each worker that died on it.
    """

    def __init__(self, path: Path, key: str, attempt: int, lease_s: float) -> None:
        self.path, self.key, self.attempt = path, key, attempt
        self._lease_s = lease_s
        self._stop = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    @property
    def is_mine(self) -> bool:
        """Whether nobody took it over while this process slept."""
        return self.path.exists() and max(_attempts(self.path.parent, self.key), default=0) == self.attempt

    def __enter__(self) -> Self:
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._beating.join()
        if self.is_mine:
            self.release()

    def release(self) -> None:
        """Lets the unit go: this attempt, and the dead ones before it."""
        for attempt in _attempts(self.path.parent, self.key):
            if attempt <= self.attempt:
                _claim_path(self.path.parent, self.key, attempt).unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(self._lease_s / _BEATS_PER_LEASE):
            with suppress(OSError):
                os.utime(self.path)


class Claims:
    """Takes claims in a folder.

    Args:
        folder: where the lock files lie.
        lease_s: how long a claim holds without being touched; longer than any pause of a file system.
    """

    def __init__(self, folder: Path, lease_s: float) -> None:
        self._folder, self._lease_s = folder, lease_s
        self._clock = folder / f".clock-{uuid.uuid4().hex}"

    def take(self, key: str) -> Claim | None:
        """The claim on a unit, or None where another worker holds it.

        Look again whether the unit has ended after taking it: its last holder may just have finished.
        """
        newest = max(_attempts(self._folder, key), default=0)
        if newest and not self._is_dead(_claim_path(self._folder, key, newest)):
            return None
        path = _claim_path(self._folder, key, newest + 1)
        try:
            self._make(path)
        except FileExistsError:
            return None
        return Claim(path, key, newest + 1, self._lease_s)

    def _make(self, path: Path) -> None:
        """The claim with its holder's name in one step, so that nobody is killed in between; else in two."""
        text = json.dumps(_this_process())
        named = self._folder / f".clock-{uuid.uuid4().hex}"
        named.write_text(text, encoding="utf-8")
        try:
            os.link(named, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with path.open("x", encoding="utf-8") as stream:
                stream.write(text)
        finally:
            named.unlink()

    def sweep(self, ended: Collection[str]) -> None:
        """Removes what workers left that were killed: dead claims on units that have ended, and clocks of old."""
        now_s = self._now_s()
        for path in [*self._folder.glob(".clock-*"), *self._folder.glob("*.*[0-9]")]:
            is_clock, key = path.name.startswith("."), path.name.rpartition(".")[0]
            with suppress(FileNotFoundError):
                if now_s - path.stat().st_mtime > self._lease_s if is_clock else key in ended and self._is_dead(path):
                    path.unlink()

    def close(self) -> None:
        """Removes the file that tells the time."""
        self._clock.unlink(missing_ok=True)

    def _is_dead(self, path: Path) -> bool:
        try:
            touched_s = path.stat().st_mtime
            holder = _read(path)
        except FileNotFoundError:
            return True
        return _is_gone(holder) or self._now_s() - touched_s > self._lease_s

    def _now_s(self) -> float:
        """The file system's clock."""
        self._clock.touch()
        os.utime(self._clock)
        return self._clock.stat().st_mtime


def _claim_path(folder: Path, key: str, attempt: int) -> Path:
    return folder / f"{key}.{attempt}"


def _attempts(folder: Path, key: str) -> list[int]:
    with os.scandir(folder) as entries:
        endings = [entry.name.rpartition(".") for entry in entries]
    return [int(ending) for stem, _, ending in endings if stem == key and ending.isdecimal()]


def _read(path: Path) -> dict[str, Any]:
    """Who holds a claim; nothing where it is being written just now."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _this_process() -> dict[str, Any]:
    return {"machine": _machine(), "host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether the holder is a process of this machine that does not run any more; of others nothing can be said."""
    if not holder or holder.get("machine") != _machine() or not holder["machine"]:
        return False
    return bool(_started(int(holder["pid"])) != holder["started"])


def _machine() -> str:
    """This boot of this machine and this space of process numbers (containers have their own); empty when unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process was started, in the kernel's ticks; empty when there is none, or it is dead and not yet reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]
