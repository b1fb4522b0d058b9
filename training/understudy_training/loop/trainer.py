"""Lightning's trainer as a run needs it: devices, precision, parts, callbacks, loggers."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from understudy.errors import RecipeError
from understudy_training.loop.launch import launch_of
from understudy_training.loop.options import FitOptions
from understudy_training.recipe import Precision, Recipe

_LIGHTNING_PRECISIONS = {"32-true": "32-true", "bf16-mixed": "bf16-mixed", "fp16-mixed": "16-mixed"}
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def make_trainer(
    recipe: Recipe,
    folder: Path,
    options: FitOptions,
    precision: Precision,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
) -> lightning.Trainer:
    """The trainer of a run; several processes average their gradients (torch's DistributedDataParallel)."""
    several = options.num_processes > 1 or options.strategy == "ddp"
    # every process computes the same running statistics, so they need not be sent around
    distributed = DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True) if several else "auto"
    arguments: dict[str, Any] = {"precision": _LIGHTNING_PRECISIONS[precision]}
    if launch_of().by == "slurm":
        arguments["plugins"] = [SLURMEnvironment(auto_requeue=False)]
    return lightning.Trainer(
        max_epochs=recipe.schedule.epochs,
        devices=options.devices,
        num_nodes=options.nodes,
        strategy=distributed,
        accumulate_grad_batches=recipe.schedule.accumulate,
        gradient_clip_val=recipe.schedule.gradient_clip,
        logger=list(loggers),
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=options.bars,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        **arguments,
    )


def usable_precision(wanted: Precision) -> Precision:
    """The wanted precision, or 32-true where bfloat16 convolutions have no hardware.

    Raises:
        RecipeError: for fp16-mixed without a GPU.
    """
    if wanted == "32-true":
        return wanted
    if wanted == "fp16-mixed":
        if torch.cuda.is_available():
            return wanted
        found, remedy = "fp16-mixed and no GPU", "half precision on a processor is slow and overflows: take bf16-mixed"
        raise RecipeError("precision", found=found, wanted="bf16-mixed or 32-true", remedy=remedy)
    if torch.cuda.is_available():
        return wanted if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return wanted if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "32-true"


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Within it, torch refuses algorithms whose result depends on timing; afterwards all is as it was."""
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    workspace = os.environ.get(_CUBLAS)
    os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        if workspace is None:
            del os.environ[_CUBLAS]


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keeps Lightning's tips out of the log; its errors stay."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
