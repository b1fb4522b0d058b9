"""The frames that a recipe trains on."""

from __future__ import annotations

from understudy.bundle.manifest import Pictures
from understudy.datasets.dataset import Dataset
from understudy.datasets.sweeps import with_sweeps
from understudy.errors import InputError
from understudy.progress import Track, silent
from understudy_training.batches import TrainingFrames, reach_of
from understudy_training.loop.order import shards_of
from understudy_training.recipe import Recipe
from understudy_training.xray.complete_objects import with_complete_objects


def load_frames(
    recipe: Recipe, dataset: Dataset, track: Track = silent, *, pictures: Pictures | None = None
) -> TrainingFrames:
    """The frames a recipe trains on, in memory when it says so.

    Args:
        recipe: of the network that is trained.
        dataset: the training data.
        track: progress.
        pictures: what is taken of the cameras instead of the recipe's, as for a teacher that sees more.

    Raises:
        InputError: when the detector has a class that the data set, with the recipe's class map, does not.
    """
    refuse_strange_classes(recipe, dataset)
    reach_m = reach_of(recipe.detector_config().grid, recipe.data.augmentation)
    swept = with_sweeps(dataset, recipe.data.sweeps, recipe.data.lidar)
    swept = with_complete_objects(swept, recipe.data.complete_objects, recipe.data.lidar)
    pictures = pictures or recipe.detector_config().pictures
    past = recipe.distillation.past_frames if recipe.distillation is not None else 0
    frames = TrainingFrames(swept, recipe.data.lidar, reach_m, recipe.data.max_frames, pictures, past)
    frames.shards = shards_of(dataset, len(frames))
    if recipe.data.preload:
        frames.preload(track)
    return frames


def refuse_strange_classes(recipe: Recipe, dataset: Dataset) -> None:
    """Raises InputError when the detector is to find a class that the data set does not know."""
    strangers = [name for name in recipe.detector.class_names if name not in dataset.class_names]
    if strangers:
        found, wanted = ", ".join(strangers), f"among {', '.join(dataset.class_names)}"
        remedy = "name the detector's classes after the data set's, or map those with data.classes"
        raise InputError(f"recipe {recipe.name}: detector.class_names", found=found, wanted=wanted, remedy=remedy)
