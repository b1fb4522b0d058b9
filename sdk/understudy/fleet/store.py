"""The folder that workers share: results, failures and a journal, each file written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import Field

from understudy.configuration import Config, check_config, dump_yaml
from understudy.datasets.files import read_json
from understudy.errors import InputError
from understudy.fleet.detections import Detections, decode_detections, encode_detections
from understudy.fleet.plan import Plan, read_plan
from understudy.rig import Rig, read_rig

PLAN = "plan.json"
_FOLDERS = ("units", "failed", "claims", "journal", "rigs", "detections")


class Worker(Config):
    """Who computes."""

    name: str
    host: str
    pid: int


class UnitRecord(Config):
    """What became of a unit's sweeps, and the hash of its results; its existence says that the unit is finished."""

    schema_version: Literal[1] = 1
    key: str
    sha256: str
    read: int
    used: int
    rejected: int
    num_boxes: int
    reasons: dict[str, int] = Field(default_factory=dict)
    """Why sweeps were rejected, and how many for each reason."""
    wall_s: float
    engine: str
    worker: Worker
    attempt: int
    """1, and one more for each worker that died on it."""


class Failure(Config):
    """Why a unit has no result."""

    schema_version: Literal[1] = 1
    key: str
    source: str
    path: str
    error: str
    worker: Worker


class Store:
    """The folder of one annotation. Safe to use from many processes and machines at once.

    Args:
        root: the folder; what is missing in it is made by `prepare`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def plan_path(self) -> Path:
        """The plan."""
        return self.root / PLAN

    def prepare(self) -> None:
        """Makes the folders.

        Raises:
            InputError: when that is impossible, or the folder holds something else.
        """
        if self.root.exists() and not self.plan_path.is_file():
            strangers = [] if self.root.is_dir() else [self.root.name]
            strangers = strangers or sorted(
                entry.name for entry in self.root.iterdir() if entry.name not in _FOLDERS and entry.name[0] != "."
            )
            if strangers:
                found = f"no {PLAN} but {', '.join(strangers[:5])}"
                raise InputError(f"{self.root}", found=found, wanted="a new folder, or one of `understudy annotate`")
        try:
            for name in _FOLDERS:
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.root}", found=error.strerror, wanted="a folder that can be written") from error

    def plan(self) -> Plan:
        """The plan in the folder."""
        return read_plan(self.plan_path)

    def write_plan(self, plan: Plan, rigs: dict[str, Rig]) -> None:
        """Puts plan and rigs in place, the plan last."""
        for key, rig in rigs.items():
            write_atomically(self.root / "rigs" / f"{key}.yaml", dump_yaml(rig).encode())
        write_atomically(self.plan_path, (plan.model_dump_json(indent=1) + "\n").encode())

    def rig(self, key: str) -> Rig:
        """The rig of a hash."""
        return read_rig(self.root / "rigs" / f"{key}.yaml")

    def finished(self) -> set[str]:
        """Keys of the units that have a record."""
        return _stems(self.root / "units", ".json")

    def failed(self) -> set[str]:
        """Keys of the units that have a failure."""
        return _stems(self.root / "failed", ".json")

    def is_ended(self, key: str) -> bool:
        """Whether a unit is finished or failed."""
        return self._record_path(key).exists() or self._failure_path(key).exists()

    def finish(self, record: UnitRecord, data: bytes) -> None:
        """Results first, then the record that vouches for them, then the journal."""
        write_atomically(self._result_path(record.key), data)
        write_atomically(self._record_path(record.key), (record.model_dump_json(indent=1) + "\n").encode())
        self._journal(record.worker, {"finished": record.key, "sweeps": record.read, "wall_s": record.wall_s})

    def fail(self, failure: Failure) -> None:
        """Records why a unit has no result."""
        write_atomically(self._failure_path(failure.key), (failure.model_dump_json(indent=1) + "\n").encode())
        self._journal(failure.worker, {"failed": failure.key})

    def forget(self, key: str) -> None:
        """Drops a unit's record or failure, so that it is computed again."""
        for path in (self._record_path(key), self._failure_path(key)):
            path.unlink(missing_ok=True)

    def record(self, key: str) -> UnitRecord:
        """The record of a finished unit.

        Raises:
            InputError: when it is damaged.
        """
        path = self._record_path(key)
        return check_config(read_json(path), UnitRecord, f"{path}")

    def failure(self, key: str) -> Failure:
        """The failure of a unit."""
        path = self._failure_path(key)
        return check_config(read_json(path), Failure, f"{path}")

    def results(self, key: str) -> tuple[UnitRecord, Detections]:
        """Record and detections of a finished unit, the hash checked.

        Raises:
            InputError: when either is missing or damaged.
        """
        record, path = self.record(key), self._result_path(key)
        data = self._whole(record, path)
        return record, decode_detections(data, f"{path}")

    def is_damaged(self, key: str) -> bool:
        """Whether a finished unit's record or results are not what was written."""
        try:
            self._whole(self.record(key), self._result_path(key))
        except InputError:
            return True
        return False

    def _whole(self, record: UnitRecord, path: Path) -> bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}", found=error.strerror, wanted="the results of a unit") from error
        found = hashlib.sha256(data).hexdigest()
        if found != record.sha256:
            remedy = "run the same command again: the unit is computed anew"
            raise InputError(f"{path}: sha256", found=found[:12], wanted=record.sha256[:12], remedy=remedy)
        return data

    def _journal(self, worker: Worker, entry: dict[str, object]) -> None:
        """One file per worker, so that no two processes append to the same."""
        with (self.root / "journal" / f"{worker.name}.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"host": worker.host, "pid": worker.pid} | entry) + "\n")

    def _result_path(self, key: str) -> Path:
        return self.root / "units" / f"{key}.npz"

    def _record_path(self, key: str) -> Path:
        return self.root / "units" / f"{key}.json"

    def _failure_path(self, key: str) -> Path:
        return self.root / "failed" / f"{key}.json"


def encoded(detections: Detections) -> tuple[bytes, str]:
    """The bytes of a result and their SHA-256."""
    data = encode_detections(detections)
    return data, hashlib.sha256(data).hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """The whole file or none; what was there stays until then. Several may write the same file at once."""
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with partial.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _stems(folder: Path, ending: str) -> set[str]:
    with os.scandir(folder) as entries:
        names = (entry.name for entry in entries)
        return {name[: -len(ending)] for name in names if name.endswith(ending) and name[0] != "."}
