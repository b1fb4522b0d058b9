"""The networks that come with the package: found by name, taken out as run folders, put in with a card."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from understudy.configuration import file_sha256, read_config, write_yaml
from understudy.errors import InputError
from understudy_training.checkpoint import CONTRACT, RECIPE, RECORD, WEIGHTS, refuse_to_replace
from understudy_training.zoo.card import CARD, ModelCard

_FILES = (RECIPE, CONTRACT, RECORD, WEIGHTS)


def models_folder() -> Path:
    """Where the networks are."""
    return Path(str(files("understudy_training") / "zoo" / "models"))


def cards(folder: Path | None = None) -> dict[str, ModelCard]:
    """The card of each network, by name."""
    found = sorted((folder or models_folder()).glob(f"*/{CARD}"))
    return {path.parent.name: read_config(path, ModelCard) for path in found}


def card_of(name: str, folder: Path | None = None) -> ModelCard:
    """The card of one.

    Raises:
        InputError: when there is none of that name.
    """
    known = cards(folder)
    if name not in known:
        raise InputError("network of the zoo", found=name, wanted=f"one of: {', '.join(known) or 'none yet'}")
    return known[name]


def take(name: str, out: Path, folder: Path | None = None) -> ModelCard:
    """Copies a network to a run folder, from where it is exported, evaluated, distilled from like any other run.

    Raises:
        InputError: when there is none of that name, its weights are not those of its card, or `out` holds something.
    """
    card, source = card_of(name, folder), (folder or models_folder()) / name
    refuse_to_replace(out)
    found = file_sha256(source / WEIGHTS)
    if found != card.weights_sha256:
        wanted, remedy = card.weights_sha256[:12], "install the package again"
        raise InputError(f"{source / WEIGHTS}: sha256", found=found[:12], wanted=wanted, remedy=remedy)
    out.mkdir(parents=True, exist_ok=True)
    for file in (*_FILES, CARD):
        shutil.copyfile(source / file, out / file)
    return card


def put(run: Path, card: ModelCard, folder: Path | None = None) -> Path:
    """Adds a run's network with its card, in place of one of the same name; its folder."""
    target = (folder or models_folder()) / card.name
    target.mkdir(parents=True, exist_ok=True)
    for file in _FILES:
        shutil.copyfile(run / file, target / file)
    write_yaml(target / CARD, card)
    return target
