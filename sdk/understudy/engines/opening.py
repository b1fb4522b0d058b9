"""From a name to an engine: the one table of runtimes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from understudy.bundle.manifest import Contract
from understudy.engines.engine import Engine
from understudy.errors import EngineError

REFERENCE_GROUP = "understudy.engines"


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """An engine and the contract of the network it runs."""

    contract: Contract
    engine: Engine


def open_reference(run: Path, *, threads: int = 1) -> OpenedModel:
    """The network of a training run in the framework it was trained in, found through the entry point `torch`.

    Raises:
        EngineError: when the training package or its framework is not installed.
    """
    for entry_point in entry_points(group=REFERENCE_GROUP, name="torch"):
        try:
            opener = entry_point.load()
        except ImportError as error:
            remedy = "pip install 'understudy[training]'"
            raise EngineError("torch reference", found=str(error), wanted="PyTorch", remedy=remedy) from error
        opened = opener(run, threads=threads)
        assert isinstance(opened, OpenedModel)
        return opened
    raise EngineError("torch reference", found="no such engine installed", remedy="pip install 'understudy[training]'")
