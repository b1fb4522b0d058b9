"""Which run a checkpoint belongs to: a run goes on only with what it was begun with."""

from __future__ import annotations

import errno
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from understudy.configuration import content_hash
from understudy.datasets.files import read_json
from understudy.errors import InputError
from understudy_training.loop.checkpoints import LAST
from understudy_training.recipe import Recipe

FOLDER = "resume"
_FILE, _LOCK = "begun-with.json", "lock"
_FORM, _WITH_MAPS = "2", frozenset({"fitnet", "cwd", "monotakd"})
"""To be raised when the shape of those terms' adapters changes: a checkpoint of another one does not fit."""


def identity_of(recipe: Recipe, data: str, seed: int, teacher: str) -> dict[str, str]:
    """What decides a run: hash of the recipe, fingerprint of the data, seed, hash of the teacher's weights or ''."""
    what = {"recipe": content_hash(recipe.resolved()), "data": data, "seed": str(seed), "teacher": teacher}
    terms = () if recipe.distillation is None or not teacher else recipe.distillation.terms
    return what | {"form of its adapters": _FORM} if any(term.kind in _WITH_MAPS for term in terms) else what


@contextmanager
def alone_in(run: Path) -> Iterator[None]:
    """Within it, no other process trains into this folder; the system lets go of it however this one ends.

    Raises:
        InputError: when another process does now, as when a job is started again before the first has ended.
    """
    (run / FOLDER).mkdir(parents=True, exist_ok=True)
    with (run / FOLDER / _LOCK).open("a") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not inherited by a loader's workers
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):  # a file system without locks
                yield
                return
            wanted, remedy = "one training at a time", "wait for it, end it, or train into another folder"
            found = "another process that trains into it"
            raise InputError(f"run {run}", found=found, wanted=wanted, remedy=remedy) from error
        yield


def was_begun(run: Path) -> bool:
    """Whether a run was begun in this folder, with or without a checkpoint by now."""
    return (run / FOLDER / _FILE).is_file()


def begin(run: Path, identity: dict[str, str]) -> None:
    """Writes the identity beside the checkpoints of a new run, and forgets those of an older one."""
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for checkpoint in folder.glob("*.ckpt*"):
        checkpoint.unlink()
    unfinished = folder / f"{_FILE}.part"
    unfinished.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / _FILE)


def refuse_another(run: Path, identity: dict[str, str]) -> None:
    """Raises InputError when a run was begun with another recipe, other data, another seed or teacher."""
    begun = read_json(run / FOLDER / _FILE)
    other = [name for name, value in identity.items() if not isinstance(begun, dict) or begun.get(name) != value]
    if other:
        raise InputError(
            f"run {run}",
            found=f"begun with another {' and '.join(other)}",
            wanted="the same as at its start",
            remedy="resume with what it was begun with, or train into another folder",
        )


def checkpoint_to_resume(run: Path, identity: dict[str, str]) -> Path | None:
    """The checkpoint that a run goes on from; None when it was interrupted before there was one.

    Raises:
        InputError: when nothing was begun there, or something else.
    """
    checkpoint = run / FOLDER / LAST
    if not was_begun(run):
        raise InputError(f"run {run}", found="nothing to resume", wanted=f"{checkpoint}", remedy="drop --resume")
    refuse_another(run, identity)
    return checkpoint if checkpoint.is_file() else None
