"""Where metrics go besides the run's own files: TensorBoard always, others by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from understudy.errors import InputError
from understudy_training.recipe import Recipe


def make_loggers(names: tuple[str, ...], folder: Path, recipe: Recipe, *, resumed_step: int | None) -> list[Logger]:
    """TensorBoard's, and the named ones.

    Args:
        names: such as "mlflow" or "mlflow=URI".
        folder: the run's.
        recipe: what is trained; its values become the run's parameters.
        resumed_step: the step of the checkpoint that the run goes on from; later events are dropped.

    Raises:
        InputError: when a name is unknown or its package is not installed.
    """
    purge_step = None if resumed_step is None else resumed_step + 1
    tensorboard = TensorBoardLogger(folder, name="", version="tensorboard", purge_step=purge_step)
    return [tensorboard, *(_named(name, folder, recipe, resumed_step is not None) for name in names)]


def check_loggers(names: tuple[str, ...]) -> None:
    """Refuses names that `make_loggers` would, before anything is begun.

    Raises:
        InputError: when a name is unknown or its package is not installed.
    """
    for entry in names:
        name = entry.partition("=")[0]
        if name not in _LOGGERS:
            raise InputError("--logger", found=name, wanted=f"one of: tensorboard, {', '.join(_LOGGERS)}")
        if importlib.util.find_spec(name) is None:
            raise InputError(f"--logger {name}", found="not installed", remedy=f"pip install 'understudy[{name}]'")


def _named(entry: str, folder: Path, recipe: Recipe, resumed: bool) -> Logger:
    name, _, address = entry.partition("=")
    return _LOGGERS[name](address, folder, recipe, resumed)


def _mlflow(address: str, folder: Path, recipe: Recipe, resumed: bool) -> Logger:
    """A run named after the folder in the experiment named after the recipe; a resumed one goes on in its run."""
    from understudy_training.tracking.mlflow_runs import mlflow_logger  # which needs mlflow

    return mlflow_logger(address, folder, recipe, resumed)


_LOGGERS: dict[str, Callable[[str, Path, Recipe, bool], Logger]] = {"mlflow": _mlflow}
