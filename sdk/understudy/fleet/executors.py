"""Where workers run: this process, several local ones, or a Ray cluster. All of them run the same `UnitWorker`."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing.process import BaseProcess
from typing import Literal, Protocol

from understudy.errors import UnderstudyError
from understudy.fleet.worker import Job, work

ExecutorName = Literal["local", "ray"]
_POLL_S = 0.3
_REFUSED = 2


class Executor(Protocol):
    """Runs workers until every unit has ended."""

    def __call__(self, job: Job, workers: int) -> Iterator[None]:
        """Yields now and then, so that progress can be shown.

        Raises:
            UnderstudyError: when no worker can work.
        """


def run_locally(job: Job, workers: int) -> Iterator[None]:
    """One worker in this process, or several in processes of their own.

    A process that dies is replaced: its unit is taken over by another, and counts as failed after a few deaths.
    """
    if workers == 1:
        for _ in work(job):
            yield None
        return
    context = multiprocessing.get_context("spawn")
    running = [_start(context, job) for _ in range(workers)]
    deaths_left = 5 * workers
    try:
        while running:
            yield None
            time.sleep(_POLL_S)
            ended = [process for process in running if not process.is_alive()]
            died = sum(process.exitcode != 0 for process in ended)
            _refuse_refusal(ended)
            deaths_left -= died
            if deaths_left < 0:
                raise UnderstudyError("workers", found=f"{5 * workers} that died", remedy="look at their messages")
            running = [process for process in running if process not in ended]
            running += [_start(context, job) for _ in range(died)]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def run_on_ray(job: Job, workers: int) -> Iterator[None]:
    """Through Ray Data: on the cluster that RAY_ADDRESS names, else on this machine."""
    from understudy.fleet.ray_executor import run

    return run(job, workers)


EXECUTORS: Mapping[str, Executor] = {"local": run_locally, "ray": run_on_ray}


def _start(context: multiprocessing.context.SpawnContext, job: Job) -> BaseProcess:
    process = context.Process(target=_work_in_process, args=(job, os.getpid()), daemon=True)
    process.start()
    return process


def _work_in_process(job: Job, parent: int) -> None:
    """Works until everything has ended, or the process that started it is gone."""
    try:
        for _ in work(job, goes_on=lambda: os.getppid() == parent):
            pass
    except UnderstudyError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(_REFUSED)
    except KeyboardInterrupt:
        sys.exit(0)


def _refuse_refusal(ended: list[BaseProcess]) -> None:
    """A worker that could not open the network says why and would say it again."""
    if any(process.exitcode == _REFUSED for process in ended):
        raise UnderstudyError("workers", found="one that cannot work", remedy="see its message above")
