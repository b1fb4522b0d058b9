"""Where metrics go besides the run's own files: TensorBoard always, others by name."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger

from understudy.errors import InputError
from understudy_training.recipe import Recipe
from understudy_training.tracking.environment import command_line

_log = logging.getLogger(__name__)
_MLFLOW_RUN = "mlflow-run.json"


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
    from mlflow.exceptions import MlflowException

    class Patient(MLFlowLogger):
        """A server that does not answer costs its own curves, not the training."""

        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            try:
                super().log_metrics(metrics, step)
            except MlflowException as error:
                _log.warning("mlflow took no metrics for step %s: %s", step, error)

    kept = folder / _MLFLOW_RUN
    run_id = json.loads(kept.read_text(encoding="utf-8"))["run_id"] if resumed and kept.is_file() else None
    try:
        logger = Patient(recipe.name, folder.name, tracking_uri=address or None, run_id=run_id)
        if run_id is None:
            logger.log_hyperparams(flat(recipe.resolved().model_dump(mode="json", exclude_none=True)))
            kept.write_text(json.dumps({"run_id": logger.run_id}) + "\n", encoding="utf-8")
    except MlflowException as error:
        found = command_line(str(error).split())
        wanted = "an address that mlflow can write to, such as http://HOST:5000"
        raise InputError("--logger mlflow", found=" ".join(found)[:300], wanted=wanted) from error
    return logger


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted names; lists as JSON."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            result.update(flat(value, f"{prefix}{name}."))
        else:
            result[prefix + name] = json.dumps(value) if isinstance(value, list) else value
    return result


_LOGGERS: dict[str, Callable[[str, Path, Recipe, bool], Logger]] = {"mlflow": _mlflow}
