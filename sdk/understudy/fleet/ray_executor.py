"""The one module that knows Ray: units as the rows of a Ray data set, a worker as the actor that maps over them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

from understudy.fleet.store import Store
from understudy.fleet.worker import Job, UnitWorker

_OBJECT_STORE_BYTES = 100 * 1024 * 1024
_BLOCKS_PER_WORKER = 64


class _Mapper:
    """What a Ray actor runs: the network is opened once, each row is the number of a unit."""

    def __init__(self, job: Job) -> None:
        self._worker = UnitWorker(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        units = self._worker.plan.units
        outcomes = [self._worker.wait_for(units[int(number)]) for number in batch["unit"]]
        return {"unit": batch["unit"], "outcome": outcomes}


def run(job: Job, workers: int) -> Iterator[None]:
    """Maps the plan's units that have not ended; rows are numbers, results go through the shared folder.

    Ray is started with `workers` CPUs, no dashboard and a small object store where it does not run already
    (RAY_ADDRESS names a cluster), and stopped again by who started it.
    """
    import ray
    import ray.data

    store = Store(job.folder)
    was_running = ray.is_initialized()
    if not was_running:
        _start(workers)
    try:
        ended = store.finished() | store.failed()
        numbers = [number for number, unit in enumerate(store.plan().units) if unit.key not in ended]
        num_blocks = max(1, min(len(numbers), _BLOCKS_PER_WORKER * workers))
        rows = ray.data.from_items([{"unit": number} for number in numbers], override_num_blocks=num_blocks)
        actors = ray.data.ActorPoolStrategy(size=min(workers, len(numbers) or 1))
        mapped = rows.map_batches(_Mapper, fn_constructor_args=(job,), batch_size=1, num_cpus=1, compute=actors)
        for _ in mapped.iter_batches(batch_size=1):
            yield None
    finally:
        if not was_running:
            ray.shutdown()


def _start(workers: int) -> None:
    import ray
    import ray.data

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
    else:
        ray.init(num_cpus=workers, include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **quiet)
