"""Training one detector: from a recipe, frames and perhaps a teacher to a run folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from torch import nn

from understudy.errors import RecipeError, UnderstudyError
from understudy_training.batches import TrainingFrames, Views
from understudy_training.checkpoint import (
    WEIGHTS,
    DataRecord,
    RunRecord,
    load_detector,
    read_record,
    save_run,
    write_beginning,
)
from understudy_training.distillation.distiller import Distiller, by_name
from understudy_training.distillation.terms import Widths
from understudy_training.loop.averaging import WeightAverage
from understudy_training.loop.checkpoints import Checkpoints
from understudy_training.loop.finite import Finite
from understudy_training.loop.launch import is_first_process
from understudy_training.loop.options import DEFAULTS, FitOptions, Teaching, Teachings
from understudy_training.loop.order import divide
from understudy_training.loop.shared_statistics import share_statistics
from understudy_training.loop.task import DetectionTask, one_cycle
from understudy_training.loop.trainer import deterministic_algorithms, make_trainer, quiet_lightning, usable_precision
from understudy_training.models.config import LearnedPillarEncoder
from understudy_training.models.counting import detector_cost
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import Recipe
from understudy_training.resuming import FOLDER, alone_in, begin, checkpoint_to_resume, identity_of
from understudy_training.tracking.environment import environment_now, write_environment
from understudy_training.tracking.loggers import check_loggers, make_loggers
from understudy_training.tracking.metrics import METRICS, MetricLines

__all__ = [
    "FitOptions",
    "Teaching",
    "build_detector",
    "build_distiller",
    "fit",
    "one_cycle",
    "usable_precision",
    "use_threads",
    "widths_of",
]


@dataclass(frozen=True, eq=False)
class _Parts:
    """The callbacks that `fit` asks something of after the training."""

    checkpoints: Checkpoints
    average: WeightAverage | None


def fit(
    recipe: Recipe,
    clouds: TrainingFrames,
    folder: Path,
    options: FitOptions = DEFAULTS,
    *,
    teaching: Teaching | Teachings | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> BevDetector:
    """Trains a detector from scratch and writes its run folder; in every process that trains, with equal arguments.

    Args:
        recipe: what to train; its distillation counts only with `teaching`.
        clouds: the training frames.
        folder: the run folder.
        options: seed, devices, resumption.
        teaching: the teacher, or several by the names that the recipe's terms call, or None for a run without.
        say: takes one line an epoch, and one at the end.

    Raises:
        InputError: when a resumption is asked for and there is nothing to resume, or the run was begun otherwise.
        RecipeError: when a batch cannot be shared evenly, or the precision needs a GPU.
        UnderstudyError: when it was interrupted or terminated (Lightning would exit without a word), or when the loss
            or the weights are no numbers any more; the last checkpoint before stays.
    """
    usable_precision(recipe.precision)
    check_loggers(options.loggers)
    divide(recipe.data.batch_size, len(clouds), recipe.schedule.accumulate, options.num_processes)
    teachings = {} if teaching is None else by_name(teaching)
    identity = identity_of(recipe, clouds.dataset.fingerprint, options.seed, weights_of(teachings))
    checkpoint = checkpoint_to_resume(folder, identity) if options.resume else None
    if options.resume and (folder / WEIGHTS).is_file() and checkpoint is not None:
        say(read_record(folder).summary(folder))
        return load_detector(folder)[0]
    with ExitStack() as stack:
        if is_first_process():
            stack.enter_context(alone_in(folder))
            _begin(recipe, clouds, folder, options, identity if checkpoint is None else None)
        stack.enter_context(quiet_lightning())
        stack.enter_context(deterministic_algorithms(options.deterministic))
        stack.enter_context(torch.random.fork_rng(devices=[]))  # the task seeds it; whoever called goes on with its own
        return _trained(recipe, clouds, folder, options, teachings, checkpoint, say)


def _begin(
    recipe: Recipe, clouds: TrainingFrames, folder: Path, options: FitOptions, identity: dict[str, str] | None
) -> None:
    """Writes what is known before the first step; with the identity of a run that begins anew."""
    if identity is not None:
        begin(folder, identity)
    write_beginning(folder, recipe, DataRecord.of(clouds))
    now = environment_now(num_processes=options.num_processes, deterministic=options.deterministic)
    write_environment(folder, now)


class InterruptionError(UnderstudyError):
    """A training that was told to end, by a signal; nothing is wrong with it."""


def _trained(
    recipe: Recipe,
    clouds: TrainingFrames,
    folder: Path,
    options: FitOptions,
    teachings: Teachings,
    checkpoint: Path | None,
    say: Callable[[str], None],
) -> BevDetector:
    cpu_s = time.process_time()
    detector = build_detector(recipe, options.seed)
    if options.num_processes > 1:
        share_statistics(detector)
    distiller = build_distiller(recipe, detector, teachings, options.seed)
    own_frames = {name: entry.frames for name, entry in teachings.items() if entry.frames and entry.teacher.encode}
    views = Views(clouds, recipe.data.augmentation, options.seed, own_frames)
    task = DetectionTask(detector, recipe, views, distiller, {name: entry.teacher for name, entry in teachings.items()})
    trainer, parts = _trainer(recipe, folder, options, detector, checkpoint, say)
    try:
        trainer.fit(task, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as stop:
        remedy = f"--resume goes on after the last {'checkpoint' if options.checkpoint_every else 'finished epoch'}"
        raise InterruptionError(f"training {folder}", found="an interruption", remedy=remedy) from stop
    if parts.average is not None:
        parts.average.put_into(detector)
    if trainer.is_global_zero:
        record = _record(recipe, clouds, options, teachings, trainer, detector)
        spent = {"wall_s": parts.checkpoints.spent_s, "cpu_s": time.process_time() - cpu_s}
        saved = save_run(folder, detector, recipe, record.model_copy(update=spent))
        say(saved.summary(folder))
    return detector.eval()


def _trainer(
    recipe: Recipe,
    folder: Path,
    options: FitOptions,
    detector: BevDetector,
    checkpoint: Path | None,
    say: Callable[[str], None],
) -> tuple[lightning.Trainer, _Parts]:
    folder.mkdir(parents=True, exist_ok=True)
    ema = recipe.schedule.ema
    average = WeightAverage(detector, ema.decay) if ema is not None else None
    finite = Finite(folder, options.metrics_every)
    checkpoints = Checkpoints(folder / FOLDER, options.checkpoint_every, finite.before_checkpoint)
    lines = MetricLines(folder / METRICS, options.metrics_every, None if options.bars else say)
    callbacks = [finite, lines, *([average] if average is not None else []), checkpoints]
    resumed_step = None if checkpoint is None else _step_of(checkpoint)
    loggers = make_loggers(options.loggers, folder, recipe, resumed_step=resumed_step) if is_first_process() else []
    precision = usable_precision(recipe.precision)
    return make_trainer(recipe, folder, options, precision, callbacks, loggers), _Parts(checkpoints, average)


def _step_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)["global_step"])


def build_detector(recipe: Recipe, seed: int) -> BevDetector:
    """A detector with the initial weights that `seed` decides, whatever else was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = BevDetector(recipe.detector_config())
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = recipe.schedule.batch_norm_momentum
    return detector


def build_distiller(recipe: Recipe, detector: BevDetector, teachings: Teachings, seed: int) -> Distiller | None:
    """The recipe's terms between the teachers and the detector; None without either.

    Raises:
        RecipeError: when a term listens to a teacher that is not there.
    """
    if not teachings or recipe.distillation is None:
        return None
    missing = [name for name in recipe.distillation.teachers if name not in teachings]
    if missing:
        found, remedy = ", ".join(teachings), "--teacher NAME=RUN for each"
        raise RecipeError("teachers", found=found, wanted=", ".join(recipe.distillation.teachers), remedy=remedy)
    widths = {name: entry.widths for name, entry in teachings.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Distiller(recipe.distillation, widths, widths_of(detector), recipe.schedule.epochs)


def weights_of(teachings: Teachings) -> str:
    """Hash of the only teacher's weights, or of each by name; empty without any."""
    if len(teachings) <= 1:
        return "".join(entry.weights for entry in teachings.values())
    return ",".join(f"{name}={entry.weights}" for name, entry in sorted(teachings.items()))


def widths_of(detector: BevDetector) -> Widths:
    """Channels of what the detector's features are compared by."""
    learned = isinstance(detector.config.encoder, LearnedPillarEncoder)
    pillar = detector.encoder.channels if learned else 0
    camera = detector.config.camera_encoder
    return Widths(
        low=detector.config.backbone.widths[0],
        high=detector.neck.channels,
        pillar=pillar,
        camera=0 if camera is None else camera.channels,
        camera_residual=0 if camera is None or camera.residual_branch is None else camera.channels,
        grid=detector.config.grid,
    )


def use_threads(threads: int | None, sharing: int = 1) -> None:
    """Sets the process's threads; None is its share of the cores that `sharing` processes may use together."""
    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // sharing))


def _record(
    recipe: Recipe,
    clouds: TrainingFrames,
    options: FitOptions,
    teachings: Teachings,
    trainer: lightning.Trainer,
    detector: BevDetector,
) -> RunRecord:
    cost = detector_cost(detector)
    return RunRecord(
        seed=options.seed,
        epochs=recipe.schedule.epochs,
        steps=trainer.global_step,
        frames=len(clouds),
        data=clouds.dataset.fingerprint,
        teacher=weights_of(teachings),
        teacher_shuffled=any(entry.shuffled for entry in teachings.values()),
        precision=usable_precision(recipe.precision),
        device=str(trainer.strategy.root_device),
        processes=options.num_processes,
        deterministic=options.deterministic,
        threads=torch.get_num_threads(),
        wall_s=0.0,
        cpu_s=0.0,
        parameters=cost.parameters,
        gmacs=cost.gmacs,
    )
