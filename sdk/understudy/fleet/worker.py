"""A worker: claims a unit, computes it, publishes it, and goes on until nothing is left. Any number may run at once."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from understudy.closing import Closing
from understudy.errors import UnderstudyError
from understudy.fleet.claims import Claim, Claims
from understudy.fleet.inference import Annotator
from understudy.fleet.plan import Plan, Unit
from understudy.fleet.store import Failure, Store, UnitRecord, Worker, encoded

MOST_ATTEMPTS = 5
"""Workers that may die on a unit before it counts as failed."""
_POLL_S = 0.25

Outcome = Literal["finished", "failed", "ended", "busy"]
"""Computed now, failed now, ended before, or held by another worker."""


@dataclass(frozen=True)
class Job:
    """What a worker needs to know; travels to other processes and machines.

    Attributes:
        folder: the shared folder, with the plan.
        threads: threads of the engine of each worker.
        lease_s: how long a claim holds without a sign of life.
    """

    folder: Path
    threads: int = 1
    lease_s: float = 120.0


class UnitWorker(Closing):
    """Computes units one by one; the network is opened at the first. A context manager."""

    def __init__(self, job: Job, name: str | None = None) -> None:
        self._store = Store(job.folder)
        self._claims = Claims(job.folder / "claims", job.lease_s)
        self._threads = job.threads
        self._annotator: Annotator | None = None
        host, pid = socket.gethostname(), os.getpid()
        self.worker = Worker(name=name or f"{host}-{pid}-{uuid.uuid4().hex[:6]}", host=host, pid=pid)
        self.plan: Plan = self._store.plan()

    def attempt(self, unit: Unit) -> Outcome:
        """Computes a unit unless it has ended or another worker holds it. Repeating it does no harm.

        Raises:
            UnderstudyError: when the network cannot be opened, or the folder cannot be written.
        """
        if self._store.is_ended(unit.key):
            return "ended"
        annotator = self._opened()
        claim = self._claims.take(unit.key)
        if claim is None:
            return "busy"
        with claim:
            return "ended" if self._store.is_ended(unit.key) else self._compute(annotator, unit, claim)

    def ended(self) -> set[str]:
        """Keys of the units that are finished or failed now."""
        return self._store.finished() | self._store.failed()

    def wait_for(self, unit: Unit) -> Outcome:
        """Attempts a unit until it has ended, here or elsewhere."""
        while (outcome := self.attempt(unit)) == "busy":
            time.sleep(_POLL_S)
        return outcome

    def close(self) -> None:
        """Closes the engine."""
        self._claims.close()
        if self._annotator is not None:
            self._annotator.close()

    def _opened(self) -> Annotator:
        if self._annotator is None:
            self._annotator = Annotator(self._store, self.plan, self._threads)
        return self._annotator

    def _compute(self, annotator: Annotator, unit: Unit, claim: Claim) -> Outcome:
        if claim.attempt > MOST_ATTEMPTS:
            return self._fail(unit, f"{claim.attempt - 1} workers died on it; --retry-failed tries again")
        started_s = time.perf_counter()
        try:
            result = annotator.compute(unit)
        except UnderstudyError as error:
            return self._fail(unit, str(error)) if claim.is_mine else "busy"
        data, sha256 = encoded(result.detections)
        record = UnitRecord(
            key=unit.key,
            sha256=sha256,
            read=result.read,
            used=len(result.sweeps),
            rejected=result.rejected,
            num_boxes=result.detections.num_boxes,
            reasons=dict(sorted(result.reasons.items())),
            wall_s=round(time.perf_counter() - started_s, 4),
            engine=annotator.engine,
            worker=self.worker,
            attempt=claim.attempt,
        )
        if not claim.is_mine:
            return "busy"
        self._store.finish(record, data)
        return "finished"

    def _fail(self, unit: Unit, error: str) -> Outcome:
        source = self.plan.source(unit.source)
        logging.getLogger(__name__).warning("%s: %s", source.name, error)
        failure = Failure(key=unit.key, source=source.name, path=source.path, error=error, worker=self.worker)
        self._store.fail(failure)
        return "failed"


def work(job: Job, goes_on: Callable[[], bool] = lambda: True) -> Iterator[Outcome]:
    """Attempts every unit until all have ended, waiting for those that other workers hold.

    Args:
        job: the folder and how to work.
        goes_on: asked before each unit; False ends the work there.

    Yields:
        What came of each attempt; "busy" while waiting.
    """
    with UnitWorker(job) as worker:
        ended = worker.ended()
        pending = [unit for unit in worker.plan.units if unit.key not in ended]
        while pending:
            busy = []
            for unit in pending:
                if not goes_on():
                    return
                outcome = worker.attempt(unit)
                busy += [unit] if outcome == "busy" else []
                yield outcome
            if len(busy) == len(pending):
                time.sleep(_POLL_S)
            pending = busy
