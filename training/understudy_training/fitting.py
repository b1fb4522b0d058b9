"""The training loop: one detector, its loss, a teacher if there is one. Lightning carries devices and resumption."""

from __future__ import annotations

import csv
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from understudy.errors import InputError, UnderstudyError
from understudy_training.batches import Batch, Clouds, Collate, Views, make_loader
from understudy_training.checkpoint import RunRecord, save_run
from understudy_training.distillation.distiller import Distiller, answers_of
from understudy_training.distillation.teacher_cache import Teacher
from understudy_training.distillation.terms import Widths
from understudy_training.losses import detection_loss
from understudy_training.models.counting import detector_cost
from understudy_training.models.detector import PillarDetector
from understudy_training.recipe import Precision, Recipe
from understudy_training.resuming import begin, identity_of, refuse_another
from understudy_training.targets import Targets, make_targets

RESUME_FOLDER, METRICS = "resume", "metrics.csv"


@dataclass(frozen=True, eq=False)
class Teaching:
    """Who teaches: answers for batches, the widths of the features they hold, and what the record says."""

    teacher: Teacher
    widths: Widths
    weights: str = ""
    shuffled: bool = False


@dataclass(frozen=True)
class FitOptions:
    """What differs between runs of the same recipe."""

    seed: int = 0
    devices: int = 1
    resume: bool = False
    bars: bool = False
    """Draw progress bars; for a terminal. One line an epoch otherwise."""


def fit(
    recipe: Recipe,
    clouds: Clouds,
    folder: Path,
    options: FitOptions = FitOptions(),
    *,
    teaching: Teaching | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> PillarDetector:
    """Trains a detector from scratch and writes its run folder.

    Args:
        recipe: what to train; its distillation counts only with `teaching`.
        clouds: the training frames.
        folder: the run folder.
        options: seed, devices, resumption.
        teaching: the teacher, or None for a run without one.
        say: takes one line an epoch, and one at the end.

    Raises:
        InputError: when a resumption is asked for and there is nothing to resume, or the run was begun otherwise.
        UnderstudyError: when it was interrupted or terminated; Lightning would exit without a word.
    """
    detector = build_detector(recipe, options.seed)
    distiller = build_distiller(recipe, detector, teaching, options.seed)
    views = Views(clouds, recipe.data.augmentation, options.seed)
    task = DetectionTask(detector, recipe, views, distiller, teaching.teacher if teaching else None)
    precision = usable_precision(recipe.precision)
    checkpoint = folder / RESUME_FOLDER / "last.ckpt"
    if options.resume and not checkpoint.is_file():
        raise InputError(f"run {folder}", found="nothing to resume", wanted=f"{checkpoint}", remedy="drop --resume")
    identity = identity_of(recipe, clouds.dataset.fingerprint, options.seed, teaching.weights if teaching else "")
    if options.resume:
        refuse_another(checkpoint.parent, identity)
    elif "LOCAL_RANK" not in os.environ:
        begin(checkpoint.parent, identity)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    with _quiet_lightning():
        trainer = _trainer(recipe, folder, options, precision, [EpochLines(folder / METRICS, options, say)])
        try:
            trainer.fit(task, ckpt_path=checkpoint if options.resume else None, weights_only=True)
        except SystemExit as stop:
            remedy = "--resume goes on after the last finished epoch"
            raise UnderstudyError(f"training {folder}", found="an interruption", remedy=remedy) from stop
    if trainer.is_global_zero:
        record = _record(recipe, clouds, options, teaching, trainer, detector)
        spent = {"wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s}
        saved = save_run(folder, detector, recipe, record.model_copy(update=spent))
        say(saved.summary(folder))
    return detector.eval()


def build_detector(recipe: Recipe, seed: int) -> PillarDetector:
    """A detector with the initial weights that `seed` decides, whatever else was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = PillarDetector(recipe.detector_config())
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = recipe.schedule.batch_norm_momentum
    return detector


def build_distiller(recipe: Recipe, detector: PillarDetector, teaching: Teaching | None, seed: int) -> Distiller | None:
    """The recipe's terms between the teacher and the detector; None without either."""
    if teaching is None or recipe.distillation is None:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Distiller(recipe.distillation, teaching.widths, widths_of(detector))


def widths_of(detector: PillarDetector) -> Widths:
    """Channels of the detector's two feature maps."""
    return Widths(low=detector.config.backbone.widths[0], high=detector.neck.channels)


def usable_precision(wanted: Precision) -> Precision:
    """The wanted precision, or 32-true where bfloat16 convolutions have no hardware."""
    if wanted == "32-true":
        return wanted
    if torch.cuda.is_available():
        return wanted if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return wanted if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "32-true"


def use_threads(threads: int | None) -> None:
    """Sets the process's threads; None is one per core this process may use."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))


class DetectionTask(lightning.LightningModule):
    """One step: see, compare with the labels, compare with the teacher."""

    def __init__(
        self,
        detector: PillarDetector,
        recipe: Recipe,
        views: Views,
        distiller: Distiller | None,
        teacher: Teacher | None,
    ) -> None:
        super().__init__()
        self.detector, self.recipe, self.distiller = detector, recipe, distiller
        self.views = views
        self._teacher = teacher  # not a submodule: it is neither trained nor saved
        self.sums: dict[str, Tensor] = {}
        self.num_steps = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        outputs = self.detector(batch.inputs)
        targets = self._targets(batch)
        loss = detection_loss(outputs.heatmap, outputs.regression, targets, self.recipe.loss.regression_weight)
        parts = {"heatmap": loss.heatmap, "regression": loss.regression, "detection": loss.total}
        if self.distiller is None or self._teacher is None:
            self._count(parts)
            return loss.total
        said = self.distiller(
            answers_of(outputs, batch.boxes, self.detector.config.grid, self.distiller.levels),
            self._teacher(batch),
            targets.heatmap,
            self.progress,
        )
        self._count(parts | _with_shares(said.by_term, loss.total))
        return loss.total + said.total

    @property
    def progress(self) -> float:
        """Part of the training that is done, 0 to 1."""
        return self.global_step / max(int(self.trainer.estimated_stepping_batches), 1)

    def configure_optimizers(self) -> Any:
        """AdamW over the detector and the adapters, one cycle of the learning rate."""
        schedule = self.recipe.schedule
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=schedule.peak_learning_rate, weight_decay=schedule.weight_decay
        )
        total = max(int(self.trainer.estimated_stepping_batches), 1)
        cycle = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / total, schedule.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    def train_dataloader(self) -> DataLoader[Any]:
        """This device's share of the frames."""
        data = self.recipe.data
        config = self.detector.config
        collate = Collate(self.detector.collate, config.class_names, config.grid, data.min_points)
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return make_loader(self.views, collate, data.batch_size, rank=rank, world_size=world_size, workers=data.workers)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Lightning's hook."""
        return batch.to(device)

    def _targets(self, batch: Batch) -> Targets:
        config, loss = self.detector.config, self.recipe.loss
        return make_targets(
            batch.boxes,
            config.grid,
            config.output_stride,
            len(config.class_names),
            overlap=loss.gaussian_overlap,
            min_radius=loss.min_radius,
        )

    def _count(self, parts: dict[str, Tensor]) -> None:
        self.num_steps += 1
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value.detach()

    def take_means(self) -> dict[str, float]:
        """Means over the steps since the last call, over all devices."""
        means = {name: value / self.num_steps for name, value in self.sums.items()}
        self.sums, self.num_steps = {}, 0
        return {name: float(self.trainer.strategy.reduce(value, reduce_op="mean")) for name, value in means.items()}


def one_cycle(progress: float, warmup: float) -> float:
    """Part of the peak learning rate at `progress` (0 to 1): cosine up from 1/25 during `warmup`, cosine down to 0."""
    if progress < warmup:
        return 1 - 0.96 * (1 + math.cos(math.pi * progress / warmup)) / 2
    return (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1.0))) / 2


def _with_shares(by_term: dict[str, Tensor], detection: Tensor) -> dict[str, Tensor]:
    """The terms, and each one's share of everything that is minimized once the warm-up is over."""
    everything = detection.detach() + torch.stack(list(by_term.values())).sum()
    return by_term | {f"share_{name}": part / everything for name, part in by_term.items()}


class EpochLines(Callback):
    """Writes a row of means an epoch to `metrics.csv` and TensorBoard, and says it in one line."""

    def __init__(self, path: Path, options: FitOptions, say: Callable[[str], None]) -> None:
        self.path, self.options, self.say = path, options, say
        self.started_s = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts the clock."""
        self.started_s = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes and says."""
        assert isinstance(pl_module, DetectionTask)
        means = pl_module.take_means()
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self.started_s
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, **means, "seconds": seconds}
        self._append(row)
        if trainer.logger is not None:
            trainer.logger.log_metrics(means, step=trainer.global_step)
        if not self.options.bars:
            self.say(f"  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {_losses(means)}  {seconds:.1f} s")

    def _append(self, row: dict[str, Any]) -> None:
        fresh = row["epoch"] == 0 or not self.path.exists()
        with self.path.open("w" if fresh else "a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)


def _losses(means: dict[str, float]) -> str:
    """The detection loss in its parts and the teacher's terms as one sum; each term stands in `metrics.csv`."""
    own = {name: means[name] for name in ("heatmap", "regression", "detection")}
    taught = [value for name, value in means.items() if name not in own and "share" not in name]
    shown = own | ({"teacher": sum(taught)} if taught else {})
    return "  ".join(f"{name} {value:.3f}" for name, value in shown.items())


def _trainer(
    recipe: Recipe, folder: Path, options: FitOptions, precision: Precision, callbacks: list[Callback]
) -> lightning.Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    resumable = ModelCheckpoint(
        folder / RESUME_FOLDER, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    return lightning.Trainer(
        max_epochs=recipe.schedule.epochs,
        devices=options.devices,
        precision=precision,
        gradient_clip_val=recipe.schedule.gradient_clip,
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        callbacks=[*callbacks, resumable],
        enable_progress_bar=options.bars,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


def _record(
    recipe: Recipe,
    clouds: Clouds,
    options: FitOptions,
    teaching: Teaching | None,
    trainer: lightning.Trainer,
    detector: PillarDetector,
) -> RunRecord:
    cost = detector_cost(detector)
    return RunRecord(
        seed=options.seed,
        epochs=recipe.schedule.epochs,
        steps=trainer.global_step,
        frames=len(clouds),
        data=clouds.dataset.fingerprint,
        teacher=teaching.weights if teaching else "",
        teacher_shuffled=teaching.shuffled if teaching else False,
        precision=str(trainer.precision),
        device=str(trainer.strategy.root_device),
        threads=torch.get_num_threads(),
        wall_s=0.0,
        cpu_s=0.0,
        parameters=cost.parameters,
        gmacs=cost.gmacs,
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
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
