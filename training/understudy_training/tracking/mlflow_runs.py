"""MLflow as a logger that a training does not depend on. Imported only where mlflow is installed."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from mlflow.exceptions import MlflowException

from understudy.errors import InputError
from understudy_training.recipe import Recipe
from understudy_training.tracking.environment import command_line
from understudy_training.tracking.nested import flat

_log = logging.getLogger(__name__)
_RUN = "mlflow-run.json"
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Defaults of ours for variables of MLflow's, whose own keep a training waiting for minutes on each row."""
_PAUSE_S = 60.0
_MOST_WAITING = 10_000


class PatientLogger(MLFlowLogger):
    """Rows that a server does not take wait for the next attempt, a minute later or at the end; nothing else waits."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._waiting: deque[tuple[dict[str, float], int | None]] = deque(maxlen=_MOST_WAITING)
        self._try_again_s = 0.0

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Sends what waits, oldest first, unless the server failed a moment ago."""
        self._waiting.append((dict(metrics), step))
        if time.monotonic() >= self._try_again_s:
            self._send()

    def finalize(self, status: str = "success") -> None:
        """Sends what waits and closes the run; a server that is still away leaves the run open, and ours finishes."""
        if self._send():
            try:
                super().finalize(status)
            except MlflowException as error:
                _log.warning("mlflow did not close the run: %s", _short(error))

    def _send(self) -> bool:
        while self._waiting:
            try:
                super().log_metrics(*self._waiting[0])
            except MlflowException as error:
                self._try_again_s = time.monotonic() + _PAUSE_S
                _log.warning("mlflow took no metrics, %d rows wait: %s", len(self._waiting), _short(error))
                return False
            self._waiting.popleft()
        return True


def mlflow_logger(address: str, folder: Path, recipe: Recipe, resumed: bool) -> MLFlowLogger:
    """A run named after the folder in the experiment named after the recipe; a resumed one goes on in its run.

    Raises:
        InputError: when a new run cannot be made at the address.
    """
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    kept = folder / _RUN
    run_id = json.loads(kept.read_text(encoding="utf-8"))["run_id"] if resumed and kept.is_file() else None
    try:
        logger = PatientLogger(recipe.name, folder.name, tracking_uri=address or None, run_id=run_id)
        if run_id is None:
            logger.log_hyperparams(flat(recipe.resolved().model_dump(mode="json", exclude_none=True)))
            kept.write_text(json.dumps({"run_id": logger.run_id}) + "\n", encoding="utf-8")
    except MlflowException as error:
        wanted = "an address that mlflow can write to, such as http://HOST:5000"
        raise InputError("--logger mlflow", found=_short(error), wanted=wanted) from error
    return logger


def _short(error: Exception) -> str:
    return " ".join(command_line(str(error).split()))[:300]
