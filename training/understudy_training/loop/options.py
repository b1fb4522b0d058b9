"""What differs between runs of the same recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from understudy.errors import InputError
from understudy_training.batches import TrainingFrames
from understudy_training.distillation.teacher_cache import Teacher
from understudy_training.distillation.terms import Widths

Strategy = Literal["auto", "ddp"]


@dataclass(frozen=True, eq=False)
class Teaching:
    """Who teaches: answers for batches, the widths of the features they hold, and what the record says."""

    teacher: Teacher
    widths: Widths
    weights: str = ""
    shuffled: bool = False
    frames: TrainingFrames | None = None
    """What it is shown instead of the student's frames, frame by frame; None is the same."""


Teachings = Mapping[str, Teaching]
"""Those that a recipe's terms listen to, by name."""


@dataclass(frozen=True)
class Interval:
    """How often something happens within an epoch: after so many optimizer steps, or after so many seconds."""

    steps: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class FitOptions:
    """What differs between runs of the same recipe.

    Attributes:
        seed: decides initial weights and the order of the frames.
        devices: GPUs of this machine, or processes where there is none.
        nodes: machines.
        strategy: "ddp" also for a single process; "auto" only for several.
        resume: go on from the last checkpoint in the run's folder.
        bars: draw progress bars, for a terminal; one line an epoch otherwise.
        deterministic: refuse algorithms whose result depends on timing.
        checkpoint_every: checkpoints within an epoch; there is one at each epoch's end anyway.
        metrics_every: a row of metrics after so many steps too; 0 is one an epoch.
        loggers: names of further loggers beside TensorBoard, such as "mlflow" or "mlflow=URI".
    """

    seed: int = 0
    devices: int = 1
    nodes: int = 1
    strategy: Strategy = "auto"
    resume: bool = False
    bars: bool = False
    deterministic: bool = False
    checkpoint_every: Interval | None = None
    metrics_every: int = 0
    loggers: tuple[str, ...] = ()

    @property
    def num_processes(self) -> int:
        """Processes that train together."""
        return self.devices * self.nodes


DEFAULTS = FitOptions()


def parse_strategy(text: str) -> Strategy:
    """One of the strategies that are tested.

    Raises:
        InputError: when it is something else.
    """
    known: dict[str, Strategy] = {"auto": "auto", "ddp": "ddp"}
    if text in known:
        return known[text]
    raise InputError("--strategy", found=text, wanted="auto or ddp")


def parse_interval(text: str | None) -> Interval | None:
    """`500` is optimizer steps, `10m` minutes, `90s` seconds.

    Raises:
        InputError: when it is something else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)([ms]?)", text.strip())
    if match is None:
        raise InputError("--checkpoint-every", found=text, wanted="steps such as 500, or a time such as 10m or 90s")
    number, unit = int(match[1]), match[2]
    return Interval(steps=number) if not unit else Interval(seconds=number * {"m": 60.0, "s": 1.0}[unit])
