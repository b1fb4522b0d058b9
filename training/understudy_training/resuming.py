"""Which run a checkpoint belongs to: a run goes on only with what it was begun with."""

from __future__ import annotations

import json
from pathlib import Path

from understudy.configuration import content_hash
from understudy.datasets.files import read_json
from understudy.errors import InputError
from understudy_training.recipe import Recipe

_FILE = "begun-with.json"


def identity_of(recipe: Recipe, data: str, seed: int, teacher: str) -> dict[str, str]:
    """What decides a run: hash of the recipe, fingerprint of the data, seed, hash of the teacher's weights or ''."""
    return {"recipe": content_hash(recipe.resolved()), "data": data, "seed": str(seed), "teacher": teacher}


def begin(folder: Path, identity: dict[str, str]) -> None:
    """Writes the identity beside the checkpoints of a new run, and forgets those of an older one."""
    folder.mkdir(parents=True, exist_ok=True)
    for checkpoint in folder.glob("*.ckpt"):
        checkpoint.unlink()
    (folder / _FILE).write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")


def refuse_another(folder: Path, identity: dict[str, str]) -> None:
    """Raises InputError when the checkpoint was begun with another recipe, other data, another seed or teacher."""
    begun = read_json(folder / _FILE)
    other = [name for name, value in identity.items() if not isinstance(begun, dict) or begun.get(name) != value]
    if other:
        raise InputError(
            f"run {folder.parent}",
            found=f"begun with another {' and '.join(other)}",
            wanted="the same as at its start",
            remedy="resume with what it was begun with, or train into another folder",
        )
