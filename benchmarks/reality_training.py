"""The students of the reality benchmark: trained on scenes alone, then tuned with or without a few real frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reality_data import Mixture

from understudy_training.batches import TrainingFrames, Views, reach_of
from understudy_training.checkpoint import WEIGHTS, load_detector, read_record, save_run
from understudy_training.fitting import FitOptions, fit
from understudy_training.loop.task import DetectionTask
from understudy_training.loop.trainer import make_trainer, quiet_lightning, usable_precision
from understudy_training.recipe import Recipe

Say = Callable[[str], None]

TUNED_EPOCHS = 1
TUNED_RATE = 0.0015


def train(recipe: Recipe, frames: Mixture, out: Path, seed: int, say: Say) -> None:
    """Trains a student from scratch; goes on where an earlier call was interrupted, does nothing when it is done."""
    if not (out / WEIGHTS).is_file():
        fit(recipe, _loaded(recipe, frames), out, FitOptions(seed=seed, resume=(out / "resume").is_dir()), say=say)


def tune(start: Path, recipe: Recipe, frames: Mixture, out: Path, seed: int, say: Say) -> None:
    """Goes on with a trained student on other frames, at a smaller learning rate; nothing when that is done."""
    if (out / WEIGHTS).is_file():
        return
    schedule = recipe.schedule.model_copy(update={"epochs": TUNED_EPOCHS, "peak_learning_rate": TUNED_RATE})
    shorter = recipe.model_copy(update={"schedule": schedule})
    detector, loaded, options = load_detector(start)[0].train(), _loaded(recipe, frames), FitOptions(seed=seed)
    task = DetectionTask(detector, shorter, Views(loaded, recipe.data.augmentation, seed))
    out.mkdir(parents=True, exist_ok=True)
    with quiet_lightning():
        trainer = make_trainer(shorter, out, options, usable_precision(shorter.precision), [], [])
        trainer.fit(task)
    told = {"steps": trainer.global_step, "frames": len(frames), "data": frames.fingerprint, "epochs": TUNED_EPOCHS}
    save_run(out, detector, shorter, read_record(start).model_copy(update=told))
    say(f"{out}: {trainer.global_step} steps more over {len(frames)} frames")


def _loaded(recipe: Recipe, frames: Mixture) -> TrainingFrames:
    reach_m = reach_of(recipe.detector_config().grid, recipe.data.augmentation)
    loaded = TrainingFrames(frames, recipe.data.lidar, reach_m, None)
    loaded.preload()
    return loaded
