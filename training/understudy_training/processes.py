"""Work divided over processes that end with the one that started them, one failure not ending the others."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from understudy.errors import UnderstudyError

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


def results_of(
    work: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], at_a_time: int
) -> Iterator[tuple[TaskT, ResultT]]:
    """Each task with its result, as they are done; in this process when only one is done at a time.

    Args:
        work: a function of a module; what it raises is raised here, and ends the rest.
        tasks: what it is called with; must travel to another process.
        at_a_time: processes.
    """
    if at_a_time == 1:
        for task in tasks:
            yield task, work(task)
        return
    # spawned, because threads of this process would be lost in a fork
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_a_time, spawn, initializer=_end_with_parent, initargs=(os.getpid(),)) as pool:
        pending = {pool.submit(work, task): task for task in tasks}
        try:
            for done in as_completed(pending):
                yield pending[done], done.result()
        except BrokenProcessPool as error:
            remedy = "start the command again: what is done stays; with fewer --jobs if memory ran out"
            raise UnderstudyError("a process", found="ended from outside", remedy=remedy) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent(parent: int) -> None:
    """Lets this process end soon after the one that started it, however that one ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
