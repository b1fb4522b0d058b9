"""Means of the losses as JSON lines: one row an epoch, and rows in between when asked for."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from understudy.errors import InputError
from understudy_training.loop import ranks

METRICS, OLDER_METRICS = "metrics.jsonl", "metrics.csv"


class Means:
    """Sums of named scalars, which stay on their device until their mean is asked for."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: dict[str, Tensor]) -> None:
        """Adds one of each."""
        self.count += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value

    def take(self) -> dict[str, float]:
        """Means since the last call, over all processes; then begins anew."""
        if not self.sums:
            return {}
        totals = ranks.summed(torch.stack(list(self.sums.values()))) / (self.count * ranks.world_size())
        means = dict(zip(self.sums, totals.tolist(), strict=True))
        self.sums, self.count = {}, 0
        return means

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: the sums of every process."""
        sums = ranks.gathered(torch.stack(list(self.sums.values()))).cpu() if self.sums else None
        return {"names": list(self.sums), "count": self.count, "sums": sums}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Goes on with the sums that this process had; with another number of processes, with everyone's mean."""
        self.count = int(state["count"])
        if not state["names"]:
            return
        mine = state["sums"]
        mine = mine[ranks.rank()] if len(mine) == ranks.world_size() else mine.mean(0)
        self.sums = dict(zip(state["names"], mine.to(device).unbind(), strict=True))


class MetricLines(Callback):
    """Writes rows of means to `metrics.jsonl` and to the loggers, and says an epoch's in one line.

    The loop calls nothing here: the step's losses are what `training_step` returns under "parts". A checkpoint holds
    the sums and the length of the file, so that a resumed run has each row once.

    Args:
        path: the file.
        every: a row after so many optimizer steps too; 0 is none.
        say: takes the line of an epoch; None says nothing.
    """

    def __init__(self, path: Path, every: int, say: Callable[[str], None] | None) -> None:
        self.path, self.every, self.say = path, every, say
        self.epoch, self.window = Means(), Means()
        self.kept: dict[str, Any] | None = None
        self.started_s = time.perf_counter()
        self.earlier_s = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """A new file, or the one of the interrupted run as it was at its checkpoint."""
        self._start_clock()
        if self.kept is None:
            if trainer.is_global_zero:
                self.path.write_bytes(b"")
            return
        self.epoch.restore(self.kept["epoch"], pl_module.device)
        self.window.restore(self.kept["window"], pl_module.device)
        self.earlier_s = float(self.kept["seconds"])
        if trainer.is_global_zero:
            _cut(self.path, int(self.kept["bytes"]))

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts the clock."""
        self._start_clock()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Adds, and writes a row when there are enough steps."""
        self.epoch.add(outputs["parts"])
        if not self.every:
            return
        self.window.add(outputs["parts"])
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and trainer.global_step % self.every == 0:
            row = {"kind": "steps", "epoch": trainer.current_epoch, "step": trainer.global_step}
            self._write(trainer, row, with_shares(self.window.take()), prefix="steps/")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes and says."""
        means = with_shares(self.epoch.take())
        seconds = self._seconds()
        row = {"kind": "epoch", "epoch": trainer.current_epoch, "step": trainer.global_step}
        self._write(trainer, row, means, {"seconds": seconds})
        if trainer.is_global_zero and self.say is not None:
            self.say(f"  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {_losses(means)}  {seconds:.1f} s")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; called by every process."""
        length = self.path.stat().st_size if self.path.is_file() else 0
        means = {"epoch": self.epoch.state(), "window": self.window.state()}
        return means | {"bytes": length, "seconds": self._seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's hook."""
        self.kept = state_dict

    def _start_clock(self) -> None:
        self.started_s, self.earlier_s = time.perf_counter(), 0.0

    def _seconds(self) -> float:
        return self.earlier_s + time.perf_counter() - self.started_s

    def _write(
        self,
        trainer: lightning.Trainer,
        row: dict[str, Any],
        means: dict[str, float],
        more: dict[str, float] | None = None,
        prefix: str = "",
    ) -> None:
        if not trainer.is_global_zero:
            return
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row | means | (more or {})) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        for logger in trainer.loggers:
            logger.log_metrics({prefix + name: value for name, value in means.items()}, step=trainer.global_step)


def with_shares(means: dict[str, float]) -> dict[str, float]:
    """The means, and each distillation term's share of everything that is minimized once the warm-up is over."""
    own = ("heatmap", "regression", "detection")
    terms = {name: value for name, value in means.items() if name not in own}
    everything = means["detection"] + sum(terms.values())
    return means | {f"share_{name}": value / everything if everything else 0.0 for name, value in terms.items()}


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """A run's rows in the order they were written; an older run's `metrics.csv` gives the same rows.

    Raises:
        InputError: when there are none, or a line is not JSON.
    """
    path = run / METRICS
    if not path.is_file() and (run / OLDER_METRICS).is_file():
        with (run / OLDER_METRICS).open(encoding="utf-8", newline="") as stream:
            return [{"kind": "epoch"} | _numbers(row) for row in csv.DictReader(stream)]
    if not path.is_file():
        raise InputError(f"run {run}", found=f"no {METRICS}", wanted="a run folder", remedy="understudy train")
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise InputError(f"{path}", found=str(error), wanted="a JSON object on each line") from error


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    return {name: int(value) if name in ("epoch", "step") else float(value) for name, value in row.items()}


def _losses(means: dict[str, float]) -> str:
    """The detection loss in its parts and the teacher's terms as one sum; each term stands in `metrics.jsonl`."""
    own = {name: means[name] for name in ("heatmap", "regression", "detection", "depth") if name in means}
    taught = [value for name, value in means.items() if name not in own and not name.startswith("share_")]
    shown = own | ({"teacher": sum(taught)} if taught else {})
    return "  ".join(f"{name} {value:.3f}" for name, value in shown.items())


def _cut(path: Path, length: int) -> None:
    """Drops what was written after a checkpoint; a file that is shorter, or gone, is left as it is."""
    if path.is_file() and path.stat().st_size > length:
        with path.open("r+b") as stream:
            stream.truncate(length)
