"""Inference over a fleet's bags: plan, share out, merge. Killed at any moment and started again, it goes on."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from understudy.bundle.manifest import Precision
from understudy.errors import InputError, UnderstudyError
from understudy.fleet.claims import Claims
from understudy.fleet.executors import EXECUTORS, ExecutorName
from understudy.fleet.inference import Annotator
from understudy.fleet.merge import merge
from understudy.fleet.plan import FleetSettings, Plan, identify_model
from understudy.fleet.sources import Planned, make_plan
from understudy.fleet.store import Store
from understudy.fleet.summary import AnnotationSummary, summarize
from understudy.fleet.worker import Job
from understudy.progress import Track, silent
from understudy.rig import Rig

_MOST_ROUNDS = 3
_LOOK_EVERY_S, _LOOK_SHARE = 0.3, 20.0
"""How often finished units are counted: a large folder on a network takes long to list."""


@dataclass(frozen=True)
class AnnotateOptions:
    """How to work; none of it changes the results.

    Attributes:
        workers: processes, or Ray actors.
        executor: `local` or `ray`.
        threads: threads of each worker's engine.
        lease_s: a worker without a sign of life for so long has lost its unit.
        retry_failed: try units again that failed before.
        extend: let the sources differ from the plan in the folder; finished units whose source is the same are kept.
        bags: also write the detections as bags.
    """

    workers: int = 1
    executor: ExecutorName = "local"
    threads: int = 1
    lease_s: float = 120.0
    retry_failed: bool = False
    extend: bool = False
    bags: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError("--workers", found=self.workers, wanted="1 or more")
        if not self.lease_s > 0:
            raise InputError("--lease", found=self.lease_s, wanted="more than 0 s")
        if self.executor == "ray" and importlib.util.find_spec("ray") is None:
            remedy = "pip install 'understudy[ray]'"
            raise UnderstudyError("--executor ray", found="Ray not installed", wanted="the extra ray", remedy=remedy)


@dataclass
class _Before:
    """What was there when this run began."""

    finished: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)


def annotate(
    paths: Sequence[Path],
    model: Path,
    out: Path,
    rig: Rig | None = None,
    settings: FleetSettings | None = None,
    options: AnnotateOptions | None = None,
    *,
    precision: Precision | None = None,
    track: Track = silent,
) -> AnnotationSummary:
    """Runs a network over every sweep of many bags and data sets; docs/annotate.md describes the folder.

    A unit that is finished is never computed again, one whose results are damaged is. Failures are recorded and the
    other units go on.

    Args:
        paths: bags, data sets, or folders with bags below.
        model: bundle or training run.
        out: the shared folder; several machines may be given the same.
        rig: of every bag; None takes the `rig.yaml` in each.
        settings: what changes the results.
        options: how to work.
        precision: of the bundle; None is the fastest on a CPU.
        track: progress.

    Raises:
        InputError: when nothing can be read, or the folder holds another plan.
        UnderstudyError: when network and rig do not fit, or no worker can work.
    """
    settings, options = settings or FleetSettings(), options or AnnotateOptions()
    store = Store(out)
    planned = make_plan(paths, identify_model(model, precision), settings, rig, track=track)
    _refuse_misfit(store, planned)
    store.prepare()
    plan = _settle(store, planned, options.extend)
    before = _look_around(store, plan, options.retry_failed)
    _run(store, plan, options, track)
    merged = merge(store, plan, bags=options.bags, track=track)
    return summarize(store, plan, merged, before.finished, before.damaged)


def _settle(store: Store, planned: Planned, extend: bool) -> Plan:
    """The plan in the folder if it is the same, else the new one if the folder has none or may be extended."""
    new = planned.plan
    if store.plan_path.is_file():
        old = store.plan()
        if not old.is_same_as(new) and not (extend and new.may_extend(old)):
            raise _other_plan(store, old, new)
    store.write_plan(new, planned.rigs)
    return new


def _other_plan(store: Store, old: Plan, new: Plan) -> InputError:
    wanted, remedy = "the same plan", "choose another --out, or say --extend to keep what is finished and plan the rest"
    if not new.may_extend(old):
        differing = [
            name
            for name, differs in (
                ("network", (old.model.sha256, old.model.precision) != (new.model.sha256, new.model.precision)),
                ("settings", old.settings != new.settings),
            )
            if differs
        ]
        found, remedy = f"a plan with another {' and other '.join(differing)}", "choose another --out"
    else:
        shared = len(old.keys & new.keys)
        found = f"a plan of {len(old.keys)} units, {shared} of them among the {len(new.keys)} asked for"
    return InputError(f"{store.plan_path}", found=found, wanted=wanted, remedy=remedy)


def _refuse_misfit(store: Store, planned: Planned) -> None:
    """Opens the network once, so that what fits no rig is refused here and not by each worker."""
    with Annotator(store, planned.plan) as annotator:
        for rig in planned.rigs.values():
            annotator.pipeline(rig)


def _look_around(store: Store, plan: Plan, retry_failed: bool) -> _Before:
    """What is finished; units that are damaged, and on request those that failed, are made open again."""
    before = _Before()
    for key in store.finished() & plan.keys:
        if store.is_damaged(key):
            before.damaged.add(key)
            store.forget(key)
        else:
            before.finished.add(key)
    for key in store.failed() & plan.keys if retry_failed else ():
        store.forget(key)
    return before


def _run(store: Store, plan: Plan, options: AnnotateOptions, track: Track) -> None:
    """Runs workers until every unit has ended."""
    job = Job(store.root.resolve(), options.threads, options.lease_s)
    for _ in range(_MOST_ROUNDS):
        left = plan.keys - store.finished() - store.failed()
        if not left:
            break
        running = EXECUTORS[options.executor](job, min(options.workers, len(left)))
        for _ in track(_ended(store, left, running), "annotating", len(left)):
            pass
    ended = store.finished() | store.failed()
    claims = Claims(store.root / "claims", options.lease_s)
    claims.sweep(ended)
    claims.close()
    left = plan.keys - ended
    if left:
        found = f"{len(left)} units neither finished nor failed"
        raise UnderstudyError(f"{store.root}", found=found, remedy="run the same command again")


def _ended(store: Store, keys: frozenset[str], running: Iterator[None]) -> Iterator[str]:
    """Each unit once, soon after it has ended."""
    seen: set[str] = set()
    due_s = 0.0
    for _ in running:
        started_s = time.monotonic()
        if started_s < due_s:
            continue
        new = ((store.finished() | store.failed()) & keys) - seen
        seen |= new
        due_s = started_s + max(_LOOK_EVERY_S, _LOOK_SHARE * (time.monotonic() - started_s))
        yield from sorted(new)
    yield from sorted(((store.finished() | store.failed()) & keys) - seen)
